"""Lesions looked for on the open scan: the list of candidates, and what the radiologist says to each. No Qt."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_medmeta.core import (
    BACKGROUND,
    Box,
    InputError,
    LabelArray,
    MissingExamplesError,
    Proposal,
    SliceRef,
    Volume,
)
from napari_medmeta.session import Change, Topic
from napari_medmeta.tasks.detection_kinds import require_alike
from napari_medmeta.tasks.detection_marks import Said, marks_of, write_mark
from napari_medmeta.ui.controller import Controller
from napari_medmeta.ui.detection_request import Detecting, Elsewhere, Request, detected_by_the_engine
from napari_medmeta.ui.job_desk import JobDesk

if TYPE_CHECKING:
    from napari_medmeta.tasks.detection import Candidate

__all__ = ["DetectionDesk", "Row", "Standing"]

ACCEPTED_SHARE = 0.5
"""A candidate of which at least half is painted or accepted counts as accepted, however that came about."""


NOTHING_FOUND = "No candidates: nothing else looks like these lesions, or some were missed"


class Standing(StrEnum):
    """What was said to a candidate."""

    OPEN = "open"
    ACCEPTED = "accepted"
    DISMISSED = "dismissed"


@dataclass(frozen=True, eq=False)
class Row:
    """One line of the list."""

    candidate: Candidate
    standing: Standing


class DetectionDesk(JobDesk["tuple[Candidate, ...]"]):
    """The verbs of lesion detection for one open scan.

    Parameters
    ----------
    volume
        The scan on the grid on screen.
    detecting
        Runs in the background; None: the engine's own way.
    """

    def __init__(self, controller: Controller, volume: Volume, *, detecting: Detecting | None = None) -> None:
        super().__init__(controller)
        self._volume = volume
        self._detecting = detecting or detected_by_the_engine
        self._candidates: tuple[Candidate, ...] = ()
        self._accepted: tuple[Candidate, ...] = ()
        self._dismissed: tuple[Candidate, ...] = ()
        self._brought_back: tuple[Candidate, ...] = ()
        self._structure: int | None = None
        self._elsewhere: Elsewhere | None = None
        self._sought = False
        self._note = ""
        controller.changed.connect(self._on_change)
        if controller.session.active is not None:
            self._recall(controller.session.active)

    # What is shown

    @property
    def rows(self) -> tuple[Row, ...]:
        """The list: open candidates, the best first, then accepted ones, then dismissed ones."""
        groups = (
            (Standing.OPEN, self._candidates),
            (Standing.ACCEPTED, self._accepted),
            (Standing.DISMISSED, self._dismissed),
        )
        return tuple(Row(c, standing) for standing, group in groups for c in group)

    # What the user does

    def find(self, elsewhere: Elsewhere | None = None) -> bool:
        """Look for what resembles the active structure's lesions, painted here or known from ``elsewhere``."""
        structure = self._controller.session.active
        if structure is None:
            self._fail(MissingExamplesError("No structure is chosen", next_step="Add one to the table, such as Lesion"))
            return False
        if elsewhere is None and structure not in self._controller.session.support().painted_structures():
            self._fail(
                MissingExamplesError(
                    "No lesion is painted on this scan yet",
                    next_step="Paint one lesion on a whole slice, or learn from the library or another scan",
                )
            )
            return False
        try:
            self._note = _note_on(elsewhere, self._volume)
        except InputError as error:
            self._fail(error)
            return False
        if structure != self._structure:
            self._recall(structure)
        self._elsewhere, self._sought = elsewhere, True
        self._ask()
        return True

    def go_to(self, number: int) -> bool:
        """Show the candidate in row ``number`` (from 0)."""
        if not 0 <= number < len(self.rows):
            return False
        candidate = self.rows[number].candidate
        axis = self._controller.focus.axis
        ref = SliceRef(axis, candidate.voxel[axis])
        here = Box.of_slice(ref, self._controller.shape).intersection(candidate.box)
        self._controller.led.emit(ref, here)
        return True

    def accept(self, number: int) -> bool:
        """Take the candidate in row ``number`` over into the segmentation; one step, which can be undone."""
        row = self._row(number)
        if row is None or row.standing is not Standing.OPEN or self._structure is None:
            return False
        if not self._adopted(row.candidate, self._structure):
            return False
        if self._share(row.candidate) < ACCEPTED_SHARE:
            return False
        self._write_down(row.candidate, Said.ACCEPTED)
        self._sort_out()
        return True

    def dismiss(self, number: int) -> bool:
        """Say that the candidate in row ``number`` is no lesion; the list is made again without its like."""
        row = self._row(number)
        if row is None or row.standing is not Standing.OPEN:
            return False
        self._candidates = tuple(c for c in self._candidates if c is not row.candidate)
        self._dismissed = (*self._dismissed, row.candidate)
        self._brought_back = tuple(c for c in self._brought_back if not _same_place(c, row.candidate))
        self._write_down(row.candidate, Said.DISMISSED)
        self._ask()
        return True

    def bring_back(self, number: int) -> bool:
        """Take the dismissal of the candidate in row ``number`` back."""
        row = self._row(number)
        if row is None or row.standing is not Standing.DISMISSED:
            return False
        self._dismissed = tuple(c for c in self._dismissed if c is not row.candidate)
        self._brought_back = (*self._brought_back, row.candidate)
        self._list_open(self._candidates)
        self._write_down(row.candidate, Said.BROUGHT_BACK)
        self._ask()
        return True

    def export(self, path: Path) -> bool:
        """Write open and accepted candidates as a table (.csv or .json), indices on the file's own grid."""
        # Loaded when wanted: what is behind it takes seconds to load.
        from napari_medmeta.tasks.detection_candidates import renumbered
        from napari_medmeta.tasks.detection_table import write_candidates

        kept = [row.candidate for row in self.rows if row.standing is not Standing.DISMISSED]
        grid = self._controller.scan.grid
        best_first = sorted(kept, key=lambda c: -c.score)
        listed = [renumbered(c, grid.working, grid.original) for c in best_first]
        return self._written(lambda: write_candidates(path, listed))

    def close(self) -> None:
        """Let go of the scan."""
        super().close()
        self._controller.changed.disconnect(self._on_change)

    # How it works

    def _row(self, number: int) -> Row | None:
        return self.rows[number] if 0 <= number < len(self.rows) else None

    def _recall(self, structure: int) -> None:
        """Show what was said to candidates of ``structure`` before, also in a session that was opened again."""
        marks = marks_of(self._controller.session, structure)
        self._structure, self._brought_back = structure, marks.brought_back
        self._accepted, self._dismissed = marks.accepted, marks.dismissed
        self._list_open(())
        self._sort_out()

    def _write_down(self, candidate: Candidate, said: Said) -> None:
        if self._structure is not None:
            write_mark(self._controller.session, candidate, structure=self._structure, said=said)

    def _ask(self) -> None:
        session, structure = self._controller.session, self._structure
        if structure is None or not self._sought:
            # What was said in an earlier window is shown; nothing was looked for in this one.
            self.changed.emit()
            return
        request = Request(
            self._volume,
            session.support(),
            structure,
            np.asarray(session.labels == structure),
            self._dismissed,
            self._elsewhere,
        )
        self._begin(request, lambda engine: self._detecting(engine, request))

    def _take(self, found: tuple[Candidate, ...]) -> None:
        self._list_open(found)
        self._tell_how_many()

    def _list_open(self, found: tuple[Candidate, ...]) -> None:
        # Whoever brings a candidate back wants to look at it again, also when the search no longer finds it.
        again = tuple(c for c in self._brought_back if self._share(c) < ACCEPTED_SHARE)
        self._candidates = _with_those(found, again)

    def _tell_how_many(self) -> None:
        found = len(self._candidates)
        # That each is to be looked at stands in the tab all the time.
        what = f"{found} candidates, the best first" if found > 1 else "1 candidate" if found else NOTHING_FOUND
        self._controller.told.emit(" ".join(part for part in (f"{what}.", self._note) if part))

    def _on_change(self, change: Change) -> None:
        if self._structure is None:
            return
        if self._structure not in {s.id for s in self._controller.structures}:
            self._forget()
            return
        if not change.what & {Topic.LABELS, Topic.EXAMPLES}:
            return
        moved = self._sort_out()
        # Examples changed: what is being looked for, or was found, is made again. Painting goes first.
        if moved or (self.busy and Topic.EXAMPLES in change.what):
            self._ask()

    def _forget(self) -> None:
        self._drop()
        self._structure, self._candidates, self._accepted, self._dismissed = None, (), (), ()
        self._brought_back = ()
        self._sought = False
        self.changed.emit()

    def _sort_out(self) -> bool:
        """Put candidates that were accepted, or whose acceptance was undone, where they belong."""
        both = (*self._candidates, *self._accepted)
        accepted = tuple(c for c in both if self._share(c) >= ACCEPTED_SHARE)
        if len(accepted) == len(self._accepted) and all(a is b for a, b in zip(accepted, self._accepted, strict=True)):
            return False
        open_ones = (c for c in both if all(c is not a for a in accepted))
        self._candidates, self._accepted = tuple(sorted(open_ones, key=lambda c: -c.score)), accepted
        self.changed.emit()
        return True

    def _share(self, candidate: Candidate) -> float:
        here = self._controller.session.labels[candidate.box.slices] == self._structure
        return int(np.count_nonzero(here & candidate.mask)) / max(1, candidate.voxels)

    def _adopted(self, candidate: Candidate, structure: int) -> bool:
        """Propose the candidate's voxels, and accept them as one piece."""
        controller = self._controller
        controller.receive(_proposed(candidate, structure, controller))
        return controller.accept_piece(candidate.voxel)


def _note_on(elsewhere: Elsewhere | None, volume: Volume) -> str:
    """Return what to know of learning from ``elsewhere`` for ``volume``; raises `InputError` where it cannot be."""
    if elsewhere is None or elsewhere.kind is None:
        return ""
    return require_alike(elsewhere.kind, volume.modality, name=f"“{elsewhere.name}”")


def _with_those(found: tuple[Candidate, ...], wanted: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
    """Return ``found`` with those ``wanted`` that are not in it under another outline, the best first."""
    missing = (w for w in wanted if not any(_same_place(c, w) for c in found))
    return tuple(sorted((*found, *missing), key=lambda c: -c.score))


def _same_place(one: Candidate, other: Candidate) -> bool:
    return one is other or one.holds(other.voxel) or other.holds(one.voxel)


def _proposed(candidate: Candidate, structure: int, controller: Controller) -> Proposal:
    """Return a proposal of the candidate alone, one voxel around it free of the same structure."""
    session = controller.session
    shape = session.geometry.shape
    box = candidate.box.grown((1, 1, 1), shape)
    inside = np.zeros(box.shape, dtype=bool)
    inside[_within(candidate.box, box)] = candidate.mask
    before = session.proposal
    labels: LabelArray = before.labels_in(box) if before is not None else np.zeros(box.shape, dtype=np.uint8)
    shell = ndimage.binary_dilation(inside, structure=np.ones((3, 3, 3))) & ~inside
    # What touches the candidate would be accepted with it.
    labels[shell & (labels == structure)] = BACKGROUND
    labels[inside] = structure
    confidence = np.full(box.shape, candidate.likelihood, dtype=np.float32)
    return Proposal(
        generation=session.generation,
        box=box,
        labels=labels,
        confidence=confidence,
        covered=box,
    )


def _within(inner: Box, outer: Box) -> tuple[slice, slice, slice]:
    i, j, k = (slice(a - o, b - o) for a, b, o in zip(inner.start, inner.stop, outer.start, strict=True))
    return i, j, k
