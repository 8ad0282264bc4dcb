"""The deformable step of a follow-up: around the structures, in both directions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_medmeta.core import Box, CancelToken, FloatArray, Geometry, Progress
from napari_medmeta.tasks.registration_channels import brightness, correlation, self_similarity
from napari_medmeta.tasks.registration_dense import DenseConfig, displacement, inverse
from napari_medmeta.tasks.registration_image import Comparable, Likeness, resampled, sampling_grid
from napari_medmeta.tasks.registration_map import Alignment

__all__ = ["Deformed", "deform"]

VOXELS = 200_000
"""Of the grid on which displacements are looked for, about 60 voxels along each axis."""
FINEST_MM = 0.7
MARGIN_MM = 20.0
"""Around the structures: what moves into them must be seen, and the edge must not hold them back."""
SAME_KIND = 0.84
"""Linear correlation above which two scans show tissues alike, so that brightness itself can be compared.

Half-way between two phases of a heart (0.90) and T1 with contrast and FLAIR of a head (0.77), development pairs.
"""
SIMILARITY_STIFFNESS = 0.3
"""Of self-similarity channels, whose differences are smaller than those of brightness."""
USUAL = DenseConfig()


@dataclass(frozen=True, eq=False)
class Deformed:
    """What the deformable step found.

    Parameters
    ----------
    alignment
        The mean of both directions.
    there, back
        The map found from today to the prior scan, and the inverse of the one found from the prior scan to today.
    before, after
        How much alike the scans are around the structures without and with it.
    """

    alignment: Alignment
    there: Alignment
    back: Alignment
    before: float
    after: float


def deform(
    today: Comparable,
    prior: Comparable,
    start: Alignment,
    box: Box,
    *,
    seed: int = 0,
    progress: Progress,
    cancel: CancelToken,
    config: DenseConfig = USUAL,
) -> Deformed:
    """Deform the prior scan, moved by ``start``, to today's inside ``box`` of today's grid and around it."""
    margin = [int(np.ceil(MARGIN_MM / s)) for s in today.grid.spacing_mm]
    around = box.grown((margin[0], margin[1], margin[2]), today.grid.shape)
    grid = sampling_grid(today.grid, voxels=VOXELS, box=around, finest_mm=FINEST_MM)
    now, then = resampled(today, grid), resampled(prior, grid, through=start)
    first, second, config = _channels(now, then, grid, config)

    def half(offset: float) -> Progress:
        return lambda fraction, stage, /: progress(offset + 0.5 * fraction, stage)

    spacing = grid.spacing_mm
    there = displacement(first, second, spacing, config=config, progress=half(0.0), cancel=cancel)
    other = displacement(second, first, spacing, config=config, progress=half(0.5), cancel=cancel)
    back = inverse(other, spacing)
    maps = [_aligned(start, field, grid) for field in ((there + back) / 2, there, back)]
    likeness = Likeness(today, prior, around, seed=seed)
    return Deformed(maps[0], maps[1], maps[2], likeness.of(start), likeness.of(maps[0]))


def _channels(
    now: FloatArray, then: FloatArray, grid: Geometry, config: DenseConfig
) -> tuple[FloatArray, FloatArray, DenseConfig]:
    if correlation(now, then) >= SAME_KIND:
        return *brightness(now, then), config
    first, second = (self_similarity(a, grid.spacing_mm) for a in (now, then))
    return first, second, replace(config, stiffness=SIMILARITY_STIFFNESS)


def _aligned(start: Alignment, field: npt.NDArray[Any], grid: Geometry) -> Alignment:
    """Return ``start`` after a displacement in mm along the axes of ``grid``."""
    along_lps = np.einsum("wa,aijk->wijk", grid.direction, field)
    return Alignment(start.affine, along_lps.astype(np.float32), grid)
