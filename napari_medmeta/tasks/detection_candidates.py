"""From a map of how likely each voxel is a lesion to a list of candidates with outline, score, size and place.

A lesion is a connected body that stands out at some level of the map. Every level is cut, every body
rated, and of bodies that share voxels the best rated is kept: the maximally stable regions of Matas et al.
("Robust wide-baseline stereo from maximally stable extremal regions", BMVC 2002), rated by what the
examples say instead of by stability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from napari_medmeta.core import Box, Geometry, LabelArray, SliceRef, Triple, Volume
from napari_medmeta.core.measurements import axial_axis, measure
from napari_medmeta.core.types import FloatArray, MaskArray
from napari_medmeta.engine.anatomy import Grid

__all__ = ["Candidate", "CandidateConfig", "Outline", "candidates_in", "outlines_in", "renumbered"]

SIX_NEIGHBOURS = ndimage.generate_binary_structure(3, 1)
"""Two lesions that touch at a corner are two."""


@dataclass(frozen=True)
class CandidateConfig:
    """How candidates are cut out of the map and rated.

    Parameters
    ----------
    levels
        Likelihoods at which the map is cut, ascending. Trees grown on one section are seldom sure of
        lesions elsewhere, so a body may stand out at a low level.
    smooth_diameters
        Width of the Gaussian that joins the fragments of a body, in diameters of the smallest example.
    size_spread
        Standard deviation of the logarithm of diameters: how unlike the examples in size lesions may be.
    least_diameters, most_diameters
        Bodies smaller than this share of the smallest example's diameter, or larger than this multiple of
        the largest one's, are no candidates.
    ring_diameters
        How far the surroundings reach to which a candidate is compared, in its own diameters.
    most
        The list is no longer than this.
    """

    levels: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    smooth_diameters: float = 0.05
    size_spread: float = 0.6
    least_diameters: float = 0.33
    most_diameters: float = 4.0
    ring_diameters: float = 0.25
    most: int = 30


@dataclass(frozen=True, eq=False, kw_only=True)
class Outline:
    """A place on a scan.

    Parameters
    ----------
    box, mask
        (*box.shape) bool inside ``box``.
    """

    box: Box
    mask: MaskArray


@dataclass(frozen=True, eq=False, kw_only=True)
class Candidate(Outline):
    """One place that may be a lesion.

    Parameters
    ----------
    score
        In [0, 1]; candidates of one list can be compared by it. It is no probability.
    likelihood
        Mean likelihood inside, in [0, 1].
    contrast
        By how much that is above its surroundings.
    volume_ml, longest_mm
        Its size; the longest diameter on an axial slice as in RECIST 1.1.
    centre_mm
        The voxel nearest to its centre of mass, in LPS mm.
    voxel
        The same voxel as (i, j, k).
    ref
        The axial slice on which its longest diameter lies.
    """

    score: float
    likelihood: float
    contrast: float
    volume_ml: float
    longest_mm: float
    centre_mm: tuple[float, float, float]
    voxel: tuple[int, int, int]
    ref: SliceRef

    def overlap(self, labels: MaskArray) -> int:
        """Return how many of its voxels are set in ``labels`` (I, J, K) bool."""
        return int(np.count_nonzero(labels[self.box.slices] & self.mask))

    def holds(self, voxel: Triple) -> bool:
        """Return whether ``voxel`` (i, j, k) is one of its own."""
        inner = tuple(v - a for v, a in zip(voxel, self.box.start, strict=True))
        inside = all(0 <= v < n for v, n in zip(inner, self.mask.shape, strict=True))
        return inside and bool(self.mask[inner])

    @property
    def voxels(self) -> int:
        """Number of voxels."""
        return int(np.count_nonzero(self.mask))


def outlines_in(labels: LabelArray) -> tuple[Outline, ...]:
    """Return one outline for each value but 0 of (I, J, K) ``labels``, by value."""
    found = ((n, where) for n, where in enumerate(ndimage.find_objects(labels), start=1) if where is not None)
    boxes = ((n, _box_of(where)) for n, where in found)
    return tuple(Outline(box=box, mask=labels[box.slices] == n) for n, box in boxes)


def renumbered(candidate: Candidate, working: Geometry, original: Geometry) -> Candidate:
    """Return a candidate on ``working`` with its voxel and its slice numbered as in the file's grid ``original``.

    Its outline stays on the working grid.
    """
    axis = axial_axis(original)
    where = list(candidate.voxel)
    where[candidate.ref.axis] = candidate.ref.index
    i, j, k = (int(n) for n in np.round(original.to_index(candidate.centre_mm)))
    index = int(np.round(original.to_index(working.to_world(where)))[axis])
    return replace(candidate, voxel=(i, j, k), ref=SliceRef(axis, index))


@dataclass(frozen=True, eq=False)
class _Body:
    """A connected body on the grid, rated."""

    box: Box
    mask: MaskArray
    level: float
    likelihood: float
    contrast: float
    score: float


def candidates_in(
    likely: FloatArray,
    grid: Grid,
    volume: Volume,
    *,
    diameters_mm: Sequence[float],
    taken: MaskArray | None = None,
    config: CandidateConfig | None = None,
) -> tuple[Candidate, ...]:
    """Return the candidates in a map, the best first.

    Parameters
    ----------
    likely
        (*grid.shape) float32 in [0, 1].
    diameters_mm
        Of the examples.
    taken
        (I, J, K) bool: lesions that are known already; what touches them is no candidate.
    """
    config = config if config is not None else CandidateConfig()
    spacing = np.array([s * f for s, f in zip(volume.geometry.spacing_mm, grid.factors, strict=True)])
    likely = ndimage.gaussian_filter(likely, config.smooth_diameters * min(diameters_mm) / spacing)
    rater = _Rater(likely, spacing, (min(diameters_mm), max(diameters_mm)), config)
    bodies = [body for level in config.levels for body in rater.bodies_at(level)]
    used = np.zeros(likely.shape, dtype=bool)
    if taken is not None:
        used |= grid.pool(torch.from_numpy(taken.astype(np.float32))).numpy() > 0
    chosen: list[Candidate] = []
    for body in sorted(bodies, key=lambda b: -b.score):
        if len(chosen) == config.most:
            break
        if (used[body.box.slices] & body.mask).any():
            continue
        used[body.box.slices] |= body.mask
        chosen.append(_candidate(body, likely, grid, volume))
    return tuple(chosen)


@dataclass(frozen=True, eq=False)
class _Rater:
    """Rates bodies: ``spacing`` (3,) mm of the grid, ``diameters`` (mm) of the smallest and largest example."""

    likely: FloatArray
    spacing: npt.NDArray[np.float64]
    diameters: tuple[float, float]
    config: CandidateConfig

    def bodies_at(self, level: float) -> list[_Body]:
        """Return the bodies above ``level`` that are neither far too small nor far too large."""
        pieces, _ = ndimage.label(self.likely >= level, structure=SIX_NEIGHBOURS)
        volumes = np.bincount(pieces.ravel()) * float(np.prod(self.spacing))
        smallest, largest = self.diameters
        found = []
        for number, where in enumerate(ndimage.find_objects(pieces), start=1):
            diameter = float((6 * volumes[number] / np.pi) ** (1 / 3))
            if self.config.least_diameters * smallest <= diameter <= self.config.most_diameters * largest:
                box = _box_of(where)
                found.append(self._rated(box, pieces[where] == number, level, diameter))
        return found

    def _rated(self, box: Box, mask: MaskArray, level: float, diameter: float) -> _Body:
        width = np.maximum(1, np.ceil(self.config.ring_diameters * diameter / self.spacing)).astype(int)
        i, j, k = (int(w) for w in width)
        wide = box.grown((i, j, k), self.likely.shape)
        inside = np.zeros(wide.shape, dtype=bool)
        inside[tuple(slice(a - o, b - o) for a, b, o in zip(box.start, box.stop, wide.start, strict=True))] = mask
        reach = ndimage.distance_transform_edt(~inside, sampling=self.spacing)
        ring = ~inside & (reach <= max(self.config.ring_diameters * diameter, float(self.spacing.max())))
        values = self.likely[wide.slices]
        likelihood = float(values[inside].mean())
        around = float(values[ring].mean()) if ring.any() else 0.0
        contrast = max(0.0, likelihood - around)
        score = (likelihood * contrast * self._size_fit(diameter)) ** (1 / 3)
        return _Body(box, mask, level, likelihood, contrast, score)

    def _size_fit(self, diameter: float) -> float:
        """Return in (0, 1] how well a diameter fits the examples': 1 between them, a log-normal beyond."""
        smallest, largest = self.diameters
        away = max(0.0, np.log(smallest / diameter), np.log(diameter / largest))
        return float(np.exp(-0.5 * (away / self.config.size_spread) ** 2))


def _candidate(body: _Body, likely: FloatArray, grid: Grid, volume: Volume) -> Candidate:
    box, mask = _drawn(body, likely, grid)
    inner = Box.around(mask) or Box.whole(mask.shape)
    mask = np.ascontiguousarray(mask[inner.slices])
    box = _moved(inner, box.start)
    centre = _central_voxel(mask, volume.geometry.spacing_mm)
    voxel = (box.start[0] + centre[0], box.start[1] + centre[1], box.start[2] + centre[2])
    geometry = _cropped(volume.geometry, box)
    found = measure(mask.astype(np.uint8), volume.array[box.slices], geometry, structure=1, modality=volume.modality)
    axis = axial_axis(volume.geometry)
    index = found.ref.index + box.start[axis] if found.ref is not None else voxel[axis]
    x, y, z = (float(v) for v in volume.geometry.to_world(voxel))
    return Candidate(
        score=body.score,
        likelihood=body.likelihood,
        contrast=body.contrast,
        volume_ml=found.volume_ml,
        longest_mm=found.longest.length_mm if found.longest is not None else 0.0,
        centre_mm=(x, y, z),
        voxel=voxel,
        ref=SliceRef(axis, index),
        box=box,
        mask=mask,
    )


def _drawn(body: _Body, likely: FloatArray, grid: Grid) -> tuple[Box, MaskArray]:
    """Return the body on the scan's own grid: the map is interpolated, and cut where the body was."""
    wide = body.box.grown((1, 1, 1), likely.shape)
    inside = np.zeros(wide.shape, dtype=bool)
    inside[tuple(slice(a - o, b - o) for a, b, o in zip(body.box.start, body.box.stop, wide.start, strict=True))] = (
        body.mask
    )
    # Other bodies nearby are not this one.
    values = np.where(inside | ~(likely[wide.slices] >= body.level), likely[wide.slices], 0.0).astype(np.float32)
    i, j, k = (a * f for a, f in zip(wide.start, grid.factors, strict=True))
    p, q, r = (min(b * f, n) for b, f, n in zip(wide.stop, grid.factors, grid.box.shape, strict=True))
    box = Box((i, j, k), (p, q, r))
    fine = Grid(box, grid.factors).upsample(torch.from_numpy(values)[None])[0].numpy()
    mask = fine >= body.level
    if not mask.any():
        mask = Grid(box, grid.factors).upsample(torch.from_numpy(inside.astype(np.float32))[None])[0].numpy() >= 0.5
    return box, np.asarray(mask)


def _central_voxel(mask: MaskArray, spacing_mm: tuple[float, float, float]) -> tuple[int, int, int]:
    """Return the voxel of ``mask`` nearest to its centre of mass: the centre of a ring lies outside it."""
    voxels = np.argwhere(mask)
    away = ((voxels - voxels.mean(0)) * spacing_mm) ** 2
    i, j, k = voxels[int(away.sum(1).argmin())]
    return int(i), int(j), int(k)


def _box_of(where: tuple[slice, slice, slice]) -> Box:
    i, j, k = where
    return Box((i.start, j.start, k.start), (i.stop, j.stop, k.stop))


def _cropped(geometry: Geometry, box: Box) -> Geometry:
    affine = np.array(geometry.affine)
    affine[:3, 3] = geometry.to_world(box.start)
    return Geometry(box.shape, affine)


def _moved(box: Box, by: Triple) -> Box:
    i, j, k = (a + b for a, b in zip(box.start, by, strict=True))
    p, q, r = (a + b for a, b in zip(box.stop, by, strict=True))
    return Box((i, j, k), (p, q, r))
