"""How right a proposal is, on the slices that were not painted.

A structure with no true voxel off the painted slices is not scored (None): this depends on the truth
alone, so every method is averaged over the same structures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from napari_medmeta.bench.protocol import Task
from napari_medmeta.core import Box, LabelArray, MaskArray

__all__ = ["BoundaryScore", "boundary_scores", "dice", "dice_by_structure", "mean_of", "region_dice"]


SURFACE_TOLERANCE_MM = 2.0
"""About the distance at which two experts' contours of an organ differ."""


@dataclass(frozen=True, slots=True)
class BoundaryScore:
    """How far apart two surfaces lie.

    Parameters
    ----------
    surface_dice
        Share of both surfaces within 2 mm of each other, in [0, 1].
    hausdorff_mm
        95th percentile of the distances between them; None where nothing was proposed, as there is no distance.
    """

    surface_dice: float
    hausdorff_mm: float | None


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


def boundary_scores(
    labels: LabelArray, task: Task, *, spacing_mm: tuple[float, float, float]
) -> dict[int, BoundaryScore | None]:
    """Return for each structure how far its surface is from the true one, over the whole scan (MONAI).

    The painted slices are taken as painted: what is judged is what the user would save. None where the
    structure has no true voxel off the painted slices, as for Dice.
    """
    painted = ~task.scored
    shape = [-1 if a == task.axis else 1 for a in range(3)]
    saved = np.where(painted.reshape(shape), task.truth, labels)
    scored = dice_by_structure(labels, task)
    return {
        s: None if scored[s] is None else _boundary(saved == s, task.truth == s, spacing_mm) for s in task.structures
    }


def _boundary(proposal: MaskArray, truth: MaskArray, spacing_mm: tuple[float, float, float]) -> BoundaryScore:
    import torch
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance
    from monai.metrics.surface_dice import compute_surface_dice

    box = Box.around(proposal | truth)
    if box is None or not proposal.any():
        return BoundaryScore(0.0, None)
    found, true = (torch.from_numpy(np.pad(m[box.slices], 1)[None, None].astype(np.float32)) for m in (proposal, truth))
    near = compute_surface_dice(found, true, [SURFACE_TOLERANCE_MM], include_background=True, spacing=spacing_mm)
    far = compute_hausdorff_distance(found, true, include_background=True, percentile=95, spacing=spacing_mm)
    return BoundaryScore(float(near), float(far))
