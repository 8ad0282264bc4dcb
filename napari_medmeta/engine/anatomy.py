"""Where a voxel lies in the patient, and what it looks like there, so that two scans can be compared.

The features of a scan are normalised over everything in its field of view, air included; here they are
normalised once more over the body alone. Places run along the patient's left, back and head.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from napari_medmeta.core import Box, Geometry, InputError, MaskArray, Triple
from napari_medmeta.engine.features import FeatureMaps
from napari_medmeta.engine.segmenter import Segmenter

__all__ = ["Anatomy", "Grid", "coarse_grid", "maps_of", "pooling", "survey"]

BODY_SHARE = 0.5
"""What is brighter than half of the scan's mean is body: on CT -1000 counts as 0, on MR air is 0."""

BODY_MM = 4.0
"""The body is looked for at this resolution."""

BODY_PERCENTILES = (1.0, 99.0)
"""The ends of the body: a table, an arm or a cable beyond them counts for nothing."""

STATISTICS = 40_000
"""Body voxels looked at for the normalisation; the error of their quartiles is below a hundredth."""

IQR_TO_STD = 1.349
"""Interquartile range of a normal distribution in standard deviations."""


@dataclass(frozen=True)
class Grid:
    """A box of the volume, pooled by ``factors`` along its axes I, J, K."""

    box: Box
    factors: Triple

    @property
    def shape(self) -> Triple:
        """The pooled shape."""
        i, j, k = (-(-n // f) for n, f in zip(self.box.shape, self.factors, strict=True))
        return i, j, k

    def pool(self, array: Tensor) -> Tensor:
        """Pool one (I, J, K) map of the volume to (*shape,) float32."""
        part = array[self.box.slices].float()[None, None]
        if self.factors == (1, 1, 1):
            return part[0, 0]
        return F.avg_pool3d(part, self.factors, ceil_mode=True, count_include_pad=False)[0, 0]

    def upsample(self, maps: Tensor) -> Tensor:
        """Bring (C, *shape) back to (C, *box.shape), linearly."""
        if self.factors == (1, 1, 1):
            return maps
        finer = F.interpolate(
            maps[None], scale_factor=tuple(float(f) for f in self.factors), mode="trilinear", align_corners=False
        )[0]
        i, j, k = self.box.shape
        return finer[:, :i, :j, :k]

    def coordinates_mm(self, axis: int, spacing_mm: float) -> npt.NDArray[np.float32]:
        """Return (n,) float32: the middle of each pooled voxel along ``axis``, in mm from the volume's corner."""
        factor = self.factors[axis]
        middle = (np.arange(self.shape[axis]) + 0.5) * factor - 0.5 + self.box.start[axis]
        return np.asarray(middle * spacing_mm, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Anatomy:
    """One scan, seen along the patient's axes.

    Parameters
    ----------
    maps
        Its features.
    axes, signs
        The array axis along the patient's left, back and head, and whether it runs that way.
    ends_mm
        (2, 3): where the body begins and ends along left, back and head.
    middle, spread
        (C, 1) float32: the features' median and robust standard deviation over the body.
    body
        (*grid.shape) bool on ``body_grid``.
    """

    maps: FeatureMaps
    axes: Triple
    signs: tuple[int, int, int]
    ends_mm: npt.NDArray[np.float32]
    middle: Tensor
    spread: Tensor
    body_grid: Grid
    body: MaskArray

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Spacing along left, back and head."""
        a, b, c = (self.maps.spacing_mm[axis] for axis in self.axes)
        return a, b, c

    def features(self, grid: Grid, index: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Return (n, C) float32 normalised features of the pooled voxels with the flat ``index``."""
        rows = torch.from_numpy(index).to(self.maps.device)
        # One channel at a time: all of them pooled in single precision would not fit beside the maps.
        picked = torch.stack([grid.pool(channel).reshape(-1)[rows] for channel in self.maps.volumes()])
        normal = ((picked - self.middle) / self.spread).clamp(-8.0, 8.0)
        return np.ascontiguousarray(normal.T.cpu().numpy())

    def positions_mm(self, grid: Grid, index: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Return (n, 3) float32: mm towards left, back and head, of the pooled voxels with the flat ``index``."""
        found = np.unravel_index(index, grid.shape)
        columns = [
            sign * grid.coordinates_mm(axis, self.maps.spacing_mm[axis])[found[axis]]
            for axis, sign in zip(self.axes, self.signs, strict=True)
        ]
        return np.stack(columns, axis=1).astype(np.float32)

    def places(self, positions_mm: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return (n, 3) float32: positions with the body's ends at 0 and 1."""
        start, stop = self.ends_mm
        return np.asarray((positions_mm - start) / np.maximum(stop - start, 1.0), dtype=np.float32)

    def body_on(self, grid: Grid) -> MaskArray:
        """Return the body on another grid."""
        whole = torch.from_numpy(self.body.astype(np.float32))
        body = self.body_grid.upsample(whole[None])[0]
        return np.asarray(grid.pool(body).numpy() > 0.5)


def maps_of(engine: Segmenter | FeatureMaps) -> FeatureMaps:
    """Return the features of the scan that an engine has been given.

    Raises
    ------
    InputError
        When it has none.
    """
    maps = engine if isinstance(engine, FeatureMaps) else engine._maps
    if maps is None:
        raise InputError("The engine has no volume yet", next_step="Call set_volume first")
    return maps


def pooling(spacing_mm: tuple[float, float, float], detail_mm: float) -> Triple:
    """Return the pooling along each axis that comes closest to ``detail_mm`` without going beyond."""
    i, j, k = (max(1, int(detail_mm / s + 1e-6)) for s in spacing_mm)
    return i, j, k


def coarse_grid(maps: FeatureMaps, detail_mm: float, *, most: int) -> Grid:
    """Return a grid of the whole volume at ``detail_mm``, or coarser where it would hold over ``most`` voxels."""
    whole = Box.whole(maps.shape)
    grid = Grid(whole, pooling(maps.spacing_mm, detail_mm))
    while int(np.prod(grid.shape)) > most:
        detail_mm *= 1.2
        grid = Grid(whole, pooling(maps.spacing_mm, detail_mm))
    return grid


def survey(maps: FeatureMaps, geometry: Geometry) -> Anatomy:
    """Find the body of a scan, its axes, and how its features are distributed over the body.

    Raises
    ------
    InputError
        When features and grid are not of one scan.
    """
    if maps.shape != geometry.shape:
        raise InputError(f"The features have the shape {maps.shape}", expected=f"the scan's {geometry.shape}")
    axes, signs = _patient_axes(geometry)
    grid = coarse_grid(maps, BODY_MM, most=2_000_000)
    body = _body(grid.pool(maps.intensity).cpu().numpy(), head=axes[2])
    chosen = _thinned(np.flatnonzero(body), STATISTICS)
    rows = torch.from_numpy(chosen).to(maps.device)
    picked = torch.stack([grid.pool(channel).reshape(-1)[rows] for channel in maps.volumes()])
    low, middle, high = torch.quantile(picked, torch.tensor([0.25, 0.5, 0.75], device=picked.device), dim=1)
    spread = ((high - low) / IQR_TO_STD).clamp_min(1e-3)
    bare = Anatomy(maps, axes, signs, np.zeros((2, 3), np.float32), middle[:, None], spread[:, None], grid, body)
    ends = np.percentile(bare.positions_mm(grid, chosen), BODY_PERCENTILES, axis=0).astype(np.float32)
    return Anatomy(maps, axes, signs, ends, middle[:, None], spread[:, None], grid, body)


def _patient_axes(geometry: Geometry) -> tuple[Triple, tuple[int, int, int]]:
    codes = geometry.axis_codes
    axes, signs = [], []
    for towards, away in (("L", "R"), ("P", "A"), ("S", "I")):
        axis = next(a for a in range(3) if codes[a] in (towards, away))
        axes.append(axis)
        signs.append(1 if codes[axis] == towards else -1)
    return (axes[0], axes[1], axes[2]), (signs[0], signs[1], signs[2])


def _body(intensity: npt.NDArray[np.float32], *, head: int) -> MaskArray:
    bright = intensity > BODY_SHARE * max(float(np.clip(intensity, 0, None).mean()), 1e-6)
    bodies, count = ndimage.label(bright)
    if count == 0:
        return np.ones(intensity.shape, dtype=bool)
    sizes = np.bincount(bodies.ravel())
    sizes[0] = 0
    body = bodies == int(sizes.argmax())
    # Lungs are dark and belong to the body; slice by slice, as they may be cut off at the scan's ends.
    slices = np.moveaxis(body, head, 0)
    filled = np.stack([ndimage.binary_fill_holes(s) for s in slices])
    return np.ascontiguousarray(np.moveaxis(filled, 0, head))


def _thinned(index: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.int64]:
    return index[:: max(1, len(index) // most)]
