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


def test_an_empty_library_says_so(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Library(file).remove([e.id for e in Library(file).entries()])
    assert run(file, "list") == 0
    assert "empty" in capsys.readouterr().out


def test_a_library_that_was_named_and_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "none.medlib", "list") == 2
    assert "There is no library" in capsys.readouterr().err
    assert not (tmp_path / "none.medlib").exists()


def test_one_entry_is_shown_with_its_usefulness(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(file, "show", "1") == 0
    out = capsys.readouterr().out
    assert "samples: 30 inside, 30 around" in out
    assert "by 1" in out
    assert run(file, "show", "3") == 0
    assert "no other entry" in capsys.readouterr().out


def test_entries_are_renamed_and_removed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(file, "rename", "3", "Big spleen") == 0
    assert "Spleen is now Big spleen" in capsys.readouterr().out
    assert run(file, "remove", "1", "2", "1") == 0
    out = capsys.readouterr().out
    assert out.count("removed:") == 2
    assert "1abc  Liver" in out
    assert Library(file).names() == ("Big spleen",)


def test_entries_travel_in_one_file(file: Path, tmp_path: Path) -> None:
    carried, other = tmp_path / "x.medlib", tmp_path / "other.medlib"
    assert run(file, "export", str(carried), "--name", "liver") == 0
    assert run(other, "import", str(carried)) == 0
    assert len(Library(other).entries("Liver")) == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "Nothing was chosen to export"),
        (("1", "--all"), "Entries were chosen in two ways"),
        (("--name", "pancreas"), "keeps no pancreas. Expected: one of Liver, Spleen"),
        (("9",), "No entry of the library begins with 9"),
    ],
)
def test_nothing_is_exported_by_silence_or_by_a_wrong_name(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str
) -> None:
    assert run(file, "export", str(tmp_path / "x.medlib"), *words) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "x.medlib").exists()


def test_an_export_says_what_it_holds(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(file, "export", str(tmp_path / "two.medlib"), "1", "3") == 0
    out = capsys.readouterr().out
    assert "1abc  Liver" in out
    assert "2abc" not in out
    assert [e.id for e in Library(tmp_path / "two.medlib").entries()] == ["1abc", "3abc"]
    assert run(file, "export", str(tmp_path / "all.medlib"), "--all") == 0
    assert len(Library(tmp_path / "all.medlib").entries()) == 3


def test_an_export_overwrites_nothing_unasked(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = tmp_path / "x.medlib"
    there.write_bytes(b"precious")
    assert run(file, "export", str(there), "--all") == 2
    assert "already" in capsys.readouterr().err
    assert there.read_bytes() == b"precious"
    assert run(file, "export", str(there), "--all", "--overwrite") == 0
    assert len(Library(there).entries()) == 3
    assert run(file, "export", str(tmp_path / "x.txt"), "--all") == 2


def test_an_empty_id_removes_nothing(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(file, "remove", "") == 2
    assert len(Library(file).entries()) == 3


def test_an_unknown_entry_is_told(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(file, "remove", "9") == 2
    assert "No entry of the library begins with 9" in capsys.readouterr().err


@pytest.mark.gui
def test_the_commands_library_is_the_panels_own() -> None:
    from napari_medmeta.cli.source import library_file
    from napari_medmeta.ui.library import default_library

    assert library_file(None).path == default_library().path
