"""A simulated radiologist: which slice to look at, whether to accept it, and what it takes.

It knows the truth and no method does: what it hands on are examples, each a copy of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from napari_medmeta.bench.human_time import TimeModel, outline_mm, wrong_outline_mm
from napari_medmeta.bench.interactive_store import Action, Policy
from napari_medmeta.bench.painting import seeded
from napari_medmeta.bench.protocol import Anatomy
from napari_medmeta.core import BACKGROUND, LabelArray, Origin, Proposal, SliceExample, SliceRef, Support, label_slice

__all__ = ["ACCEPTED_ABOVE", "Look", "Radiologist", "slice_dice"]

ACCEPTED_ABOVE = 0.95
"""Dice of a slice above which it is accepted as it is: no radiologist would repaint what two observers differ on."""


@dataclass(frozen=True, eq=False)
class Look:
    """What came of one look at a slice.

    Parameters
    ----------
    example
        The slice as it goes into the support set: accepted as proposed, or painted as it is in truth.
    structures_corrected
        Structures that were drawn or changed.
    seconds
        Time of the radiologist, by the time model.
    """

    example: SliceExample
    action: Action
    structures_corrected: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Radiologist:
    """Paints, looks, accepts and corrects with the truth at hand.

    Parameters
    ----------
    anatomy
        The truth and its structures.
    seed
        Of the policy ``random``, together with the case's name.
    """

    anatomy: Anatomy
    policy: Policy = Policy.SUGGESTION
    seed: int = 0
    times: TimeModel = field(default_factory=TimeModel)

    @property
    def axis(self) -> int:
        """Array axis of the slices."""
        return self.anatomy.axis

    def start(self) -> Look:
        """Paint the slice on which the structures are largest."""
        (index,) = self.anatomy.task(k=1).painted
        truth = self._truth(index)
        lengths = [outline_mm(truth == s, self._plane) for s in self.anatomy.structures if np.any(truth == s)]
        seconds = self.times.view(0) + self.times.draw(lengths)
        return Look(self._example(index, truth, Origin.PAINTED), Action.PAINTED, len(lengths), seconds)

    def choose(self, labels: LabelArray, support: Support, proposal: Proposal | None = None) -> int | None:
        """Return the slice to look at next, None when nothing is left to look at.

        Parameters
        ----------
        labels
            (I, J, K) uint8, as it would be saved now.
        support
            The slices that were looked at.
        """
        seen = {e.ref.index for e in support.examples}
        shown = [int(i) for i in np.flatnonzero(self._area(labels) | self._area(self.anatomy.truth)) if i not in seen]
        if not shown:
            return None
        if self.policy is Policy.SUGGESTION and proposal is not None:
            suggested = self._suggested(proposal, support)
            if suggested is not None:
                return suggested
        if self.policy is Policy.RANDOM:
            rng = seeded(self.anatomy.case_id, "policy", self.seed, len(seen))
            return shown[int(rng.integers(len(shown)))]
        if self.policy is Policy.WORST:
            return self._worst(labels, shown)
        return self._farthest(seen, shown)

    def look(self, index: int, labels: LabelArray) -> Look:
        """Accept or correct the slice ``index`` of what is proposed, (I, J, K) ``labels``."""
        found = np.array(label_slice(labels, SliceRef(self.axis, index)))
        truth = self._truth(index)
        # A label that nobody asked for is neither judged nor kept.
        found[~np.isin(found, self.anatomy.structures)] = BACKGROUND
        structures = [s for s in self.anatomy.structures if np.any(found == s) or np.any(truth == s)]
        seconds = self.times.view(len(structures))
        if slice_dice(found, truth, structures) > ACCEPTED_ABOVE:
            example = self._example(index, found, Origin.ACCEPTED)
            return Look(example, Action.ACCEPTED, 0, seconds + self.times.accept)
        wrong = wrong_outline_mm(found, truth, self._plane)
        seconds += self.times.draw(list(wrong.values()))
        return Look(self._example(index, truth, Origin.PAINTED), Action.CORRECTED, len(wrong), seconds)

    @property
    def _plane(self) -> tuple[float, float]:
        first, second = (s for a, s in enumerate(self.anatomy.geometry.spacing_mm) if a != self.axis)
        return first, second

    def _truth(self, index: int) -> LabelArray:
        return np.array(label_slice(self.anatomy.truth, SliceRef(self.axis, index)))

    def _example(self, index: int, labels: LabelArray, origin: Origin) -> SliceExample:
        known = np.ones(labels.shape, dtype=bool)
        return SliceExample(SliceRef(self.axis, index), labels, known, origin=origin)

    def _area(self, labels: LabelArray) -> npt.NDArray[np.bool_]:
        others = tuple(a for a in range(3) if a != self.axis)
        return np.asarray(np.any(labels, axis=others))

    def _suggested(self, proposal: Proposal, support: Support) -> int | None:
        # Here, as the engine's package loads torch, which no other policy needs.
        from napari_medmeta.engine.suggest import rank_slices

        ranked = rank_slices(proposal, support, axis=self.axis, spacing_mm=self.anatomy.geometry.spacing_mm)
        return ranked[0].ref.index if ranked else None

    def _worst(self, labels: LabelArray, shown: list[int]) -> int:
        found, true = (np.moveaxis(a, self.axis, 0)[shown] for a in (labels, self.anatomy.truth))
        loss = np.zeros(len(shown))
        for structure in self.anatomy.structures:
            wrong = np.count_nonzero((found == structure) != (true == structure), axis=(1, 2))
            # As a share of the structure, since all structures count the same.
            loss += wrong / np.count_nonzero(self.anatomy.truth == structure)
        return shown[int(np.argmax(loss))]

    def _farthest(self, seen: set[int], shown: list[int]) -> int:
        held = np.flatnonzero(self._area(self.anatomy.truth))
        inside = [i for i in shown if held[0] <= i <= held[-1]] or shown
        return max(inside, key=lambda i: (min(abs(i - s) for s in seen), -i))


def slice_dice(labels: LabelArray, truth: LabelArray, structures: Iterable[int]) -> float:
    """Return the mean Dice of a slice over the structures that are in truth or proposal; 1 where none is."""
    scores = []
    for structure in structures:
        found, true = labels == structure, truth == structure
        total = np.count_nonzero(found) + np.count_nonzero(true)
        if total:
            scores.append(2 * np.count_nonzero(found & true) / total)
    return float(np.mean(scores)) if scores else 1.0
