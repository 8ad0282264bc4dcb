"""What napari's paint event says, as plain edits.

napari up to 0.7 sends a list of ``(indices, old values, new values)``; from 0.8 on a stroke is a list
of atoms with ``slice_key``, ``mask`` (None: the whole box) and ``new_value``. Both are read by their
public shape, never by their private type.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_medmeta.core import UNLABELLED, Box, MaskArray, SliceRef, Triple, label_slice

__all__ = ["BACKGROUND_STROKE", "Edit", "edits_of", "plane_mask", "strokes_on", "touched_slices"]

BACKGROUND_STROKE = UNLABELLED
"""Value on screen of a stroke that says "background": 0 would look as if nothing had been said."""


@dataclass(frozen=True, eq=False)
class Edit:
    """One value painted inside a box: ``mask`` has the box's shape."""

    box: Box
    mask: MaskArray
    value: int


def edits_of(payload: object, shape: Triple) -> tuple[Edit, ...]:
    """Return the edits of one paint event on an array of ``shape`` (I, J, K), in painting order.

    What cannot be read as an edit is left out; the caller compares the slice with the session then.
    """
    atoms: Iterable[Any] = payload if isinstance(payload, list) else [payload]
    return tuple(edit for atom in atoms for edit in _edits_of_atom(atom, shape))


def touched_slices(edits: Iterable[Edit], axis: int) -> tuple[SliceRef, ...]:
    """Return the slices along ``axis`` on which at least one voxel was painted, ascending."""
    others = tuple(a for a in range(3) if a != axis)
    found: set[int] = set()
    for edit in edits:
        hit = np.flatnonzero(edit.mask.any(axis=others))
        found.update(int(i) + edit.box.start[axis] for i in hit)
    return tuple(SliceRef(axis, index) for index in sorted(found))


def strokes_on(edits: Iterable[Edit], ref: SliceRef, shape: Triple) -> list[tuple[int, MaskArray]]:
    """Return (value, (rows, columns) bool) on slice ``ref``, in painting order.

    napari tells each dab of a stroke; dabs of one value that follow each other are one stroke.
    """
    strokes: list[tuple[int, MaskArray]] = []
    for edit in edits:
        mask = plane_mask(edit, ref, shape)
        if not mask.any():
            continue
        if strokes and strokes[-1][0] == edit.value:
            np.logical_or(strokes[-1][1], mask, out=strokes[-1][1])
        else:
            strokes.append((edit.value, mask))
    return strokes


def plane_mask(edit: Edit, ref: SliceRef, shape: Triple) -> MaskArray:
    """Return (rows, columns) bool: the voxels of slice ``ref`` that ``edit`` painted."""
    plane = np.zeros(tuple(n for a, n in enumerate(shape) if a != ref.axis), dtype=bool)
    start = edit.box.start[ref.axis]
    if start <= ref.index < edit.box.stop[ref.axis]:
        rows, columns = (s for a, s in enumerate(edit.box.slices) if a != ref.axis)
        plane[rows, columns] = label_slice(edit.mask, SliceRef(ref.axis, ref.index - start))
    return plane


def _edits_of_atom(atom: Any, shape: Triple) -> Iterator[Edit]:
    if hasattr(atom, "slice_key") and hasattr(atom, "new_value"):
        box = _box_of_key(atom.slice_key, shape)
        mask = np.ones(box.shape, dtype=bool) if atom.mask is None else np.asarray(atom.mask, dtype=bool)
        if box.size and mask.shape == box.shape:
            yield Edit(box, mask, int(atom.new_value))
    elif isinstance(atom, tuple) and len(atom) == 3:
        yield from _edits_of_indices(atom[0], np.asarray(atom[2]))


def _box_of_key(key: tuple[slice, ...], shape: Triple) -> Box:
    starts, stops = zip(*(part.indices(n)[:2] for part, n in zip(key, shape, strict=True)), strict=True)
    return Box((starts[0], starts[1], starts[2]), (stops[0], stops[1], stops[2]))


def _edits_of_indices(indices: Any, values: Any) -> Iterator[Edit]:
    points = np.stack([np.ravel(np.asarray(i)) for i in np.broadcast_arrays(*indices)], axis=1)
    if points.shape[0] == 0 or points.shape[1] != 3:
        return
    painted = np.broadcast_to(np.ravel(values), points.shape[:1]) if values.size == 1 else np.ravel(values)
    for value in np.unique(painted):
        chosen = points[painted == value]
        low, high = chosen.min(axis=0), chosen.max(axis=0) + 1
        box = Box((int(low[0]), int(low[1]), int(low[2])), (int(high[0]), int(high[1]), int(high[2])))
        mask = np.zeros(box.shape, dtype=bool)
        mask[tuple((chosen - low).T)] = True
        yield Edit(box, mask, int(value))
