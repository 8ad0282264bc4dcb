"""The part of the scan that matters: the painted extent with a margin, at the resolution it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_medmeta.core import Box, MissingExamplesError, Support, Triple
from napari_medmeta.engine.task import Faces

_Scalar = TypeVar("_Scalar", bound=np.generic)

__all__ = ["Region", "RegionConfig", "find_region", "pooling"]


@dataclass(frozen=True)
class RegionConfig:
    """How far the region reaches beyond what is painted, and how fine it is.

    Parameters
    ----------
    margin_mm
        Least margin in the plane of the painted slices.
    margin_share
        Margin as a share of the painted extent, for large organs.
    reach_gaps
        Least reach beyond the outermost painted slices, in the largest gap between painted slices.
    reach_extents
        Reach in widths of the structures, less what the painted slices span: slices that span a structure say where it
        ends, one slice does not. The width is the largest extent of all that is painted where that is one slice, and
        the diameter of a disc of the largest structure's area where there are several.
    most_reach_mm
        The width asks for no more reach than this: livers and pairs of lungs are wider than high. Chosen on the
        benchmark's development cases, among 120, 150, 200 mm and no bound.
    click_margin_mm
        Margin around clicks and strokes while no slice is complete.
    max_voxels
        The region is pooled in the painted plane until it holds at most about this many voxels.
    max_voxels_large
        The same for regions that would have to be pooled more than twofold: large organs on thin slices
        take longer rather than lose their edges.
    max_step
        At most this many slices are pooled along the normal, and never so many that the region becomes coarser
        along the normal than in the plane.
    """

    margin_mm: float = 12.0
    margin_share: float = 0.15
    reach_gaps: float = 1.0
    reach_extents: float = 1.25
    most_reach_mm: float = 150.0
    click_margin_mm: float = 30.0
    max_voxels: int = 350_000
    max_voxels_large: int = 1_400_000
    max_step: int = 1


@dataclass(frozen=True)
class Region:
    """A box of the volume seen along the painted slices' normal.

    Parameters
    ----------
    order
        The volume's array axes that become D (normal), H and W.
    box
        The box in the volume's own axes.
    factor
        In-plane pooling: one region voxel holds factor x factor voxels of a slice.
    bounded
        Faces (along D, H, W) beyond which nothing is expected.
    missing
        Region voxels by which the volume ends before the reach beyond the painted extent, below and above.
    step
        Pooling along the normal: one region voxel holds so many slices.
    """

    order: Triple
    box: Box
    factor: int
    bounded: Faces
    missing: tuple[int, int]
    step: int = 1

    @property
    def pooling(self) -> Triple:
        """Voxels of the scan that one region voxel holds along D, H, W."""
        return self.step, self.factor, self.factor

    @property
    def depths(self) -> int:
        """Number of region voxels along D."""
        return -(-self.full_shape[0] // self.step)

    @property
    def full_shape(self) -> Triple:
        """(D, H, W) before pooling."""
        d, h, w = (self.box.shape[a] for a in self.order)
        return d, h, w

    def depth_of(self, index: int) -> int:
        """Return the depth of slice ``index`` along the normal; outside of [0, D) where it is not inside."""
        return (index - self.box.start[self.order[0]]) // self.step

    def cut(self, maps: Tensor) -> Tensor:
        """Cut (..., I, J, K) to the region as (..., D, H, W), not pooled."""
        return self.seen(maps[(..., *self.box.slices)])

    def seen(self, maps: Tensor) -> Tensor:
        """Turn (..., I, J, K) of a part of the box to (..., D, H, W)."""
        lead = maps.ndim - 3
        return maps.permute(*range(lead), *(lead + a for a in self.order))

    def slab(self, start: int, stop: int) -> Box:
        """Return the part of the box between its slices ``start`` and ``stop`` (half-open, counted in the box)."""
        normal = self.order[0]
        first, last = list(self.box.start), list(self.box.stop)
        first[normal], last[normal] = self.box.start[normal] + start, self.box.start[normal] + stop
        return Box((first[0], first[1], first[2]), (last[0], last[1], last[2]))

    def upsample(self, maps: Tensor, *, first: int = 0, slices: range | None = None) -> Tensor:
        """Bring pooled (C, n, H', W') back to the slices' own resolution (C, m, H, W), linearly.

        Parameters
        ----------
        first
            The depth at which ``maps`` starts.
        slices
            The m slices wanted, counted in the box; all that ``maps`` holds without.
        """
        if slices is None:
            slices = range(first * self.step, min((first + maps.shape[1]) * self.step, self.full_shape[0]))
        if self.step > 1:
            maps = _along_depth(maps, [(z + 0.5) / self.step - 0.5 - first for z in slices])
        else:
            maps = maps[:, slices.start - first : slices.stop - first]
        if self.factor == 1:
            return maps
        _, h, w = self.full_shape
        finer = F.interpolate(maps, scale_factor=self.factor, mode="bilinear", align_corners=False)
        return finer[..., :h, :w]

    def to_volume_axes(self, array: npt.NDArray[_Scalar]) -> npt.NDArray[_Scalar]:
        """Turn (D, H, W) back to the volume's axis order."""
        return np.ascontiguousarray(np.transpose(array, np.argsort(self.order)))


def find_region(support: Support, spacing_mm: Sequence[float], config: RegionConfig) -> Region:
    """Choose the region of ``support``.

    Raises
    ------
    MissingExamplesError
        When no voxel of any structure is known.
    """
    labels, known = support.labels_and_known()
    painted = Box.around(known & (labels > 0))
    if painted is None:
        raise MissingExamplesError(
            "No structure has been painted yet", next_step="Paint a structure on one slice, or click on it"
        )
    normal = _normal(support)
    complete = sorted(e.ref.index for e in support.complete if e.ref.axis == normal)
    margin = [0, 0, 0]
    extent = [n * s for n, s in zip(painted.shape, spacing_mm, strict=True)]
    plane = [a for a in range(3) if a != normal]
    widest = max(extent[a] for a in plane)
    in_plane = max(config.margin_mm, config.margin_share * widest) if complete else config.click_margin_mm
    for axis in plane:
        margin[axis] = int(np.ceil(in_plane / spacing_mm[axis]))
    if len(complete) > 1:
        widest = _largest_diameter_mm(support, normal, spacing_mm)
    margin[normal] = _reach(complete, widest, spacing_mm[normal], config)
    box = painted.grown((margin[0], margin[1], margin[2]), support.shape)
    factor, step = pooling(box.size, [spacing_mm[a] for a in (normal, *plane)], config)
    reach = margin[normal]
    below = max(0, reach - painted.start[normal])
    above = max(0, painted.stop[normal] + reach - support.shape[normal])
    h, w = ((box.start[a] > 0, box.stop[a] < support.shape[a]) for a in plane)
    bounded = ((below == 0, above == 0), h, w)
    missing = (-(-below // step), -(-above // step))
    return Region((normal, plane[0], plane[1]), box, factor, bounded, missing, step)


def pooling(voxels: int, spacing_mm: Sequence[float], config: RegionConfig) -> tuple[int, int]:
    """Return the pooling in the plane and along the normal; ``spacing_mm`` is that of the normal and the plane."""

    # By whole factors: a little more than was asked for is better than half the resolution.
    def needed(voxels: float, most: int) -> int:
        return max(1, int(np.ceil(np.sqrt(voxels / most) - 0.1)))

    factor = needed(voxels, config.max_voxels)
    if factor <= 2:
        return factor, 1
    factor, step = max(2, needed(voxels, config.max_voxels_large)), 1
    pixel = min(spacing_mm[1:])
    # Thin slices give up as much as the plane had to, and the plane gets back what that saves.
    while step < config.max_step:
        finer = max(2, needed(voxels / (step + 1), config.max_voxels_large))
        if (step + 1) * spacing_mm[0] > finer * pixel:
            break
        factor, step = finer, step + 1
    return factor, step


def _normal(support: Support) -> int:
    counts = [0, 0, 0]
    for example in support.examples:
        counts[example.ref.axis] += 1000 if example.is_complete else 1
    return int(np.argmax(counts))


def _reach(complete: Sequence[int], widest_mm: float, spacing_mm: float, config: RegionConfig) -> int:
    if not complete:
        return 0
    span = complete[-1] - complete[0]
    gap = int(np.max(np.diff(complete))) if span else 0
    from_size_mm = min(config.reach_extents * widest_mm - span * spacing_mm, config.most_reach_mm)
    return max(2, int(np.ceil(from_size_mm / spacing_mm)), int(np.ceil(config.reach_gaps * gap)))


def _largest_diameter_mm(support: Support, normal: int, spacing_mm: Sequence[float]) -> float:
    """Return the diameter of a disc of the largest area that one structure has on one painted slice."""
    pixel = float(np.prod([s for a, s in enumerate(spacing_mm) if a != normal]))
    areas = [
        int(np.count_nonzero(example.labels == structure)) * pixel
        for example in support.complete
        if example.ref.axis == normal
        for structure in support.structures
    ]
    return float(2 * np.sqrt(max(areas, default=0.0) / np.pi))


def _along_depth(maps: Tensor, places: Sequence[float]) -> Tensor:
    """Return (C, m, H, W) at fractional depths of (C, n, H, W), linearly, the last ones going on."""
    at = torch.tensor(places, dtype=torch.float32, device=maps.device).clamp(0, maps.shape[1] - 1)
    low = at.floor().long()
    high = (low + 1).clamp(max=maps.shape[1] - 1)
    return torch.lerp(maps[:, low], maps[:, high], (at - low)[None, :, None, None])
