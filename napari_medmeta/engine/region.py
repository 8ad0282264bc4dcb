"""The part of the scan that matters: the painted extent with a margin, at the resolution it needs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_medmeta.core import Box, MissingExamplesError, SliceExample, SliceRef, Support, Triple
from napari_medmeta.engine.features import FeatureMaps, RegionMaps
from napari_medmeta.engine.task import UNKNOWN, Faces, PaintedSlice, Task

_Scalar = TypeVar("_Scalar", bound=np.generic)

__all__ = ["Region", "RegionConfig", "find_region", "looks", "make_task", "pool_classes", "pooling"]


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
        Reach in half in-plane extents of the structures, less half of what the painted slices span.
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
    reach_extents: float = 1.5
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
    from_extent = config.reach_extents * 0.5 * widest_mm / spacing_mm - 0.5 * span
    return max(2, int(np.ceil(from_extent)), int(np.ceil(config.reach_gaps * gap)))


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


def make_task(maps: FeatureMaps, support: Support, region: Region) -> Task:
    """Cut out what the learners see of ``support`` in ``region``."""
    device = maps.device
    number = {s: n for n, s in enumerate(support.structures, start=1)}
    classes = _classes(support, region, number).to(device)
    painted = tuple(p for e in support.complete if (p := _painted(e, region, number, device)) is not None)
    d, h, w = (maps.spacing_mm[a] for a in region.order)
    seen = _region_maps(maps, region)
    return Task(
        features=seen.features,
        intensity=seen.intensity,
        spacing_mm=(d * region.step, h * region.factor, w * region.factor),
        classes=pool_classes(classes, len(number), region.pooling),
        painted=_one_a_depth(_pool_painted(p, len(number), region.pooling) for p in painted),
        structures=len(number),
        bounded=region.bounded,
        missing=region.missing,
        embedding=seen.embedding,
    )


def looks(maps: FeatureMaps, region: Region) -> tuple[Tensor, Tensor | None]:
    """Return the (D, H, W) intensity and the (E, D, H, W) learnt embedding of ``region``, without its features."""
    intensity = region.seen(maps.intensity[region.box.slices])
    return _pool(intensity[None], region.pooling)[0], _embedded(maps, region)


def _region_maps(maps: FeatureMaps, region: Region) -> RegionMaps:
    """Cut out what the learners see of the scan, or take it from what was cut out last: the same to the last bit."""
    normal = region.order[0]
    start, stop = region.box.start[normal], region.box.stop[normal]
    for last in maps.last_region:
        if (last.order, last.box, last.pooling) == (region.order, region.box, region.pooling):
            return last
        if maps.crops_agree and _lies_between(region, last):
            return last.between(start, stop)
    # Gone before the next is made: two of them need not fit.
    maps.last_region.clear()
    features, intensity = _pooled_features(maps, region)
    seen = RegionMaps(region.order, region.box, region.pooling, features, intensity, _embedded(maps, region))
    maps.last_region.append(seen)
    return seen


def _lies_between(region: Region, last: RegionMaps) -> bool:
    """Tell whether ``region`` is ``last`` without some slices at its ends, none of them pooled with others."""
    normal, *plane = region.order
    return (
        (last.order, last.pooling) == (region.order, region.pooling)
        and region.step == 1
        and all(last.box.slices[axis] == region.box.slices[axis] for axis in plane)
        and last.box.start[normal] <= region.box.start[normal]
        and last.box.stop[normal] >= region.box.stop[normal]
    )


def _pooled_features(maps: FeatureMaps, region: Region) -> tuple[Tensor, Tensor]:
    """Return (C, D, H, W) features and (D, H, W) intensities, slab by slab: the whole need not fit at full size."""
    deep, height, width = region.full_shape
    thickness = max(region.step, maps.voxels_at_once // (height * width) // region.step * region.step)
    features, intensity = [], []
    for start in range(0, deep, thickness):
        slab = region.slab(start, min(start + thickness, deep))
        features.append(_pool(region.seen(maps.crop(slab)), region.pooling))
        intensity.append(_pool(region.seen(maps.intensity[slab.slices])[None], region.pooling)[0])
    return torch.cat(features, dim=1), torch.cat(intensity)


def _embedded(maps: FeatureMaps, region: Region) -> Tensor | None:
    if maps.embedding is None:
        return None
    centres = []
    for axis in range(3):
        # The pooled voxels lie in the middle of the voxels that they stand for.
        step = region.pooling[region.order.index(axis)]
        start, stop = region.box.start[axis], region.box.stop[axis]
        centres.append(torch.arange(start, stop, step, dtype=torch.float32) + (step - 1) / 2)
    return maps.embedding.sampled(centres).permute(0, *(1 + a for a in region.order))


def _classes(support: Support, region: Region, number: dict[int, int]) -> Tensor:
    labels, known = support.labels_and_known()
    labels, known = labels[region.box.slices], known[region.box.slices].copy()
    for example in support.examples:
        # Unpainted voxels of a slice where a structure was not looked for may belong to it.
        if example.complete_for is not None and not example.complete_for.issuperset(number):
            inside = _inside(example.ref, region.box)
            if inside is not None:
                known[inside] &= labels[inside] != 0
    lookup = np.full(256, UNKNOWN, dtype=np.int64)
    lookup[0] = 0
    for structure, n in number.items():
        lookup[structure] = n
    classes = np.full(known.shape, UNKNOWN, dtype=np.int64)
    classes[known] = lookup[labels[known]]
    return region.seen(torch.from_numpy(classes)).contiguous()


def _inside(ref: SliceRef, box: Box) -> tuple[slice | int, ...] | None:
    """Return the index of the slice in an array cut to ``box``, None where it lies outside."""
    index = ref.index - box.start[ref.axis]
    return SliceRef(ref.axis, index).slicer if 0 <= index < box.shape[ref.axis] else None


def _painted(
    example: SliceExample, region: Region, number: dict[int, int], device: torch.device
) -> PaintedSlice | None:
    axis = region.order.index(example.ref.axis)
    index = example.ref.index - region.box.start[example.ref.axis]
    if not 0 <= index < region.box.shape[example.ref.axis]:
        return None
    rows, columns = (a for a in range(3) if a != example.ref.axis)
    i, j = region.box.slices[rows], region.box.slices[columns]
    labels = example.labels[i, j]
    classes = np.zeros(labels.shape, dtype=np.int64)
    for structure, n in number.items():
        classes[labels == structure] = n
    if region.order.index(rows) > region.order.index(columns):
        classes = classes.T
    complete_for = number if example.complete_for is None else example.complete_for
    present = {number[int(s)] for s in np.unique(example.labels) if int(s) in number}
    asked = frozenset(number[s] for s in complete_for if s in number) | present
    return PaintedSlice(axis, index, torch.from_numpy(np.ascontiguousarray(classes)).to(device), asked, example.weight)


def _along_depth(maps: Tensor, places: Sequence[float]) -> Tensor:
    """Return (C, m, H, W) at fractional depths of (C, n, H, W), linearly, the last ones going on."""
    at = torch.tensor(places, dtype=torch.float32, device=maps.device).clamp(0, maps.shape[1] - 1)
    low = at.floor().long()
    high = (low + 1).clamp(max=maps.shape[1] - 1)
    return torch.lerp(maps[:, low], maps[:, high], (at - low)[None, :, None, None])


def _pool(maps: Tensor, pooling: Triple) -> Tensor:
    if pooling == (1, 1, 1):
        return maps.contiguous()
    if pooling[0] == 1:
        return F.avg_pool2d(maps, pooling[1:], ceil_mode=True)
    return F.avg_pool3d(maps, pooling, ceil_mode=True)


def pool_classes(classes: Tensor, structures: int, pooling: Triple) -> Tensor:
    """Return (D, H, W) classes of (D', H', W') ones: of the known ones that are pooled into one the most frequent."""
    if pooling == (1, 1, 1):
        return classes
    if pooling[0] == 1:
        # Of most slices nothing is known: they need no vote.
        pooled = classes[:, :: pooling[1], :: pooling[2]].clone()
        said = (classes >= 0).flatten(1).any(1)
        pooled[said] = _votes(classes[said], structures, pooling)
        return pooled
    return _votes(classes, structures, pooling)


def _votes(classes: Tensor, structures: int, pooling: Triple) -> Tensor:
    # The most frequent known class wins, so that single clicked voxels survive the pooling.
    votes = torch.cat([_pool((classes == c).float()[None], pooling) for c in range(structures + 1)])
    best = votes.argmax(0)
    return torch.where(votes.sum(0) > 0, best, UNKNOWN)


def _pool_painted(painted: PaintedSlice, structures: int, pooling: Triple) -> PaintedSlice:
    if pooling == (1, 1, 1):
        return painted
    index = painted.index // pooling[painted.axis]
    if painted.axis == 0:
        pooled = pool_classes(painted.classes[None], structures, (1, pooling[1], pooling[2]))[0]
        return replace(painted, index=index, classes=pooled)
    sides = tuple(pooling[a] for a in range(3) if a != painted.axis)
    votes = torch.stack([(painted.classes == c).float() for c in range(structures + 1)])
    return replace(painted, index=index, classes=F.avg_pool2d(votes, sides, ceil_mode=True).argmax(0))


def _one_a_depth(painted: Iterable[PaintedSlice]) -> tuple[PaintedSlice, ...]:
    """Keep one example for each place: of slices that were pooled into one, the one that counts most."""
    kept: dict[tuple[int, int], PaintedSlice] = {}
    for example in painted:
        place = example.axis, example.index
        if place not in kept or example.weight > kept[place].weight:
            kept[place] = example
    return tuple(kept.values())
