"""Measurements by hand: every expected number below can be worked out on paper."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_medmeta.core import AnnotationError, Box, Geometry, GeometryMismatchError, Modality, SliceRef
from napari_medmeta.core.measurements import Measurement, MeasurementTable, axial_axis, measure


def drawn(*rows: str) -> np.ndarray:
    """Return a one-slice volume: a digit is a label, anything else background."""
    return np.array([[[int(c) if c.isdigit() else 0 for c in row] for row in rows]], np.uint8)


def measured(labels: np.ndarray, spacing: tuple[float, float, float] = (1, 1, 1), structure: int = 1) -> Measurement:
    geometry = Geometry.from_parts(labels.shape, spacing_mm=spacing)
    return measure(labels, np.zeros(labels.shape, np.int16), geometry, structure=structure)


def test_an_empty_structure_has_no_numbers() -> None:
    found = measured(drawn("2."))
    assert (found.voxels, found.volume_ml, found.slices) == (0, 0.0, 0)
    assert found.mean is found.sd is found.ref is found.longest is found.perpendicular is found.extent_mm is None
    assert found.percentiles == {}


def test_volume_is_voxels_times_their_size() -> None:
    found = measured(drawn("11", "11"), spacing=(5, 0.5, 2))
    assert (found.voxels, found.volume_ml) == (4, pytest.approx(0.02))


def test_a_row_of_voxels_is_as_long_as_its_voxels() -> None:
    found = measured(drawn("......", ".1111."))
    assert found.longest is not None
    assert found.perpendicular is not None
    assert (found.longest.length_mm, found.perpendicular.length_mm) == (4.0, 1.0)


def test_a_single_voxel_is_one_voxel_long() -> None:
    found = measured(drawn("...", ".1."), spacing=(1, 0.75, 0.5))
    assert found.longest is not None
    assert found.perpendicular is not None
    assert (found.longest.length_mm, found.perpendicular.length_mm) == pytest.approx((0.75, 0.5))
    assert found.extent_mm == pytest.approx((0.5, 0.75, 1.0))


def test_a_square_of_four_voxels_has_the_diagonal_of_a_3_4_5_triangle() -> None:
    # From the outline's midpoint over one end of the top row to the one beside the bottom row's other end.
    found = measured(drawn("1111", "1111", "1111", "1111"))
    assert found.longest is not None
    assert found.longest.length_mm == pytest.approx(5.0)


def test_an_anisotropic_rectangle_is_measured_in_mm() -> None:
    # 2 rows of 2 mm, 4 columns of 1 mm: 3 mm across from one end voxel to the other, 4 mm down edge to edge.
    found = measured(drawn("1111", "1111"), spacing=(1, 2, 1))
    assert found.longest is not None
    assert found.perpendicular is not None
    assert found.longest.length_mm == pytest.approx(5.0)
    # Lines along (4, -3) between the hull's parallel sides (2, -1)-(1.5, -2) and (-2, 1)-(-1.5, 2).
    assert found.perpendicular.length_mm == pytest.approx(50 / 11)


def test_the_perpendicular_of_a_plus_is_as_long_as_the_plus_is_wide() -> None:
    found = measured(drawn("..1..", "..1..", "11111", "..1..", "..1.."), spacing=(1, 2, 1))
    assert found.longest is not None
    assert found.perpendicular is not None
    assert (found.longest.length_mm, found.perpendicular.length_mm) == pytest.approx((10.0, 5.0))


def test_a_hollow_structure_counts_with_the_hull_of_its_outline() -> None:
    ring, disc = drawn("11111", "1...1", "11111"), drawn("11111", "11111", "11111")
    assert measured(ring).longest == measured(disc).longest
    assert measured(ring).perpendicular == measured(disc).perpendicular


def test_no_caliper_spans_two_pieces_that_do_not_touch() -> None:
    found = measured(drawn("11.......1", ".........."))
    assert found.longest is not None
    assert found.longest.length_mm == 2.0


def test_pieces_that_touch_at_a_corner_are_one() -> None:
    found = measured(drawn("1.", ".1"))
    assert found.longest is not None
    assert found.longest.length_mm == pytest.approx(np.hypot(2, 1))


def test_the_longest_slice_wins_and_the_first_of_equals() -> None:
    labels = np.zeros((4, 3, 6), np.uint8)
    labels[0, 1, :2] = labels[1, 1, :4] = labels[2, 1, 1:5] = 1
    found = measured(labels)
    assert (found.ref, found.slices) == (SliceRef(0, 1), 3)


def test_end_points_lie_in_the_patient() -> None:
    # Index axes point to superior, posterior and left; voxel (1, 1, 1) starts half a voxel before its centre.
    geometry = Geometry.from_parts((3, 4, 6), spacing_mm=(5, 2, 1), origin_mm=(10, 20, 30))
    labels = np.zeros((3, 4, 6), np.uint8)
    labels[1, 1, 1:5] = 1
    found = measure(labels, labels, geometry, structure=1)
    assert found.longest is not None
    assert found.perpendicular is not None
    assert {found.longest.start_mm, found.longest.end_mm} == {(10.5, 22.0, 35.0), (14.5, 22.0, 35.0)}
    ends = sorted([found.perpendicular.start_mm, found.perpendicular.end_mm], key=lambda p: p[1])
    assert [p[1] for p in ends] == pytest.approx([21.0, 23.0])
    assert ends[0][0] == pytest.approx(ends[1][0])


def test_a_sagittal_scan_is_measured_on_its_planes_across_the_body() -> None:
    direction = np.eye(3)[:, [0, 2, 1]]  # index axes point to left, superior, posterior
    geometry = Geometry.from_parts((4, 5, 6), spacing_mm=(4, 1, 1), direction=direction)
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1:3, 2, 3] = 1
    found = measure(labels, labels, geometry, structure=1)
    assert axial_axis(geometry) == 1
    assert found.ref == SliceRef(1, 2)
    assert found.longest is not None
    assert found.longest.length_mm == pytest.approx(8.0)
    assert found.extent_mm == pytest.approx((8.0, 1.0, 1.0))


def test_a_tilted_plane_keeps_lengths() -> None:
    angle = np.deg2rad(30)
    tilt = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    geometry = Geometry.from_parts((2, 3, 6), spacing_mm=(3, 2, 1), direction=(tilt @ np.eye(3))[:, ::-1])
    labels = np.zeros((2, 3, 6), np.uint8)
    labels[0, 1, 1:5] = 1
    found = measure(labels, labels, geometry, structure=1)
    assert found.longest is not None
    assert found.longest.length_mm == pytest.approx(4.0)
    assert np.linalg.norm(np.subtract(found.longest.end_mm, found.longest.start_mm)) == pytest.approx(4.0)


def test_values_are_those_inside_and_in_hounsfield_units_for_ct() -> None:
    labels = drawn("1111.")
    image = np.array([[[-10, 0, 10, 40, 3000]]], np.int16)
    found = measure(labels, image, Geometry.from_parts(labels.shape), structure=1, modality=Modality.CT)
    assert (found.unit, found.mean) == ("HU", 10.0)
    assert found.sd == pytest.approx(np.sqrt((400 + 100 + 0 + 900) / 4))
    assert found.percentiles[50] == 5.0
    assert measured(labels).unit == ""


def test_a_number_that_is_no_structure_is_refused() -> None:
    with pytest.raises(AnnotationError, match="1 to 254"):
        measured(drawn("1"), structure=0)


def test_arrays_of_another_shape_are_refused() -> None:
    geometry = Geometry.from_parts((1, 2, 2))
    with pytest.raises(GeometryMismatchError):
        MeasurementTable(np.zeros((1, 2, 3)), geometry)
    with pytest.raises(GeometryMismatchError):
        MeasurementTable(np.zeros((1, 2, 2)), geometry).update(np.zeros((2, 2, 2), np.uint8))


def test_unlabelled_voxels_are_no_structure() -> None:
    table = MeasurementTable(np.zeros((1, 1, 2)), Geometry.from_parts((1, 1, 2)))
    assert table.update(np.array([[[1, 255]]], np.uint8)) == {1}


def test_a_slice_that_became_empty_is_forgotten() -> None:
    labels = np.zeros((3, 4, 4), np.uint8)
    labels[1, 1, 1] = 7
    table = MeasurementTable(np.zeros((3, 4, 4)), Geometry.from_parts((3, 4, 4)))
    assert table.update(labels) == {7}
    assert table.update(np.zeros_like(labels), box=Box((1, 0, 0), (2, 4, 4))) == {7}
    assert table.measurement(7).voxels == 0


SMALL = arrays(np.uint8, (3, 4, 5), elements=st.integers(0, 2))


@given(SMALL, SMALL, st.integers(0, 2), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_measuring_what_changed_is_measuring_all(before: np.ndarray, new: np.ndarray, i: int, j: int) -> None:
    geometry = Geometry.from_parts((3, 4, 5), spacing_mm=(2, 1, 0.5))
    image = np.arange(60, dtype=np.float32).reshape(3, 4, 5) ** 2
    table = MeasurementTable(image, geometry)
    table.update(before)
    box = Box((i, j, 0), (3, 4, 5))
    after = before.copy()
    after[box.slices] = new[box.slices]
    table.update(after, box=box)
    for structure in (1, 2):
        assert table.measurement(structure) == measure(after, image, geometry, structure=structure)


@given(arrays(np.int16, (2, 3, 3), elements=st.integers(-2000, 3000)), arrays(np.bool_, (2, 3, 3)))
@settings(max_examples=60, deadline=None)
def test_values_are_what_numpy_says(image: np.ndarray, mask: np.ndarray) -> None:
    if not mask.any():
        return
    found = measure(mask.astype(np.uint8), image, Geometry.from_parts((2, 3, 3)), structure=1)
    inside = image[mask].astype(float)
    assert found.mean == pytest.approx(inside.mean(), abs=1e-6)
    assert found.sd == pytest.approx(inside.std(), abs=1e-5)
    for percent, value in found.percentiles.items():
        assert value == pytest.approx(np.percentile(inside, percent), abs=1e-6)


@given(arrays(np.bool_, (5, 6)))
@settings(max_examples=100, deadline=None)
def test_the_perpendicular_is_at_a_right_angle_and_not_longer(mask: np.ndarray) -> None:
    found = measured(mask[None].astype(np.uint8), spacing=(1, 1.5, 0.5))
    if found.longest is None or found.perpendicular is None:
        assert not mask.any()
        return
    long, short = (np.subtract(d.end_mm, d.start_mm) for d in (found.longest, found.perpendicular))
    assert long @ short == pytest.approx(0, abs=1e-6)
    assert 0 < found.perpendicular.length_mm <= found.longest.length_mm + 1e-9
    assert found.perpendicular.length_mm == pytest.approx(np.linalg.norm(short))


@pytest.mark.timing
def test_a_changed_slice_is_measured_while_the_brush_moves() -> None:
    shape = (200, 512, 512)
    z, y, x = np.ogrid[:200, :512, :512]
    labels = (((z - 100) / 80) ** 2 + ((y - 256) / 150) ** 2 + ((x - 200) / 120) ** 2 < 1).astype(np.uint8)
    labels[20:60, 300:400, 350:450] = 2
    image = np.random.default_rng(0).integers(-1000, 2000, shape, dtype=np.int16)
    table = MeasurementTable(image, Geometry.from_parts(shape, spacing_mm=(3, 0.7, 0.7)))
    table.update(labels)
    labels[100, 100:120, 100:120] = 1
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        table.update(labels, box=Box((100, 100, 100), (101, 120, 120)))
        table.measurements((1, 2))
        seconds.append(time.perf_counter() - start)
    assert sorted(seconds)[2] < 0.05
