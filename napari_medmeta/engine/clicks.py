"""The answer to clicks and strokes alone: how far one comes from them before an edge, or another look, is in the way.

A structure that is complete on no slice has no shape and no size yet. Each mark sends out a front that is slowed down
where the image changes and where it looks unlike the mark (the weighted distance of Bai and Sapiro, "A geodesic
framework for fast interactive image and video segmentation", ICCV 2007; by fast marching, Sethian, "A fast marching
level set method for monotonically advancing fronts", PNAS 1996). A voxel belongs to the front that comes first, as in
GrowCut (Vezhnevets and Konouchine 2005), and to background where none comes within the `ClickConfig.reach`: background
is assumed there without having been marked. So the answer is a piece around each mark, and it ends before the region.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
import torch
from scipy import ndimage
from torch import Tensor

from napari_medmeta.core import (
    Box,
    CancelToken,
    FloatArray,
    MissingExamplesError,
    Proposal,
    SliceExample,
    SliceRef,
    Support,
    label_slice,
)
from napari_medmeta.engine.cutting import looks, pool_classes
from napari_medmeta.engine.drawing import draw
from napari_medmeta.engine.expectation import marked_dice
from napari_medmeta.engine.features import FeatureMaps
from napari_medmeta.engine.learners.interpolation import LEAST_LOG_POSTERIOR
from napari_medmeta.engine.learners.walk import WalkConfig, refine
from napari_medmeta.engine.region import Region, RegionConfig, pooling
from napari_medmeta.engine.task import UNKNOWN, Faces, Task

__all__ = ["CLICKS", "ClickConfig", "answer_clicks", "split_support"]

CLICKS = "clicks"
"""The one source of evidence of what clicks and strokes alone propose."""

OUTLINED = 0.5
"""Share of a slice that is known where a structure was not only marked but outlined: a box leaves no more than its own
inside open, and knows the core of that."""

FAR = 4.0
"""Reaches after which nobody asks any more how far a front has come; nothing is proposed beyond one."""

BEYOND = 1.1
"""The region reaches a little farther than any front, so that what is proposed never ends on its faces."""

LEAST_COST = 0.01
"""Of a reach: at a mark itself the logarithm would not be finite."""

NO_FACES: Faces = ((False, False), (False, False), (False, False))
"""Nothing is said of the faces of the region: no front comes that far."""

SPREAD = 0.2
"""Normalised intensities that count as one step of contrast: the median standard deviation of the development cases."""


@dataclass(frozen=True)
class ClickConfig:
    """What slows a front down, and how far it comes.

    All of them were chosen on the development cases, each click in the middle of the largest error; half or twice as
    much of any changes the mean Dice by less than 0.02.

    Parameters
    ----------
    reach
        The cost at which background is assumed.
    floor
        Cost per mm where nothing changes: no front goes farther than ``reach / floor`` mm.
    intensity, looks, edges
        Cost per mm of one step of contrast against the mark, of an unrelated place in the learnt embedding, and of one
        step of contrast within a mm; all squared.
    smoothing_mm
        Width of the Gaussian that takes the noise off before edges are looked for.
    patch_mm
        Radius around a mark over which its look is taken.
    marks
        At most this many marks of a class are looked at for their look, spread evenly over its strokes.
    sharpness
        How fast the answer grows sure on both sides of the border between two fronts.
    walk
        How what the fronts say is smoothed along the image's edges.
    """

    reach: float = 2.5
    floor: float = 0.025
    intensity: float = 0.5
    looks: float = 0.5
    edges: float = 0.3
    smoothing_mm: float = 0.7
    patch_mm: float = 1.5
    marks: int = 16
    sharpness: float = 3.0
    walk: WalkConfig = field(default_factory=WalkConfig)

    @property
    def farthest_mm(self) -> float:
        """No front goes farther, whatever the image shows."""
        return self.reach / self.floor


def split_support(support: Support) -> tuple[Support | None, Support | None]:
    """Return what is said of structures that were drawn, and of those that were marked alone; None where of none.

    A structure is drawn where a complete slice that was searched for it shows it, or a box. The examples of the drawn
    ones are as if the marks of the others had never been made, but for complete slices, on which they are background.
    Where nothing was marked alone, the support comes back as it is.
    """
    painted = support.painted_structures()
    drawn = tuple(s for s in painted if any(_draws(example, s) for example in support.examples))
    marked = tuple(s for s in painted if s not in drawn)
    if not marked:
        return support, None
    of_marks = replace(support, structures=marked)
    if not drawn:
        return None, of_marks
    examples = []
    for example in support.examples:
        other = np.isin(example.labels, marked) & example.known
        if not other.any():
            examples.append(example)
        elif example.is_complete:
            examples.append(replace(example, labels=np.where(other, np.uint8(0), example.labels)))
        elif (example.known & ~other).any():
            examples.append(replace(example, known=example.known & ~other))
    return replace(support, examples=tuple(examples), structures=drawn), of_marks


def answer_clicks(
    maps: FeatureMaps,
    support: Support,
    config: ClickConfig,
    region: RegionConfig,
    *,
    cancel: CancelToken | None = None,
) -> Proposal:
    """Propose the structures of ``support``, on the marked slices and between them.

    Parameters
    ----------
    support
        What is said of structures that were marked alone (see `split_support`), and of all others.
    region
        How finely large regions are looked at.

    Raises
    ------
    Cancelled
        When ``cancel`` is set before the last front has run.
    """
    started = time.perf_counter()
    where = _region(support, maps.spacing_mm, config, region)
    said = _said(support, where)
    classes = pool_classes(where.seen(torch.from_numpy(said)).contiguous(), len(support.structures), where.pooling)
    posterior = _posterior(_Ground(maps, where, config), classes, len(support.structures), cancel)
    whole = range(where.full_shape[0])
    evenly = torch.zeros(len(support.structures), device=posterior.device)
    labels, confidence = draw(where, support.structures, posterior, evenly, first=0, slices=whole)
    known = said >= 0
    labels[known] = np.array([0, *support.structures], dtype=np.uint8)[said[known]]
    confidence[known] = 1.0
    expected, per_depth = marked_dice(posterior, classes)
    normal, start = where.order[0], where.box.start[where.order[0]]
    per_slice = {SliceRef(normal, start + z): per_depth[z // where.step] for z in whole}
    return Proposal(
        generation=support.generation,
        box=where.box,
        labels=labels,
        confidence=confidence,
        covered=Box.whole(support.shape),
        expected_dice=dict(zip(support.structures, expected, strict=True)),
        slice_dice={ref: dice for ref, dice in per_slice.items() if dice is not None},
        trust={s: {CLICKS: 1.0} for s in support.structures},
        seconds={CLICKS: time.perf_counter() - started},
    )


def _draws(example: SliceExample, structure: int) -> bool:
    asked = example.complete_for is None or structure in example.complete_for
    return asked and float(example.known.mean()) >= OUTLINED and bool(example.positive(structure).any())


def _region(support: Support, spacing_mm: Sequence[float], config: ClickConfig, fineness: RegionConfig) -> Region:
    """Return the marked slices and all between them, in the plane as far as a front may come."""
    marked = [e for e in support.examples if any(e.positive(s).any() for s in support.structures)]
    axes = [e.ref.axis for e in marked]
    normal = max(range(3), key=axes.count)
    mask = np.zeros(support.shape, dtype=bool)
    for example in marked:
        label_slice(mask, example.ref)[np.isin(example.labels, support.structures) & example.known] = True
    extent = Box.around(mask)
    if extent is None:
        raise MissingExamplesError("No structure has been marked yet", next_step="Click on a structure")
    order = (normal, *(a for a in range(3) if a != normal))
    margin = [0 if a == normal else math.ceil(BEYOND * config.farthest_mm / spacing_mm[a]) for a in range(3)]
    box = extent.grown((margin[0], margin[1], margin[2]), support.shape)
    factor, step = pooling(box.size, [spacing_mm[a] for a in order], fineness)
    return Region((order[0], order[1], order[2]), box, factor, NO_FACES, (0, 0), step)


def _said(support: Support, region: Region) -> npt.NDArray[np.int64]:
    """Return ``box.shape``: 0 where none of the structures is, 1 to S where one was marked, else `UNKNOWN`."""
    classes = np.full(region.box.shape, UNKNOWN, dtype=np.int64)
    for example in support.examples:
        index = example.ref.index - region.box.start[example.ref.axis]
        if not 0 <= index < region.box.shape[example.ref.axis]:
            continue
        rows, columns = (region.box.slices[a] for a in range(3) if a != example.ref.axis)
        view = label_slice(classes, SliceRef(example.ref.axis, index))
        view[np.all([example.negative(s) for s in support.structures], axis=0)[rows, columns]] = 0
        for n, structure in enumerate(support.structures, start=1):
            view[example.positive(structure)[rows, columns]] = n
    return classes


class _Ground:
    """What a front runs over: the image of one region, its edges and its look.

    Parameters
    ----------
    maps, region
        The scan, and the part of it.
    """

    def __init__(self, maps: FeatureMaps, region: Region, config: ClickConfig) -> None:
        self.config = config
        d, h, w = (maps.spacing_mm[a] for a in region.order)
        self.spacing_mm = (d * region.step, h * region.factor, w * region.factor)
        intensity, embedding = looks(maps, region)
        self.intensity = intensity.cpu()
        width = [0.0, *(config.smoothing_mm / s for s in self.spacing_mm[1:])]
        self._image = ndimage.gaussian_filter(self.intensity.numpy() / SPREAD, width)
        # Between slices the mark's own look decides: they may be many millimetres apart.
        in_plane = [a for a in (1, 2) if self._image.shape[a] > 1]
        slopes = [np.gradient(self._image, self.spacing_mm[a], axis=a) ** 2 for a in in_plane]
        self._edges = config.edges * np.sum(slopes, axis=0) if slopes else np.zeros_like(self._image)
        self._embedding = None if embedding is None else embedding.flatten(1).T.cpu().float()

    def front(self, marks: npt.NDArray[np.int64]) -> FloatArray:
        """Return (D, H, W) float32: what it costs to come from (n, 3) ``marks``, in reaches and up to `FAR`."""
        cost = self.config.floor + self._edges + self._unlike(marks)
        speed = sitk.GetImageFromArray((1.0 / cost).astype(np.float32))
        speed.SetSpacing([float(s) for s in reversed(self.spacing_mm)])
        march = sitk.FastMarchingImageFilter()
        march.SetTrialPoints([[int(i) for i in reversed(mark)] for mark in marks])
        march.SetStoppingValue(FAR * self.config.reach)
        arrived = sitk.GetArrayFromImage(march.Execute(speed)) / self.config.reach
        return np.asarray(np.minimum(arrived, FAR), dtype=np.float32)

    def _unlike(self, marks: npt.NDArray[np.int64]) -> FloatArray:
        """Return (D, H, W) cost per mm of looking unlike every one of ``marks``."""
        chosen = marks[np.unique(np.linspace(0, len(marks) - 1, self.config.marks).round().astype(int))]
        patches = [self._patch(mark) for mark in chosen]
        brightness = np.array([self._image.reshape(-1)[patch].mean() for patch in patches])
        contrast = torch.from_numpy(self._image).reshape(-1, 1) - torch.from_numpy(brightness).float()
        cost = self.config.intensity * contrast**2
        if self._embedding is not None:
            mean = torch.stack([self._embedding[torch.from_numpy(patch)].mean(0) for patch in patches])
            # Two places taken at random are twice the variance apart, squared.
            usual = 2 * self._embedding.var(0).sum().clamp_min(1e-6)
            cost = cost + self.config.looks * torch.cdist(self._embedding, mean) ** 2 / usual
        return np.asarray(cost.amin(1).reshape(self._image.shape).numpy(), dtype=np.float32)

    def _patch(self, mark: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return flat indices of the voxels of the mark's slice that lie within the patch around it."""
        _, rows, columns = self._image.shape
        radius = [math.floor(self.config.patch_mm / s) for s in self.spacing_mm[1:]]
        z, r, c = (int(i) for i in mark)
        near_r = np.arange(max(0, r - radius[0]), min(rows, r + radius[0] + 1))
        near_c = np.arange(max(0, c - radius[1]), min(columns, c + radius[1] + 1))
        away = ((near_r - r) * self.spacing_mm[1])[:, None] ** 2 + ((near_c - c) * self.spacing_mm[2])[None] ** 2
        inside = away <= self.config.patch_mm**2
        return np.asarray((z * rows + near_r[:, None]) * columns + near_c[None])[inside]


def _posterior(ground: _Ground, classes: Tensor, structures: int, cancel: CancelToken | None) -> Tensor:
    """Return (S+1, D, H, W) log-posteriors: the front that comes first is the likeliest."""
    fronts = []
    for c in range(structures + 1):
        if cancel is not None:
            cancel.raise_if_cancelled()
        marks = np.argwhere(classes.numpy() == c)
        nothing = np.full(tuple(classes.shape), FAR if c else 1.0, dtype=np.float32)
        arrived = ground.front(marks) if len(marks) else nothing
        # Where no front comes within the reach, background is assumed.
        fronts.append(arrived if c else np.minimum(arrived, 1.0))
    nearness = -ground.config.sharpness * np.log(np.maximum(np.stack(fronts), LEAST_COST))
    posterior = torch.log_softmax(torch.from_numpy(nearness), dim=0).clamp_min(LEAST_LOG_POSTERIOR)
    return _smoothed(ground, classes, posterior)


def _smoothed(ground: _Ground, classes: Tensor, posterior: Tensor) -> Tensor:
    """Return ``posterior`` after the walker, as it smooths all proposals: fronts leak where an edge has a gap."""
    task = Task(
        features=torch.empty(0, *classes.shape),
        intensity=ground.intensity,
        spacing_mm=ground.spacing_mm,
        classes=classes,
        painted=(),
        structures=len(posterior) - 1,
        bounded=NO_FACES,
    )
    return refine(task, posterior, range(len(classes)), first=0, config=ground.config.walk)
