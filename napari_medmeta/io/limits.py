"""Sizes a header claims, held against the file and the memory before anything is read."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import psutil

from napari_medmeta.core.errors import UnreadableFileError, UnsupportedImageError, VolumeTooLargeError
from napari_medmeta.core.geometry import Geometry
from napari_medmeta.core.types import Triple

__all__ = ["available_memory_bytes", "checked_geometry", "checked_shape", "readable_bytes", "require_memory"]

SPACING_RANGE_MM = (0.005, 500.0)
"""Below: finer than any micro-CT; above: larger than a patient. Such a spacing is a damaged header."""

ORIGIN_LIMIT_MM = 1e5
"""No scanner table is 100 m long; positions beyond are damaged headers."""


def available_memory_bytes() -> int:
    """Return how many bytes of memory a volume may take now."""
    return int(psutil.virtual_memory().available)


def require_memory(shape: Sequence[int], bytes_per_voxel: int, *, limit_bytes: int | None = None) -> None:
    """Raise `VolumeTooLargeError` when opening ``shape`` voxels would not fit.

    ``bytes_per_voxel`` counts the file's voxels and their converted copy, which exist at the same time.
    """
    limit = available_memory_bytes() if limit_bytes is None else limit_bytes
    needed = math.prod(int(n) for n in shape) * bytes_per_voxel
    if needed <= limit:
        return
    voxels = " x ".join(str(n) for n in shape)
    raise VolumeTooLargeError(
        f"The scan has {voxels} voxels; opening it takes {readable_bytes(needed)} of memory",
        expected=f"at most {readable_bytes(limit)}, which is what is free",
        next_step="Close other programs, or crop or downsample the scan first",
    )


def readable_bytes(count: int) -> str:
    """Return a count of bytes in the unit a person would use."""
    if count >= 2**30:
        return f"{count / 2**30:.1f} GB"
    if count >= 2**20:
        return f"{count / 2**20:.1f} MB"
    return f"{count / 1024:.1f} kB"


def checked_shape(sizes: Sequence[int]) -> Triple:
    """Return the three sizes of a volume; further axes must have the size 1.

    Raises
    ------
    UnsupportedImageError
        For a 2D image, a single slice, or a series of volumes.
    UnreadableFileError
        When a size is 0 or negative.
    """
    if any(n < 1 for n in sizes):
        raise UnreadableFileError(
            f"The file's header gives the size {' x '.join(map(str, sizes))}",
            expected="at least one voxel along each axis",
            next_step="The file is damaged: export or download it again",
        )
    if len(sizes) < 3 or min(sizes[:3]) == 1:
        raise UnsupportedImageError(
            f"This is a 2D image of {' x '.join(str(n) for n in sizes)} pixels",
            expected="a 3D scan with at least two slices",
            next_step="Choose the whole series",
        )
    more = math.prod(sizes[3:])
    if more > 1:
        raise UnsupportedImageError(
            f"The file holds {more} volumes (a 4D image)",
            expected="one 3D volume",
            next_step="Save the time point or contrast to be segmented as a file of its own",
        )
    i, j, k = (int(n) for n in sizes[:3])
    return i, j, k


def checked_geometry(shape: Triple, affine: npt.ArrayLike) -> Geometry:
    """Return the grid, refusing a spacing or a position that no scanner produces."""
    geometry = Geometry(shape, np.asarray(affine, dtype=np.float64))
    low, high = SPACING_RANGE_MM
    if not all(low <= s <= high for s in geometry.spacing_mm):
        spacing = " x ".join(f"{s:.3g}" for s in geometry.spacing_mm)
        raise UnreadableFileError(
            f"The file's header gives a voxel size of {spacing} mm",
            expected=f"{low:g} to {high:g} mm",
            next_step="The header is damaged or in another unit: export the scan again",
        )
    if max(abs(v) for v in geometry.origin_mm) > ORIGIN_LIMIT_MM:
        raise UnreadableFileError(
            "The file's header puts the scan more than 100 m away from the scanner",
            expected="a position in mm near the scanner's centre",
            next_step="The header is damaged: export the scan again",
        )
    return geometry
