"""The facade: one session of one radiologist on one scan."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
from psygnal import Signal

from napari_medmeta.core import (
    UNLABELLED,
    Box,
    FloatArray,
    Geometry,
    LabelArray,
    MaskArray,
    Proposal,
    SliceRef,
    Structure,
    Support,
    Triple,
)
from napari_medmeta.session import boxes, painting, review, table
from napari_medmeta.session.calibration import Calibration
from napari_medmeta.session.events import Event, Kind
from napari_medmeta.session.hints import hint
from napari_medmeta.session.history import History
from napari_medmeta.session.journal import Journal
from napari_medmeta.session.model import Change, EventRecord, Json, PaintMode, SliceState, Topic
from napari_medmeta.session.offers import Judge
from napari_medmeta.session.opening import create_file, open_file
from napari_medmeta.session.overview import Overview
from napari_medmeta.session.packing import read_only
from napari_medmeta.session.patches import Step
from napari_medmeta.session.preview import Shown, visible
from napari_medmeta.session.replay import Replayed, apply_setting
from napari_medmeta.session.score import Score, Stopwatch, place_of, score_of
from napari_medmeta.session.state import State, require_slice
from napari_medmeta.session.support import SupportBuilder

__all__ = ["Session"]


class Session:
    """What a radiologist said about one scan, with one history and, if asked for, a crash-safe file.

    Every verb checks its arguments first (and raises a `MedmetaError` with nothing changed), is one
    undo step, and is on disk before it returns a `Change`. Choosing the active structure or the paint
    mode is remembered but is no undo step. A session belongs to one thread; two sessions share nothing.

    Examples
    --------
    >>> import numpy as np
    >>> session = Session.create(Geometry.from_parts((4, 8, 8)), fingerprint="a scan")
    >>> _ = session.add_structure("liver")
    >>> _ = session.paint(SliceRef(0, 2), np.eye(8, dtype=bool), value=1)
    >>> session.support().examples[0].is_complete
    True
    """

    changed = Signal(Change)
    """Emitted after each verb that changed something."""
    storage_failed = Signal(str)
    """Emitted with a sentence when an event could not be written; it is kept and tried again."""

    def __init__(
        self,
        state: State,
        *,
        fingerprint: str,
        name: str = "scan",
        journal: Journal | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._state = state
        self._clock, self._stopwatch = clock, Stopwatch(clock())
        self._journal = journal
        self._history = History(journal.load_step if journal is not None else None)
        self._records: list[EventRecord] = []
        self._overview = Overview(state.geometry.shape)
        self._support, self._judge = SupportBuilder(), Judge()
        self.fingerprint = fingerprint
        self.name = name
        self.opening_note = ""

    # -- opening and closing ------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        geometry: Geometry,
        *,
        fingerprint: str,
        path: Path | None = None,
        name: str = "scan",
        clock: Callable[[], float] = time.time,
    ) -> Session:
        """Begin a session on a scan, in memory or in a new file at ``path``; ``clock`` tells seconds since 1970.

        Raises
        ------
        StorageError
            When the file exists already or cannot be written.
        """
        journal = create_file(path, geometry, fingerprint=fingerprint) if path is not None else None
        return cls(State(geometry), fingerprint=fingerprint, name=name, journal=journal, clock=clock)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        fingerprint: str | None = None,
        geometry: Geometry | None = None,
        clock: Callable[[], float] = time.time,
    ) -> Session:
        """Open a session file; ``opening_note`` tells when a damaged end had to be left out.

        Raises
        ------
        GeometryMismatchError
            When the session belongs to another scan than ``fingerprint`` or ``geometry``.
        StorageError
            When the file is damaged, in use, or no session.
        """
        found, journal = open_file(Path(path), fingerprint=fingerprint, geometry=geometry)
        session = cls(found.state, fingerprint=found.fingerprint, name=journal.path.stem, journal=journal, clock=clock)
        session._resume(found, journal)
        return session

    def _resume(self, replayed: Replayed, journal: Journal) -> None:
        self._history = replayed.history(journal.load_step)
        self._records = list(replayed.records)
        self.opening_note = replayed.note

    def close(self) -> None:
        """Write what is left and close the file. The session can still be looked at."""
        if self._journal is not None:
            self._journal.close(self._state, last=len(self._records))

    # -- values -------------------------------------------------------------------------------

    @property
    def geometry(self) -> Geometry:
        """The grid of the scan and of all arrays here."""
        return self._state.geometry

    @property
    def path(self) -> Path | None:
        """The session file, None in memory."""
        return self._journal.path if self._journal is not None else None

    @property
    def labels(self) -> LabelArray:
        """(I, J, K) uint8, read-only and live: what was painted and accepted."""
        return read_only(self._state.labels)

    @property
    def status(self) -> LabelArray:
        """(I, J, K) uint8, read-only and live: 0 undecided, 1 painted, 2 accepted."""
        return read_only(self._state.status)

    @property
    def structures(self) -> tuple[Structure, ...]:
        """The structure table, by number."""
        return self._state.structures

    @property
    def active(self) -> int | None:
        """The structure that painting paints, None in an empty table."""
        return self._state.active

    @property
    def mode(self) -> PaintMode:
        """What a stroke says about the rest of its slice."""
        return self._state.mode

    @property
    def auto_propose(self) -> bool:
        """Whether a proposal is wanted by itself after each change."""
        return self._state.auto_propose

    @auto_propose.setter
    def auto_propose(self, wanted: bool) -> None:
        if bool(wanted) != self._state.auto_propose:
            self._set("set_auto_propose", bool(wanted), f"turned automatic proposals {'on' if wanted else 'off'}")

    @property
    def generation(self) -> int:
        """Grows with every change that the engine would see; never goes back."""
        return self._state.generation

    @property
    def proposal(self) -> Proposal | None:
        """The newest proposal, which may cover one slice only; see `proposed_labels`."""
        return self._state.proposals.newest

    def voxel_count(self, structure: int) -> int:
        """Return the number of painted and accepted voxels of a structure."""
        return int(self._state.voxels[self._state.structure(structure).id])

    def support(self) -> Support:
        """Return a frozen snapshot of all examples for the engine."""
        return self._support.build(self._state)

    def slice_state(self, ref: SliceRef) -> SliceState:
        """Return what there is to know about a slice at a glance.

        Raises
        ------
        AnnotationError
            When the scan has no such slice.
        """
        require_slice(self._state, ref)
        return self._overview.slice(self._state, ref, self.expected_slice_dice())

    def axis_overview(self, axis: int) -> tuple[SliceState, ...]:
        """Return the state of every slice along an array axis, without looking at voxels."""
        require_slice(self._state, SliceRef(axis, 0))
        return self._overview.slices(self._state, axis, self.expected_slice_dice())

    def proposed_labels(self, box: Box) -> LabelArray:
        """Return what is proposed and still open inside ``box`` (``box.shape`` uint8), 0 elsewhere."""
        return visible(self._state, box)

    def proposed_confidence(self, box: Box) -> FloatArray:
        """Return the proposals' confidence inside ``box`` (``box.shape`` float32 in [0, 1])."""
        return self._state.proposals.confidence_in(box)

    def calibration(self) -> Calibration:
        """Return what the decisions of this session so far say about the proposals' expectations."""
        return self._judge.calibration(self._state)

    def expected_slice_dice(self) -> Mapping[SliceRef, float]:
        """Return for each slice with a proposal its expected Dice, calibrated on this session."""
        return self._judge.slices(self._state)

    def expected_dice(self) -> Mapping[int, float]:
        """Return for each proposed structure its expected Dice, calibrated on this session."""
        return self._judge.structures(self._state)

    def hint(self) -> str:
        """Return one plain sentence: what is missing, or what to do next."""
        return hint(self._state, self._overview.preview)

    # -- verbs: the structure table -----------------------------------------------------------

    def add_structure(self, name: str, *, colour: str | None = None) -> Change:
        """Add a structure under the lowest free number and make it active."""
        return self._do(table.add_structure(self._state, name, colour=colour))

    def rename_structure(self, structure: int, name: str) -> Change:
        """Give a structure another name."""
        return self._do(table.rename_structure(self._state, structure, name))

    def recolour_structure(self, structure: int, colour: str) -> Change:
        """Give a structure another colour (#rrggbb)."""
        return self._do(table.recolour_structure(self._state, structure, colour))

    def lock_structure(self, structure: int, locked: bool = True) -> Change:
        """Lock a structure, so that nothing changes its voxels, or unlock it."""
        return self._do(table.lock_structure(self._state, structure, locked=locked))

    def remove_structure(self, structure: int) -> Change:
        """Remove a structure and all of its voxels."""
        return self._do(table.remove_structure(self._state, structure))

    def trust_sources(self, kept: Mapping[int, Mapping[str, float]]) -> Change:
        """Begin with the trust in the sources of evidence that earlier scans taught; see `table.trust_sources`."""
        return self._do(table.trust_sources(self._state, kept))

    def set_active(self, structure: int) -> Change:
        """Choose the structure that painting paints; remembered, but no undo step."""
        name = self._state.structure(structure).name
        if structure == self._state.active:
            return self._nothing()
        return self._set("set_active", int(structure), f"chose the {name}")

    def set_mode(self, mode: PaintMode) -> Change:
        """Choose what a stroke says about the rest of its slice; remembered, but no undo step."""
        mode = PaintMode(mode)
        if mode is self._state.mode:
            return self._nothing()
        return self._set("set_mode", mode.value, f"chose {mode.value} painting")

    # -- verbs: the hand ----------------------------------------------------------------------

    def paint(self, ref: SliceRef, mask: MaskArray, *, value: int, over_proposal: bool = True) -> Change:
        """Paint one stroke, ``mask`` (rows, columns) bool, with a structure or 0 for background.

        In COMPLETE mode the slice becomes a complete example, and the proposal on it is taken over
        first unless ``over_proposal`` is False. In SCRIBBLE mode only the stroked voxels become known.
        """
        return self._do(painting.paint(self._state, ref, mask, value=value, over_proposal=over_proposal))

    def paint_slice(self, ref: SliceRef, labels: LabelArray) -> Change:
        """Make ``labels`` (rows, columns) the complete example of a slice."""
        return self._do(painting.paint_slice(self._state, ref, labels))

    def click(self, ijk: Triple, *, value: int, axis: int) -> Change:
        """Mark one voxel as a structure, or 0 for background, on its slice along ``axis``."""
        return self._do(painting.click(self._state, ijk, value=value, axis=axis))

    def draw_boxes(self, ref: SliceRef, drawn: tuple[boxes.DrawnBox, ...]) -> Change:
        """Let ``drawn``, all boxes of a slice, say what is known of it; none: nothing. See `boxes.draw_boxes`."""
        return self._do(boxes.draw_boxes(self._state, ref, drawn, redrawn=bool(self.boxes_on(ref))))

    def boxes_on(self, ref: SliceRef) -> tuple[boxes.DrawnBox, ...]:
        """Return the boxes that a slice is known by, none where it is known by anything else."""
        return boxes.boxes_on(ref, self._state.records.get(ref), reversed(self._records))

    def mark_complete(self, ref: SliceRef) -> Change:
        """Make a slice, painted or empty, a complete example for all structures of the table."""
        return self._do(painting.mark_complete(self._state, ref))

    def remove_example(self, ref: SliceRef) -> Change:
        """Forget what was said on a slice, as if it had never been painted."""
        return self._do(painting.remove_example(self._state, ref))

    def weigh_example(self, ref: SliceRef, weight: float) -> Change:
        """Let a slice count more or less as an example (0 to 1); at 0 it is kept, but nothing is learnt from it."""
        return self._do(painting.weigh_example(self._state, ref, weight))

    def example_weight(self, ref: SliceRef) -> float | None:
        """Return how much a slice counts as an example, None where nothing was said on it."""
        record = self._state.records.get(ref)
        return record.weight if record is not None else None

    def reweighed(self) -> dict[SliceRef, float]:
        """Return the weight of every slice that does not count fully as an example."""
        return {ref: r.weight for ref, r in self._state.records.items() if r.weight != 1.0}

    def import_labels(
        self, labels: npt.NDArray[Any], *, axis: int, slices: Iterable[int] = (), unlabelled: int = UNLABELLED
    ) -> Change:
        """Take the labelled slices along ``axis`` of (I, J, K) integers as examples; see `painting.import_labels`."""
        return self._do(painting.import_labels(self._state, labels, axis=axis, slices=slices, unlabelled=unlabelled))

    # -- verbs: the eye -----------------------------------------------------------------------

    def set_proposal(self, proposal: Proposal) -> Change:
        """Show a proposal; one that answers an older generation is dropped. No undo step."""
        state = self._state
        if proposal.generation != state.generation:
            return self._nothing()
        with_examples = frozenset(s.id for s in state.structures if state.voxels[s.id] > 0)
        shown = Shown.looking_for(proposal, state.ids, with_examples)
        state.proposals = state.proposals.with_shown(shown)
        self._overview.preview.recount(state)
        sentence = f"received a proposal for {proposal.covered.size:,} voxels"
        note = self._write(Kind.NOTE, "set_proposal", sentence, shown.summary)
        return self._tell(frozenset({Topic.PROPOSAL}), proposal.covered, note)

    def accept_slice(self, ref: SliceRef, *, structures: Iterable[int] | None = None) -> Change:
        """Turn the proposal on a slice into a complete example, or accept some structures of it only."""
        return self._do(review.accept_slice(self._state, ref, structures=structures))

    def accept_component(self, ijk: Triple) -> Change:
        """Accept the connected part of the proposal around a voxel."""
        return self._do(review.accept_component(self._state, ijk))

    def accept_confident(self, threshold: float) -> Change:
        """Accept every slice whose calibrated expected Dice is at least ``threshold``, as one step."""
        return self._do(review.accept_confident(self._state, threshold, expected=self.expected_slice_dice()))

    def reject_slice(self, ref: SliceRef) -> Change:
        """Hide the proposal on a slice until it is painted or accepted."""
        return self._do(review.reject_slice(self._state, ref))

    # -- history ------------------------------------------------------------------------------

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to take back."""
        return bool(self._history.done)

    @property
    def can_redo(self) -> bool:
        """Whether there is a step to carry out again."""
        return bool(self._history.undone)

    @property
    def undo_text(self) -> str:
        """What undo would take back, as in "paint the liver on axial slice 12"; empty for nothing."""
        return self._history.done[-1].text if self._history.done else ""

    @property
    def redo_text(self) -> str:
        """What redo would carry out again; empty for nothing."""
        return self._history.undone[-1].text if self._history.undone else ""

    def undo(self) -> Change:
        """Take back the newest step."""
        if not self.can_undo:
            return self._nothing("Nothing to undo.")
        past, step = self._history.next_undo()
        self._apply(step, backwards=True)
        self._history.moved_back()
        note = self._write(Kind.UNDO, "undo", f"undid: {past.text}", {"event": past.number})
        return self._tell(step.topics, step.box, note)

    def redo(self) -> Change:
        """Carry out again what was undone last."""
        if not self.can_redo:
            return self._nothing("Nothing to redo.")
        past, step = self._history.next_redo()
        self._apply(step)
        self._history.moved_forward()
        note = self._write(Kind.REDO, "redo", f"redid: {past.text}", {"event": past.number})
        return self._tell(step.topics, step.box, note)

    def events(self) -> Iterator[EventRecord]:
        """Return the audit trail, oldest first."""
        return iter(tuple(self._records))

    def note(self, verb: str, sentence: str, parameters: Mapping[str, Json]) -> None:
        """Write down what changes nothing of the segmentation, to be read back from `events`; no undo step."""
        self._write(Kind.NOTE, verb, sentence, parameters)

    def look_at(self, ref: SliceRef) -> None:
        """Note that the slice ``ref`` came on screen: a sign of life for the score, and nothing else."""
        require_slice(self._state, ref)
        self._stopwatch.mark(self._clock())

    def last_slice(self) -> SliceRef | None:
        """Return the slice on which something was said last, None where nothing was."""
        places = (place_of(record.parameters) for record in reversed(self._records))
        return next((ref for ref in places if ref is not None), None)

    def score(self) -> Score:
        """Return what became of the proposals, and how long it took."""
        still_open = sum(self._overview.preview.open_voxels(r) > 0 for r in self._state.proposals.slice_dice)
        return score_of(self._records, still_open=still_open, calibration=self.calibration())

    # -- storage ------------------------------------------------------------------------------

    @property
    def storage_problem(self) -> str:
        """Why the newest events are not on disk yet, or nothing."""
        return self._journal.problem if self._journal is not None else ""

    def retry_storage(self) -> bool:
        """Try again to write what could not be written; return whether everything is on disk now."""
        return self._journal is None or self._journal.retry()

    # -- inside -------------------------------------------------------------------------------

    def _do(self, step: Step) -> Change:
        if step.is_empty:
            return self._nothing(step.note)
        parameters = dict(step.parameters)
        if any(self._overview.preview.open_voxels(change.ref) > 0 for change in step.records):
            # What was proposed is not in the file: the score must know that it was.
            parameters["proposed"] = True
        self._apply(step)
        number = len(self._records) + 1
        self._history.record(number, step.text, step=step)
        note = self._write(Kind.STEP, step.verb, step.text, parameters, step=step)
        return self._tell(step.topics, step.box, " ".join(n for n in (step.note, note) if n))

    def _set(self, verb: str, value: Json, sentence: str) -> Change:
        parameters: dict[str, Json] = {"value": value}
        apply_setting(self._state, verb, parameters)
        note = self._write(Kind.SETTING, verb, sentence, parameters)
        return self._tell(frozenset({Topic.SETTINGS}), None, note)

    def _apply(self, step: Step, *, backwards: bool = False) -> None:
        self._overview.apply(self._state, step, backwards=backwards)
        self._support.forget(step)
        self._judge.forget(step)

    def _write(self, kind: Kind, verb: str, sentence: str, parameters: Any, *, step: Step | None = None) -> str:
        """Put the event on disk; return a sentence when that failed."""
        now, parameters = self._clock(), dict(parameters)
        spent = round(self._stopwatch.take(now), 1) if kind is not Kind.NOTE else 0.0
        if spent:
            parameters["seconds"] = spent
        event = Event(len(self._records) + 1, now, kind, verb, sentence, parameters, step)
        self._records.append(event.record)
        if self._journal is None:
            return ""
        self._journal.append(event, self._state)
        self._history.forget_stored(self._journal.last_stored)
        if self._journal.problem:
            self.storage_failed.emit(self._journal.problem)
        return self._journal.problem

    def _tell(self, what: frozenset[Topic], box: Box | None, note: str) -> Change:
        change = Change(what, box, self.generation, note)
        self.changed.emit(change)
        return change

    def _nothing(self, note: str = "") -> Change:
        return Change(generation=self.generation, note=note)
