"""The verbs of the eye: accept and reject proposals. Pure: state in, step out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from napari_medmeta.core import (
    BACKGROUND,
    AnnotationError,
    Box,
    LabelArray,
    MaskArray,
    MissingExamplesError,
    Origin,
    SliceRef,
    Triple,
)
from napari_medmeta.session.claims import Edit, claim
from napari_medmeta.session.components import component_at
from napari_medmeta.session.model import ACCEPTED, UNDECIDED, Json, SliceRecord
from napari_medmeta.session.offers import offers_on
from napari_medmeta.session.packing import either
from napari_medmeta.session.painting import require_voxel
from napari_medmeta.session.patches import Rejection, Step
from napari_medmeta.session.preview import visible
from napari_medmeta.session.records import slice_shape
from napari_medmeta.session.state import State, require_slice, slice_views
from napari_medmeta.session.support import main_axis
from napari_medmeta.session.words import counted, slice_name

__all__ = ["accept_component", "accept_confident", "accept_slice", "reject_slice"]

_NEXT_STEP = "Wait for the proposal, or ask for one"
_EMPTY = "Mark the slice as complete if nothing is there, or paint it"


def accept_slice(state: State, ref: SliceRef, *, structures: Iterable[int] | None = None) -> Step:
    """Return the step that turns the proposal on a slice into a complete example.

    With ``structures``, only their voxels are accepted and the slice stays open for the others.

    Raises
    ------
    MissingExamplesError
        When there is no proposal on the slice.
    AnnotationError
        When the slice is an example already, or a structure is unknown or locked.
    """
    require_slice(state, ref)
    name = slice_name(state.planes, ref)
    if structures is None:
        edit = _whole(state, ref, looked_at=True)
        if edit is None:
            raise AnnotationError(f"The {name} is an example already", next_step="Go to the next slice")
        return _step("accept_slice", f"accept {name}", {"axis": ref.axis, "index": ref.index}, edit)
    chosen = frozenset(int(s) for s in structures)
    for number in chosen:
        if state.structure(number).locked:
            raise AnnotationError(f"The {state.structure(number).name} is locked", next_step="Unlock it to accept more")
    labels = np.where(np.isin(_open(state, ref), sorted(chosen)), _open(state, ref), BACKGROUND).astype(np.uint8)
    if not labels.any():
        raise MissingExamplesError(f"No {state.names(chosen)} is proposed on {name}", next_step=_NEXT_STEP)
    text = f"accept the {state.names(chosen)} on {name}"
    parameters: dict[str, Json] = {"axis": ref.axis, "index": ref.index, "structures": [*sorted(chosen)]}
    return _step("accept_slice", text, parameters, _sparse(state, ref, labels))


def accept_component(state: State, ijk: Triple) -> Step:
    """Return the step that accepts the connected part (26 neighbours) of the proposal around a voxel.

    Raises
    ------
    MissingExamplesError
        When nothing is proposed at the voxel.
    """
    require_voxel(state, ijk)
    i, j, k = (int(n) for n in ijk)
    label = int(visible(state, Box.of_voxel((i, j, k)))[0, 0, 0])
    box = state.proposals.box
    if label == BACKGROUND or box is None:
        raise MissingExamplesError("Nothing is proposed here", next_step="Point at a proposed structure")
    same = state.proposals.labels_in(box) == label
    around, part = component_at(same, (i - box.start[0], j - box.start[1], k - box.start[2]))
    box = _moved(around, box.start)
    part = part & (visible(state, box) == label)
    axis = main_axis(state)
    edit = Edit()
    for offset in range(box.shape[axis]):
        mask = np.take(part, offset, axis=axis)
        if mask.any():
            ref = SliceRef(axis, box.start[axis] + offset)
            edit += _sparse(state, ref, _pasted(mask, label, state, box, axis))
    name = state.structure(label).name
    text = f"accept a part of the {name} ({counted(int(np.count_nonzero(part)), 'voxel')})"
    return _step("accept_component", text, {"ijk": [i, j, k], "structure": label}, edit)


def accept_confident(state: State, threshold: float, *, expected: Mapping[SliceRef, float]) -> Step:
    """Return the step that accepts every slice whose ``expected`` Dice is at least ``threshold`` (0 to 1)."""
    if not 0.0 <= threshold <= 1.0:
        raise AnnotationError(f"{threshold} is no confidence", expected="a number from 0 to 1")
    if not state.proposals:
        raise MissingExamplesError("There is no proposal yet", next_step=_NEXT_STEP)
    edit, accepted = Edit(), 0
    for ref, dice in sorted(expected.items()):
        sure = dice >= threshold and ref not in state.rejected and _covered(state, ref)
        one = _whole(state, ref, looked_at=False) if sure else None
        if one is not None:
            edit, accepted = edit + one, accepted + 1
    text = f"accept {counted(accepted, 'slice')} with an expected Dice of {threshold:.2f} or more"
    note = "" if accepted else f"No open slice has an expected Dice of {threshold:.2f} or more."
    parameters: dict[str, Json] = {"threshold": float(threshold)}
    parameters["slices"] = [[change.ref.axis, change.ref.index] for change in edit.records]
    return _step("accept_confident", text, parameters, edit, note=note)


def reject_slice(state: State, ref: SliceRef) -> Step:
    """Return the step that hides the proposal on a slice until it is painted or accepted.

    Raises
    ------
    MissingExamplesError
        When nothing is proposed on the slice.
    """
    require_slice(state, ref)
    name = slice_name(state.planes, ref)
    parameters: dict[str, Json] = {"axis": ref.axis, "index": ref.index}
    if ref in state.rejected:
        return Step("reject_slice", f"reject {name}", parameters, note=f"The {name} is rejected already.")
    if not visible(state, Box.of_slice(ref, state.geometry.shape)).any():
        raise MissingExamplesError(f"Nothing is proposed on {name}", next_step=_EMPTY)
    return Step("reject_slice", f"reject {name}", parameters, rejections=(Rejection(ref, False, True),))


def _whole(state: State, ref: SliceRef, *, looked_at: bool) -> Edit | None:
    """Return the edit that accepts everything on a slice, None where nothing is open."""
    shown = state.proposals.covering(Box.of_slice(ref, state.geometry.shape))
    if shown is None:
        raise MissingExamplesError(f"There is no proposal on {slice_name(state.planes, ref)}", next_step=_NEXT_STEP)
    record = state.records.get(ref, SliceRecord())
    proposed = (shown.structures & state.ids) - state.locked
    labels = _open(state, ref)
    if record.complete and proposed <= record.looked_for and not labels.any():
        return None
    _, status = slice_views(state, ref)
    codes = either((status == UNDECIDED) | (labels != BACKGROUND), np.uint8(ACCEPTED), np.uint8(0))
    return claim(
        state,
        ref,
        labels=labels,
        codes=codes,
        complete=True,
        looked_for=proposed | record.looked_for if record.complete else proposed,
        origin=record.origin if record.complete else Origin.ACCEPTED,
        offers=offers_on(state, ref, looked_at=looked_at, shown=labels),
    )


def _sparse(state: State, ref: SliceRef, labels: LabelArray) -> Edit:
    record = state.records.get(ref, SliceRecord(origin=Origin.ACCEPTED))
    return claim(
        state,
        ref,
        labels=labels,
        codes=either(labels != BACKGROUND, np.uint8(ACCEPTED), np.uint8(0)),
        complete=record.complete,
        looked_for=record.looked_for,
        origin=record.origin,
    )


def _open(state: State, ref: SliceRef) -> LabelArray:
    box = Box.of_slice(ref, state.geometry.shape)
    return visible(state, box, ignore=ref).reshape(slice_shape(state.geometry.shape, ref.axis))


def _covered(state: State, ref: SliceRef) -> bool:
    return state.proposals.covering(Box.of_slice(ref, state.geometry.shape)) is not None


def _moved(box: Box, by: Triple) -> Box:
    i, j, k = (a + b for a, b in zip(box.start, by, strict=True))
    p, q, r = (a + b for a, b in zip(box.stop, by, strict=True))
    return Box((i, j, k), (p, q, r))


def _pasted(mask: MaskArray, label: int, state: State, box: Box, axis: int) -> LabelArray:
    out = np.zeros(slice_shape(state.geometry.shape, axis), dtype=np.uint8)
    rows, columns = (s for a, s in enumerate(box.slices) if a != axis)
    out[rows, columns] = either(mask, np.uint8(label), np.uint8(BACKGROUND))
    return out


def _step(verb: str, text: str, parameters: dict[str, Json], edit: Edit, *, note: str = "") -> Step:
    return Step(verb, text, parameters, edit.patches, edit.records, edit.rejections, note=note)
