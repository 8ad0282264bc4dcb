"""The verb of the box: what rectangles around structures say about a slice. Pure: state in, step out.

Inside of a box lies the structure, somewhere; outside of all its boxes it is not. So the outside becomes
background, known for certain, and an ellipse in the middle of each box becomes the first guess of the
structure: the engine learns from both and proposes the outline between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from napari_medmeta.core import (
    AnnotationError,
    LabelArray,
    MaskArray,
    SliceRef,
)
from napari_medmeta.session.claims import protect
from napari_medmeta.session.model import PAINTED, EventRecord, Json, SliceRecord
from napari_medmeta.session.packing import either
from napari_medmeta.session.patches import ArrayName, RecordChange, Step, slice_patches
from napari_medmeta.session.records import compose_slice, newest_elsewhere, slice_shape, with_claims
from napari_medmeta.session.state import State, require_slice, slice_views
from napari_medmeta.session.words import slice_name

__all__ = ["DrawnBox", "boxes_on", "draw_boxes", "known_from"]

CORE = 0.8
"""Axes of the ellipse as a share of the box's sides: of 0.55 to 0.9 the one after which the engine drew the slice
best on development cases (heart, liver, kidneys and hippocampus in MR, spleen in CT). Leaving voxels of untypical
grey out of it changed little."""

SMALLEST = 3
"""Voxels along each side of a box: in a smaller one the guess would fill all of it."""

VERB = "draw_boxes"


@dataclass(frozen=True, slots=True)
class DrawnBox:
    """A rectangle around one structure on one slice: ``start`` inside, ``stop`` just outside, both (row, column)."""

    structure: int
    start: tuple[int, int]
    stop: tuple[int, int]

    def inside(self, shape: tuple[int, int]) -> MaskArray:
        """Return ``shape`` (rows, columns) bool: the voxels in the box."""
        mask = np.zeros(shape, dtype=bool)
        mask[self.start[0] : self.stop[0], self.start[1] : self.stop[1]] = True
        return mask

    def core(self, shape: tuple[int, int]) -> MaskArray:
        """Return ``shape`` (rows, columns) bool: the ellipse in the middle that is taken as the structure."""
        distance = np.zeros(shape)
        for axis, (first, stop) in enumerate(zip(self.start, self.stop, strict=True)):
            middle, half = (first + stop - 1) / 2, CORE * (stop - first) / 2
            offset = ((np.arange(shape[axis]) - middle) / half) ** 2
            distance += offset[:, None] if axis == 0 else offset[None, :]
        return np.asarray(distance <= 1.0)


def known_from(boxes: Sequence[DrawnBox], shape: tuple[int, int]) -> tuple[LabelArray, MaskArray]:
    """Return (rows, columns) labels and where they are known, from all boxes of one slice.

    A voxel in the cores of two structures belongs to the smaller box, which says more.
    """
    labels, known = np.zeros(shape, dtype=np.uint8), np.ones(shape, dtype=bool)
    for box in boxes:
        known &= ~box.inside(shape)
    for box in sorted(boxes, key=_size, reverse=True):
        core = box.core(shape)
        labels[core], known[core] = box.structure, True
    return labels, known


def draw_boxes(state: State, ref: SliceRef, boxes: Sequence[DrawnBox], *, redrawn: bool) -> Step:
    """Return the step that says of a slice what all ``boxes`` on it say, and nothing else.

    Parameters
    ----------
    boxes
        All boxes of the slice, of one or several structures; none: the slice is as if never drawn on.
    redrawn
        Whether what is known of the slice comes from boxes, so that these replace it.

    Raises
    ------
    AnnotationError
        When a box is too small or outside of the slice, its structure is unknown or locked, or the slice
        was painted, accepted or marked otherwise.
    """
    require_slice(state, ref)
    name = slice_name(state.planes, ref)
    shape = slice_shape(state.geometry.shape, ref.axis)
    before = state.records.get(ref)
    if before is not None and not redrawn:
        raise AnnotationError(
            f"The {name} holds an example already",
            expected="a slice on which nothing was painted or accepted",
            next_step="Go on by painting it, or forget the example first",
        )
    for box in boxes:
        _require_box(state, box, shape)
    record = _record(state, ref, boxes) if boxes else None
    records = {r: other for r, other in state.records.items() if r != ref}
    if record is not None:
        records[ref] = record
    labels, status = compose_slice(records, ref, state.geometry.shape)
    old_labels, old_status = slice_views(state, ref)
    changes = ((ArrayName.LABELS, old_labels, labels), (ArrayName.STATUS, old_status, status))
    what = state.names(box.structure for box in boxes)
    return Step(
        VERB,
        f"draw a box around the {what} on {name}" if boxes else f"take the boxes on {name} away",
        _parameters(state, ref, boxes),
        slice_patches(ref, changes, shape=state.geometry.shape),
        (RecordChange(ref, before, record),) if record != before else (),
    )


def boxes_on(ref: SliceRef, record: SliceRecord | None, events: Iterable[EventRecord]) -> tuple[DrawnBox, ...]:
    """Return the boxes from which everything known of a slice comes; none once it was painted or accepted.

    ``events`` run from the newest to the oldest.
    """
    if record is None or record.complete or not record.layers:
        return ()
    for event in events:
        said = event.parameters
        # The moment of the claim is the slice's own, and no two steps share one.
        if event.verb == VERB and said.get("tick") == record.tick and _is_at(said, ref):
            return _read(said.get("boxes"))
    return ()


def _record(state: State, ref: SliceRef, boxes: Sequence[DrawnBox]) -> SliceRecord:
    labels, known = known_from(boxes, slice_shape(state.geometry.shape, ref.axis))
    allowed = protect(state, ref, mask=known, values=labels).allowed
    codes = either(allowed, np.uint8(PAINTED), np.uint8(0))
    looked_for = frozenset(box.structure for box in boxes)
    newest = newest_elsewhere(state.records, ref.axis)
    return with_claims(
        SliceRecord(looked_for=looked_for), labels, codes, tick=state.generation + 1, newest_crossing=newest
    )


def _require_box(state: State, box: DrawnBox, shape: tuple[int, int]) -> None:
    structure = state.structure(box.structure)
    if structure.locked:
        raise AnnotationError(f"The {structure.name} is locked", next_step="Unlock it in the table first")
    sides = [stop - first for first, stop in zip(box.start, box.stop, strict=True)]
    if min(sides) < SMALLEST or min(box.start) < 0 or any(b > n for b, n in zip(box.stop, shape, strict=True)):
        raise AnnotationError(
            f"A box of {sides[0]} x {sides[1]} voxels cannot be used",
            expected=f"at least {SMALLEST} x {SMALLEST} voxels, inside of the slice",
            next_step="Drag from one corner of the structure to the opposite one",
        )


def _parameters(state: State, ref: SliceRef, boxes: Sequence[DrawnBox]) -> dict[str, Json]:
    return {
        "axis": ref.axis,
        "index": ref.index,
        "tick": state.generation + 1,
        "boxes": [[box.structure, *box.start, *box.stop] for box in boxes],
    }


def _read(rows: Json) -> tuple[DrawnBox, ...]:
    found = []
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, list) and len(row) == 5:
            number, top, left, bottom, right = (n if isinstance(n, int) else 0 for n in row)
            found.append(DrawnBox(number, (top, left), (bottom, right)))
    return tuple(found)


def _is_at(said: object, ref: SliceRef) -> bool:
    return isinstance(said, dict) and said.get("axis") == ref.axis and said.get("index") == ref.index


def _size(box: DrawnBox) -> int:
    return (box.stop[0] - box.start[0]) * (box.stop[1] - box.start[1])
