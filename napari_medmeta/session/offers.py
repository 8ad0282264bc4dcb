"""What a proposal said of a slice when somebody decided on it, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from napari_medmeta.core import BACKGROUND, Box, LabelArray, Origin, SliceRef, label_slice
from napari_medmeta.session.calibration import Calibration, Judgement, calibrated
from napari_medmeta.session.model import Offer, SliceRecord
from napari_medmeta.session.packing import either, pack, present_values, unpack
from napari_medmeta.session.patches import Step
from napari_medmeta.session.preview import ProposalStack, visible
from napari_medmeta.session.records import bounds
from napari_medmeta.session.state import State

__all__ = ["Judge", "offers_on"]


def offers_on(
    state: State, ref: SliceRef, *, looked_at: bool = True, shown: LabelArray | None = None
) -> tuple[Offer, ...]:
    """Return what is proposed on a slice and still open, also where it was rejected; at most one offer.

    A slice of which the proposal does not say how good it is has nothing to offer. Where engine and library
    propose structures on one slice, the expectation is the engine's, and so is the offer. ``shown`` is what
    is visible on the slice (rows, columns), where the caller knows it already.
    """
    expected = state.proposals.slice_dice.get(ref)
    record = state.records.get(ref)
    decided = record is not None and record.complete and state.proposals.structures <= record.looked_for
    if expected is None or decided:
        return ()
    whole = label_slice(state.labels, ref)
    if shown is None:
        shown = visible(state, Box.of_slice(ref, state.geometry.shape), ignore=ref).reshape(whole.shape)
    proposed = frozenset(present_values(shown)) - {BACKGROUND}
    # What is drawn of them already, on slices that cross this one, was on show as well.
    shown = either(shown != BACKGROUND, shown, np.ascontiguousarray(whole))
    own = proposed - state.proposals.recalled
    if not proposed:
        return ()
    # Comparing with each of a few structures is many times as fast as looking every voxel up in a table.
    mine = np.logical_or.reduce([shown == structure for structure in own or proposed])
    rows, columns = bounds(mine) or (slice(0, 1), slice(0, 1))
    labels = either(mine[rows, columns], shown[rows, columns], np.uint8(BACKGROUND))
    return (
        Offer(
            (rows.start, columns.start),
            (labels.shape[0], labels.shape[1]),
            pack(labels),
            float(np.clip(expected, 0.0, 1.0)),
            recalled=not own,
            looked_at=looked_at,
        ),
    )


class Judge:
    """Compares what was offered with what it became, keeping the slices that did not change since."""

    def __init__(self) -> None:
        self._slices: dict[SliceRef, tuple[Judgement, ...]] = {}
        self._last: Calibration | None = None
        self._read: tuple[ProposalStack, Calibration, Mapping[SliceRef, float]] | None = None

    def forget(self, step: Step) -> None:
        """Drop what ``step`` makes out of date."""
        if step.is_evidence:
            self._last = None
        for ref in step.touched:
            self._slices.pop(ref, None)
        for patch in step.patches:
            start, stop = patch.box.start, patch.box.stop
            for ref in [r for r in self._slices if start[r.axis] <= r.index < stop[r.axis]]:
                del self._slices[ref]

    def calibration(self, state: State) -> Calibration:
        """Return what the judgements of all slices teach about expectations."""
        if self._last is None:
            found = [self._of(state, ref, record) for ref, record in sorted(state.records.items()) if record.offers]
            self._last = calibrated(j for judgements in found for j in judgements)
        return self._last

    def slices(self, state: State) -> Mapping[SliceRef, float]:
        """Return for each proposed slice the Dice to expect."""
        calibration, proposals = self.calibration(state), state.proposals
        if self._read is None or self._read[0] is not proposals or self._read[1] is not calibration:
            recalled = proposals.recalled_slices
            read = {ref: calibration.of_slice(d, recalled=ref in recalled) for ref, d in proposals.slice_dice.items()}
            self._read = (proposals, calibration, MappingProxyType(read))
        return self._read[2]

    def structures(self, state: State) -> Mapping[int, float]:
        """Return for each structure that was proposed on the whole scan the Dice to expect."""
        calibration, recalled = self.calibration(state), state.proposals.recalled
        expected = state.proposals.expected_dice(Box.whole(state.geometry.shape))
        return {s: calibration.of_structure(d, s, recalled=s in recalled) for s, d in expected.items()}

    def _of(self, state: State, ref: SliceRef, record: SliceRecord) -> tuple[Judgement, ...]:
        if ref not in self._slices:
            self._slices[ref] = tuple(_judgements(state, ref, record))
        return self._slices[ref]


def _judgements(state: State, ref: SliceRef, record: SliceRecord) -> list[Judgement]:
    final = label_slice(state.labels, ref)
    found = []
    for offer in record.offers:
        if not offer.looked_at and record.origin is Origin.ACCEPTED:
            # Accepted together with others, and never touched: nobody said what was thought of it.
            continue
        labels = unpack(offer.labels, offer.shape)
        window = tuple(slice(a, a + n) for a, n in zip(offer.start, offer.shape, strict=True))
        for structure in present_values(labels):
            if structure != BACKGROUND:
                mine = labels == structure
                common = int(np.count_nonzero(mine & (final[window] == structure)))
                total = int(np.count_nonzero(mine)) + int(np.count_nonzero(final == structure))
                found.append(Judgement(ref, structure, offer.expected, 2 * common / total, offer.recalled))
    return found
