"""Where the session meets the engine, for one open scan. No widgets and no Qt: fakes can stand in for both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from psygnal import Signal

from napari_medmeta.core import (
    BACKGROUND,
    Box,
    FloatArray,
    LabelArray,
    MaskArray,
    MedmetaError,
    MissingExamplesError,
    Proposal,
    SliceExample,
    SliceRef,
    Structure,
    Triple,
    Volume,
    guess_axis,
)
from napari_medmeta.session import Change, PaintMode, Session, SliceState, Topic
from napari_medmeta.session.boxes import DrawnBox
from napari_medmeta.ui.advice import PUT_ASIDE, Advice
from napari_medmeta.ui.expectations import DEFAULT_FLOOR, Expectations
from napari_medmeta.ui.guide import Guide, named
from napari_medmeta.ui.keys import STRUCTURE_KEYS
from napari_medmeta.ui.label_names import renumbered
from napari_medmeta.ui.saving import SaveJob
from napari_medmeta.ui.scan import Scan
from napari_medmeta.ui.slice_strip import StripValue
from napari_medmeta.ui.strokes import BACKGROUND_STROKE, Edit, strokes_on, touched_slices
from napari_medmeta.ui.structure_table import StructureRow
from napari_medmeta.ui.work import Work
from napari_medmeta.ui.worker import (
    Answered,
    Failed,
    Idle,
    JobEvent,
    Progressed,
    Proposed,
    Question,
    Ready,
    Runner,
    Started,
)

__all__ = ["Controller", "Work"]

DEFAULT_CONFIDENCE = 0.9
NO_NAMES: Mapping[int, str] = MappingProxyType({})


class Controller:
    """The verbs of one scan, as the panel, the layers and the keys call them.

    Parameters
    ----------
    session
        What the radiologist said, on the grid on screen.
    scan
        The scan's identity and grids.
    volume
        Its voxels on the grid on screen.
    runner
        Runs the engine.
    """

    changed = Signal(Change)
    told = Signal(str)
    failed = Signal(MedmetaError)
    worked = Signal(Work)
    looked = Signal(SliceRef)
    answered = Signal(object)
    withdrawn = Signal(str)
    """A sentence told before that no longer holds."""
    led = Signal(SliceRef, object)
    """A slice to be shown, and the box on it (or None) that is worth a look."""

    def __init__(self, session: Session, *, scan: Scan, volume: Volume, runner: Runner) -> None:
        self.session, self.scan, self._runner = session, scan, runner
        self.confidence_wanted = DEFAULT_CONFIDENCE
        self.confidence_floor = DEFAULT_FLOOR
        self.work = Work()
        self.blend: Callable[[Proposal], Proposal] = lambda proposal: proposal
        self.focus = SliceRef(0, session.geometry.shape[0] // 2)
        self._guide = Guide(session.geometry.spacing_mm)
        self._expectations = Expectations(session)
        self.advice = Advice(session, self._expectations)
        self._strokes: tuple[tuple[SliceRef, MaskArray], ...] = ()
        self._note_strokes(session.support().examples)
        session.changed.connect(self._on_change)
        runner.listen(self._on_job)
        runner.load(volume)
        if self.advice.can_propose() and session.auto_propose:
            self._ask()

    # What is shown

    @property
    def shape(self) -> Triple:
        """The shape of the grid on screen."""
        return self.session.geometry.shape

    @property
    def labels(self) -> LabelArray:
        """What is painted and accepted (I, J, K)."""
        return self.session.labels

    @property
    def structures(self) -> Sequence[Structure]:
        """The structures in the table."""
        return self.session.structures

    def active_structure(self) -> Structure | None:
        """Return the structure that painting paints."""
        return next((s for s in self.structures if s.id == self.session.active), None)

    def proposed_labels(self, box: Box, /) -> LabelArray:
        """Return what is still proposed inside ``box``."""
        return self.session.proposed_labels(box)

    def confidence(self, box: Box, /) -> FloatArray:
        """Return how sure the engine is inside ``box``; certain where it proposes nothing."""
        return self.session.proposed_confidence(box)

    def background_strokes(self) -> Iterable[tuple[SliceRef, MaskArray]]:
        """Return for each slice with scribbles or clicks where they say "background"."""
        return self._strokes

    def takes_over(self, ref: SliceRef, /, *, erasing: bool) -> bool:
        """Whether a stroke on ``ref`` starts from its proposal; on a hint only the eraser does."""
        complete = self.session.mode is PaintMode.COMPLETE
        return complete and self.is_proposed(ref) and (erasing or not self._leaves_out(ref))

    def is_proposed(self, ref: SliceRef, /) -> bool:
        """Whether a proposal is open on ``ref``."""
        return self.advice.is_proposed(ref)

    def is_hint(self, ref: SliceRef, /) -> bool:
        """Whether the proposal on ``ref`` is too unsure to be shown as a contour to correct."""
        expected = self.slice_confidence(ref)
        return expected is not None and expected < self.confidence_floor

    def slice_confidence(self, ref: SliceRef) -> float | None:
        """Return the expected Dice of the proposal on ``ref``; across the examples' axis its mean probability."""
        return self._expectations.of_slice(ref)

    def rows(self) -> tuple[StructureRow, ...]:
        """Return the structure table's rows."""
        per_voxel = self.session.geometry.voxel_volume_ml
        return tuple(
            StructureRow(
                structure.id,
                structure.name,
                structure.colour,
                number if number <= STRUCTURE_KEYS else None,
                structure.locked,
                self.session.voxel_count(structure.id) * per_voxel,
                self._expectations.of_structure(structure.id),
            )
            for number, structure in enumerate(self.structures, start=1)
        )

    def strip(self) -> StripValue:
        """Return the slice strip for the axis on screen."""
        axis = self.focus.axis
        unused = frozenset(r.index for r, weight in self.session.reweighed().items() if r.axis == axis and not weight)
        return StripValue(
            self.session.axis_overview(axis), self._expectations.on_axis(axis), self.focus.index, unused=unused
        )

    def words(self, ref: SliceRef, /) -> str:
        """Say in words what is known about the slice ``ref``."""
        return self.advice.words(ref, is_hint=self.is_hint(ref))

    def hint(self) -> str:
        """Say in one line what is missing, or what to do next."""
        work, is_hint = self.work, self.is_hint(self.focus)
        return self.advice.hint(self.focus, proposing=work.proposing, reading=work.busy, is_hint=is_hint)

    # What the user does

    def look_at(self, ref: SliceRef) -> None:
        """Note the slice on screen: it is proposed first."""
        if ref != self.focus:
            outlived = self.advice.forget_reason(unless=ref)
            self.focus = ref
            self.session.look_at(ref)
            self.looked.emit(ref)
            if outlived:
                self.withdrawn.emit(outlived)

    def next_slice(self) -> bool:
        """Go to the slice whose correction is expected to help most."""
        suggestion = self._guide.next(self.session.support(), self.focus, worth_it=self._is_open)
        if suggestion is None:
            missing = "first there has to be a proposal" if self.session.proposal is None else "the others are done"
            self.told.emit(f"There is no slice to suggest: {missing}.")
            return False
        found = named(suggestion, {s.id: s.name for s in self.structures})
        self.advice.lead(found.ref, found.reason)
        self.told.emit("")
        self.led.emit(found.ref, found.region)
        if found.reason not in self.hint():
            # Said once: below only where the line that says what to do next has something more urgent to say.
            self.told.emit(f"{found.reason}.")
        return True

    def previous_slice(self) -> bool:
        """Go back to the slice that was on screen before the last suggestion."""
        ref = self._guide.back()
        if ref is None:
            self.told.emit("There is no slice to go back to.")
            return False
        self.led.emit(ref, None)
        return True

    def add_structure(self, name: str) -> bool:
        """Add a structure to the table and make it the active one."""
        return self._do(lambda: self.session.add_structure(name))

    def rename_structure(self, structure: int, name: str) -> bool:
        """Give a structure another name."""
        return self._do(lambda: self.session.rename_structure(structure, name))

    def recolour_structure(self, structure: int, colour: str) -> bool:
        """Give a structure another colour (``#rrggbb``)."""
        return self._do(lambda: self.session.recolour_structure(structure, colour))

    def lock_structure(self, structure: int, locked: bool) -> bool:
        """Lock a structure, or unlock it."""
        return self._do(lambda: self.session.lock_structure(structure, locked))

    def remove_structure(self, structure: int) -> bool:
        """Remove a structure from the table."""
        return self._do(lambda: self.session.remove_structure(structure))

    def choose(self, structure: int) -> bool:
        """Make ``structure`` the one that painting paints."""
        if structure == self.session.active or structure not in {s.id for s in self.structures}:
            return False
        return self._do(lambda: self.session.set_active(structure))

    def choose_number(self, number: int) -> bool:
        """Make the structure in row ``number`` (from 1) the active one."""
        if not 1 <= number <= len(self.structures):
            self.told.emit(f"There is no structure {number} in the table.")
            return False
        return self.choose(self.structures[number - 1].id)

    def set_mode(self, mode: PaintMode) -> bool:
        """Paint whole slices, or sparse scribbles."""
        return mode is self.session.mode or self._do(lambda: self.session.set_mode(mode))

    def paint(self, edits: Sequence[Edit]) -> bool:
        """Take over what the brush painted on screen."""
        return all(
            self._paint(ref, mask, value)
            for ref in touched_slices(edits, self.focus.axis)
            for value, mask in strokes_on(edits, ref, self.shape)
        )

    def click(self, voxel: Triple, *, background: bool) -> bool:
        """Mark the active structure, or background, at one voxel."""
        active = self.session.active
        if not background and active is None:
            self._fail(_no_structure())
            return False
        value = BACKGROUND if background or active is None else active
        return self._do(lambda: self.session.click(voxel, value=value, axis=self.focus.axis))

    def boxes(self) -> dict[SliceRef, tuple[DrawnBox, ...]]:
        """Return the boxes of every slice that is known by boxes."""
        refs = (example.ref for example in self.session.support().examples if not example.is_complete)
        return {ref: boxes for ref in refs if (boxes := self.session.boxes_on(ref))}

    def draw_boxes(self, ref: SliceRef, boxes: Sequence[DrawnBox]) -> bool:
        """Let these boxes, and no others, say what is known of the slice ``ref``."""
        return self._do(lambda: self.session.draw_boxes(ref, tuple(boxes)))

    def mark_complete(self) -> bool:
        """Make the slice on screen a complete example, also when nothing is on it."""
        return self._do(lambda: self.session.mark_complete(self.focus))

    def remove_example(self) -> bool:
        """Forget the example on the slice on screen."""
        return self._do(lambda: self.session.remove_example(self.focus))

    def weigh_example(self, ref: SliceRef, weight: float) -> bool:
        """Let the example on ``ref`` count more or less (0 to 1); its voxels stay."""
        return self._do(lambda: self.session.weigh_example(ref, weight))

    def ask_engine(self, question: Question) -> None:
        """Ask the engine in the background; the answer comes by ``answered``."""
        self._runner.ask(question)

    def use_labels(self, labels: npt.NDArray[Any], *, names: Mapping[int, str] = NO_NAMES) -> bool:
        """Take every slice of ``labels`` (I, J, K) that holds a label as an example.

        The axis is the one on which they were painted slice by slice; labels that are not in the table
        are added to it. ``names`` are those of the labels, where their file knows them.
        """
        axis = guess_axis(labels, self.session.geometry)
        numbers, fresh = renumbered(labels, names, self.structures)
        done = self._do(lambda: self.session.import_labels(numbers, axis=axis))
        if done and self.session.active is None and self.structures:
            self.choose(self.structures[0].id)
        return done and all(self.rename_structure(number, name) for number, name in fresh.items())

    def accept_slice(self) -> bool:
        """Accept the proposal on the slice on screen."""
        return self._do(lambda: self.session.accept_slice(self.focus))

    def accept_confident(self) -> bool:
        """Accept every slice whose expected Dice is above the one wanted."""
        before = self.session.undo_text
        done = self._do(lambda: self.session.accept_confident(self.confidence_wanted))
        if done and self.session.undo_text != before:
            # Most of them are not on screen: nothing else would show it.
            self.told.emit(f"Done: {self.session.undo_text}.")
        return done

    def accept_piece(self, voxel: Triple | None) -> bool:
        """Accept the connected piece of the proposal at ``voxel``."""
        if voxel is None:
            self.told.emit("Point at a piece of the proposal first.")
            return False
        return self._do(lambda: self.session.accept_component(voxel))

    def reject_slice(self) -> bool:
        """Reject the proposal on the slice on screen."""
        return self._do(lambda: self.session.reject_slice(self.focus))

    def undo(self) -> bool:
        """Take back the last step, wherever it was."""
        if not self.session.can_undo:
            self.told.emit("There is nothing to undo.")
            return False
        text = self.session.undo_text
        done = self._do(self.session.undo)
        self.told.emit(f"Undone: {text}.")
        return done

    def redo(self) -> bool:
        """Do again what was undone last."""
        if not self.session.can_redo:
            self.told.emit("There is nothing to redo.")
            return False
        text = self.session.redo_text
        done = self._do(self.session.redo)
        self.told.emit(f"Done again: {text}.")
        return done

    def propose(self) -> bool:
        """Ask the engine for a proposal now."""
        if not self.advice.can_propose():
            self._fail(MissingExamplesError("Nothing can be proposed yet", next_step=self.hint()))
            return False
        self._ask()
        return True

    def set_auto_propose(self, on: bool) -> None:
        """Propose by itself whenever an example changes, or only when asked."""
        self.session.auto_propose = on

    def cancel(self) -> None:
        """Stop the engine."""
        self._runner.cancel()

    def open_proposals(self) -> bool:
        """Whether anything is proposed that is neither accepted nor rejected."""
        if self.session.proposal is None:
            return False
        # The newest proposal may be one part of the answer: what came before it is still on show.
        return bool(self.session.proposed_labels(Box.whole(self.shape)).any())

    def result(self, *, with_proposals: bool) -> LabelArray:
        """Return the segmentation on the file's own grid (uint8)."""
        return self.scan.grid.labels_to_original(self._snapshot(with_proposals))

    def save_job(self, path: Path, *, with_proposals: bool, anonymous: bool = False) -> SaveJob:
        """Return what is to be written, as it is now; ``anonymous`` leaves the patient out of a DICOM file."""
        return SaveJob(path, self._snapshot(with_proposals), self.scan, tuple(self.structures), anonymous)

    def save(self, path: Path, *, with_proposals: bool, anonymous: bool = False) -> bool:
        """Write the segmentation and wait for it; the panel writes `save_job` in the background instead."""
        try:
            written = self.save_job(path, with_proposals=with_proposals, anonymous=anonymous).write()
        except MedmetaError as error:
            self._fail(error)
            return False
        self.told.emit(f"Saved as {written.name} in {written.parent}.")
        return True

    def close(self) -> None:
        """Stop the engine and close the session's file."""
        self._runner.close()
        self.session.changed.disconnect(self._on_change)
        self.session.close()

    # How it works

    def _paint(self, ref: SliceRef, mask: MaskArray, value: int) -> bool:
        value = BACKGROUND if value == BACKGROUND_STROKE else value
        if value != BACKGROUND and value not in {s.id for s in self.structures}:
            # Painting before naming is natural: the structure gets a name that can be changed.
            if not self.add_structure(f"Structure {len(self.structures) + 1}"):
                return False
            value = self.structures[-1].id
        anew = value != BACKGROUND and self._leaves_out(ref)
        done = self._do(lambda: self.session.paint(ref, mask, value=value, over_proposal=not anew))
        if done and anew:
            self.told.emit(f"{PUT_ASIDE}.")
        return done

    def _leaves_out(self, ref: SliceRef) -> bool:
        """Whether painting on ``ref`` begins anew: a hint is no contour to mend.

        What answers marks on the slice itself was asked for, however unsure it is.
        """
        if self.session.mode is not PaintMode.COMPLETE or self.session.slice_state(ref) is SliceState.SCRIBBLED:
            return False
        return self.is_proposed(ref) and self.is_hint(ref)

    def _snapshot(self, with_proposals: bool) -> LabelArray:
        labels = np.array(self.session.labels)
        if with_proposals and self.session.proposal is not None:
            open_labels = self.session.proposed_labels(Box.whole(self.shape))
            labels = np.where(labels == BACKGROUND, open_labels, labels)
        return labels

    def _do(self, verb: Callable[[], Change]) -> bool:
        try:
            change = verb()
        except MedmetaError as error:
            self._fail(error)
            return False
        if change.note:
            self.told.emit(change.note)
        return True

    def _fail(self, error: MedmetaError) -> None:
        self.failed.emit(error)

    def _on_change(self, change: Change) -> None:
        outlived = self.advice.note_change()
        if outlived:
            self.withdrawn.emit(outlived)
        if Topic.EXAMPLES in change.what:
            self._note_strokes(self.session.support().examples)
        self.changed.emit(change)
        if Topic.EXAMPLES in change.what and self.session.auto_propose and self.advice.can_propose():
            self._ask()

    def _note_strokes(self, examples: Iterable[SliceExample]) -> None:
        # Around a box nearly all of a slice is background: the box says so better than a veil over the scan.
        self._strokes = tuple(
            (e.ref, np.asarray(e.known & (e.labels == BACKGROUND)))
            for e in examples
            if not e.is_complete and not self.session.boxes_on(e.ref)
        )

    def _is_open(self, ref: SliceRef) -> bool:
        return self.session.slice_state(ref) not in (SliceState.REJECTED, SliceState.ACCEPTED)

    def _ask(self) -> None:
        self._runner.propose(self.session.support(), focus=self.focus)

    def _on_job(self, event: JobEvent) -> None:
        match event:
            case Started(what, proposing):
                self._set_work(replace(self.work, stage=what, fraction=0.0, proposing=proposing))
            case Progressed(fraction, stage):
                self._set_work(replace(self.work, stage=stage, fraction=fraction))
            case Ready(device, memory):
                self._set_work(replace(self.work, device=device, memory_bytes=memory))
            case Proposed(proposal):
                self.receive(self.blend(proposal))
            case Answered(answer):
                self.answered.emit(answer)
            case Failed(error):
                self._fail(error)
            case Idle(cancelled):
                self._set_work(replace(self.work, stage="Stopped" if cancelled else "", fraction=None, proposing=False))

    def receive(self, proposal: Proposal) -> None:
        """Show a proposal, wherever it comes from."""
        whole = proposal.covered == Box.whole(self.shape)
        if whole and proposal.generation == self.session.generation:
            # Only the whole answer was judged on the examples; the first one is for the slice on screen alone.
            self._guide.learn(proposal)
        self._do(lambda: self.session.set_proposal(proposal))

    def _set_work(self, work: Work) -> None:
        self.work = work
        self.worked.emit(work)


def _no_structure() -> MedmetaError:
    return MissingExamplesError("No structure is chosen", next_step="Add one to the table first, such as Liver")
