"""How well carried labels will fit, told without truth: by how far two ways to carry them agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from napari_medmeta.core import LabelArray, MaskArray, SliceRef
from napari_medmeta.tasks.registration_map import Carrying

__all__ = ["Calibration", "Evidence", "Expected", "expectation"]

RIDGE = 1.0
"""How many pairs the usual constants weigh as much as."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one structure, or of one slice of it, without truth.

    Parameters
    ----------
    agreement
        Dice in [0, 1] of the labels as they are carried, and as they are carried by a registration the other way
        round (from the prior scan to today's).
    thickness
        Dice in [0, 1] of the structure and itself moved by one voxel: near 1 where it is bulky, so that an error of
        a voxel matters little.
    """

    agreement: float
    thickness: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """From evidence to expected Dice: logit(Dice) = constant + agreement * logit(a) + thickness * logit(t).

    The constants of a new one are a guess from which `fitted` starts; `DEVELOPMENT` is the one that is used.
    """

    constant: float = -0.3
    agreement: float = 0.6
    thickness: float = 0.3

    def dice(self, evidence: Evidence) -> float:
        """Return the Dice to expect, in [0, 1]."""
        a, t = _logit(evidence.agreement), _logit(evidence.thickness)
        return float(1 / (1 + np.exp(-(self.constant + self.agreement * a + self.thickness * t))))

    @classmethod
    def fitted(cls, pairs: Sequence[tuple[Evidence, float]]) -> Calibration:
        """Return the constants that fit pairs of evidence and true Dice best, by ridge regression of the logits.

        The weights are drawn towards those of `Calibration()` as strongly as by `RIDGE` pairs, since there are few.
        """
        usual = cls()
        known = np.array([[1.0, _logit(e.agreement), _logit(e.thickness)] for e, _ in pairs]).reshape(-1, 3)
        start = np.array([usual.constant, usual.agreement, usual.thickness])
        left = np.array([_logit(dice) for _, dice in pairs]) - known @ start
        step = np.linalg.solve(known.T @ known + RIDGE * np.eye(3), known.T @ left)
        constant, agreement, thickness = (float(v) for v in start + step)
        return cls(constant, agreement, thickness)


DEVELOPMENT = Calibration(-0.38, 0.85, 0.11)
"""Fitted to the development pairs (8 structures: two hearts, one known deformation), as the evaluation tells."""


@dataclass(frozen=True, eq=False)
class Expected:
    """The Dice expected of each structure and of each slice that holds labels, and the evidence behind it."""

    of_structure: Mapping[int, float] = field(default_factory=dict)
    of_slice: Mapping[SliceRef, float] = field(default_factory=dict)
    evidence: Mapping[int, Evidence] = field(default_factory=dict)


def expectation(carrying: Carrying, other: Carrying, *, axis: int, calibration: Calibration = DEVELOPMENT) -> Expected:
    """Return what to expect of ``carrying``, judged by ``other``: the same labels, carried another way, in its box."""
    mine, theirs = carrying.labels(), other.labels()
    evidence = {s: _evidence(mine == s, theirs == s) for s in carrying.structures if (mine == s).any()}
    slices = {}
    for index in range(mine.shape[axis]):
        plane, judge = (np.take(a, [index], axis=axis) for a in (mine, theirs))
        if plane.any():
            ref = SliceRef(axis, carrying.box.start[axis] + index)
            slices[ref] = _of_plane(plane, judge, calibration)
    return Expected({s: calibration.dice(e) for s, e in evidence.items()}, slices, evidence)


def _of_plane(plane: LabelArray, judge: LabelArray, calibration: Calibration) -> float:
    """Return the mean over the structures on one slice, each weighed by its size."""
    found = [int(s) for s in np.unique(plane) if s]
    sizes = [int((plane == s).sum()) for s in found]
    values = [calibration.dice(_evidence(plane == s, judge == s)) for s in found]
    return float(np.average(values, weights=sizes))


def _evidence(mine: MaskArray, theirs: MaskArray) -> Evidence:
    return Evidence(_dice(mine, theirs), _thickness(mine))


def _thickness(mask: MaskArray) -> float:
    """Return the mean Dice of ``mask`` and itself moved by one voxel along each axis of more than one voxel."""
    moves = [a for a in range(3) if mask.shape[a] > 1]
    moved = [_dice(mask, ndimage.shift(mask, [int(a == b) for b in range(3)], order=0)) for a in moves]
    return float(np.mean(moved)) if moved else 0.0


def _dice(a: MaskArray, b: MaskArray) -> float:
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0


def _logit(share: float) -> float:
    # A Dice of exactly 0 or 1 is known no better than to a hundredth.
    bounded = min(max(share, 0.01), 0.99)
    return float(np.log(bounded / (1 - bounded)))
