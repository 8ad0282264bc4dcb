"""Scores against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medmeta.bench.protocol import Task, make_task
from napari_medmeta.bench.scores import boundary_scores, dice, dice_by_structure, mean_of, region_dice
from napari_medmeta.core import Geometry

GEOMETRY = Geometry.from_parts((10, 20, 20), spacing_mm=(5.0, 1.0, 1.0))


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
