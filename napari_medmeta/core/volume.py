"""A scan: its voxels together with where they lie."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_medmeta.core.errors import GeometryMismatchError, UnsupportedImageError
from napari_medmeta.core.geometry import Geometry
from napari_medmeta.core.types import Modality

__all__ = ["Volume", "require_contrast"]


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3D scan on its grid.

    Parameters
    ----------
    array
        (I, J, K) numbers: Hounsfield units for CT, arbitrary units otherwise. Finite.
    geometry
        The grid the array lies on.
    modality
        How the numbers are to be read.
    name
        A short name without patient identifiers.
    source
        The file or folder it came from, None when made in memory.
    notes
        What the reader noticed and the user should know, one sentence each.

    Raises
    ------
    UnsupportedImageError
        When the array is not 3D, not real numbers, or holds NaN or infinite voxels.
    GeometryMismatchError
        When array and geometry disagree on the shape.
    """

    array: npt.NDArray[Any]
    geometry: Geometry
    modality: Modality = Modality.OTHER
    name: str = "scan"
    source: Path | None = None
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.array.ndim != 3:
            raise UnsupportedImageError(
                f"The image has {self.array.ndim} dimensions",
                expected="one 3D volume",
                next_step="Choose a single 3D series; split a time series into its volumes first",
            )
        if self.array.dtype.kind not in "iufb":
            raise UnsupportedImageError(f"The voxels are of the type {self.array.dtype}", expected="real numbers")
        if self.array.shape != self.geometry.shape:
            raise GeometryMismatchError(
                f"The voxels have the shape {self.array.shape}", expected=f"the grid's shape {self.geometry.shape}"
            )
        if self.array.dtype.kind == "f" and not np.isfinite(self.array).all():
            bad = int(np.count_nonzero(~np.isfinite(self.array)))
            raise UnsupportedImageError(
                f"{bad} voxels are not numbers (NaN or infinite)",
                expected="a finite value in every voxel",
                next_step="Export the scan again, or fill these voxels first",
            )

    @cached_property
    def fingerprint(self) -> str:
        """A hash of voxels and grid, to recognise the same scan again; tells nothing of the patient."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(f"{self.array.dtype.str}{self.geometry.shape}".encode())
        digest.update(np.round(self.geometry.affine, 3).tobytes())
        digest.update(np.ascontiguousarray(self.array).data)
        return digest.hexdigest()


def require_contrast(array: npt.NDArray[Any], *, name: str) -> None:
    """Refuse a scan on which there is nothing to be seen, before anything is learnt from it or looked for on it.

    Parameters
    ----------
    array
        (I, J, K) numbers.
    name
        What the message calls the scan.

    Raises
    ------
    UnsupportedImageError
        When all voxels have the same value.
    """
    first = array[0, 0, 0]
    # Slice by slice, so that of every real scan only the beginning is looked at.
    if all(bool(np.all(np.asarray(plane) == first)) for plane in array):
        raise UnsupportedImageError(
            f"Nothing can be seen on “{name}”: all its voxels have the value {float(first):g}",
            expected="a scan with different grey values",
            next_step="Choose another series, or export the scan again",
        )
