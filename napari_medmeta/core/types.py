"""Array aliases, boxes and slice references: the smallest words that everyone shares.

Arrays of a volume have the axes (0, 1, 2) of the file as SimpleITK hands them out, usually
(z, y, x). The code calls them I, J, K and never assumes which one is through-plane.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = [
    "BACKGROUND",
    "MAX_STRUCTURES",
    "UNLABELLED",
    "Box",
    "FloatArray",
    "LabelArray",
    "MaskArray",
    "Modality",
    "SliceRef",
    "Triple",
    "label_slice",
]

Triple: TypeAlias = tuple[int, int, int]
FloatArray: TypeAlias = npt.NDArray[np.float32]
"""Float32 array; the docstring that uses it gives the axes."""
LabelArray: TypeAlias = npt.NDArray[np.uint8]
"""Uint8 array of structure ids: 0 is background, 1 to 254 are structures."""
MaskArray: TypeAlias = npt.NDArray[np.bool_]

BACKGROUND = 0
UNLABELLED = 255
"""Value for "not known" in a label file, as napari-labelprop and MONAI's ignore index use it."""
MAX_STRUCTURES = 254
"""Ids fit into one byte together with background (0) and unlabelled (255)."""


class Modality(StrEnum):
    """How the numbers of a volume are to be read."""

    CT = "CT"
    MR = "MR"
    OTHER = "other"


@dataclass(frozen=True, slots=True, order=True)
class SliceRef:
    """One slice of a volume: array axis 0, 1 or 2, and the index along it."""

    axis: int
    index: int

    @property
    def slicer(self) -> tuple[slice | int, ...]:
        """Index that cuts this slice out of an (I, J, K) array."""
        return tuple(self.index if a == self.axis else slice(None) for a in range(3))


def label_slice(array: npt.NDArray[Any], ref: SliceRef) -> npt.NDArray[Any]:
    """Return the 2D view of ``array`` (I, J, K) on the slice ``ref``; the two other axes in order."""
    view: npt.NDArray[Any] = array[ref.slicer]
    return view


@dataclass(frozen=True, slots=True)
class Box:
    """A half-open box of voxels: ``start`` inside, ``stop`` just outside, both (i, j, k).

    Examples
    --------
    >>> Box((0, 2, 2), (4, 5, 9)).shape
    (4, 3, 7)
    """

    start: Triple
    stop: Triple

    @classmethod
    def whole(cls, shape: Iterable[int]) -> Box:
        """Return the box that holds an array of ``shape``."""
        return cls((0, 0, 0), _triple(shape))

    @classmethod
    def of_slice(cls, ref: SliceRef, shape: Triple) -> Box:
        """Return the one-voxel-thick box of the slice ``ref`` in an array of ``shape``."""
        start, stop = [0, 0, 0], list(shape)
        start[ref.axis], stop[ref.axis] = ref.index, ref.index + 1
        return cls(_triple(start), _triple(stop))

    @classmethod
    def of_voxel(cls, ijk: Iterable[int]) -> Box:
        """Return the box that holds the voxel ``ijk`` alone."""
        start = _triple(ijk)
        return cls(start, _triple(n + 1 for n in start))

    @classmethod
    def around(cls, mask: npt.NDArray[Any]) -> Box | None:
        """Return the smallest box that holds every non-zero voxel of ``mask`` (I, J, K), or None."""
        start, stop = [0, 0, 0], [0, 0, 0]
        for axis in range(3):
            others = tuple(a for a in range(3) if a != axis)
            hit = np.flatnonzero(np.any(mask, axis=others))
            if hit.size == 0:
                return None
            start[axis], stop[axis] = int(hit[0]), int(hit[-1]) + 1
        return cls(_triple(start), _triple(stop))

    @property
    def shape(self) -> Triple:
        """Number of voxels along each axis."""
        # Spelled out, like the intersection: these two are asked for hundreds of times in one verb.
        (a, b, c), (p, q, r) = self.start, self.stop
        return max(0, p - a), max(0, q - b), max(0, r - c)

    @property
    def size(self) -> int:
        """Number of voxels inside."""
        a, b, c = self.shape
        return a * b * c

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Index that cuts the box out of an array."""
        i, j, k = (slice(a, b) for a, b in zip(self.start, self.stop, strict=True))
        return i, j, k

    def union(self, other: Box) -> Box:
        """Return the smallest box that holds both."""
        return Box(
            _triple(min(a, b) for a, b in zip(self.start, other.start, strict=True)),
            _triple(max(a, b) for a, b in zip(self.stop, other.stop, strict=True)),
        )

    def intersection(self, other: Box) -> Box:
        """Return the box of voxels inside both; its size is 0 where they do not meet."""
        (a, b, c), (p, q, r) = self.start, self.stop
        (d, e, f), (s, t, u) = other.start, other.stop
        return Box((max(a, d), max(b, e), max(c, f)), (min(p, s), min(q, t), min(r, u)))

    def grown(self, margin: Triple, shape: Triple) -> Box:
        """Return the box with ``margin`` voxels more on each side, kept inside an array of ``shape``."""
        return Box(
            _triple(max(0, a - m) for a, m in zip(self.start, margin, strict=True)),
            _triple(min(n, b + m) for b, m, n in zip(self.stop, margin, shape, strict=True)),
        )


def _triple(values: Iterable[int]) -> Triple:
    i, j, k = (int(v) for v in values)
    return i, j, k
