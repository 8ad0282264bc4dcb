"""Deformable registration: a smooth displacement of each place, found by gradient descent from coarse to fine.

Two scans on one grid are described by a few channels a voxel; the displacement u minimises

    mean |prior(x + u(x)) - today(x)|^2  +  stiffness * mean |grad u|^2

over control points that are blurred like a B-spline, with Adam (Siebert, Hansen and Heinrich, "Fast 3D registration
with accurate optimisation and little learning for Learn2Reg 2021"). Both directions are computed; where one is not
the inverse of the other, neither is to be trusted (Christensen and Johnson, "Consistent image registration", 2001).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from napari_medmeta.core import CancelToken, FloatArray, Progress

__all__ = ["DenseConfig", "displacement", "inverse"]

INVERSE_STEPS = 15
"""Each halves what is left of the error, or better, where no place is stretched by more than a half."""


@dataclass(frozen=True, slots=True)
class DenseConfig:
    """How a displacement is looked for; chosen on development cases.

    Parameters
    ----------
    control_mm
        Distance of the control points; never less than two voxels within the plane, nor one across thick slices.
    stiffness
        How much a stretch of 1 counts beside the difference of the channels.
    levels
        (factor by which the channels are thinned out, steps), coarse to fine.
    step_mm
        About how far one step moves a control point.
    """

    control_mm: float = 6.0
    stiffness: float = 0.3
    levels: tuple[tuple[int, int], ...] = ((4, 40), (2, 40), (1, 20))
    step_mm: float = 1.0


def displacement(
    today: FloatArray,
    prior: FloatArray,
    spacing_mm: Sequence[float],
    *,
    config: DenseConfig,
    progress: Progress,
    cancel: CancelToken,
) -> FloatArray:
    """Return (3, I, J, K) float32 mm along the grid's axes by which places of ``today`` lie elsewhere in ``prior``.

    ``today`` and ``prior`` are (C, I, J, K) float32 channels on one grid.
    """
    pools = [_pools(spacing_mm, factor) for factor, _ in config.levels]
    first, second = (_padded(a, pools) for a in (today, prior))
    shape = first.shape[2:]
    knots = torch.zeros(1, 3, *_control_points(shape, spacing_mm, config.control_mm), requires_grad=True)
    optimiser = torch.optim.Adam([knots], lr=config.step_mm)
    steps, done = sum(count for _, count in config.levels), 0
    for pool, (_, count) in zip(pools, config.levels, strict=True):
        fixed, moving = (F.avg_pool3d(a, pool) for a in (first, second))
        cost = _Cost(fixed, moving, [n * s for n, s in zip(shape, spacing_mm, strict=True)], config.stiffness)
        for _ in range(count):
            cancel.raise_if_cancelled()
            optimiser.zero_grad()
            cost.of(knots).backward()
            optimiser.step()
            done += 1
            progress(done / steps, "")
    with torch.no_grad():
        field = _field(knots, shape)[0].numpy()
    i, j, k = today.shape[1:]
    return np.asarray(field[:, :i, :j, :k], dtype=np.float32)


def inverse(field: FloatArray, spacing_mm: Sequence[float]) -> FloatArray:
    """Return the displacement that undoes ``field`` (3, I, J, K in mm along the axes): w(x) = -u(x + w(x)).

    By fixed-point iteration (Chen et al., Medical Physics 2008), which converges where nothing is folded.
    """
    spacing = np.reshape(np.asarray(spacing_mm, dtype=np.float32), (3, 1, 1, 1))
    here = np.indices(field.shape[1:]).astype(np.float32)
    back = np.zeros_like(field)
    for _ in range(INVERSE_STEPS):
        there = here + back / spacing
        back = -np.stack([ndimage.map_coordinates(f, there, order=1, mode="nearest") for f in field])
    return back


class _Cost:
    """What a displacement costs on one level; ``extent_mm`` is how far the grid reaches along each axis."""

    def __init__(self, fixed: Tensor, moving: Tensor, extent_mm: Sequence[float], stiffness: float) -> None:
        self._fixed, self._moving, self._extent, self._stiffness = fixed, moving, extent_mm, stiffness
        axes = [(2 * torch.arange(n) + 1) / n - 1 for n in fixed.shape[2:]]
        # grid_sample wants the last axis first.
        self._here = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flip(-1)[None]
        self._per_mm = 2 / torch.tensor(extent_mm, dtype=torch.float32).view(1, 3, 1, 1, 1)

    def of(self, knots: Tensor) -> Tensor:
        """Return the cost of control points (1, 3, a, b, c) in mm."""
        smooth = _smooth(knots)
        field = F.interpolate(smooth, size=self._fixed.shape[2:], mode="trilinear", align_corners=True)
        there = self._here + (field * self._per_mm).permute(0, 2, 3, 4, 1).flip(-1)
        moved = F.grid_sample(self._moving, there, padding_mode="border", align_corners=False)
        return (moved - self._fixed).square().mean() + self._stiffness * self._stretch(smooth)

    def _stretch(self, smooth: Tensor) -> Tensor:
        total = torch.zeros(())
        for axis, (extent, count) in enumerate(zip(self._extent, smooth.shape[2:], strict=True)):
            if count > 1:
                total = total + (smooth.diff(dim=axis + 2) * ((count - 1) / extent)).square().mean()
        return total


def _smooth(knots: Tensor) -> Tensor:
    """Blur control points twice with a box of three, which is nearly the kernel of a cubic B-spline."""
    for _ in range(2):
        knots = F.avg_pool3d(F.pad(knots, (1, 1, 1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return knots


def _field(knots: Tensor, shape: Sequence[int]) -> Tensor:
    return F.interpolate(_smooth(knots), size=tuple(shape), mode="trilinear", align_corners=True)


def _control_points(shape: Sequence[int], spacing_mm: Sequence[float], control_mm: float) -> list[int]:
    distances = [max(1.0, control_mm / s) for s in spacing_mm]
    return [max(2, int(np.ceil(n / d)) + 1) for n, d in zip(shape, distances, strict=True)]


def _pools(spacing_mm: Sequence[float], factor: int) -> list[int]:
    """Return by how many voxels each axis is thinned out: thick slices later than the fine plane."""
    finest = min(spacing_mm)
    return [max(1, round(factor * finest / s)) for s in spacing_mm]


def _padded(channels: FloatArray, pools: Sequence[Sequence[int]]) -> Tensor:
    """Return (1, C, ...) with each axis prolonged to a multiple of all its pools, so that levels coincide."""
    tensor = torch.from_numpy(np.ascontiguousarray(channels))[None]
    whole = [int(np.lcm.reduce([pool[axis] for pool in pools])) for axis in range(3)]
    missing = [-n % m for n, m in zip(tensor.shape[2:], whole, strict=True)]
    return F.pad(tensor, (0, missing[2], 0, missing[1], 0, missing[0]), mode="replicate")
