from __future__ import annotations

import numpy as np
import pytest

from napari_medmeta.core import (
    Geometry,
    GeometryMismatchError,
    Modality,
    UnsupportedImageError,
    Volume,
    require_contrast,
)


@pytest.fixture
def geometry() -> Geometry:
    return Geometry.from_parts((2, 3, 4), spacing_mm=(3, 1, 1))


@pytest.fixture
def array() -> np.ndarray:
    return np.arange(24, dtype=np.int16).reshape(2, 3, 4)


def test_a_volume_keeps_the_type_of_its_voxels(array: np.ndarray, geometry: Geometry) -> None:
    assert Volume(array, geometry).array.dtype == np.int16


def test_a_volume_without_a_header_is_of_no_modality(array: np.ndarray, geometry: Geometry) -> None:
    assert Volume(array, geometry).modality is Modality.OTHER


def test_a_2d_image_is_refused(geometry: Geometry) -> None:
    with pytest.raises(UnsupportedImageError, match="2 dimensions"):
        Volume(np.zeros((3, 4)), geometry)


def test_a_4d_image_is_refused(geometry: Geometry) -> None:
    with pytest.raises(UnsupportedImageError, match="4 dimensions"):
        Volume(np.zeros((2, 3, 4, 2)), geometry)


def test_voxels_of_another_shape_than_the_grid_are_refused(array: np.ndarray) -> None:
    with pytest.raises(GeometryMismatchError):
        Volume(array, Geometry.from_parts((2, 3, 5)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_voxel_that_is_no_number_is_refused_and_counted(bad: float, geometry: Geometry) -> None:
    array = np.zeros((2, 3, 4), dtype=np.float32)
    array[1, 2, 3] = bad
    with pytest.raises(UnsupportedImageError, match="1 voxels"):
        Volume(array, geometry)


@pytest.mark.parametrize("dtype", [np.complex64, object, "U3"])
def test_voxels_that_are_not_real_numbers_are_refused(dtype: object, geometry: Geometry) -> None:
    with pytest.raises(UnsupportedImageError, match="type"):
        Volume(np.zeros((2, 3, 4), dtype=dtype), geometry)  # type: ignore[call-overload]


def test_the_same_scan_has_the_same_fingerprint(array: np.ndarray, geometry: Geometry) -> None:
    one = Volume(array, geometry, Modality.CT, "first")
    two = Volume(np.asfortranarray(array.copy()), geometry, Modality.MR, "second")
    assert one.fingerprint == two.fingerprint


def test_one_changed_voxel_changes_the_fingerprint(array: np.ndarray, geometry: Geometry) -> None:
    other = array.copy()
    other[0, 0, 0] += 1
    assert Volume(array, geometry).fingerprint != Volume(other, geometry).fingerprint


def test_another_grid_changes_the_fingerprint(array: np.ndarray, geometry: Geometry) -> None:
    moved = Geometry.from_parts((2, 3, 4), spacing_mm=(3, 1, 1), origin_mm=(1, 0, 0))
    assert Volume(array, geometry).fingerprint != Volume(array, moved).fingerprint


def test_the_fingerprint_tells_nothing_of_name_or_source(array: np.ndarray, geometry: Geometry) -> None:
    assert len(Volume(array, geometry).fingerprint) == 32


def test_a_scan_of_one_value_is_refused_by_its_name(geometry: Geometry) -> None:
    with pytest.raises(UnsupportedImageError, match="on “chest”: all its voxels have the value -1024"):
        require_contrast(np.full(geometry.shape, -1024, np.int16), name="chest")


def test_one_other_voxel_is_enough_to_be_seen(geometry: Geometry) -> None:
    array = np.zeros(geometry.shape)
    array[1, 2, 3] = 1
    require_contrast(array, name="chest")
