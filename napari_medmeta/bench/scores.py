"""How right a proposal is, on the slices that were not painted.

A structure with no true voxel off the painted slices is not scored (None): this depends on the truth
alone, so every method is averaged over the same structures. Surfaces and ends are those of what the
user would save, with the painted slices as they were painted.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_medmeta.bench.protocol import Task
from napari_medmeta.core import Box, LabelArray, MaskArray

__all__ = [
    "BoundaryScore",
    "EndScore",
    "boundary_scores",
    "dice",
    "dice_by_structure",
    "end_scores",
    "mean_of",
    "region_dice",
]


SURFACE_TOLERANCE_MM = 2.0
"""About the distance at which two experts' contours of an organ differ."""
FAR_PERCENTILE = 95
"""Of the surface distances, so that one stray voxel does not decide."""


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


@dataclass(frozen=True, slots=True)
class EndScore:
    """How far the ends of a structure are missed, in slices, each the mean over both ends and >= 0.

    Parameters
    ----------
    leak
        Slices from the true end to the last proposed voxel beyond it.
    short
        Slices from the last proposed voxel to the true end; half of the structure's slices where nothing is
        proposed, as if both ends met in the middle.
    """

    leak: float
    short: float


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

    None where the structure has no true voxel off the painted slices, as for Dice.
    """
    saved, scored = task.saved(labels), dice_by_structure(labels, task)
    return {
        s: None if scored[s] is None else _boundary(saved == s, task.truth == s, spacing_mm) for s in task.structures
    }


def end_scores(labels: LabelArray, task: Task) -> dict[int, EndScore | None]:
    """Return for each structure how far its two ends along the task's axis are missed.

    None where the structure has no true voxel off the painted slices, as for Dice.
    """
    saved, scored = task.saved(labels), dice_by_structure(labels, task)
    others = tuple(a for a in range(3) if a != task.axis)

    def held(array: LabelArray, structure: int) -> npt.NDArray[np.intp]:
        return np.flatnonzero(np.any(array == structure, axis=others))

    return {s: None if scored[s] is None else _ends(held(saved, s), held(task.truth, s)) for s in task.structures}


def _ends(found: npt.NDArray[np.intp], true: npt.NDArray[np.intp]) -> EndScore:
    first, last = int(true[0]), int(true[-1])
    if found.size == 0:
        return EndScore(0.0, (last - first + 1) / 2)
    # Past the end where positive, short of it where negative.
    past = np.array([first - int(found[0]), int(found[-1]) - last])
    return EndScore(float(np.maximum(past, 0).mean()), float(np.maximum(-past, 0).mean()))


def _boundary(proposal: MaskArray, truth: MaskArray, spacing_mm: tuple[float, float, float]) -> BoundaryScore:
    import torch
    from monai.metrics.utils import get_edge_surface_distance

    box = Box.around(proposal | truth)
    if box is None or not proposal.any():
        return BoundaryScore(0.0, None)
    found, true = (torch.from_numpy(np.pad(m[box.slices], 1)) for m in (proposal, truth))
    with warnings.catch_warnings():
        # MONAI calls a function of its own in a way that it gave up.
        warnings.simplefilter("ignore", FutureWarning)
        # Once for both scores: this takes half the time of MONAI's two metrics, and gives their very values.
        _, distances, _ = get_edge_surface_distance(found, true, spacing=spacing_mm, symmetric=True)
    there, back = (d.numpy() for d in distances)
    near = np.count_nonzero(there <= SURFACE_TOLERANCE_MM) + np.count_nonzero(back <= SURFACE_TOLERANCE_MM)
    far = max(float(np.percentile(d, FAR_PERCENTILE)) for d in (there, back))
    return BoundaryScore(float(near / (there.size + back.size)), far)
