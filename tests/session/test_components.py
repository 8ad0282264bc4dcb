"""The connected part around a voxel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from napari_medmeta.core import Box
from napari_medmeta.session.components import component_at


def placed(box: Box, part: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    out = np.zeros(shape, dtype=bool)
    out[box.slices] = part
    return out


@given(arrays(bool, array_shapes(min_dims=3, max_dims=3, max_side=6)), st.data())
def test_it_is_what_labelling_all_parts_finds(mask: np.ndarray, data: st.DataObject) -> None:
    if not mask.any():
        return
    places = np.argwhere(mask)
    i, j, k = (int(n) for n in places[data.draw(st.integers(0, len(places) - 1))])
    parts, _ = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    expected = parts == parts[i, j, k]
    box, part = component_at(mask, (i, j, k))
    np.testing.assert_array_equal(placed(box, part, mask.shape), expected)
    assert box == Box.around(expected)


def test_parts_that_touch_at_a_corner_are_one() -> None:
    mask = np.zeros((2, 2, 2), dtype=bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    box, part = component_at(mask, (0, 0, 0))
    assert box == Box((0, 0, 0), (2, 2, 2))
    assert part.sum() == 2


def test_the_end_of_a_line_does_not_touch_the_beginning_of_the_next() -> None:
    mask = np.zeros((1, 2, 5), dtype=bool)
    mask[0, 0, 4] = mask[0, 1, 0] = True
    box, part = component_at(mask, (0, 0, 4))
    assert (box, part.sum()) == (Box((0, 0, 4), (1, 1, 5)), 1)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_gap_of_one_voxel_divides_along_every_axis(axis: int) -> None:
    mask = np.moveaxis(np.array([True, True, False, True])[:, None, None] & np.ones((4, 2, 2), bool), 0, axis)
    _, part = component_at(np.ascontiguousarray(mask), (0, 0, 0))
    assert part.sum() == 8
