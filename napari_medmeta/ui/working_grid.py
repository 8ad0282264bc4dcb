"""A part of a scan to work on: a region cut out of it, or all of it on a coarser grid, and the way back.

A scan too large for the memory is not worked on as a whole. What is painted on the part comes back onto
the grid of the file, so that a saved segmentation lies on the scan's own voxels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from napari_medmeta.core import Box, Geometry, Triple

__all__ = ["WHOLE", "Grid", "PartGrid", "coarse_enough", "coarsened", "cropped", "region_around"]

_Scalar = TypeVar("_Scalar", bound=np.generic)

COARSEST = 8
"""Voxels of the scan along each side of a coarser one: with more, no organ keeps its shape."""

WHOLE: Triple = (1, 1, 1)


class Grid(Protocol):
    """From the grid of a file to the grid on screen, and back."""

    @property
    def original(self) -> Geometry:
        """The grid of the file."""
        ...

    @property
    def working(self) -> Geometry:
        """The grid on screen."""
        ...

    def labels_to_original(self, array: npt.NDArray[_Scalar]) -> npt.NDArray[_Scalar]:
        """Carry labels from the grid on screen onto the grid of the file."""
        ...


@dataclass(frozen=True, eq=False)
class PartGrid:
    """A part of the grid on screen of a scan.

    Parameters
    ----------
    whole
        The grid of the whole scan.
    box
        The part that is worked on, in voxels of ``whole.working``.
    factor
        Voxels of the box, along each axis, that one voxel of the part stands for.
    """

    whole: Grid
    box: Box
    factor: Triple = WHOLE

    @property
    def original(self) -> Geometry:
        """The grid of the file."""
        return self.whole.original

    @property
    def working(self) -> Geometry:
        """The grid of the part."""
        source = self.whole.working
        factor = np.asarray(self.factor)
        # A coarse voxel's middle lies in the middle of those that it stands for.
        first = np.asarray(self.box.start) + (factor - 1) / 2
        affine = source.affine.copy()
        affine[:3, :3] *= factor
        affine[:3, 3] = source.to_world(first)
        i, j, k = (-(-n // f) for n, f in zip(self.box.shape, self.factor, strict=True))
        return Geometry((i, j, k), affine)

    @property
    def name(self) -> str:
        """A short name that no other part of the scan has, for the name of its session."""
        own = "-".join(str(n) for n in (*self.box.start, *self.box.stop, *self.factor))
        return f"{self.whole.name}_{own}" if isinstance(self.whole, PartGrid) else f"part{own}"

    def image_to_working(self, array: npt.NDArray[_Scalar]) -> npt.NDArray[_Scalar]:
        """Cut the part out of an image (I, J, K) on ``whole.working``; coarser voxels are means."""
        part = array[self.box.slices]
        return np.ascontiguousarray(part) if self.factor == WHOLE else _means(part, self.factor)

    def labels_to_original(self, array: npt.NDArray[_Scalar]) -> npt.NDArray[_Scalar]:
        """Carry labels of the part back onto the grid of the file; background outside of the part."""
        fine = array
        for axis, factor in enumerate(self.factor):
            if factor > 1:
                fine = np.repeat(fine, factor, axis=axis)
        out = np.zeros(self.whole.working.shape, dtype=array.dtype)
        # The last coarse voxels may reach over the edge.
        i, j, k = self.box.shape
        out[self.box.slices] = fine[:i, :j, :k]
        return self.whole.labels_to_original(out)


def cropped(whole: Grid, box: Box) -> PartGrid:
    """Return the grid of a region of a scan."""
    return PartGrid(whole, box.intersection(Box.whole(whole.working.shape)))


def coarsened(whole: Grid, factor: Triple) -> PartGrid:
    """Return the grid of a whole scan with ``factor`` of its voxels to one along each axis."""
    return replace(cropped(whole, Box.whole(whole.working.shape)), factor=factor)


def coarse_enough(grid: Geometry, most_voxels: int) -> Triple | None:
    """Return the least coarse factor with which a grid has at most so many voxels, None where none would do.

    The axis of the smallest voxels gives way first, so that voxels come nearer to cubes.
    """
    factor = [1, 1, 1]
    while _count(grid.shape, factor) > most_voxels:
        axis = min(range(3), key=lambda a: (factor[a] >= COARSEST, grid.spacing_mm[a] * factor[a], -grid.shape[a]))
        if factor[axis] >= COARSEST:
            return None
        factor[axis] += 1
    return factor[0], factor[1], factor[2]


def region_around(centre: Triple, view: Box, shape: Triple, *, axis: int, most_voxels: int) -> Box:
    """Return what is on screen, as many slices deep around ``centre`` as fit into ``most_voxels``.

    Parameters
    ----------
    view
        What is on screen; its extent along ``axis``, the axis that points into the screen, does not count.
    """
    plane = max(1, view.size // max(1, view.shape[axis]))
    depth = min(shape[axis], max(1, most_voxels // plane))
    first = min(max(0, centre[axis] - depth // 2), shape[axis] - depth)
    start, stop = list(view.start), list(view.stop)
    start[axis], stop[axis] = first, first + depth
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _count(shape: Triple, factor: list[int]) -> int:
    return int(np.prod([-(-n // f) for n, f in zip(shape, factor, strict=True)]))


def _means(array: npt.NDArray[Any], factor: Triple) -> npt.NDArray[Any]:
    """Return the means of blocks of ``factor`` voxels, those at the end of what is there; of the same type."""
    means: npt.NDArray[Any] = array.astype(np.float32)
    for axis, size in enumerate(factor):
        edges = np.arange(0, array.shape[axis], size)
        widths = np.diff([*edges, array.shape[axis]]).astype(np.float32)
        means = np.add.reduceat(means, edges, axis=axis) / widths.reshape([-1 if a == axis else 1 for a in range(3)])
    return means.astype(array.dtype) if array.dtype.kind == "f" else np.rint(means).astype(array.dtype)
