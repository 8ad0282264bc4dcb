"""Where each place of today's scan lay in the prior one, and what is carried along that map.

All places are LPS millimetres, so that two scans need not share a grid. An image or label volume is carried by
asking, for each voxel of today's grid, what lies at its place in the prior scan (pull-back).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_medmeta.core import Box, FloatArray, Geometry, LabelArray, MaskArray

__all__ = ["Alignment", "Carrying", "carry_labels", "landing_box", "sampled", "voxel_places"]

Points = npt.NDArray[np.float64]
LATTICE = 40
"""Points along each axis at which it is asked where labels land."""


@dataclass(frozen=True, eq=False)
class Alignment:
    """The map from today's scan to the prior one: prior = affine(x + displacement(x)).

    Parameters
    ----------
    affine
        (4, 4) float64, homogeneous LPS mm of today to LPS mm of the prior scan.
    displacement_mm
        (3, I, J, K) float32 LPS mm on ``grid``, fading to nothing outside of it; None where nothing was deformed.
    grid
        Where the displacement is sampled, in today's scan.
    """

    affine: npt.NDArray[np.float64] = field(default_factory=lambda: np.eye(4))
    displacement_mm: FloatArray | None = None
    grid: Geometry | None = None

    def to_prior(self, points_mm: Points) -> Points:
        """Map places (..., 3) of today's scan to the prior scan."""
        moved = np.asarray(points_mm, dtype=np.float64)
        if self.displacement_mm is not None and self.grid is not None:
            index = np.moveaxis(self.grid.to_index(moved), -1, 0)
            # "nearest" rather than nothing: a step at the edge of the grid would tear a structure apart.
            shift = [ndimage.map_coordinates(d, index, order=1, mode="nearest") for d in self.displacement_mm]
            moved = moved + np.stack(shift, axis=-1)
        return np.asarray(moved @ self.affine[:3, :3].T + self.affine[:3, 3], dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Carrying:
    """Labels on today's grid.

    Parameters
    ----------
    box
        Where ``probability`` lies on today's grid.
    structures
        The structures, in the order of ``probability``.
    probability
        (S, I, J, K) float32 in [0, 1] inside ``box``: how much of each voxel is each structure.
    """

    box: Box
    structures: tuple[int, ...]
    probability: FloatArray

    def labels(self) -> LabelArray:
        """Return the most probable label (``box.shape`` uint8), background where all structures together are less."""
        values = np.array((0, *self.structures), dtype=np.uint8)
        background = 1 - self.probability.sum(axis=0, keepdims=True)
        return np.asarray(values[np.concatenate([background, self.probability]).argmax(axis=0)], dtype=np.uint8)

    def confidence(self) -> FloatArray:
        """Return the probability of the label chosen (``box.shape`` float32), background included."""
        background = 1 - self.probability.sum(axis=0, keepdims=True)
        return np.asarray(np.concatenate([background, self.probability]).max(axis=0), dtype=np.float32)


def sampled(array: npt.NDArray[Any], grid: Geometry, points_mm: Points, *, fill: float, order: int = 1) -> FloatArray:
    """Return ``array`` (I, J, K on ``grid``) at places (..., 3) in LPS mm, ``fill`` outside of it."""
    index = np.moveaxis(grid.to_index(points_mm), -1, 0)
    out = ndimage.map_coordinates(array.astype(np.float32, copy=False), index, order=order, mode="constant", cval=fill)
    return np.asarray(out, dtype=np.float32)


def voxel_places(grid: Geometry, box: Box) -> Points:
    """Return (I, J, K, 3) LPS mm of the voxel centres of ``grid`` inside ``box``."""
    index = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(box.start, box.stop, strict=True)), indexing="ij"))
    return grid.to_world(np.moveaxis(index, 0, -1))


def carry_labels(
    labels: LabelArray, prior: Geometry, today: Geometry, alignment: Alignment, *, box: Box | None = None
) -> Carrying:
    """Carry ``labels`` (I, J, K on ``prior``) onto ``today`` inside ``box`` (where they land, without one).

    Each structure is interpolated by itself, so that two labels never mix into a third.
    """
    box = landing_box(labels, prior, today, alignment) if box is None else box
    structures = tuple(int(s) for s in np.unique(labels) if s)
    masks = [_cropped(labels == s) for s in structures]
    probability = np.zeros((len(structures), *box.shape), dtype=np.float32)
    for plane in range(box.shape[0]):
        # Slice by slice: places of a whole scan in double precision would take gigabytes.
        start = box.start[0] + plane
        slab = Box((start, *box.start[1:]), (start + 1, *box.stop[1:]))
        index = np.moveaxis(prior.to_index(alignment.to_prior(voxel_places(today, slab))), -1, 0)
        for row, (start_of_mask, mask) in enumerate(masks):
            probability[row, plane] = _share(mask, index - start_of_mask)[0]
    return Carrying(box, structures, probability)


def landing_box(labels: LabelArray, prior: Geometry, today: Geometry, alignment: Alignment) -> Box:
    """Return a box of ``today`` that holds all of ``labels`` once they are carried; of no voxel where they miss it."""
    around = Box.around(labels)
    if around is None:
        return Box((0, 0, 0), (0, 0, 0))
    steps = [max(1, n // LATTICE) for n in today.shape]
    axes = [np.unique(np.append(np.arange(0, n, s), n - 1)) for n, s in zip(today.shape, steps, strict=True)]
    places = today.to_world(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1))
    index = prior.to_index(alignment.to_prior(places))
    # What lies between two points of the lattice is found as well if the box is wider by their distance.
    wider = np.asarray(today.spacing_mm) * steps
    margin = np.ceil(np.linalg.norm(wider) / np.asarray(prior.spacing_mm)) + 1
    low, high = np.asarray(around.start) - margin, np.asarray(around.stop) - 1 + margin
    hit = np.argwhere(((index >= low) & (index <= high)).all(axis=-1))
    if not len(hit):
        return Box((0, 0, 0), (0, 0, 0))
    first, last = hit.min(axis=0), hit.max(axis=0)
    start = [int(a[max(0, f - 1)]) for a, f in zip(axes, first, strict=True)]
    stop = [int(a[min(len(a) - 1, n + 1)]) + 1 for a, n in zip(axes, last, strict=True)]
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _cropped(mask: MaskArray) -> tuple[Points, FloatArray]:
    """Return the mask cut out with one voxel of background around it, as 0 and 1, and where it starts (3, 1, 1, 1)."""
    around = Box.around(mask) or Box((0, 0, 0), (1, 1, 1))
    cut = np.pad(mask[around.slices].astype(np.float32), 1)
    return np.reshape(np.asarray(around.start, dtype=np.float64) - 1, (3, 1, 1, 1)), cut


def _share(mask: FloatArray, index: Points) -> FloatArray:
    inside = ndimage.map_coordinates(mask, index, order=1, mode="constant")
    return np.clip(np.asarray(inside, dtype=np.float32), 0, 1)
