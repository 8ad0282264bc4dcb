"""The verbs of the hand: paint, click, mark complete, remove, import. Pure: state in, step out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_medmeta.core import (
    BACKGROUND,
    MAX_STRUCTURES,
    UNLABELLED,
    AnnotationError,
    Box,
    LabelArray,
    MaskArray,
    MissingExamplesError,
    Origin,
    SliceRef,
    Structure,
    Triple,
    label_slice,
)
from napari_medmeta.session.claims import Edit, Protection, claim, protect
from napari_medmeta.session.model import PAINTED, Json, Offer, PaintMode, SliceRecord
from napari_medmeta.session.offers import offers_on
from napari_medmeta.session.patches import ArrayName, RecordChange, Step, Table, slice_patches
from napari_medmeta.session.preview import visible
from napari_medmeta.session.records import compose_slice, slice_shape
from napari_medmeta.session.state import State, require_slice, slice_views
from napari_medmeta.session.table import default_colour
from napari_medmeta.session.words import counted, slice_name

__all__ = ["click", "import_labels", "mark_complete", "paint", "paint_slice", "remove_example", "weigh_example"]


def paint(state: State, ref: SliceRef, mask: MaskArray, *, value: int, over_proposal: bool = True) -> Step:
    """Return the step of one stroke: ``mask`` (rows, columns) becomes ``value``, 0 for background.

    In COMPLETE mode the slice becomes a complete example, taking over the proposal on it first unless
    ``over_proposal`` is False: then what is only proposed there becomes background. In SCRIBBLE mode only
    the stroked voxels become known.
    """
    mask = _require_mask(mask, _require_paintable(state, ref, value))
    text = f"{_doing(state, value)} on {slice_name(state.planes, ref)}"
    parameters: dict[str, Json] = {**_place(ref), "value": value, "mode": state.mode.value}
    parameters["voxels"] = int(np.count_nonzero(mask))
    if not over_proposal:
        parameters["over_proposal"] = False
    values = np.full(mask.shape, value, dtype=np.uint8)
    protection = protect(state, ref, mask=mask, values=values)
    if not protection.counts:
        return Step("paint", text, parameters, note=protection.note)
    if state.mode is PaintMode.COMPLETE:
        edit = _complete(state, ref, values, protection, over_proposal=over_proposal, offers=offers_on(state, ref))
    else:
        edit = _scribble(state, ref, values, protection)
    return _step("paint", text, parameters, edit, note=protection.note)


def paint_slice(state: State, ref: SliceRef, labels: LabelArray) -> Step:
    """Return the step that makes ``labels`` (rows, columns) the complete example of a slice."""
    require_slice(state, ref)
    values = _require_values(state, labels, slice_shape(state.geometry.shape, ref.axis))
    protection = protect(state, ref, mask=np.ones(values.shape, dtype=bool), values=values)
    edit = _complete(state, ref, values, protection, over_proposal=False, offers=offers_on(state, ref))
    text = f"paint the whole {slice_name(state.planes, ref)}"
    return _step("paint_slice", text, dict(_place(ref)), edit, note=protection.note)


def click(state: State, ijk: Triple, *, value: int, axis: int) -> Step:
    """Return the step of one click: the voxel becomes ``value``, known on its slice along ``axis``."""
    require_voxel(state, ijk)
    ref = SliceRef(axis, int(ijk[axis]) if axis in (0, 1, 2) else 0)
    mask = np.zeros(_require_paintable(state, ref, value), dtype=bool)
    row, column = (n for a, n in enumerate(ijk) if a != axis)
    mask[row, column] = True
    values = np.full(mask.shape, value, dtype=np.uint8)
    protection = protect(state, ref, mask=mask, values=values)
    what = f"a voxel as {state.names([value]) or 'background'}"
    text = f"mark {what} on {slice_name(state.planes, ref)}"
    parameters: dict[str, Json] = {"ijk": [int(n) for n in ijk], "value": value, "axis": axis}
    if not protection.counts:
        return Step("click", text, parameters, note=protection.note)
    return _step("click", text, parameters, _scribble(state, ref, values, protection), note=protection.note)


def mark_complete(state: State, ref: SliceRef) -> Step:
    """Return the step that makes a slice, painted or empty, a complete example for all structures."""
    require_slice(state, ref)
    _require_structures(state)
    nothing = np.zeros(slice_shape(state.geometry.shape, ref.axis), dtype=np.uint8)
    origin = state.records[ref].origin if ref in state.records else Origin.PAINTED
    edit = claim(
        state,
        ref,
        labels=nothing,
        codes=nothing,
        complete=True,
        looked_for=state.ids,
        origin=origin,
        offers=offers_on(state, ref),
    )
    text = f"mark {slice_name(state.planes, ref)} as complete"
    return _step("mark_complete", text, dict(_place(ref)), edit)


def remove_example(state: State, ref: SliceRef) -> Step:
    """Return the step that forgets what was said on a slice, as if it had never been painted.

    Raises
    ------
    AnnotationError
        When nothing was said on it, or it holds voxels of a locked structure.
    """
    require_slice(state, ref)
    name = slice_name(state.planes, ref)
    before = state.records.get(ref)
    if before is None:
        raise AnnotationError(f"Nothing was painted or accepted on {name}", next_step="Choose a painted slice")
    rest = {r: record for r, record in state.records.items() if r != ref}
    labels, status = compose_slice(rest, ref, state.geometry.shape)
    old_labels, old_status = slice_views(state, ref)
    touched = {int(v) for v in np.unique(old_labels[old_labels != labels])} & state.locked
    if touched:
        raise AnnotationError(
            f"The {name} holds voxels of the locked {state.names(touched)}",
            next_step="Unlock it before you remove the slice",
        )
    changes = ((ArrayName.LABELS, old_labels, labels), (ArrayName.STATUS, old_status, status))
    edit = Edit(slice_patches(ref, changes, shape=state.geometry.shape), (RecordChange(ref, before, None),))
    return _step("remove_example", f"remove the example on {name}", dict(_place(ref)), edit)


def weigh_example(state: State, ref: SliceRef, weight: float) -> Step:
    """Return the step that lets a slice count more or less as an example (0 to 1); its voxels stay.

    Raises
    ------
    AnnotationError
        When nothing was said on the slice, or the weight is out of range.
    """
    require_slice(state, ref)
    name = slice_name(state.planes, ref)
    before = state.records.get(ref)
    if before is None:
        raise AnnotationError(f"Nothing was painted or accepted on {name}", next_step="Choose a painted slice")
    if not 0.0 <= weight <= 1.0:
        raise AnnotationError(f"{weight} is no weight", expected="a number from 0 (not used) to 1 (fully used)")
    after = replace(before, weight=float(weight))
    how = "do not use" if not weight else "fully use" if weight == 1.0 else f"use with {weight:.0%} of its weight"
    parameters: dict[str, Json] = {**_place(ref), "weight": float(weight)}
    changes = (RecordChange(ref, before, after),) if after != before else ()
    return Step("weigh_example", f"{how} the example on {name}", parameters, records=changes)


def import_labels(
    state: State,
    labels: npt.NDArray[Any],
    *,
    axis: int,
    slices: Iterable[int] = (),
    unlabelled: int = UNLABELLED,
) -> Step:
    """Return the step that takes an existing label volume (I, J, K integers) as examples.

    Every slice along ``axis`` that holds a label, and each of ``slices``, becomes complete; one with
    ``unlabelled`` voxels is known elsewhere only. Structures missing in the table are added.
    """
    values = _require_volume(state, labels, unlabelled=unlabelled)
    require_slice(state, SliceRef(axis, 0))
    grown, table = _with_structures(state, values, unlabelled=unlabelled)
    edit, notes = Edit(), set()
    chosen = _labelled_slices(values, axis, slices, unlabelled=unlabelled)
    for index in chosen:
        ref = SliceRef(axis, index)
        require_slice(state, ref)
        part = label_slice(values, ref)
        known = np.asarray(part != unlabelled)
        part = np.where(known, part, BACKGROUND).astype(np.uint8)
        protection = protect(grown, ref, mask=known, values=part)
        notes.add(protection.note)
        if known.all():
            edit += _complete(grown, ref, part, protection, over_proposal=False)
        else:
            edit += _scribble(grown, ref, part, protection)
    text = f"import {counted(len(chosen), f'{state.planes[axis]} slice')} of labels"
    parameters: dict[str, Json] = {"axis": axis, "slices": list(chosen), "unlabelled": unlabelled}
    step = _step("import_labels", text, parameters, edit, note=_merged(notes))
    return Step(step.verb, text, parameters, step.patches, step.records, step.rejections, table, note=step.note)


def require_voxel(state: State, ijk: Triple) -> None:
    """Raise `AnnotationError` unless the scan has the voxel ``ijk``."""
    shape = state.geometry.shape
    if len(ijk) != 3 or not all(0 <= v < n for v, n in zip(ijk, shape, strict=True)):
        raise AnnotationError(f"The voxel {tuple(ijk)} lies outside of the scan", expected=f"indices below {shape}")


def _complete(
    state: State,
    ref: SliceRef,
    values: LabelArray,
    protection: Protection,
    *,
    over_proposal: bool,
    offers: tuple[Offer, ...] = (),
) -> Edit:
    labels = np.zeros_like(values)
    if over_proposal:
        labels = visible(state, Box.of_slice(ref, state.geometry.shape)).reshape(values.shape)
    codes = np.where(labels != BACKGROUND, np.uint8(PAINTED), np.uint8(0))
    labels[protection.allowed] = values[protection.allowed]
    codes[protection.allowed] = PAINTED
    return claim(
        state,
        ref,
        labels=labels,
        codes=codes,
        complete=True,
        looked_for=state.ids,
        origin=Origin.PAINTED,
        offers=offers,
    )


def _scribble(state: State, ref: SliceRef, values: LabelArray, protection: Protection) -> Edit:
    record = state.records.get(ref, SliceRecord())
    background = bool((values[protection.allowed] == BACKGROUND).any())
    looked_for = state.ids if background and not record.complete else record.looked_for
    codes = np.where(protection.allowed, np.uint8(PAINTED), np.uint8(0))
    return claim(
        state,
        ref,
        labels=values,
        codes=codes,
        complete=record.complete,
        looked_for=looked_for,
        origin=Origin.PAINTED if protection.allowed.any() else record.origin,
    )


def _step(verb: str, text: str, parameters: dict[str, Json], edit: Edit, *, note: str = "") -> Step:
    if not (edit.patches or edit.records or edit.rejections):
        return Step(verb, text, parameters, note=note)
    return Step(verb, text, parameters, edit.patches, edit.records, edit.rejections, note=note)


def _place(ref: SliceRef) -> dict[str, Json]:
    return {"axis": ref.axis, "index": ref.index}


def _doing(state: State, value: int) -> str:
    if value != BACKGROUND:
        return f"paint the {state.structure(value).name}"
    return "erase" if state.mode is PaintMode.COMPLETE else "paint background"


def _require_structures(state: State) -> None:
    if not state.structures:
        raise MissingExamplesError("There is no structure yet", next_step="Add a structure: type what you look for")


def _require_paintable(state: State, ref: SliceRef, value: int) -> tuple[int, int]:
    require_slice(state, ref)
    _require_structures(state)
    if value != BACKGROUND and state.structure(value).locked:
        raise AnnotationError(
            f"The {state.structure(value).name} is locked", next_step="Unlock it in the table to paint it"
        )
    return slice_shape(state.geometry.shape, ref.axis)


def _require_mask(mask: MaskArray, shape: tuple[int, int]) -> MaskArray:
    array = np.asarray(mask)
    if array.shape != shape or array.dtype != np.bool_:
        raise AnnotationError(
            f"A stroke of shape {array.shape} and type {array.dtype} does not fit the slice",
            expected=f"true or false for each of {shape} voxels",
        )
    return array


def _require_values(state: State, labels: npt.NDArray[Any], shape: tuple[int, ...]) -> LabelArray:
    array = np.asarray(labels)
    if array.shape != shape or array.dtype.kind not in "iub":
        raise AnnotationError(
            f"Labels of shape {array.shape} and type {array.dtype} do not fit", expected=f"whole numbers, {shape}"
        )
    _require_structures(state)
    for value in np.unique(array):
        if value != BACKGROUND:
            state.structure(int(value))
    return array.astype(np.uint8)


def _require_volume(state: State, labels: npt.NDArray[Any], *, unlabelled: int) -> npt.NDArray[Any]:
    array = np.asarray(labels)
    if array.shape != state.geometry.shape or array.dtype.kind not in "iub":
        raise AnnotationError(
            f"Labels of shape {array.shape} and type {array.dtype} do not lie on the scan's grid",
            expected=f"whole numbers, {state.geometry.shape}",
        )
    low, high = int(array.min()), int(np.max(np.where(array == unlabelled, 0, array)))
    if (low < 0 and low != unlabelled) or high > MAX_STRUCTURES:
        raise AnnotationError(
            f"The labels hold values from {low} to {high}",
            expected=f"0 for background and 1 to {MAX_STRUCTURES} for structures",
            next_step="Renumber the structures",
        )
    return array


def _with_structures(state: State, values: npt.NDArray[Any], *, unlabelled: int) -> tuple[State, Table | None]:
    """Return a look at ``state`` with every value of the labels in its table, and the table's change."""
    found = {int(v) for v in np.unique(values)} - {BACKGROUND, unlabelled} - state.ids
    if not found:
        return state, None
    new = tuple(Structure(v, f"structure {v}", default_colour(v)) for v in sorted(found))
    after = tuple(sorted((*state.structures, *new), key=lambda s: s.id))
    return state.with_structures(after), Table(state.structures, after)


def _labelled_slices(values: npt.NDArray[Any], axis: int, slices: Iterable[int], *, unlabelled: int) -> tuple[int, ...]:
    others = tuple(a for a in range(3) if a != axis)
    painted = np.any((values != BACKGROUND) & (values != unlabelled), axis=others)
    chosen = sorted({int(i) for i in np.flatnonzero(painted)} | {int(s) for s in slices})
    if not chosen:
        raise MissingExamplesError(
            "The labels hold no structure: every voxel is background or unlabelled",
            next_step="Choose labels with at least one painted slice",
        )
    return tuple(chosen)


def _merged(notes: set[str]) -> str:
    kept = sorted(n for n in notes if n)
    return "" if not kept else kept[0] if len(kept) == 1 else "Locked or accepted voxels on some slices were kept."
