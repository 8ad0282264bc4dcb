"""How good a proposal is expected to be, before anyone has looked at it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from scipy import ndimage
from torch import Tensor

from napari_medmeta.engine.deciding import chosen, highest, leaning
from napari_medmeta.engine.fusion import Trust
from napari_medmeta.engine.task import Task

__all__ = ["expected_dice", "marked_dice", "slice_dice"]

LEFT_OUT_SHARE = 0.1
"""Weight of the left-out slices' Dice beside the posterior's own; the rest is the posterior's. With no weight at all
the mean error would be 0.003 lower, but then nothing would warn of sources that fail on what was painted."""

LEFT_OUT_GAP = 0.9
"""Share of that blend's error that remains in use: leaving a slice out doubles the gap it is judged
across. Chosen, with the two others, on the development cases of the benchmark, with one to nine painted slices, evenly
placed and at random: the mean error is 0.096 there (0.115 with the constants from before there were learnt sources)."""

UNCHECKED = 0.95
"""What a posterior's own Dice is worth while no slice can be left out; chosen likewise, between the largest slice
(1.0 would be right) and one drawn at random (0.85)."""

BOXED = 0.8
"""What it is worth where no slice is complete, but one with boxes: chosen on 42 boxes around structures of ten
development cases. Their outlines are then off by 0.11 on average, and what follows from them by 0.15 (0.28 and 0.20
with the constant before, that of clicks). The posterior itself tells good outlines from bad ones hardly at all."""

WRONG_AFTER_MANY, WRONG_AFTER_ONE = 0.3, 1.05
"""Share of the posterior's own doubt that proves to be an error where fronts from clicks and strokes made it
(`napari_medmeta.engine.clicks`): after very many marks, and after one. Chosen likewise."""


def expected_dice(posterior: Tensor, trust: Trust, task: Task, depths: Sequence[int]) -> list[float]:
    """Return for each structure the Dice expected on the slices that are not painted.

    Parameters
    ----------
    posterior
        (S+1, n, H, W) log-posteriors of the slices ``depths``.
    """
    near = task.distance_mm(depths) <= trust.tested_mm
    open_rows = [n for n, z in enumerate(depths) if z not in task.depths]
    groups = [[n for n in open_rows if bool(near[n]) is tested] for tested in (True, False)]
    # What lies farther from every example than a slice that was left out has not been tested.
    lean = leaning(task)
    soft = torch.stack([_soft_dice(posterior[:, rows].flatten(1)[:, :, None], lean)[:, 0] for rows in groups])
    size = torch.stack([posterior[1:, rows].exp().sum((1, 2, 3)) for rows in groups]) + 1e-6
    share = size / size.sum(0)
    worth = _worth(task)
    return [
        float(share[0, s]) * _blend(float(soft[0, s]), float(left_out), worth)
        + float(share[1, s]) * _blend(float(soft[1, s]), math.nan, worth)
        for s, left_out in enumerate(trust.expected_dice)
    ]


def slice_dice(posterior: Tensor, trust: Trust, task: Task, depths: Sequence[int]) -> list[float | None]:
    """Return for each of the n slices the expected Dice over its structures; None where none is proposed."""
    lean = leaning(task)
    proposed = chosen(posterior.exp(), lean)
    soft = _soft_dice(posterior.flatten(2).transpose(1, 2), lean)
    near = task.distance_mm(depths) <= trust.tested_mm
    worth = _worth(task)
    out: list[float | None] = []
    for n in range(posterior.shape[1]):
        here = [int(s) for s in proposed[n].unique() if s]
        left_out = [float(trust.expected_dice[s - 1]) if bool(near[n]) else math.nan for s in here]
        values = [_blend(float(soft[s - 1, n]), d, worth) for s, d in zip(here, left_out, strict=True)]
        out.append(sum(values) / len(values) if values else None)
    return out


def marked_dice(posterior: Tensor, classes: Tensor) -> tuple[list[float], list[float | None]]:
    """Return what is expected of clicks and strokes alone: for each structure, and for each slice as `slice_dice`.

    Parameters
    ----------
    posterior
        (S+1, D, H, W) log-posteriors.
    classes
        (D, H, W) int64: what was marked; 0 background, 1 to S.
    """
    wrong = _wrong_share(classes, len(posterior) - 1)
    evenly = torch.zeros(len(wrong), device=posterior.device)
    whole = _soft_dice(posterior.flatten(1)[:, :, None], evenly)[:, 0]
    soft = _soft_dice(posterior.flatten(2).transpose(1, 2), evenly)
    proposed = highest(posterior)
    slices: list[float | None] = []
    for n in range(posterior.shape[1]):
        here = [int(s) - 1 for s in proposed[n].unique() if s]
        slices.append(sum(_doubted(float(soft[s, n]), wrong[s]) for s in here) / len(here) if here else None)
    return [_doubted(float(d), w) for d, w in zip(whole, wrong, strict=True)], slices


def _wrong_share(classes: Tensor, structures: int) -> list[float]:
    background, *marks = (int(ndimage.label(classes.cpu().numpy() == s)[1]) for s in range(structures + 1))
    more = WRONG_AFTER_ONE - WRONG_AFTER_MANY
    return [WRONG_AFTER_MANY + more / max(1, background + own) for own in marks]


def _doubted(soft: float, wrong: float) -> float:
    return max(0.0, 1 - wrong * (1 - soft))


def _soft_dice(log_posterior: Tensor, lean: Tensor) -> Tensor:
    """Return (S, n) Dice of (S+1, voxels, n) posteriors with what is chosen by them, were they calibrated."""
    probability = log_posterior.exp()
    proposed = chosen(probability, lean)
    rows = []
    for s in range(1, len(probability)):
        mine = (proposed == s).float()
        agreed = 2 * (probability[s] * mine).sum(0)
        rows.append(agreed / (probability[s].sum(0) + mine.sum(0)).clamp_min(1e-6))
    return torch.stack(rows)


def _worth(task: Task) -> float:
    """Return what the posterior's own Dice is worth where no slice was left out."""
    return UNCHECKED if task.painted else BOXED


def _blend(soft: float, left_out: float, worth: float) -> float:
    if math.isnan(left_out):
        return worth * soft
    return 1 - LEFT_OUT_GAP * (1 - (1 - LEFT_OUT_SHARE) * soft - LEFT_OUT_SHARE * left_out)
