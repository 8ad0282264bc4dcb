"""What every format's reader hands on: voxels, grid and notes, before anyone asks what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_medmeta.core.errors import UnsupportedImageError
from napari_medmeta.core.geometry import Geometry
from napari_medmeta.core.types import LabelArray, Modality

__all__ = ["Image", "NamedLabels", "as_working_dtype", "scaled"]


@dataclass(frozen=True, eq=False)
class Image:
    """Voxels (I, J, K) in file order with their grid.

    ``modality`` is None where the format does not say it; ``label_names`` are those of a label file that
    names its values.
    """

    array: npt.NDArray[Any]
    geometry: Geometry
    modality: Modality | None = None
    name: str | None = None
    notes: tuple[str, ...] = ()
    label_names: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class NamedLabels:
    """Labels (I, J, K) on their grid, with the names that the file gives them and what the user should know."""

    labels: LabelArray
    geometry: Geometry
    names: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def as_working_dtype(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return ``array`` in native byte order: integers as they are, every float as float32.

    Scanners measure 12 to 16 bits; float64 only doubles the memory that each later step takes.

    Raises
    ------
    UnsupportedImageError
        When the voxels are neither integers nor real numbers.
    """
    if array.dtype.kind in "iu":
        return np.asarray(array, dtype=array.dtype.newbyteorder("="))
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind != "f":
        raise UnsupportedImageError(
            f"The voxels are of the type {array.dtype}",
            expected="one real number in each voxel",
            next_step="Export the scan as a grey-value image",
        )
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows becomes infinite, and Volume refuses it
        return np.asarray(array, dtype=np.float32)


def scaled(array: npt.NDArray[Any], *, slope: float, intercept: float) -> npt.NDArray[Any]:
    """Return ``array`` (I, J, K) * slope + intercept: integers where both are whole numbers, else float32."""
    if (slope, intercept) == (1.0, 0.0):
        return array
    dtype = _scaled_dtype(array, slope, intercept)
    result = np.empty(array.shape, dtype=dtype)
    between = np.int64 if np.issubdtype(dtype, np.integer) else np.float64
    # Slice by slice: the wide type in between would take four times the scan's memory at once.
    with np.errstate(over="ignore", invalid="ignore"):
        for source, target in zip(array, result, strict=True):
            target[...] = (source.astype(between) * between(slope) + between(intercept)).astype(dtype)
    return result


def _scaled_dtype(array: npt.NDArray[Any], slope: float, intercept: float) -> type[np.generic]:
    if array.dtype.kind in "iu" and slope.is_integer() and intercept.is_integer():
        ends = [int(v) * int(slope) + int(intercept) for v in (array.min(), array.max())]
        for dtype in (np.int16, np.int32):
            info = np.iinfo(dtype)
            if info.min <= min(ends) and max(ends) <= info.max and abs(slope) <= info.max >= abs(intercept):
                return dtype
    return np.float32
