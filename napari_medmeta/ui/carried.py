"""What was carried from an earlier scan to the open one: shown until the scan is closed, and again the next time.

No widgets and no Qt.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from psygnal import Signal

from napari_medmeta.core import Box, Proposal
from napari_medmeta.tasks.registration_notes import Landed, landed_in, write_landed
from napari_medmeta.ui.controller import Controller
from napari_medmeta.ui.library import blended

__all__ = ["CarriedHere", "better_of"]

NOTHING_UP_TO = 0.5
"""Expected Dice of a carried slice up to which the engine is believed that nothing is there; see `better_of`."""


@dataclass(frozen=True, eq=False)
class _Shown:
    """What was carried, under the numbers of the structure table."""

    landed: Landed
    proposal: Proposal


class CarriedHere:
    """The segmentation that was carried to one open scan, if any."""

    changed = Signal()
    """Another one is shown."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._shown: _Shown | None = None
        self._before = controller.blend
        self._mine = self._blend

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know of what was carried, one sentence each."""
        return self._shown.landed.notes if self._shown is not None else ()

    @property
    def expected_dice(self) -> Mapping[int, float]:
        """The Dice expected of each structure as it was carried, before any correction."""
        return self._shown.proposal.expected_dice if self._shown is not None else {}

    @property
    def prior_ml(self) -> Mapping[int, float]:
        """The volume of each structure in the earlier segmentation, in ml."""
        return self._shown.landed.numbered(self._shown.landed.prior_ml) if self._shown is not None else {}

    def show(self, landed: Landed) -> Proposal:
        """Write down what was carried, and propose it."""
        write_landed(self._controller.session, landed)
        return self._propose(landed)

    def recall(self) -> bool:
        """Propose again what the session keeps of an earlier window; return whether it keeps any."""
        session = self._controller.session
        found = landed_in(session)
        if found is None:
            return False
        quicker = session.proposal
        self._propose(found)
        if quicker is not None:
            # The engine has answered already: both are shown, each where it promises more.
            self._controller.receive(self._controller.blend(quicker))
        return True

    def close(self) -> None:
        """Show nothing any more of what was carried."""
        if self._controller.blend is self._mine:
            self._controller.blend = self._before

    def _propose(self, landed: Landed) -> Proposal:
        controller = self._controller
        if self._shown is None:
            # What is blended in already, as from the library, lies beneath.
            self._before, controller.blend = controller.blend, self._mine
        proposal = landed.proposal(controller.shape, generation=controller.session.generation)
        self._shown = _Shown(landed, proposal)
        controller.receive(controller.blend(proposal))
        self.changed.emit()
        return proposal

    def _blend(self, proposal: Proposal) -> Proposal:
        """Go on showing what was carried where the engine expects less of its own proposal."""
        if self._shown is None or proposal is self._shown.proposal:
            return proposal
        proposal = self._before(proposal)
        session = self._controller.session
        if proposal.covered != Box.whole(session.geometry.shape):
            return proposal
        open_ids = {s.id for s in session.structures} - set(session.support().painted_structures())
        return blended(better_of(proposal, self._shown.proposal), self._shown.proposal, frozenset(open_ids))


def better_of(proposal: Proposal, carried: Proposal) -> Proposal:
    """Return ``proposal`` with those slices of ``carried`` that promise a higher Dice than its own.

    Slices are compared where both were judged along the same axis. Where ``proposal`` holds nothing on a slice, it
    says that nothing is there. With a carried Dice of e to be expected, something is there with a probability of e at
    least, as Dice is at most 1: nothing is the better answer up to an e of `NOTHING_UP_TO`, 1 - e being less than e
    beyond.
    """
    box = proposal.box.union(carried.box)
    labels, confidence = proposal.labels_in(box), proposal.confidence_in(box)
    older, surer = carried.labels_in(box), carried.confidence_in(box)
    slice_dice = dict(proposal.slice_dice)
    judged = {ref.axis for ref in slice_dice}
    for ref, dice in carried.slice_dice.items():
        at = tuple(ref.index - box.start[a] if a == ref.axis else slice(None) for a in range(3))
        empty = ref not in slice_dice and ref.axis in judged and not labels[at].any()
        if dice > (NOTHING_UP_TO if empty else slice_dice.get(ref, math.inf)):
            labels[at], confidence[at], slice_dice[ref] = older[at], surer[at], dice
    return Proposal(
        generation=proposal.generation,
        box=box,
        labels=labels,
        confidence=confidence,
        covered=proposal.covered,
        expected_dice=proposal.expected_dice,
        slice_dice=slice_dice,
        trust=proposal.trust,
        seconds=proposal.seconds,
    )
