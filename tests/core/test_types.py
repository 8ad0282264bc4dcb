from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from napari_medmeta.core import Box, SliceRef, label_slice

SHAPE = (4, 5, 6)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    start = tuple(draw(st.integers(0, n - 1)) for n in SHAPE)
    stop = tuple(draw(st.integers(a + 1, n)) for a, n in zip(start, SHAPE, strict=True))
    return Box(start, stop)


def inside(box: Box) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[box.slices] = True
    return mask


@given(boxes(), boxes())
def test_intersection_and_union_mean_what_they_say(one: Box, other: Box) -> None:
    assert np.array_equal(inside(one.intersection(other)), inside(one) & inside(other))
    union = one.union(other)
    assert np.all(inside(union)[inside(one) | inside(other)])
    assert Box.around(inside(one) | inside(other)) == union


@given(boxes())
def test_size_and_shape_count_the_voxels(box: Box) -> None:
    assert box.size == np.count_nonzero(inside(box)) == np.prod(box.shape)


@given(hnp.arrays(bool, SHAPE))
def test_around_is_the_smallest_box(mask: np.ndarray) -> None:
    box = Box.around(mask)
    if box is None:
        assert not mask.any()
        return
    assert np.count_nonzero(mask[box.slices]) == np.count_nonzero(mask)
    part = mask[box.slices]
    for axis in range(3):
        assert np.take(part, 0, axis=axis).any()
        assert np.take(part, -1, axis=axis).any()


def test_boxes_that_do_not_meet_share_no_voxel() -> None:
    common = Box((0, 0, 0), (2, 2, 2)).intersection(Box((3, 0, 0), (4, 2, 2)))
    assert common.size == 0
    assert common.shape == (0, 2, 2)


def test_growing_stops_at_the_edge_of_the_array() -> None:
    assert Box((1, 1, 1), (3, 3, 3)).grown((2, 1, 9), SHAPE) == Box((0, 0, 0), (4, 4, 6))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_slice_its_box_and_its_view_are_the_same_voxels(axis: int) -> None:
    array = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    ref = SliceRef(axis, 2)
    view = label_slice(array, ref)
    assert np.array_equal(view, np.take(array, 2, axis=axis))
    assert np.array_equal(view.ravel(), array[Box.of_slice(ref, SHAPE).slices].ravel())
    view[...] = -1
    assert (np.take(array, 2, axis=axis) == -1).all()


def test_the_box_of_a_voxel_holds_it_and_nothing_else() -> None:
    array = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    assert array[Box.of_voxel((1, 2, 3)).slices].tolist() == [[[array[1, 2, 3]]]]


def test_slices_sort_by_axis_then_index() -> None:
    assert sorted([SliceRef(1, 0), SliceRef(0, 5), SliceRef(0, 2)]) == [SliceRef(0, 2), SliceRef(0, 5), SliceRef(1, 0)]


def test_the_whole_box_takes_a_numpy_shape() -> None:
    assert Box.whole(np.zeros((2, 3, 4)).shape) == Box((0, 0, 0), (2, 3, 4))
