"""A scan made ready to be compared with another one: its values in [0, 1], on a grid fine enough and no finer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_medmeta.core import Box, FloatArray, Geometry, Modality, Volume
from napari_medmeta.tasks.registration_map import Alignment, sampled, voxel_places

__all__ = ["Comparable", "Likeness", "comparable", "likeness", "resampled", "sampling_grid"]

CT_RANGE_HU = (-200.0, 300.0)
"""Soft tissue and the edges of bone and lung: air and metal must not outweigh what lies between organs."""

PERCENTILES = (1.0, 99.0)
"""Of scans without a unit: a few very bright voxels must not squeeze all others together."""

BINS = 32
"""Of the joint histogram, as Mattes et al. (2003) use for mutual information of medical images."""

PLACES = 40_000
"""Where likeness is measured: enough for a joint histogram of 32 x 32 bins to vary in its third digit only."""


@dataclass(frozen=True, eq=False)
class Comparable:
    """A scan with values in [0, 1] (I, J, K float32) on a right-angled grid."""

    array: FloatArray
    grid: Geometry

    @property
    def dark(self) -> float:
        """The value that stands for what lies outside of the scan."""
        return float(self.array.min())


def comparable(volume: Volume) -> Comparable:
    """Return ``volume`` with CT numbers windowed, and other values scaled between two percentiles."""
    grid = volume.geometry.reoriented(volume.geometry.deskewed().axis_codes)
    array = grid.image_to_working(np.asarray(volume.array, dtype=np.float32))
    low, high = CT_RANGE_HU if volume.modality is Modality.CT else _range(array)
    width = max(high - low, float(np.finfo(np.float32).tiny))
    return Comparable(np.clip((array - low) / width, 0, 1).astype(np.float32), grid.working)


def sampling_grid(grid: Geometry, *, voxels: int, box: Box | None = None, finest_mm: float = 0.0) -> Geometry:
    """Return a grid over ``box`` of ``grid`` with about ``voxels`` voxels at most.

    The axes with the smallest spacing are thinned out first, so thick slices stay as they are.
    """
    box = Box.whole(grid.shape) if box is None else box
    extent = np.asarray(box.shape) * grid.spacing_mm
    spacing = np.maximum(grid.spacing_mm, finest_mm)
    # A common smallest spacing, found by bisection in its logarithm.
    low, high = float(spacing.min()), float(extent.max())
    if np.prod(np.ceil(extent / spacing)) > voxels:
        for _ in range(40):
            middle = float(np.sqrt(low * high))
            low, high = (middle, high) if np.prod(extent / np.maximum(spacing, middle)) > voxels else (low, middle)
        spacing = np.maximum(spacing, high)
    shape = np.maximum(np.round(extent / spacing), 1).astype(int)
    spacing = extent / shape
    # The outer faces of the box stay where they are, so its first centre moves inwards.
    first = np.asarray(box.start) - 0.5 + 0.5 * spacing / grid.spacing_mm
    i, j, k = (int(n) for n in shape)
    return Geometry.from_parts(
        (i, j, k), spacing_mm=spacing.tolist(), origin_mm=grid.to_world(first).tolist(), direction=grid.direction
    )


def resampled(scan: Comparable, grid: Geometry, *, through: Alignment | None = None) -> FloatArray:
    """Return ``scan`` on ``grid`` (float32), seen ``through`` an alignment where one is given.

    What is finer than the new grid is smoothed away first, so that nothing flickers between its voxels.
    """
    ratio = np.asarray(grid.spacing_mm).min() / np.asarray(scan.grid.spacing_mm)
    sigma = np.where(ratio > 1.2, 0.5 * ratio, 0.0)
    array = ndimage.gaussian_filter(scan.array, sigma) if sigma.any() else scan.array
    places = voxel_places(grid, Box.whole(grid.shape))
    if through is not None:
        places = through.to_prior(places)
    return sampled(array, scan.grid, places, fill=scan.dark)


class Likeness:
    """How much alike two scans are under an alignment, measured at scattered places of today's scan.

    Between voxel centres both scans are interpolated alike. Measured at the centres themselves, a map that meets the
    other scan's centres (no registration, above all) would win by its sharper noise alone (Tsao, "Interpolation
    artifacts in multimodality image registration based on maximization of mutual information", 2003).

    Parameters
    ----------
    today, prior
        The scans.
    box
        The part of today's grid that counts.
    seed
        Of the places.
    """

    def __init__(self, today: Comparable, prior: Comparable, box: Box, *, seed: int = 0) -> None:
        low, high = np.asarray(box.start, dtype=float), np.asarray(box.stop, dtype=float) - 1
        index = np.random.default_rng(seed).uniform(low, high, size=(PLACES, 3))
        self._places, self._prior = today.grid.to_world(index), prior
        self._now = sampled(today.array, today.grid, self._places, fill=today.dark)

    def of(self, alignment: Alignment) -> float:
        """Return the normalised mutual information (`likeness`) under ``alignment``."""
        prior = self._prior
        there = alignment.to_prior(self._places)
        return likeness(self._now, sampled(prior.array, prior.grid, there, fill=prior.dark))


def likeness(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> float:
    """Return the normalised mutual information of two arrays of one shape with values in [0, 1].

    (H(A) + H(B)) / H(A, B) - 1, in [0, 1] (Studholme et al., Pattern Recognition 1999): 0 when one tells
    nothing of the other, 1 when it tells everything.
    """
    codes = [np.minimum((np.asarray(a).ravel() * BINS).astype(np.int64), BINS - 1) for a in (first, second)]
    joint = np.bincount(codes[0] * BINS + codes[1], minlength=BINS * BINS).reshape(BINS, BINS).astype(np.float64)
    entropies = [_entropy(joint.sum(axis=1)), _entropy(joint.sum(axis=0)), _entropy(joint.ravel())]
    return (entropies[0] + entropies[1]) / entropies[2] - 1 if entropies[2] > 0 else 0.0


def _range(array: FloatArray) -> tuple[float, float]:
    """Return the two percentiles of what is not the darkest value, which is often the padding around a scan."""
    inside = array[array > array.min()]
    low, high = np.percentile(inside, PERCENTILES) if inside.size else (0.0, 1.0)
    return float(low), float(high)


def _entropy(counts: npt.NDArray[np.float64]) -> float:
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum())
