"""Carrying labels along a known map, with grids small enough to be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medmeta.core import Box, Geometry
from napari_medmeta.tasks.registration_map import Alignment, Carrying, carry_labels, landing_box, sampled


def block(shape=(6, 8, 8), value=1):
    labels = np.zeros(shape, np.uint8)
    labels[2:4, 3:5, 3:6] = value
    return labels


def shifted(x=0.0, y=0.0, z=0.0):
    affine = np.eye(4)
    affine[:3, 3] = (x, y, z)
    return Alignment(affine)


def whole(carrying: Carrying, shape):
    out = np.zeros(shape, np.uint8)
    out[carrying.box.slices] = carrying.labels()
    return out


def test_labels_stay_where_they_are_without_any_movement():
    grid = Geometry.from_parts((6, 8, 8), spacing_mm=(2, 1, 1))
    assert np.array_equal(whole(carry_labels(block(), grid, grid, Alignment()), (6, 8, 8)), block())


def test_labels_follow_a_shift_of_whole_voxels_in_patient_space():
    grid = Geometry.from_parts((6, 8, 8), spacing_mm=(2, 1, 1))
    # What is now at x lay 1 mm further to the left (x + 1) and 2 mm higher (z + 2).
    carried = whole(carry_labels(block(), grid, grid, shifted(x=1, z=2)), (6, 8, 8))
    assert np.array_equal(carried, np.roll(block(), (-1, -1), axis=(0, 2)))


def test_labels_land_on_a_grid_of_another_orientation_and_spacing():
    prior = Geometry.from_parts((6, 8, 8), spacing_mm=(2, 1, 1))
    flipped = prior.reoriented(("L", "A", "S"))
    carried = whole(carry_labels(block(), prior, flipped.working, Alignment()), flipped.working.shape)
    assert np.array_equal(carried, flipped.labels_to_working(block()))


def test_two_structures_never_mix_into_a_third():
    grid = Geometry.from_parts((4, 6, 6))
    labels = np.zeros((4, 6, 6), np.uint8)
    labels[:, :, :3], labels[:, :, 3:] = 1, 3
    carried = carry_labels(labels, grid, grid, shifted(x=0.5))
    assert set(np.unique(carried.labels())) <= {0, 1, 3}
    assert carried.structures == (1, 3)


def test_a_voxel_between_structure_and_background_is_unsure():
    grid = Geometry.from_parts((6, 8, 8))
    carried = carry_labels(block(), grid, grid, shifted(x=0.25), box=Box.whole((6, 8, 8)))
    confidence = carried.confidence()
    assert confidence[2, 3, 2] == pytest.approx(0.75)
    assert confidence[2, 3, 3] == pytest.approx(1.0)
    assert confidence[0, 0, 0] == pytest.approx(1.0)


def test_labels_outside_of_today_s_scan_land_in_an_empty_box():
    grid = Geometry.from_parts((6, 8, 8))
    assert landing_box(block(), grid, grid, shifted(x=500)).size == 0


def test_the_landing_box_holds_all_that_is_carried():
    prior = Geometry.from_parts((6, 8, 8), spacing_mm=(2, 1, 1))
    today = Geometry.from_parts((40, 160, 160), spacing_mm=(0.4, 0.1, 0.1), origin_mm=(-3, -3, -2))
    box = landing_box(block(), prior, today, Alignment())
    everything = carry_labels(block(), prior, today, Alignment(), box=Box.whole(today.shape)).labels()
    found = Box.around(everything)
    assert found is not None
    assert box.union(found) == box
    assert box.size < everything.size


def test_a_displacement_moves_places_in_millimetres_whatever_the_grid():
    grid = Geometry.from_parts((3, 3, 3), spacing_mm=(5, 2, 2))
    field = np.zeros((3, 3, 3, 3), np.float32)
    field[0] = 1.5
    moved = Alignment(np.eye(4), field, grid).to_prior(np.array([[2.0, 2.0, 5.0]]))
    assert moved.tolist() == [[3.5, 2.0, 5.0]]


def test_values_outside_of_a_scan_are_filled():
    grid = Geometry.from_parts((2, 2, 2))
    assert sampled(np.ones((2, 2, 2)), grid, np.array([[50.0, 0, 0], [0, 0, 0]]), fill=-7).tolist() == [-7, 1]
