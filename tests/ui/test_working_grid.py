"""A part of a scan, and the way back onto the whole of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medmeta.core import Box, Geometry
from napari_medmeta.ui.working_grid import coarse_enough, coarsened, cropped, region_around

SHAPE = (6, 8, 10)
# An order of axes that is not the one on screen: the way back has to undo that as well.
GRID = Geometry.from_parts(
    (8, 10, 6), spacing_mm=(1.0, 1.0, 4.0), direction=np.array([[0, 1, 0], [1, 0, 0], [0, 0, -1.0]])
).reoriented()


def image() -> np.ndarray:
    return np.arange(480, dtype=np.int16).reshape(SHAPE)


def test_a_region_holds_the_voxels_of_the_scan_at_their_places() -> None:
    part = cropped(GRID, Box((1, 2, 3), (4, 6, 9)))
    np.testing.assert_array_equal(part.image_to_working(image()), image()[1:4, 2:6, 3:9])
    np.testing.assert_allclose(part.working.to_world((0, 0, 0)), GRID.working.to_world((1, 2, 3)))
    assert part.working.shape == (3, 4, 6)
    assert part.original is GRID.original


def test_labels_of_a_region_come_back_where_they_were_painted() -> None:
    part = cropped(GRID, Box((1, 2, 3), (4, 6, 9)))
    labels = np.zeros((3, 4, 6), dtype=np.uint8)
    labels[1, 2, 3] = 7
    whole = np.zeros(SHAPE, dtype=np.uint8)
    whole[2, 4, 6] = 7
    np.testing.assert_array_equal(part.labels_to_original(labels), GRID.labels_to_original(whole))


def test_a_coarse_voxel_is_the_mean_of_those_it_stands_for_and_lies_in_their_middle() -> None:
    part = coarsened(GRID, (1, 2, 3))
    found = part.image_to_working(image().astype(np.float32))
    assert found.shape == part.working.shape == (6, 4, 4)
    assert found[0, 0, 0] == pytest.approx(image()[0, :2, :3].mean())
    assert found[5, 3, 3] == pytest.approx(image()[5, 6:, 9:].mean())
    np.testing.assert_allclose(part.working.to_world((0, 0, 0)), GRID.working.to_world((0, 0.5, 1)))
    np.testing.assert_allclose(part.working.spacing_mm, np.asarray(GRID.working.spacing_mm) * (1, 2, 3))


def test_whole_numbers_stay_whole_numbers() -> None:
    assert coarsened(GRID, (2, 2, 2)).image_to_working(image()).dtype == np.int16


def test_labels_of_a_coarse_grid_cover_all_voxels_they_stand_for() -> None:
    part = coarsened(GRID, (1, 2, 3))
    labels = np.zeros((6, 4, 4), dtype=np.uint8)
    labels[5, 3, 3], labels[0, 0, 0] = 1, 2
    whole = np.zeros(SHAPE, dtype=np.uint8)
    whole[5, 6:, 9:], whole[0, :2, :3] = 1, 2
    np.testing.assert_array_equal(part.labels_to_original(labels), GRID.labels_to_original(whole))


def test_a_part_of_a_part_comes_back_too() -> None:
    inner = coarsened(cropped(GRID, Box((1, 2, 3), (5, 6, 9))), (1, 2, 2))
    labels = np.ones(inner.working.shape, dtype=np.uint8)
    whole = np.zeros(SHAPE, dtype=np.uint8)
    whole[1:5, 2:6, 3:9] = 1
    np.testing.assert_array_equal(inner.labels_to_original(labels), GRID.labels_to_original(whole))


@given(st.integers(1, 2000))
def test_a_grid_is_as_coarse_as_needed_and_no_coarser(most: int) -> None:
    factor = coarse_enough(GRID.working, most)
    if factor is None:
        assert most < 2
        return
    assert np.prod(coarsened(GRID, factor).working.shape) <= most
    if factor != (1, 1, 1):
        finer = [max(1, f - 1) for f in factor]
        assert np.prod(coarsened(GRID, (finer[0], finer[1], finer[2])).working.shape) > most


def test_thin_voxels_give_way_before_thick_slices() -> None:
    assert coarse_enough(GRID.working, 240)[0] == 1


def test_what_cannot_be_made_coarse_enough_is_said() -> None:
    assert coarse_enough(Geometry.from_parts((800, 800, 800)), 1000) is None


def test_two_parts_of_a_scan_have_different_names() -> None:
    names = {cropped(GRID, Box((0, 0, 0), (n, 8, 8))).name for n in (2, 3)} | {coarsened(GRID, (1, 2, 2)).name}
    assert len(names) == 3


def test_a_region_is_what_is_on_screen_and_as_deep_as_fits() -> None:
    view = Box((3, 2, 2), (4, 6, 8))
    assert region_around((3, 0, 0), view, SHAPE, axis=0, most_voxels=24 * 4) == Box((1, 2, 2), (5, 6, 8))
    assert region_around((5, 0, 0), view, SHAPE, axis=0, most_voxels=24 * 4) == Box((2, 2, 2), (6, 6, 8))
    assert region_around((3, 0, 0), view, SHAPE, axis=0, most_voxels=10_000) == Box((0, 2, 2), (6, 6, 8))
