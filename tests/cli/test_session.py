from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from napari_medmeta import cli
from napari_medmeta.core import Geometry
from napari_medmeta.io import read_labels, write_image
from napari_medmeta.session import Session

SHAPE = (5, 6, 7)
# Columns run to the patient's right: on screen, the session's grid is turned.
FLIPPED = Geometry(SHAPE, np.array([[0, 0, -1.0, 6], [0, 1, 0, 0], [4, 0, 0, 0], [0, 0, 0, 1]]))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A closed session with two voxels of liver, of which one more was undone."""
    path = tmp_path / "case.medmeta"
    session = Session.create(FLIPPED.reoriented().working, fingerprint="a scan", path=path)
    session.add_structure("liver")
    session.click((2, 3, 0), value=1, axis=0)
    session.click((2, 3, 1), value=1, axis=0)
    session.click((2, 3, 2), value=1, axis=0)
    session.undo()
    session.close()
    return path


def test_it_tells_what_the_session_holds(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["session", str(file)]) == 0
    out = capsys.readouterr().out
    assert "5 x 6 x 7 voxels" in out
    assert "1 liver: 0.0 ml" in out
    assert "example slices: 1" in out


def test_labels_come_out_as_they_were(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "labels.nii.gz"
    assert cli.main(["session", str(file), "--export", str(target)]) == 0
    labels, geometry = read_labels(target)
    expected = np.zeros(SHAPE, np.uint8)
    expected[2, 3, :2] = 1
    assert geometry.same_grid(FLIPPED.reoriented().working)
    assert np.array_equal(labels, expected)


def test_with_the_scan_they_lie_on_its_own_grid(file: Path, tmp_path: Path) -> None:
    scan = write_image(tmp_path / "scan.nii.gz", np.zeros(SHAPE, np.int16), FLIPPED)
    target = tmp_path / "labels.nii.gz"
    assert cli.main(["session", str(file), "--export", str(target), "--scan", str(scan)]) == 0
    labels, geometry = read_labels(target)
    assert geometry.same_grid(FLIPPED)
    assert sorted(map(tuple, np.argwhere(labels))) == [(2, 3, 5), (2, 3, 6)]


def test_the_audit_trail_is_written(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "audit.csv"
    assert cli.main(["session", str(file), "--audit", str(target)]) == 0
    with target.open(encoding="utf-8-sig", newline="") as handle:
        rows = list(csv.reader(handle))
    assert rows[2][2] == "mark a voxel as liver on axial slice 2"
    assert [row[4] for row in rows[1:]] == ["", "", "", "yes", ""]


def test_a_session_can_be_asked_again_and_again(file: Path) -> None:
    for _ in range(2):
        assert cli.main(["session", str(file)]) == 0
    session = Session.open(file)
    assert session.can_redo
    session.close()


def test_what_is_no_session_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.medmeta").write_text("no session")
    assert cli.main(["session", str(tmp_path / "x.medmeta")]) == 2
    assert "not a session file" in capsys.readouterr().err
    assert cli.main(["session", str(tmp_path / "none.medmeta")]) == 2
    assert "no session file" in capsys.readouterr().err


def test_another_scan_is_refused(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan = write_image(tmp_path / "scan.nii.gz", np.zeros((5, 6, 8), np.int16), Geometry.from_parts((5, 6, 8)))
    assert cli.main(["session", str(file), "--export", str(tmp_path / "l.nii.gz"), "--scan", str(scan)]) == 2
    assert not (tmp_path / "l.nii.gz").exists()
