from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_medmeta import cli
from napari_medmeta.core import Modality
from napari_medmeta.core.library import KeptSamples, LibraryEntry
from napari_medmeta.session.library import Library


def entry(number: int, name: str) -> LibraryEntry:
    draw = np.random.default_rng(number)
    inside = np.arange(60) % 2 == 0
    # One feature tells inside from outside.
    features = np.stack([inside + 0.1 * draw.normal(size=60), draw.normal(size=60)], axis=1).astype(np.float32)
    places = draw.random((60, 3)).astype(np.float32)
    samples = KeptSamples(features, places, 10 * places - 5, inside, np.ones(60, np.float32))
    about = {"colour": "#aa0000", "modality": Modality.MR, "spacing_mm": (1.0, 1.0, 4.0), "day": "2026-01-02"}
    sizes = {"volume_ml": 30.0, "extent_mm": (40.0, 30.0, 20.0), "largest_share": 1.0}
    return LibraryEntry(id=f"{number}abc", structure=name, features="f", samples=samples, **about, **sizes)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "library.medlib"
    Library(path).add([entry(1, "Liver"), entry(2, "Liver"), entry(3, "Spleen")])
    return path


def run(file: Path, *words: str) -> int:
    return cli.main(["library", "--file", str(file), *words])


def test_entries_are_listed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(file, "list") == 0
    assert "1abc  Liver  MR  30.0 ml  kept on 2026-01-02" in capsys.readouterr().out


def test_an_empty_library_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "none.medlib", "list") == 0
    assert "empty" in capsys.readouterr().out


def test_one_entry_is_shown_with_its_usefulness(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(file, "show", "1") == 0
    out = capsys.readouterr().out
    assert "samples: 30 inside, 30 around" in out
    assert "by 1" in out
    assert run(file, "show", "3") == 0
    assert "no other entry" in capsys.readouterr().out


def test_entries_are_renamed_and_removed(file: Path) -> None:
    assert run(file, "rename", "3", "Big spleen") == 0
    assert run(file, "remove", "1", "2") == 0
    assert Library(file).names() == ("Big spleen",)


def test_entries_travel_in_one_file(file: Path, tmp_path: Path) -> None:
    carried, other = tmp_path / "x.medlib", tmp_path / "other.medlib"
    assert run(file, "export", str(carried), "--name", "liver") == 0
    assert run(other, "import", str(carried)) == 0
    assert len(Library(other).entries("Liver")) == 2


def test_an_unknown_entry_is_told(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(file, "remove", "9") == 2
    assert "No entry of the library begins with 9" in capsys.readouterr().err


@pytest.mark.gui
def test_the_commands_library_is_the_panels_own() -> None:
    from napari_medmeta.cli.source import library_file
    from napari_medmeta.ui.library import default_library

    assert library_file(None).path == default_library().path
