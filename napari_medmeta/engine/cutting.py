"""What the learners see of a region: features, intensity and the painted labels, cut out of the scan and pooled."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_medmeta.core import Box, SliceExample, SliceRef, Support, Triple
from napari_medmeta.engine.deciding import highest
from napari_medmeta.engine.features import FeatureMaps, RegionMaps
from napari_medmeta.engine.region import Region
from napari_medmeta.engine.task import UNKNOWN, PaintedSlice, Task

__all__ = ["looks", "make_task", "pool_classes"]


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
    best = highest(votes)
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
    return replace(painted, index=index, classes=highest(F.avg_pool2d(votes, sides, ceil_mode=True)))


def _one_a_depth(painted: Iterable[PaintedSlice]) -> tuple[PaintedSlice, ...]:
    """Keep one example for each place: of slices that were pooled into one, the one that counts most."""
    kept: dict[tuple[int, int], PaintedSlice] = {}
    for example in painted:
        place = example.axis, example.index
        if place not in kept or example.weight > kept[place].weight:
            kept[place] = example
    return tuple(kept.values())
