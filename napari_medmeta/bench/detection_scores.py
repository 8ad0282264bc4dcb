"""Candidates against the truth: hits, false finds, and the free-response curve (FROC) over scans.

Source: Bandos et al., "Area under the free-response ROC curve (FROC) and a related summary index",
Biometrics 65 (2009). One threshold on the score holds for all scans.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_medmeta.core.types import Box, LabelArray, MaskArray

__all__ = ["FALSE_FINDS", "HIT_IOU", "Detected", "Find", "Outcome", "finds_of", "interval", "sensitivity"]

FALSE_FINDS = (0.5, 1.0, 2.0)
"""False finds a scan at which sensitivity is told."""
HIT_IOU = 0.1
INSIDE = 0.5
"""A candidate with this share of its voxels in lesions is no false find, though it may find too little of one."""
RESAMPLES = 2000


@dataclass(frozen=True, eq=False)
class Detected:
    """One candidate of any method: ``mask`` (*box.shape) bool inside ``box``; scores compare within a method."""

    score: float
    box: Box
    mask: MaskArray


@dataclass(frozen=True, slots=True)
class Find:
    """One candidate: the lesion that it finds (0: none), and whether it is false."""

    score: float
    lesion: int
    iou: float
    false: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one method found on the scan ``case`` with ``lesions`` lesions, having learnt on ``example``."""

    protocol: str
    method: str
    example: str
    case: str
    development: bool
    finds: tuple[Find, ...]
    lesions: int


def finds_of(candidates: Iterable[Detected], truth: LabelArray, ignored: MaskArray | None = None) -> tuple[Find, ...]:
    """Compare candidates with lesions.

    Parameters
    ----------
    truth
        (I, J, K) uint8: lesions, numbered from 1.
    ignored
        (I, J, K) bool: lesions that are not asked for, such as painted ones; what lies there is not false.
    """
    sizes = np.bincount(truth.ravel())
    return tuple(_find(c, truth, sizes, ignored) for c in candidates)


def sensitivity(outcomes: Sequence[Outcome], false_finds: float) -> float:
    """Return the share of lesions found, at the lowest threshold with at most ``false_finds`` false finds a scan."""
    total = sum(o.lesions for o in outcomes)
    if not total:
        return 0.0
    scores = sorted({f.score for o in outcomes for f in o.finds}, reverse=True)
    best = 0
    for threshold in scores:
        false = sum(f.false for o in outcomes for f in o.finds if f.score >= threshold)
        if false > false_finds * len(outcomes):
            break
        best = sum(len({f.lesion for f in o.finds if f.lesion and f.score >= threshold}) for o in outcomes)
    return best / total


def interval(outcomes: Sequence[Outcome], false_finds: float, *, seed: int = 0) -> tuple[float, float, float]:
    """Return sensitivity with the range that holds it in 95 % of bootstrap samples of the scans."""
    draw = np.random.default_rng(seed)
    picks = draw.integers(0, len(outcomes), size=(RESAMPLES, len(outcomes)))
    values = [sensitivity([outcomes[i] for i in pick], false_finds) for pick in picks]
    low, high = np.percentile(values, (2.5, 97.5))
    return sensitivity(outcomes, false_finds), float(low), float(high)


def _find(candidate: Detected, truth: LabelArray, sizes: npt.NDArray[np.int64], ignored: MaskArray | None) -> Find:
    part = truth[candidate.box.slices][candidate.mask]
    counts = np.bincount(part, minlength=len(sizes))
    iou = counts / np.maximum(len(part) + sizes - counts, 1)
    iou[0] = 0.0
    best = int(iou.argmax())
    inside = part > 0 if ignored is None else (part > 0) | ignored[candidate.box.slices][candidate.mask]
    hit = best if iou[best] >= HIT_IOU else 0
    false = hit == 0 and int(inside.sum()) < INSIDE * len(part)
    return Find(candidate.score, hit, float(iou[best]), false)
