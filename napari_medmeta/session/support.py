"""From what was said to what the engine learns from: a frozen `Support`."""

from __future__ import annotations

from collections import Counter

import numpy as np

from napari_medmeta.core import (
    BACKGROUND,
    MaskArray,
    Origin,
    SliceExample,
    SliceRef,
    Support,
    label_slice,
)
from napari_medmeta.session.model import OUTDATED, SliceRecord
from napari_medmeta.session.patches import Step
from napari_medmeta.session.records import own_claims, slice_shape
from napari_medmeta.session.state import State

__all__ = ["SupportBuilder", "main_axis"]


def main_axis(state: State) -> int:
    """Return the axis of most complete examples; of equals, the through-plane one, then the first."""
    counts = Counter(ref.axis for ref, record in state.records.items() if record.complete and record.weight > 0)
    through = state.geometry.through_plane_axis
    return max(range(3), key=lambda axis: (counts[axis], axis == through, -axis))


class SupportBuilder:
    """Builds the support, keeping the examples that did not change since the last one with all they know."""

    def __init__(self) -> None:
        self._whole: dict[SliceRef, SliceExample] = {}
        self._last: Support | None = None

    def forget(self, step: Step) -> None:
        """Drop what ``step`` makes out of date."""
        if step.is_evidence:
            self._last = None
        for patch in step.patches:
            start, stop = patch.box.start, patch.box.stop
            stale = [r for r in self._whole if start[r.axis] <= r.index < stop[r.axis]]
            for ref in stale:
                del self._whole[ref]

    def build(self, state: State) -> Support:
        """Return all complete slices, and the other known voxels grouped by slice along the main axis."""
        if self._last is None:
            whole = {ref: r for ref, r in state.records.items() if r.complete and r.weight > 0}
            examples = [self._complete(state, ref, record) for ref, record in whole.items()]
            examples += _sparse_examples(state)
            examples.sort(key=lambda e: e.ref)
            ids = tuple(sorted(state.ids))
            trust = {s.id: dict(s.trust) for s in state.structures if s.trust}
            self._last = Support(state.geometry.shape, tuple(examples), ids, state.generation, trust)
        return self._last

    def _complete(self, state: State, ref: SliceRef, record: SliceRecord) -> SliceExample:
        kept = self._whole.get(ref)
        told = (record.looked_for, record.origin, record.weight)
        if kept is None or (kept.complete_for, kept.origin, kept.weight) != told:
            labels = kept.labels if kept is not None else label_slice(state.labels, ref).copy()
            labels.setflags(write=False)
            known = np.broadcast_to(np.True_, labels.shape)
            kept = self._whole[ref] = SliceExample(ref, labels, known, *told)
        return kept


def _sparse_examples(state: State) -> list[SliceExample]:
    """Return the strokes, clicks and accepted parts outside of the main axis' complete slices."""
    axis = main_axis(state)
    groups: dict[int, list[_Strokes]] = {}
    for ref, record in state.records.items():
        if not record.complete and record.weight > 0:
            for index, strokes in _by_slice(state, ref, record, axis):
                groups.setdefault(index, []).append(strokes)
    return [
        _merged(state, SliceRef(axis, index), strokes)
        for index, strokes in groups.items()
        if not _is_complete(state, SliceRef(axis, index))
    ]


_Strokes = tuple[SliceRecord, MaskArray]
"""A record and the voxels (rows, columns) of one main-axis slice that it makes known."""


def _is_complete(state: State, ref: SliceRef) -> bool:
    record = state.records.get(ref)
    return record is not None and record.complete


def _by_slice(state: State, ref: SliceRef, record: SliceRecord, axis: int) -> list[tuple[int, _Strokes]]:
    shape = state.geometry.shape
    _, codes = own_claims(record, slice_shape(shape, ref.axis))
    known = np.asarray((codes != 0) & (codes != OUTDATED))
    if ref.axis == axis:
        return [(ref.index, (record, known))] if known.any() else []
    found = []
    position = [a for a in range(3) if a != ref.axis].index(axis)
    lines = known if position == 0 else known.T
    for index in np.flatnonzero(lines.any(axis=1)):
        mask = np.zeros(slice_shape(shape, axis), dtype=bool)
        # In the main-axis slice, the crossing slice is the line at its own index.
        if [a for a in range(3) if a != axis].index(ref.axis) == 0:
            mask[ref.index] = lines[index]
        else:
            mask[:, ref.index] = lines[index]
        found.append((int(index), (record, mask)))
    return found


def _merged(state: State, ref: SliceRef, strokes: list[_Strokes]) -> SliceExample:
    labels = label_slice(state.labels, ref)
    known = np.zeros(labels.shape, dtype=bool)
    origins = {record.origin for record, _ in strokes}
    background = [(r, m & (labels == BACKGROUND)) for r, m in strokes if (m & (labels == BACKGROUND)).any()]
    # Background strokes of different times looked for different structures, and an example has one answer
    # for all of its background: the newest one, without the older strokes that did not look for as much.
    newest = max((r for r, _ in background), key=lambda r: r.tick, default=None)
    looked_for = newest.looked_for if newest is not None else state.ids
    for record, mask in strokes:
        known |= mask if looked_for <= record.looked_for else mask & (labels != BACKGROUND)
    shown = np.where(known, labels, np.uint8(BACKGROUND))
    for array in (shown, known):
        array.setflags(write=False)
    origin = Origin.ACCEPTED if origins == {Origin.ACCEPTED} else Origin.PAINTED
    weight = max(record.weight for record, _ in strokes)
    return SliceExample(ref, shown, known, looked_for, origin, weight)
