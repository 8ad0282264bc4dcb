"""The proposals on show, and which of their voxels are still open to be accepted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from napari_medmeta.core import (
    BACKGROUND,
    Box,
    FloatArray,
    Geometry,
    LabelArray,
    MaskArray,
    Proposal,
    SliceRef,
    Structure,
    Triple,
)
from napari_medmeta.session.model import UNDECIDED, Json, SliceRecord
from napari_medmeta.session.packing import present_values
from napari_medmeta.session.records import has_background, own_claims, slice_shape

__all__ = ["Preview", "ProposalStack", "Shown", "visible"]


@dataclass(frozen=True, eq=False)
class Shown:
    """A proposal on show.

    Parameters
    ----------
    structures
        The structures of the table that it looked for; it says nothing about any other.
    foreign
        Whether its labels hold values of no such structure, which are never shown.
    present
        The values that its labels hold, besides background.
    recalled_slices
        Slices on which the example library alone proposes something.
    """

    proposal: Proposal
    structures: frozenset[int]
    foreign: bool
    present: tuple[int, ...] = ()
    recalled_slices: frozenset[SliceRef] = frozenset()

    @classmethod
    def looking_for(cls, proposal: Proposal, known: frozenset[int], with_examples: frozenset[int]) -> Shown:
        """Return a proposal with what it looked for, among the structures ``known`` to the table."""
        present = frozenset(present_values(proposal.labels)) - {BACKGROUND}
        named = present | frozenset(proposal.expected_dice) | frozenset(proposal.trust)
        structures = (with_examples | named) & known
        foreign = not present <= structures
        return cls(proposal, structures, foreign, tuple(sorted(present)), _recalled_slices(proposal, present))

    @property
    def summary(self) -> dict[str, Json]:
        """What the audit trail says of it."""
        proposal = self.proposal
        return {
            "generation": proposal.generation,
            "covered": [list(proposal.covered.start), list(proposal.covered.stop)],
            "expected_dice": {str(s): round(float(d), 4) for s, d in proposal.expected_dice.items()},
            "seconds": {stage: round(float(s), 3) for stage, s in proposal.seconds.items()},
            "structures": [*self.present],
        }

    def labels_in(self, box: Box) -> LabelArray:
        """Return the proposed labels inside ``box`` (``box.shape`` uint8)."""
        labels = self.proposal.labels_in(box)
        if self.foreign:
            labels[~np.isin(labels, sorted(self.structures))] = BACKGROUND
        return labels


@dataclass(frozen=True, eq=False)
class ProposalStack:
    """Proposals on show, the newest on top.

    The engine answers for the visible slice first. Until the rest follows, the slices around it keep
    showing the proposal before, instead of going blank.
    """

    shown: tuple[Shown, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.shown)

    def with_shown(self, new: Shown) -> ProposalStack:
        """Return the stack with a newer proposal, less those of which nothing can be seen any more."""
        covered = new.proposal.covered
        kept = tuple(s for s in self.shown if covered.union(s.proposal.covered) != covered)
        return ProposalStack((*kept, new))

    @property
    def newest(self) -> Proposal | None:
        """The latest proposal, or None."""
        return self.shown[-1].proposal if self.shown else None

    @property
    def box(self) -> Box | None:
        """The smallest box outside of which no structure is proposed."""
        whole: Box | None = None
        for item in self.shown:
            whole = item.proposal.box if whole is None else whole.union(item.proposal.box)
        return whole

    @property
    def structures(self) -> frozenset[int]:
        """All structures that any of them looked for."""
        return frozenset().union(*(item.structures for item in self.shown))

    @cached_property
    def slice_dice(self) -> dict[SliceRef, float]:
        """For each slice that holds a proposal, the Dice expected by the newest one that says so."""
        return {ref: dice for item in self.shown for ref, dice in item.proposal.slice_dice.items()}

    @property
    def recalled(self) -> frozenset[int]:
        """The structures that the example library proposes."""
        newest: dict[int, bool] = {s: s in i.proposal.recalled for i in self.shown for s in i.proposal.trust}
        return frozenset(s for s, recalled in newest.items() if recalled)

    @property
    def recalled_slices(self) -> frozenset[SliceRef]:
        """Slices whose expected Dice is that of the example library."""
        newest = {ref: ref in item.recalled_slices for item in self.shown for ref in item.proposal.slice_dice}
        return frozenset(ref for ref, recalled in newest.items() if recalled)

    def expected_dice(self, whole: Box) -> dict[int, float]:
        """Return for each structure the Dice expected by the newest proposal that was computed for ``whole``.

        Only such an answer was judged on the examples; one for the slice on screen says nothing of it.
        """
        found = self.covering(whole)
        return dict(found.proposal.expected_dice) if found is not None else {}

    def covering(self, box: Box) -> Shown | None:
        """Return the newest proposal that was computed for all of ``box``, or None."""
        for item in reversed(self.shown):
            if item.proposal.covered.intersection(box) == box:
                return item
        return None

    def labels_in(self, box: Box) -> LabelArray:
        """Return the proposed labels inside ``box`` (``box.shape`` uint8)."""
        if self.shown and self.shown[-1].proposal.covered.intersection(box) == box:
            return self.shown[-1].labels_in(box)
        out = np.zeros(box.shape, dtype=np.uint8)
        for item in self.shown:
            part = item.proposal.covered.intersection(box)
            if part.size:
                out[_local(part, box)] = item.labels_in(part)
        return out

    def confidence_in(self, box: Box) -> FloatArray:
        """Return the confidence inside ``box`` (``box.shape`` float32), 1 where nothing is proposed."""
        out = np.ones(box.shape, dtype=np.float32)
        for item in self.shown:
            part = item.proposal.covered.intersection(box)
            if part.size:
                out[_local(part, box)] = item.proposal.confidence_in(part)
        return out


def _recalled_slices(proposal: Proposal, present: frozenset[int]) -> frozenset[SliceRef]:
    if not proposal.recalled:
        return frozenset()
    if present <= proposal.recalled:
        return frozenset(proposal.slice_dice)
    # Both on one scan: the engine speaks for the slices on which it proposes anything.
    engine = np.isin(proposal.labels, sorted(present - proposal.recalled))
    along = [np.asarray(engine.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    box = proposal.box

    def has_engine(ref: SliceRef) -> bool:
        inside = box.start[ref.axis] <= ref.index < box.stop[ref.axis]
        return inside and bool(along[ref.axis][ref.index - box.start[ref.axis]])

    return frozenset(ref for ref in proposal.slice_dice if not has_engine(ref))


class Reviewed(Protocol):
    """What has been decided so far: the part of a session's state that the preview looks at."""

    geometry: Geometry
    labels: LabelArray
    status: LabelArray
    structures: tuple[Structure, ...]
    records: dict[SliceRef, SliceRecord]
    rejected: set[SliceRef]
    proposals: ProposalStack


def visible(state: Reviewed, box: Box, *, ignore: SliceRef | None = None) -> LabelArray:
    """Return the proposed labels that are still open to be accepted (``box.shape`` uint8, 0 elsewhere).

    Open is what nobody decided: no label there, no background that was painted or accepted after the
    structure was added, no locked structure, no rejected slice (except ``ignore``).
    """
    out = np.zeros(box.shape, dtype=np.uint8)
    whole = state.proposals.box
    part = box.intersection(whole) if whole is not None else Box((0, 0, 0), (0, 0, 0))
    if not part.size:
        return out
    proposed = state.proposals.labels_in(part)
    open_ids = {structure.id for structure in state.structures if not structure.locked}
    for closed in state.proposals.structures - open_ids:
        proposed[proposed == closed] = BACKGROUND
    # Multiplying is several times quicker than choosing, and this runs over the whole proposal.
    proposed *= state.labels[part.slices] == BACKGROUND
    _hide_decided(state, proposed, part)
    for ref in state.rejected:
        window = _crossing(ref, part)
        if ref != ignore and window is not None:
            proposed[window] = BACKGROUND
    out[_local(part, box)] = proposed
    return out


def _hide_decided(state: Reviewed, proposed: LabelArray, box: Box) -> None:
    """Set to background what was decided to be background while the proposed structure was looked for."""
    if not state.records:
        return
    looked_for = [record.looked_for for record in state.records.values() if has_background(record)]
    if not looked_for:
        # What was only painted as a structure is hidden by its label already.
        return
    undecided = state.status[box.slices] == UNDECIDED
    late = state.proposals.structures - frozenset.intersection(*looked_for)
    if not late:
        proposed *= undecided
        return
    for structure in state.proposals.structures:
        where = (proposed == structure) & ~undecided
        if where.any():
            proposed[where & _looked_for(state, structure, box) if structure in late else where] = BACKGROUND


def _looked_for(state: Reviewed, structure: int, box: Box) -> MaskArray:
    """Return ``box.shape`` bool: where background means that ``structure`` is absent too."""
    out = np.zeros(box.shape, dtype=bool)
    shape = state.geometry.shape
    for ref, record in state.records.items():
        window = _crossing(ref, box) if structure in record.looked_for else None
        if window is None:
            continue
        if record.complete:
            out[window] = True
        else:
            labels, codes = own_claims(record, slice_shape(shape, ref.axis))
            claimed = np.expand_dims((codes != 0) & (labels == BACKGROUND), ref.axis)
            crop = tuple(slice(None) if a == ref.axis else s for a, s in enumerate(box.slices))
            out[window] |= claimed[crop]
    return out


def _crossing(ref: SliceRef, box: Box) -> tuple[slice, slice, slice] | None:
    """Return where the slice ``ref`` lies in an array of ``box``, None where they do not meet."""
    start, stop = box.start[ref.axis], box.stop[ref.axis]
    if not start <= ref.index < stop:
        return None
    local = slice(ref.index - start, ref.index - start + 1)
    i, j, k = (local if a == ref.axis else slice(None) for a in range(3))
    return i, j, k


def _local(part: Box, box: Box) -> tuple[slice, slice, slice]:
    i, j, k = (slice(a - o, b - o) for a, b, o in zip(part.start, part.stop, box.start, strict=True))
    return i, j, k


class Preview:
    """Per-slice counts of open proposal voxels on all axes, kept up to date slice by slice."""

    def __init__(self, shape: Triple) -> None:
        self._shape = shape
        self._counts = self._zeros()

    def open_voxels(self, ref: SliceRef) -> int:
        """Return how many proposed voxels on the slice are still open."""
        return int(self._counts[ref.axis][ref.index])

    @property
    def total(self) -> int:
        """How many proposed voxels are still open in the whole scan."""
        return int(self._counts[0].sum())

    def recount(self, state: Reviewed) -> None:
        """Count everything anew."""
        self._counts = self._zeros()
        box = state.proposals.box
        if box is not None:
            self.add(state, box, 1)

    def add(self, state: Reviewed, box: Box, sign: int) -> None:
        """Add (or take away, with ``sign`` -1) the voxels open inside ``box`` right now."""
        if not state.proposals:
            return
        mask = (visible(state, box) != BACKGROUND).view(np.uint8)
        # Two passes over the voxels give all three axes.
        by_row, by_column = mask.sum(axis=2, dtype=np.uint32), mask.sum(axis=0, dtype=np.uint32)
        sums = (by_row.sum(axis=1), by_row.sum(axis=0), by_column.sum(axis=0))
        for counts, part, found in zip(self._counts, box.slices, sums, strict=True):
            counts[part] += sign * found.astype(np.int64)

    def _zeros(self) -> tuple[npt.NDArray[np.int64], ...]:
        return tuple(np.zeros(n, dtype=np.int64) for n in self._shape)
