"""Random radiologists: whatever they do, undo takes it back, and what is protected stays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import hypothesis.strategies as st
import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from napari_medmeta.core import Box, Geometry, MedmetaError, Proposal, SliceRef, label_slice
from napari_medmeta.session import Change, PaintMode, Session, SliceState
from napari_medmeta.session.model import ACCEPTED
from napari_medmeta.session.records import compose_volume

SHAPE = (3, 4, 5)
GEOMETRY = Geometry.from_parts(SHAPE, spacing_mm=(3.0, 1.0, 1.0))

refs = st.sampled_from([SliceRef(a, i) for a in range(3) for i in range(SHAPE[a])])
ids = st.integers(0, 3)
seeds = st.integers(0, 2**16)
voxels = st.tuples(*(st.integers(0, n - 1) for n in SHAPE))


@dataclass(frozen=True, eq=False)
class Snapshot:
    """All that undo has to bring back."""

    labels: np.ndarray
    status: np.ndarray
    small: tuple[Any, ...]

    @classmethod
    def of(cls, session: Session) -> Snapshot:
        state = session._state
        small = (state.structures, dict(state.records), frozenset(state.rejected), state.active)
        return cls(session.labels.copy(), session.status.copy(), small)

    def same(self, other: Snapshot) -> bool:
        arrays = np.array_equal(self.labels, other.labels) and np.array_equal(self.status, other.status)
        return arrays and self.small == other.small


def slice_of(ref: SliceRef) -> tuple[int, ...]:
    return tuple(n for a, n in enumerate(SHAPE) if a != ref.axis)


def proposal(generation: int, covered: Box, seed: int) -> Proposal:
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 0, 1, 2, 3], covered.shape).astype(np.uint8)
    confidence = rng.random(covered.shape).astype(np.float32)
    dice = {SliceRef(0, i): float(rng.random()) for i in range(SHAPE[0])}
    return Proposal(generation, covered, labels, confidence, covered, slice_dice=dice)


def proposed(machine: Radiologist) -> bool:
    return machine.session.proposal is not None


def painted(machine: Radiologist) -> bool:
    return bool(machine.session._state.records)


class Radiologist(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.session = Session.create(GEOMETRY, fingerprint="scan")

    @initialize(seed=seeds, begun=st.booleans())
    def begin(self, seed: int, begun: bool) -> None:
        if begun:
            self.session.add_structure("liver")
            self.session.add_structure("spleen")
            self.paint(SliceRef(0, 1), 1, seed)
            self.session.set_proposal(proposal(self.session.generation, Box.whole(SHAPE), seed))

    def do(self, verb: Callable[[], Change], *, by_hand: bool) -> None:
        """Carry out a verb with all that must hold about any verb."""
        session = self.session
        before, steps, generation = Snapshot.of(session), len(session._history.done), session.generation
        locked = np.isin(session.labels, [s.id for s in session.structures if s.locked])
        try:
            change = verb()
        except MedmetaError:
            assert Snapshot.of(session).same(before)
            assert (len(session._history.done), session.generation) == (steps, generation)
            return
        after = Snapshot.of(session)
        assert np.array_equal(after.labels[locked], before.labels[locked])
        assert after.same(before) or change
        self.check_box(change, before, after)
        if not by_hand:
            decided = before.labels != 0
            assert np.array_equal(after.labels[decided], before.labels[decided])
            assert np.array_equal(after.status[decided], before.status[decided])
        if len(session._history.done) > steps:
            session.undo()
            assert Snapshot.of(session).same(before)
            session.redo()
            assert Snapshot.of(session).same(after)

    def check_box(self, change: Change, before: Snapshot, after: Snapshot) -> None:
        changed = (before.labels != after.labels) | (before.status != after.status)
        box = Box.around(changed)
        if box is not None:
            assert change.box is not None
            assert change.box.intersection(box) == box

    # -- the table

    @rule(name=st.sampled_from(["liver", "spleen", "kidney", "tumour"]))
    def add(self, name: str) -> None:
        if len(self.session.structures) < 3:
            self.do(lambda: self.session.add_structure(name), by_hand=True)

    @rule(number=ids, name=st.sampled_from(["aorta", "vein"]))
    def rename(self, number: int, name: str) -> None:
        self.do(lambda: self.session.rename_structure(number, name), by_hand=False)

    @rule(number=ids, locked=st.booleans())
    def lock(self, number: int, locked: bool) -> None:
        self.do(lambda: self.session.lock_structure(number, locked), by_hand=False)

    @rule(number=ids)
    def remove(self, number: int) -> None:
        self.do(lambda: self.session.remove_structure(number), by_hand=True)

    @rule(number=ids)
    def choose(self, number: int) -> None:
        self.do(lambda: self.session.set_active(number), by_hand=False)

    @rule(mode=st.sampled_from(PaintMode))
    def switch(self, mode: PaintMode) -> None:
        self.do(lambda: self.session.set_mode(mode), by_hand=False)

    # -- the hand

    @rule(ref=refs, value=ids, seed=seeds)
    def paint(self, ref: SliceRef, value: int, seed: int) -> None:
        mask = np.random.default_rng(seed).random(slice_of(ref)) < 0.4
        session = self.session
        others = (session.status == ACCEPTED) & (session.labels != 0) & (session.labels != value)
        if value == 0:
            others &= session.labels != session.active
        kept = session.labels[others].copy()
        self.do(lambda: session.paint(ref, mask, value=value), by_hand=True)
        assert np.array_equal(session.labels[others], kept)

    @rule(ref=refs, seed=seeds)
    def paint_slice(self, ref: SliceRef, seed: int) -> None:
        present = [0, *(s.id for s in self.session.structures)]
        labels = np.random.default_rng(seed).choice(present, slice_of(ref)).astype(np.uint8)
        self.do(lambda: self.session.paint_slice(ref, labels), by_hand=True)

    @rule(ijk=voxels, value=ids, axis=st.integers(0, 2))
    def click(self, ijk: tuple[int, int, int], value: int, axis: int) -> None:
        self.do(lambda: self.session.click(ijk, value=value, axis=axis), by_hand=True)

    @rule(ref=refs)
    def complete(self, ref: SliceRef) -> None:
        self.do(lambda: self.session.mark_complete(ref), by_hand=True)

    @precondition(painted)
    @rule(seed=seeds)
    def forget(self, seed: int) -> None:
        known = sorted(self.session._state.records)
        self.do(lambda: self.session.remove_example(known[seed % len(known)]), by_hand=True)

    @precondition(painted)
    @rule(seed=seeds, weight=st.sampled_from([0.0, 0.5, 1.0]))
    def weigh(self, seed: int, weight: float) -> None:
        known = sorted(self.session._state.records)
        self.do(lambda: self.session.weigh_example(known[seed % len(known)], weight), by_hand=True)

    @rule(axis=st.integers(0, 2), seed=seeds, unlabelled=st.booleans())
    def bring_in(self, axis: int, seed: int, unlabelled: bool) -> None:
        values = [0, 0, 0, 0, 1, 2, 255] if unlabelled else [0, 0, 0, 0, 0, 1]
        labels = np.random.default_rng(seed).choice(values, SHAPE).astype(np.uint8)
        self.do(lambda: self.session.import_labels(labels, axis=axis), by_hand=True)

    # -- the eye

    @rule(seed=seeds, ref=refs, partial=st.booleans(), late=st.sampled_from([0, 0, 0, 1]))
    def propose(self, seed: int, ref: SliceRef, partial: bool, late: int) -> None:
        covered = Box.of_slice(ref, SHAPE) if partial else Box.whole(SHAPE)
        new = proposal(self.session.generation - late, covered, seed)
        before = Snapshot.of(self.session)
        change = self.session.set_proposal(new)
        assert Snapshot.of(self.session).same(before)
        assert bool(change) is not bool(late)
        assert (self.session.proposal is new) is not bool(late)

    @precondition(proposed)
    @rule(ref=refs)
    def accept(self, ref: SliceRef) -> None:
        self.do(lambda: self.session.accept_slice(ref), by_hand=False)

    @precondition(proposed)
    @rule(ref=refs, chosen=st.sets(st.integers(1, 3), min_size=1))
    def accept_some(self, ref: SliceRef, chosen: set[int]) -> None:
        self.do(lambda: self.session.accept_slice(ref, structures=chosen), by_hand=False)

    @precondition(proposed)
    @rule(ijk=voxels)
    def accept_component(self, ijk: tuple[int, int, int]) -> None:
        self.do(lambda: self.session.accept_component(ijk), by_hand=False)

    @precondition(proposed)
    @rule(threshold=st.sampled_from([0.0, 0.3, 0.6]))
    def accept_confident(self, threshold: float) -> None:
        self.do(lambda: self.session.accept_confident(threshold), by_hand=False)

    @precondition(proposed)
    @rule(ref=refs)
    def reject(self, ref: SliceRef) -> None:
        before = self.session.support()
        self.do(lambda: self.session.reject_slice(ref), by_hand=False)
        assert before.generation == self.session.generation

    # -- history

    @rule(times=st.integers(1, 4))
    def undo(self, times: int) -> None:
        for _ in range(times):
            self.session.undo()

    @rule(times=st.integers(1, 4))
    def redo(self, times: int) -> None:
        for _ in range(times):
            self.session.redo()

    # -- what holds at any time

    @invariant()
    def arrays_are_what_the_slices_say(self) -> None:
        labels, status = compose_volume(self.session._state.records, SHAPE)
        assert np.array_equal(labels, self.session.labels)
        assert np.array_equal(status, self.session.status)

    @invariant()
    def labels_are_decided_and_in_the_table(self) -> None:
        session = self.session
        present = {int(v) for v in np.unique(session.labels)} - {0}
        assert present <= {s.id for s in session.structures}
        assert not session.labels[session.status == 0].any()
        for structure in session.structures:
            assert session.voxel_count(structure.id) == np.count_nonzero(session.labels == structure.id)
        assert session.active is None or session.active in {s.id for s in session.structures}

    @invariant()
    def support_says_what_is_known(self) -> None:
        session = self.session
        support = session.support()
        labels, known = support.labels_and_known()
        assert support.generation == session.generation
        assert np.array_equal(labels[known], session.labels[known])
        assert (session.status[known] > 0).all()
        in_use = np.ones(SHAPE, dtype=bool)
        for ref, record in session._state.records.items():
            label_slice(in_use, ref)[...] &= record.weight > 0
        assert known[(session.labels != 0) & in_use].all()
        for ref, record in session._state.records.items():
            if record.complete and record.weight > 0:
                assert label_slice(known, ref).all()

    @invariant()
    def overview_agrees_with_the_voxels(self) -> None:
        session = self.session
        proposed = session.proposed_labels(Box.whole(SHAPE))
        assert not proposed[session.labels != 0].any()
        locked = [s.id for s in session.structures if s.locked]
        assert not np.isin(proposed, locked).any()
        shown = {SliceState.PROPOSED, SliceState.TO_REVIEW}
        for axis in range(3):
            for index, state in enumerate(session.axis_overview(axis)):
                ref = SliceRef(axis, index)
                if state in shown:
                    assert label_slice(proposed, ref).any()
                if state is SliceState.REJECTED:
                    assert not label_slice(proposed, ref).any()
                if state in (SliceState.UNTOUCHED, SliceState.EXAMPLE, SliceState.ACCEPTED):
                    assert not label_slice(proposed, ref).any()
        assert session.hint().endswith(".")

    def teardown(self) -> None:
        session = self.session
        while session.can_redo:
            session.redo()
        end = Snapshot.of(session)
        while session.can_undo:
            session.undo()
        assert not session.labels.any()
        assert not session.status.any()
        assert not session.structures
        assert not session.support().examples
        while session.can_redo:
            session.redo()
        after = Snapshot.of(session)
        # The choice of the active structure is no undo step.
        assert after.small[:3] == end.small[:3]
        assert np.array_equal(after.labels, end.labels)


TestRadiologist = Radiologist.TestCase
TestRadiologist.settings = settings(
    max_examples=120, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
