"""Scoring of lesion detection by hand-made candidates, and the whole comparison on small scans."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_medmeta.bench.detection import lesions_of, painted
from napari_medmeta.bench.detection_scores import Detected, Find, Outcome, finds_of, interval, sensitivity
from napari_medmeta.core import Box, Geometry
from napari_medmeta.io import write_image, write_labels


def truth() -> np.ndarray:
    labels = np.zeros((4, 10, 10), np.uint8)
    labels[1:3, 1:4, 1:4] = 1
    labels[1:3, 6:9, 6:9] = 2
    return labels


def cube(start: tuple[int, int, int], stop: tuple[int, int, int], score: float = 0.5) -> Detected:
    box = Box(start, stop)
    return Detected(score, box, np.ones(box.shape, bool))


def outcome(*finds: Find, lesions: int = 2) -> Outcome:
    return Outcome("other", "m", "a", "b", False, finds, lesions)


def test_a_candidate_finds_the_lesion_that_it_overlaps() -> None:
    (found,) = finds_of([cube((1, 1, 1), (3, 4, 4))], truth())
    assert (found.lesion, found.false) == (1, False)
    assert found.iou == pytest.approx(1.0)


def test_a_candidate_far_from_lesions_is_false() -> None:
    (found,) = finds_of([cube((0, 0, 7), (1, 2, 9))], truth())
    assert (found.lesion, found.false, found.iou) == (0, True, 0.0)


def test_a_candidate_as_large_as_the_scan_finds_nothing() -> None:
    # 18 of 400 voxels: below one tenth.
    (found,) = finds_of([cube((0, 0, 0), (4, 10, 10))], truth())
    assert (found.lesion, found.false) == (0, True)


def test_a_fragment_inside_a_lesion_is_neither_found_nor_false() -> None:
    (found,) = finds_of([cube((1, 1, 1), (2, 2, 2))], truth())
    assert found.iou == pytest.approx(1 / 18)
    assert (found.lesion, found.false) == (0, False)


def test_what_is_painted_already_is_not_false() -> None:
    ignored = np.zeros((4, 10, 10), bool)
    ignored[0, 0:2, 7:9] = True
    (found,) = finds_of([cube((0, 0, 7), (1, 2, 9))], truth(), ignored)
    assert not found.false


def test_sensitivity_counts_each_lesion_once_below_the_false_finds() -> None:
    hit, again, false = Find(0.9, 1, 0.5, False), Find(0.8, 1, 0.4, False), Find(0.7, 0, 0.0, True)
    late = Find(0.6, 2, 0.5, False)
    assert sensitivity([outcome(hit, again, false, late)], 0.5) == 0.5
    assert sensitivity([outcome(hit, again, false, late)], 1.0) == 1.0


def test_one_threshold_holds_for_all_scans() -> None:
    sure = outcome(Find(0.9, 0, 0.0, True), lesions=1)
    unsure = outcome(Find(0.5, 1, 0.5, False), lesions=1)
    # 1 false find on 2 scans comes before the lesion.
    assert sensitivity([sure, unsure], 0.4) == 0.0
    assert sensitivity([sure, unsure], 0.5) == 0.5


def test_the_interval_holds_the_value() -> None:
    scans = [outcome(Find(0.9, 1, 0.5, False), lesions=1), outcome(lesions=1)]
    value, low, high = interval(scans, 1.0)
    assert (value, low, high) == (0.5, 0.0, 1.0)


def test_lesions_are_numbered_from_the_largest_and_specks_left_out() -> None:
    labels = np.zeros((4, 10, 10), np.uint8)
    labels[0:2, 0:3, 0:3] = 7
    labels[1:3, 5:9, 5:9] = 3
    labels[3, 0, 9] = 1
    found = lesions_of(labels, 0.01)
    assert found[2, 6, 6] == 1
    assert found[0, 0, 0] == 2
    assert found[3, 0, 9] == 0


def test_the_largest_section_or_an_even_spread_is_painted() -> None:
    lesion = np.zeros((9, 6, 6), bool)
    lesion[1:8, 1:5, 1:5] = True
    lesion[4] = True
    one, three = painted(lesion, axis=0, slices=1), painted(lesion, axis=0, slices=3)
    assert np.flatnonzero(one.any(axis=(1, 2))).tolist() == [4]
    assert len(np.flatnonzero(three.any(axis=(1, 2)))) == 3
    np.testing.assert_array_equal(one[4], lesion[4])


def test_all_methods_are_compared_and_a_second_run_measures_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_medmeta.bench import detection
    from napari_medmeta.cli import main

    data = tmp_path / "data"
    manifest = ["case,modality,anatomy,structures"]
    for number in (1, 2):
        grid = np.indices((16, 32, 32)).astype(float)
        ball = sum((grid[a] - c) ** 2 for a, c in enumerate((8, 10 + 8 * (number - 1), 12))) <= 25
        noise = np.random.default_rng(number).normal(0, 5, ball.shape)
        geometry = Geometry.from_parts((16, 32, 32), spacing_mm=(1.5, 1.5, 1.5))
        folder = data / f"small_{number}"
        folder.mkdir(parents=True)
        write_image(folder / "image.nii.gz", (100 + 60 * ball + noise).astype(np.float32), geometry)
        write_labels(folder / "label.nii.gz", ball.astype(np.uint8), geometry)
        manifest.append(f"small_{number},MRI,lesion,1 lesion")
    (data / "cases.csv").write_text("\n".join(manifest), encoding="utf-8")
    words = ["evaluate", "detection", "--data", str(data), "--out", str(tmp_path / "out"), "--protocols", "other"]
    assert main(words) == 0
    page = (tmp_path / "out" / "detection.md").read_text(encoding="utf-8")
    assert "| napari-medmeta | 1.00" in page
    assert "| forest and components |" in page
    assert "2 runs on 2 scans, 2 lesions" in page

    def never(*_: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(detection, "METHODS", dict.fromkeys(detection.METHODS, never))
    assert main(words) == 0
    assert (tmp_path / "out" / "detection.md").read_text(encoding="utf-8").split("Measured in")[0] == page.split(
        "Measured in"
    )[0]
