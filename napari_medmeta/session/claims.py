"""The shared core of all verbs that say something about a slice: from claimed voxels to patches."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from napari_medmeta.core import BACKGROUND, LabelArray, MaskArray, Origin, SliceRef
from napari_medmeta.session.model import ACCEPTED, PAINTED, UNDECIDED, Offer, SliceRecord
from napari_medmeta.session.packing import either
from napari_medmeta.session.patches import ArrayName, Patch, RecordChange, Rejection, slice_patches
from napari_medmeta.session.records import (
    Window,
    bounds,
    has_background,
    newest_elsewhere,
    same_claims,
    slice_shape,
    with_background_outdated,
    with_claims,
)
from napari_medmeta.session.state import State, slice_views
from napari_medmeta.session.words import counted

__all__ = ["Edit", "Protection", "claim", "protect"]


@dataclass(frozen=True)
class Edit:
    """What one verb changes on one slice."""

    patches: tuple[Patch, ...] = ()
    records: tuple[RecordChange, ...] = ()
    rejections: tuple[Rejection, ...] = ()

    def __add__(self, other: Edit) -> Edit:
        return Edit(self.patches + other.patches, self.records + other.records, self.rejections + other.rejections)


def claim(
    state: State,
    ref: SliceRef,
    *,
    labels: LabelArray,
    codes: LabelArray,
    complete: bool,
    looked_for: frozenset[int],
    origin: Origin,
    offers: tuple[Offer, ...] = (),
) -> Edit:
    """Return what changes when voxels of a slice are claimed.

    Parameters
    ----------
    labels, codes
        (rows, columns) uint8; PAINTED or ACCEPTED in ``codes`` where ``labels`` is claimed, 0 elsewhere.
    complete
        Whether the slice becomes (or stays) complete.
    looked_for
        Structures that are absent where this slice says background from now on.
    offers
        What was proposed here, to be judged by what becomes of it.
    """
    shape = state.geometry.shape
    before = state.records.get(ref)
    record = before or SliceRecord()
    if not complete and has_background(record) and not looked_for <= record.looked_for:
        record = with_background_outdated(record, slice_shape(shape, ref.axis))
    # Who says something new on a slice wants it to count.
    record = replace(
        record,
        complete=complete,
        looked_for=looked_for,
        origin=origin,
        weight=1.0,
        offers=(*record.offers, *offers),
    )
    newest = newest_elsewhere(state.records, ref.axis)
    record = with_claims(record, labels, codes, tick=state.generation + 1, newest_crossing=newest)
    turns_complete = complete and not (before is not None and before.complete)
    window = (slice(None), slice(None)) if turns_complete else bounds(codes != UNDECIDED)
    patches = _patches(state, ref, labels, codes, window) if window is not None else ()
    says_more = before is None or bool(patches) or not same_claims(record, before)
    return Edit(
        patches,
        (RecordChange(ref, before, record),) if says_more and record != SliceRecord(origin=origin) else (),
        (Rejection(ref, True, False),) if ref in state.rejected else (),
    )


def _patches(state: State, ref: SliceRef, labels: LabelArray, codes: LabelArray, window: Window) -> tuple[Patch, ...]:
    """Return the patches inside a window; where the window is the whole slice, it turns complete."""
    # On the last axis a slice's voxels lie far apart in memory: fetch them once.
    old_labels, old_status = (np.ascontiguousarray(view[window]) for view in slice_views(state, ref))
    claimed = codes[window] != UNDECIDED
    new_labels = either(claimed, labels[window], old_labels)
    new_status = either(claimed, codes[window], old_status)
    if window[0].start is None:
        # Undecided turns painted; what is painted or accepted has a higher code already.
        new_status = np.maximum(new_status, np.uint8(PAINTED))
    changes = ((ArrayName.LABELS, old_labels, new_labels), (ArrayName.STATUS, old_status, new_status))
    corner = (window[0].start or 0, window[1].start or 0)
    return slice_patches(ref, changes, shape=state.geometry.shape, corner=corner)


@dataclass(frozen=True, eq=False)
class Protection:
    """Where a stroke may change a slice.

    Parameters
    ----------
    allowed
        (rows, columns) bool: voxels that the stroke claims.
    settled
        (rows, columns) bool: accepted voxels that already are what the stroke says; they stay accepted.
    note
        A sentence about the voxels that were kept, or nothing.
    """

    allowed: MaskArray
    settled: MaskArray
    note: str

    @property
    def counts(self) -> bool:
        """Whether the stroke says anything at all."""
        return bool(self.allowed.any() or self.settled.any())


def protect(state: State, ref: SliceRef, *, mask: MaskArray, values: LabelArray) -> Protection:
    """Return where a stroke of ``values`` (rows, columns) inside ``mask`` may change the slice.

    Voxels of locked structures stay, and none are added to them. Accepted voxels of another structure
    stay; the eraser changes accepted voxels of the active structure only.
    """
    window = bounds(mask)
    if window is None:
        return Protection(mask, mask, "")
    labels, status = (np.ascontiguousarray(view[window]) for view in slice_views(state, ref))
    inside, values = mask[window], values[window]
    differs = labels != values
    locked = _mark(state.locked)
    kept_locked = inside & differs & (locked[labels] | locked[values])
    erasable = (values == BACKGROUND) & (labels == (state.active or BACKGROUND))
    accepted = (status == ACCEPTED) & (labels != BACKGROUND)
    kept_accepted = inside & differs & accepted & ~erasable & ~kept_locked
    settled = np.zeros_like(mask)
    settled[window] = inside & ~differs & (status == ACCEPTED)
    allowed = np.zeros_like(mask)
    allowed[window] = inside & ~kept_locked & ~kept_accepted & ~settled[window]
    holders = np.unique(np.where(locked[labels], labels, values)[kept_locked])
    notes = [
        _kept(kept_locked, f"the locked {state.names(int(v) for v in holders)}", "unlock it"),
        _kept(
            kept_accepted,
            f"the accepted {state.names(int(v) for v in np.unique(labels[kept_accepted]))}",
            "choose that structure",
        ),
    ]
    return Protection(allowed, settled, " ".join(n for n in notes if n))


def _mark(ids: frozenset[int]) -> MaskArray:
    table = np.zeros(256, dtype=bool)
    table[list(ids)] = True
    return table


def _kept(mask: MaskArray, whose: str, remedy: str) -> str:
    number = int(np.count_nonzero(mask))
    if not number:
        return ""
    belong = "belongs" if number == 1 else "belong"
    were = "was" if number == 1 else "were"
    them = "it" if number == 1 else "them"
    return f"{counted(number, 'voxel')} {belong} to {whose} and {were} kept; {remedy} to change {them}."
