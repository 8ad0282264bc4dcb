"""Scores against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medmeta.bench.painting import Mode, Painting
from napari_medmeta.bench.protocol import Task, make_task
from napari_medmeta.bench.scores import (
    EndScore,
    boundary_scores,
    dice,
    dice_by_structure,
    end_scores,
    mean_of,
    region_dice,
)
from napari_medmeta.core import Geometry

GEOMETRY = Geometry.from_parts((10, 20, 20), spacing_mm=(5.0, 1.0, 1.0))
SCRIBBLES = Painting(Mode.SCRIBBLES)


@pytest.fixture
def task() -> Task:
    truth = np.zeros((10, 20, 20), dtype=np.uint8)
    truth[1:9, 4:12, 4:12] = 3
    return make_task(truth, GEOMETRY, k=3)


def test_dice_of_two_masks_that_share_one_of_two_voxels():
    assert dice(np.array([True, True, False]), np.array([False, True, True])) == 0.5


def test_dice_of_nothing_proposed_is_0():
    assert dice(np.array([False, False]), np.array([True, False])) == 0.0


def test_dice_without_truth_does_not_exist():
    assert dice(np.array([True]), np.array([False])) is None
    assert dice(np.array([False]), np.array([False])) is None


def test_the_truth_scores_1(task):
    assert dice_by_structure(task.truth, task) == {3: 1.0}


def test_nothing_scores_0(task):
    assert dice_by_structure(np.zeros_like(task.truth), task) == {3: 0.0}


def test_what_is_proposed_on_painted_slices_changes_nothing(task):
    labels = task.truth.copy()
    labels[list(task.painted)] = 7
    assert dice_by_structure(labels, task) == {3: 1.0}


def test_a_leak_beyond_the_structure_costs(task):
    labels = task.truth.copy()
    labels[0, 4:12, 4:12] = 3
    # 5 slices of the structure are not painted; one slice too many: 2 * 5 / (5 + 6).
    assert dice_by_structure(labels, task)[3] == pytest.approx(10 / 11)


def test_a_region_without_truth_is_not_scored(task):
    marked = np.zeros(10, dtype=bool)
    marked[0] = True
    assert region_dice(task.truth, task, slices=marked) == {3: None}


def test_the_mean_leaves_out_what_does_not_exist():
    assert mean_of({1: 0.5, 2: None, 3: 1.0}) == 0.75
    assert mean_of([None]) is None


def test_the_truth_has_surface_dice_1_and_distance_0(task):
    score = boundary_scores(task.truth, task, spacing_mm=GEOMETRY.spacing_mm)[3]
    assert score is not None
    assert (score.surface_dice, score.hausdorff_mm) == (1.0, 0.0)


def test_a_shift_of_3_mm_sideways_is_measured_in_mm(task):
    labels = np.roll(task.truth, 3, axis=2)
    score = boundary_scores(labels, task, spacing_mm=GEOMETRY.spacing_mm)[3]
    assert score is not None
    assert score.hausdorff_mm == pytest.approx(3.0)
    assert 0 < score.surface_dice < 1


def test_spacing_stretches_the_distance(task):
    labels = np.roll(task.truth, 3, axis=2)
    score = boundary_scores(labels, task, spacing_mm=(5.0, 2.0, 2.0))[3]
    assert score is not None
    assert score.hausdorff_mm == pytest.approx(6.0)


def test_nothing_proposed_has_surface_dice_of_what_was_painted_only(task):
    score = boundary_scores(np.zeros_like(task.truth), task, spacing_mm=GEOMETRY.spacing_mm)[3]
    assert score is not None
    assert score.surface_dice < 1
    assert score.hausdorff_mm == pytest.approx(10.0, abs=5.1)


def test_surfaces_are_those_of_what_was_painted_and_proposed(task):
    wrong = task.truth.copy()
    wrong[list(task.painted)] = 0
    score = boundary_scores(wrong, task, spacing_mm=GEOMETRY.spacing_mm)[3]
    assert score is not None
    assert (score.surface_dice, score.hausdorff_mm) == (1.0, 0.0)


def test_the_scores_are_those_of_the_metrics_of_monai(task):
    import torch
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance
    from monai.metrics.surface_dice import compute_surface_dice

    labels = np.roll(task.truth, (1, 2, 3), axis=(0, 1, 2))
    found, true = (torch.from_numpy((a == 3)[None, None].astype(np.float32)) for a in (task.saved(labels), task.truth))
    options = {"include_background": True, "spacing": GEOMETRY.spacing_mm}
    score = boundary_scores(labels, task, spacing_mm=GEOMETRY.spacing_mm)[3]
    assert score is not None
    assert score.surface_dice == pytest.approx(float(compute_surface_dice(found, true, [2.0], **options)))
    assert score.hausdorff_mm == pytest.approx(
        float(compute_hausdorff_distance(found, true, percentile=95, **options)), abs=1e-4
    )


def test_the_truth_neither_leaks_nor_stops_short(task):
    assert end_scores(task.truth, task) == {3: EndScore(0.0, 0.0)}


def test_one_slice_too_many_at_one_end_leaks_half_a_slice(task):
    labels = task.truth.copy()
    labels[9, 4, 4] = 3
    assert end_scores(labels, task) == {3: EndScore(leak=0.5, short=0.0)}


def test_an_end_that_leaks_does_not_pay_for_one_that_stops_short(task):
    labels = task.truth.copy()
    labels[0, 4, 4], labels[7:] = 3, 0
    # Painted are 2, 5 and 7: slice 8 is missing, slice 0 is too many.
    assert task.painted == (2, 5, 7)
    assert end_scores(labels, task) == {3: EndScore(leak=0.5, short=0.5)}


def test_nothing_proposed_stops_short_at_the_outermost_painted_slices(task):
    # From slices 1 and 8 to 2 and 7.
    assert end_scores(np.zeros_like(task.truth), task) == {3: EndScore(leak=0.0, short=1.0)}


def test_a_structure_never_painted_nor_proposed_stops_short_by_half_of_its_length():
    truth = np.zeros((10, 20, 20), dtype=np.uint8)
    truth[0:5, 4:14, 4:14] = 1
    truth[5:10, 4:12, 4:12] = 2
    task = make_task(truth, GEOMETRY, k=1)
    assert end_scores(np.zeros_like(truth), task)[2] == EndScore(leak=0.0, short=2.5)


def test_a_structure_that_is_not_scored_has_no_ends():
    truth = np.zeros((10, 20, 20), dtype=np.uint8)
    truth[2:7, 4:14, 4:14] = 1
    task = make_task(truth, GEOMETRY, k=9)
    assert task.painted == (2, 3, 4, 5, 6)
    assert dice_by_structure(truth, task) == end_scores(truth, task) == {1: None}
    assert boundary_scores(truth, task, spacing_mm=GEOMETRY.spacing_mm) == {1: None}


def test_what_would_be_saved_holds_strokes_as_they_were_drawn():
    truth = np.zeros((10, 30, 30), dtype=np.uint8)
    truth[1:9, 4:24, 4:24] = 3
    task = make_task(truth, Geometry.from_parts((10, 30, 30), spacing_mm=(5.0, 1.0, 1.0)), k=1, painting=SCRIBBLES)
    (example,) = task.support.examples
    saved = task.saved(np.full_like(truth, 9))
    assert np.array_equal(saved[example.ref.index] != 9, example.known)
