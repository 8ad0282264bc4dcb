"""How right a proposal is, on the slices that were not painted.

A structure with no true voxel off the painted slices is not scored (None): this depends on the truth
alone, so every method is averaged over the same structures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from napari_medmeta.bench.protocol import Task
from napari_medmeta.core import LabelArray, MaskArray

__all__ = ["dice", "dice_by_structure", "mean_of", "region_dice"]


def dice(proposal: MaskArray, truth: MaskArray) -> float | None:
    """Return 2|A and B| / (|A| + |B|) in [0, 1]; None when the truth is empty."""
    total = int(np.count_nonzero(truth))
    if total == 0:
        return None
    common = int(np.count_nonzero(proposal & truth))
    return 2.0 * common / (total + int(np.count_nonzero(proposal)))


def dice_by_structure(labels: LabelArray, task: Task) -> dict[int, float | None]:
    """Return for each structure the Dice over all slices that were not painted."""
    return region_dice(labels, task, slices=task.scored)


def region_dice(labels: LabelArray, task: Task, *, slices: MaskArray) -> dict[int, float | None]:
    """Return for each structure the Dice over the slices marked in ``slices`` (n,) along the task's axis."""
    found = np.moveaxis(labels, task.axis, 0)[slices]
    true = np.moveaxis(task.truth, task.axis, 0)[slices]
    return {s: dice(found == s, true == s) for s in task.structures}


def mean_of(scores: Mapping[int, float | None] | Iterable[float | None]) -> float | None:
    """Return the mean of the scores that exist, or None."""
    values = scores.values() if isinstance(scores, Mapping) else scores
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None
