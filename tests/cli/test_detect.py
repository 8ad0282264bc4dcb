"""``napari-medmeta detect``: painted lesions in, a table of candidates out."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_medmeta.cli import main
from napari_medmeta.cli.detect import _summary
from napari_medmeta.core import Geometry
from napari_medmeta.engine.features import compute_features
from napari_medmeta.engine.streaming import Keeping, needed_bytes
from napari_medmeta.io import read_labels, read_volume, write_image, write_labels
from napari_medmeta.session import Session
from napari_medmeta.tasks.detection import detect as detect_in
from napari_medmeta.tasks.detection import examples_on
from napari_medmeta.tasks.detection_marks import Said, write_mark

SHAPE = (24, 40, 40)
GEOMETRY = Geometry.from_parts(SHAPE, spacing_mm=(2.0, 1.5, 1.5))
BALLS = ((8, 12, 12), (14, 26, 14), (10, 20, 30))


def balls() -> np.ndarray:
    grid = np.indices(SHAPE).astype(float)
    truth = np.zeros(SHAPE, np.uint8)
    for number, centre in enumerate(BALLS, start=1):
        away = sum(((grid[a] - centre[a]) * GEOMETRY.spacing_mm[a]) ** 2 for a in range(3))
        truth[away <= 5.5**2] = number
    return truth


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    truth = balls()
    for name, seed in (("scan", 0), ("before", 1)):
        noise = np.random.default_rng(seed).normal(0, 5, SHAPE)
        write_image(tmp_path / f"{name}.nii.gz", (100 + 60 * (truth > 0) + noise).astype(np.float32), GEOMETRY)
    labels = np.zeros(SHAPE, np.uint8)
    labels[8] = truth[8] == 1
    write_labels(tmp_path / "painted.nii.gz", labels, GEOMETRY)
    return tmp_path


def detect(folder: Path, *more: str) -> int:
    return main(["detect", str(folder / "scan.nii.gz"), "--output", str(folder / "found.csv"), "--quiet", *more])


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "found.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("keeping", [Keeping.FEATURES, Keeping.SMOOTHED, Keeping.INTENSITY])
def test_where_memory_is_short_less_is_kept_and_the_same_is_found(
    folder: Path, keeping: Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = needed_bytes(int(np.prod(SHAPE)), keeping)
    monkeypatch.setattr("napari_medmeta.engine.segmenter.free_memory_bytes", lambda device: free)
    assert detect(folder, "--examples", str(folder / "painted.nii.gz")) == 0
    assert {2, 3} <= balls_at(table(folder))


def test_a_scan_that_does_not_fit_into_memory_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("napari_medmeta.engine.segmenter.free_memory_bytes", lambda device: 10**6)
    assert detect(folder, "--examples", str(folder / "painted.nii.gz")) == 2
    assert "24 x 40 x 40 voxels needs" in capsys.readouterr().err
    assert not (folder / "found.csv").exists()


def balls_at(rows: list[dict[str, str]]) -> set[int]:
    truth = balls()
    return {int(truth[tuple(int(row[f"centre_{a}"]) for a in "ijk")]) for row in rows}


def test_lesions_painted_on_the_scan_find_the_others(folder: Path) -> None:
    assert detect(folder, "--examples", str(folder / "painted.nii.gz")) == 0
    rows = table(folder)
    assert balls_at(rows[:2]) == {2, 3}
    assert [int(row["candidate"]) for row in rows] == list(range(1, len(rows) + 1))


def test_lesions_painted_on_another_scan_find_all_and_are_outlined(folder: Path) -> None:
    other = ("--from", str(folder / "before.nii.gz"), "--from-labels", str(folder / "painted.nii.gz"))
    assert detect(folder, *other, "--masks", str(folder / "masks.nii.gz"), "--most", "3") == 0
    rows = table(folder)
    assert balls_at(rows) == {1, 2, 3}
    masks, _ = read_labels(folder / "masks.nii.gz", like=GEOMETRY)
    assert set(np.unique(masks)) == {0, 1, 2, 3}


def test_places_dismissed_in_an_earlier_list_do_not_come_back(folder: Path) -> None:
    painted = ("--examples", str(folder / "painted.nii.gz"))
    assert detect(folder, *painted, "--masks", str(folder / "masks.nii.gz")) == 0
    first = table(folder)
    assert detect(folder, *painted, "--dismissed", str(folder / "masks.nii.gz"), "--dismissed-values", "1") == 0
    again = table(folder)
    assert balls_at(first[:2]) == {2, 3}
    assert balls_at(first[:1]).isdisjoint(balls_at(again))
    assert balls_at(first[1:2]) <= balls_at(again)


def test_a_session_gives_its_examples_and_its_dismissals(folder: Path) -> None:
    volume = read_volume(folder / "scan.nii.gz")
    upright = volume.geometry.reoriented()
    scan = read_volume(folder / "scan.nii.gz")
    session = Session.create(upright.working, fingerprint=scan.fingerprint, path=folder / "scan.medmeta")
    session.add_structure("Lesion")
    painted, _ = read_labels(folder / "painted.nii.gz", like=volume.geometry)
    (axis,) = (n for n, old in enumerate(upright.permutation) if old == 0)
    session.import_labels(upright.labels_to_working(painted), axis=axis)
    shown = replace(volume, array=upright.image_to_working(volume.array), geometry=upright.working)
    maps = compute_features(shown, device=torch.device("cpu"))
    examples = examples_on(maps, upright.working, session.support(), structure=1)
    best = detect_in(maps, shown, examples, known=session.labels == 1)[0]
    write_mark(session, best, structure=1, said=Said.DISMISSED)
    session.close()
    assert detect(folder, "--session", str(folder / "scan.medmeta"), "--masks", str(folder / "masks.nii.gz")) == 0
    rows = table(folder)
    truth = balls()
    gone = int(truth[tuple(np.round(volume.geometry.to_index(best.centre_mm)).astype(int))])
    assert gone in {2, 3}
    assert balls_at(rows[:1]) == {2, 3} - {gone}
    masks, _ = read_labels(folder / "masks.nii.gz", like=volume.geometry)
    assert balls_at(rows[:1]) == {int(np.median(truth[masks == 1]))}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ((), "No lesion was given"),
        (("--session", "no.medmeta"), "no session file"),
        (("--from", "before.nii.gz"), "1 other scans and 0 label files"),
        (("--from-library", "Lesion", "--library", "no.medlib"), "library"),
    ],
)
def test_what_cannot_be_done_is_refused_and_nothing_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], words: str
) -> None:
    assert detect(folder, *(str(folder / m) if m.endswith((".gz", ".medlib", ".medmeta")) else m for m in more)) == 2
    assert words in capsys.readouterr().err
    assert not (folder / "found.csv").exists()


def test_a_structure_that_is_not_painted_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert detect(folder, "--examples", str(folder / "painted.nii.gz"), "--structure", "7") == 2
    assert "no structure" in capsys.readouterr().err


@pytest.mark.parametrize("as_shown", [False, True])
def test_a_session_of_the_scan_is_taken_and_one_of_another_on_the_same_grid_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], as_shown: bool
) -> None:
    scan = read_volume(folder / "scan.nii.gz")
    upright = scan.geometry.reoriented()
    shown = replace(scan, array=upright.image_to_working(scan.array), geometry=upright.working)
    known_as = (shown if as_shown else scan).fingerprint
    Session.create(upright.working, fingerprint=known_as, path=folder / "scan.medmeta").close()
    assert detect(folder, "--session", str(folder / "scan.medmeta")) == 2
    assert "The session has no structure" in capsys.readouterr().err
    Session.create(upright.working, fingerprint="another", path=folder / "other.medmeta").close()
    assert detect(folder, "--session", str(folder / "other.medmeta")) == 2
    assert "made on another scan" in capsys.readouterr().err


def test_learning_from_a_scan_that_seems_to_be_of_another_kind_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = ("--from", str(folder / "before.nii.gz"), "--from-labels", str(folder / "painted.nii.gz"))
    assert detect(folder, *other) == 0
    assert "Note" not in capsys.readouterr().err
    hounsfield = np.random.default_rng(2).integers(-1000, 200, SHAPE).astype(np.int16)
    write_image(folder / "before.nii.gz", hounsfield, GEOMETRY)
    assert detect(folder, *other) == 0
    assert "Note: before.nii.gz looks like a CT and the scan does not." in capsys.readouterr().err


def test_the_summary_of_an_empty_list_says_so() -> None:
    assert _summary(Path("a.csv"), ()) == ["Wrote a.csv: no candidates"]
