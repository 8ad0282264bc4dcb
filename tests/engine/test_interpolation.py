from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_medmeta.engine.learners.interpolation import shape_field, signed_distance_mm
from napari_medmeta.engine.task import PaintedSlice, Task

MakeTask = Callable[..., Task]


def disc(radius: float, centre: tuple[float, float] = (15, 15), size: int = 31) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    return np.hypot(y - centre[0], x - centre[1]) <= radius


def inside(task: Task) -> np.ndarray:
    return (shape_field(task).distance_mm[0] > 0).numpy()


def test_signed_distance_is_measured_in_mm_to_the_painted_edge() -> None:
    mask = np.zeros((5, 9), bool)
    mask[:, 3:6] = True
    field = signed_distance_mm(mask, (2.0, 1.0))
    assert field[2].tolist() == [-2.5, -1.5, -0.5, 0.5, 1.5, 0.5, -0.5, -1.5, -2.5]


def test_a_painted_slice_comes_back_as_it_was_painted(make_task: MakeTask) -> None:
    task = make_task({2: disc(8), 6: disc(4)}, depth=9)
    assert np.array_equal(inside(task)[2], disc(8))
    assert np.array_equal(inside(task)[6], disc(4))


def test_between_two_discs_the_radius_lies_halfway(make_task: MakeTask) -> None:
    task = make_task({0: disc(10), 4: disc(6)}, depth=5)
    area = inside(task)[2].sum()
    assert abs(np.sqrt(area / np.pi) - 8) < 0.5


def test_a_tube_that_moves_sideways_stays_whole_between_the_slices(make_task: MakeTask) -> None:
    # The two discs do not overlap: plain interpolation would leave nothing in the middle.
    task = make_task({0: disc(3, (15, 6)), 4: disc(3, (15, 24))}, depth=5)
    middle = inside(task)[2]
    assert middle[15, 15]
    assert abs(int(middle.sum()) - int(disc(3).sum())) < 12


def test_beyond_the_last_slice_the_structure_rounds_off_and_ends(make_task: MakeTask) -> None:
    task = make_task({0: disc(8), 10: disc(8)}, depth=25)
    areas = inside(task).sum((1, 2))
    assert areas[10] > areas[13] > areas[15] > 0
    assert areas[17] == 0


def test_towards_a_slice_painted_empty_the_structure_ends_halfway(make_task: MakeTask) -> None:
    task = make_task({2: disc(8), 10: np.zeros((31, 31), bool)}, depth=12)
    present = inside(task).any((1, 2))
    assert present[4]
    assert not present[6:].any()


def test_a_slice_on_which_a_structure_was_not_looked_for_says_nothing_of_it(make_task: MakeTask) -> None:
    task = make_task({2: disc(8), 10: np.zeros((31, 31), bool)}, depth=12)
    unasked = replace(task.painted[1], asked=frozenset())
    open_ended = replace(task, painted=(task.painted[0], unasked))
    assert inside(open_ended)[7].any()


def test_distance_counts_in_mm_so_thick_slices_end_sooner(make_task: MakeTask) -> None:
    thin = make_task({10: disc(8)}, depth=21, spacing=(1.0, 1.0, 1.0))
    thick = make_task({10: disc(8)}, depth=21, spacing=(5.0, 1.0, 1.0))
    assert inside(thin).any((1, 2)).sum() > 3 * inside(thick).any((1, 2)).sum()


def test_a_slice_of_another_axis_shapes_the_structure_along_its_own_normal(make_task: MakeTask) -> None:
    task = make_task({4: disc(8)}, depth=9)
    crossing = PaintedSlice(1, 15, torch.ones((9, 31), dtype=torch.int64), frozenset({1}))
    both = replace(task, painted=(*task.painted, crossing))
    assert inside(both)[0, 15].all()
    assert np.array_equal(inside(both)[4, :14], disc(8)[:14])


def test_without_a_complete_slice_nothing_is_known(make_task: MakeTask) -> None:
    task = replace(make_task({0: disc(3)}, depth=3), painted=())
    field = shape_field(task)
    assert not field.known
    assert field.log_posterior([0, 1]).exp().numpy() == pytest.approx(0.5)
