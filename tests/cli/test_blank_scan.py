"""A scan on which nothing can be seen is refused in words by every command that works on scans."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_medmeta.cli import main
from napari_medmeta.core import Geometry
from napari_medmeta.io import write_image, write_labels

SHAPE = (6, 8, 10)
COMMANDS = (
    "segment blank.nii.gz --examples labels.nii.gz --output out.nii.gz",
    "segment blank.nii.gz --from-library --library none.medlib --output out.nii.gz",
    "detect blank.nii.gz --examples labels.nii.gz --output out.csv",
    "detect scan.nii.gz --from blank.nii.gz --from-labels labels.nii.gz --output out.csv",
    "carry blank.nii.gz labels.nii.gz scan.nii.gz --output out.nii.gz",
    "carry scan.nii.gz labels.nii.gz blank.nii.gz --output out.nii.gz",
    "diagnose --file out.medcases keep --finding x --scan blank.nii.gz labels.nii.gz",
    "diagnose --file out.medcases keep --from list",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    geometry = Geometry.from_parts(SHAPE)
    write_image(tmp_path / "blank.nii.gz", np.full(SHAPE, 7, np.int16), geometry)
    write_image(tmp_path / "scan.nii.gz", np.arange(480, dtype=np.int16).reshape(SHAPE), geometry)
    labels = np.zeros(SHAPE, np.uint8)
    labels[2, 2:5, 3:6] = 1
    write_labels(tmp_path / "labels.nii.gz", labels, geometry)
    for name in ("one", "two"):
        case = tmp_path / "list" / name
        case.mkdir(parents=True)
        write_image(case / "image.nii.gz", np.full(SHAPE, 7, np.int16), geometry)
        write_labels(case / "label.nii.gz", labels, geometry)
    (tmp_path / "list" / "cases.csv").write_text("case,finding\none,normal\ntwo,ill\n", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("words", COMMANDS)
def test_a_blank_scan_is_refused_and_nothing_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    monkeypatch.chdir(folder)
    assert main(words.split()) == 2
    told = capsys.readouterr().err
    assert "Nothing can be seen on" in told
    assert "all its voxels have the value 7" in told
    assert not list(folder.glob("out.*"))
