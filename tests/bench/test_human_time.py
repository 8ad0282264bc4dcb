"""Seconds of the simulated radiologist, added up by hand."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medmeta.bench.human_time import TimeModel, outline_mm, wrong_outline_mm

TIMES = TimeModel(next_slice=1.0, decide=10.0, key=100.0, home=1000.0, point=10_000.0, draw_per_mm=0.5)
ISO = (1.0, 1.0)


def square(first: int, last: int, *, label: int = 1) -> np.ndarray:
    labels = np.zeros((12, 12), dtype=np.uint8)
    labels[first : last + 1, first : last + 1] = label
    return labels


def test_viewing_is_one_step_and_one_decision_for_each_structure():
    assert TIMES.view(3) == 31.0


def test_an_empty_slice_is_looked_at_too():
    assert TIMES.view(0) == TIMES.view(1) == 11.0


def test_accepting_is_one_key():
    assert TIMES.accept == 100.0


def test_drawing_starts_anew_for_each_structure_and_goes_by_length():
    assert TIMES.draw([4.0, 6.0]) == 2 * 11_110.0 + 0.5 * 10.0
    assert TIMES.draw([]) == 0.0


def test_an_outline_is_its_edge_voxels():
    # 5 x 5 voxels have 16 on the edge; 2 x 2 mm voxels make it twice as long.
    assert outline_mm(square(3, 7) == 1, ISO) == 16.0
    assert outline_mm(square(3, 7) == 1, (2.0, 2.0)) == 32.0
    assert outline_mm(square(3, 7) == 2, ISO) == 0.0


def test_a_right_slice_has_nothing_to_draw():
    assert wrong_outline_mm(square(3, 7), square(3, 7), ISO) == {}


def test_a_missing_structure_costs_its_whole_outline():
    assert wrong_outline_mm(square(3, 7, label=0), square(3, 7), ISO) == {1: 16.0}


def test_a_structure_that_should_not_be_there_is_cleared_at_once():
    assert wrong_outline_mm(square(3, 7), square(3, 7, label=0), ISO) == {1: 0.0}


def test_a_bulge_costs_only_the_outline_that_is_wrong():
    proposed = square(3, 7)
    proposed[5, 8] = 1
    # The bulge makes one edge voxel of its own; the voxel behind it, no longer on the edge, has to be drawn again.
    assert wrong_outline_mm(proposed, square(3, 7), ISO) == {1: 1.0}


@pytest.mark.parametrize("shift", range(4))
def test_correcting_never_costs_more_outline_than_painting_anew(shift):
    truth, found = square(3, 7), np.roll(square(2, 9), shift, axis=1)
    assert wrong_outline_mm(found, truth, ISO)[1] <= 16.0


def test_the_model_gives_a_liver_by_hand_the_time_that_is_reported_for_it():
    times = TimeModel()
    minutes = 40 * (times.view(1) + times.draw([450.0])) / 60
    assert minutes == pytest.approx(40, abs=2)
