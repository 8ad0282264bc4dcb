"""The command that judges the applications, here with an application made up for the test."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from napari_medmeta.bench import applications
from napari_medmeta.bench.applications import Evaluation
from napari_medmeta.bench.document import Table
from napari_medmeta.cli import main
from napari_medmeta.core.geometry import Geometry
from napari_medmeta.io import write_image, write_labels


@pytest.fixture
def data(tmp_path):
    for name in ("one", "two"):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        geometry = Geometry.from_parts((3, 4, 5))
        write_image(folder / "image.nii.gz", np.zeros((3, 4, 5), np.int16), geometry)
        write_labels(folder / "label.nii.gz", np.zeros((3, 4, 5), np.uint8), geometry)
    return tmp_path / "data"


@pytest.fixture
def judge(monkeypatch):
    def add_options(parser):
        parser.add_argument("--draws", type=int, default=3)

    def evaluate(cases, options, progress):
        progress(0.5, "half")
        rows = tuple({"case": c.id, "draws": options.draws, "seed": options.seed} for c in cases)
        return Evaluation("Made up", (Table(("case",), tuple((c.id,) for c in cases)),), rows)

    monkeypatch.setattr(
        applications, "judge_of", lambda name: SimpleNamespace(add_options=add_options, evaluate=evaluate)
    )


def evaluate(data: Path, out: Path, *more: str) -> int:
    return main(["evaluate", "registration", "--data", str(data), "--out", str(out), *more])


def test_every_measurement_goes_into_a_csv_and_the_tables_into_a_page(data, tmp_path, judge):
    assert evaluate(data, tmp_path / "out", "--draws", "5", "--seed", "7") == 0

    with (tmp_path / "out" / "registration.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"case": "one", "draws": "5", "seed": "7"},
            {"case": "two", "draws": "5", "seed": "7"},
        ]
    page = (tmp_path / "out" / "registration.md").read_text()
    assert "## Made up" in page
    assert "| one |" in page


def test_only_the_named_cases_are_measured(data, tmp_path, judge):
    assert evaluate(data, tmp_path / "out", "--cases", "two") == 0
    assert "| one |" not in (tmp_path / "out" / "registration.md").read_text()


def test_a_page_keeps_its_own_text_and_the_tables_of_other_applications(data, tmp_path, judge):
    page = tmp_path / "page.md"
    page.write_text(
        "# Mine\n\nBefore.\n\n<!-- detection: begin -->\nfound\n<!-- detection: end -->\n\n"
        "<!-- registration: begin -->\nold\n<!-- registration: end -->\n\nAfter.\n"
    )
    assert evaluate(data, tmp_path / "out", "--report", str(page)) == 0

    text = page.read_text()
    assert text.startswith("# Mine\n\nBefore.\n\n<!-- detection: begin -->\nfound\n<!-- detection: end -->")
    assert text.endswith("<!-- registration: end -->\n\nAfter.\n")
    assert "old" not in text
    assert "| two |" in text


def test_measuring_twice_writes_the_same_page(data, tmp_path, judge):
    page = tmp_path / "page.md"
    for _ in range(2):
        assert evaluate(data, tmp_path / "out", "--report", str(page)) == 0
        text = page.read_text()
    assert text.count("| two |") == 1


def test_the_command_on_the_page_tells_no_folder(data, tmp_path, judge):
    assert evaluate(data, tmp_path / "out") == 0
    page = (tmp_path / "out" / "registration.md").read_text()
    assert "napari-medmeta evaluate registration --data data --out out" in page
    assert str(tmp_path) not in page


def test_an_unknown_application_is_refused(data, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", "surgery", "--data", str(data), "--out", str(tmp_path)])
    assert "registration" in capsys.readouterr().err


def test_a_folder_without_cases_is_refused_in_plain_words(tmp_path, judge, capsys):
    (tmp_path / "empty").mkdir()
    assert evaluate(tmp_path / "empty", tmp_path / "out") == 2
    assert "holds no case" in capsys.readouterr().err


def test_the_options_of_an_application_are_told(judge, capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["evaluate", "registration", "--help"])
    assert "--draws" in capsys.readouterr().out
