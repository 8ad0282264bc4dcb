"""The whole stack at a glance: the state of every slice, without scanning the volume."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from napari_medmeta.core import BACKGROUND, Box, Origin, SliceRef, Triple, label_slice
from napari_medmeta.session.model import REVIEW_BELOW, SliceState
from napari_medmeta.session.patches import Step
from napari_medmeta.session.preview import Preview
from napari_medmeta.session.state import State, apply

__all__ = ["Overview"]

_RECOUNT_FROM = 64
"""Slices touched by one step from which counting the preview anew is quicker than slice by slice."""


class Overview:
    """Counts that follow the state step by step."""

    def __init__(self, shape: Triple) -> None:
        self._shape = shape
        self._empty: dict[SliceRef, bool] = {}
        self.preview = Preview(shape)

    def apply(self, state: State, step: Step, *, backwards: bool = False) -> None:
        """Carry out ``step`` on ``state``, or take it back, and count along."""
        locked = state.locked
        slices = [Box.of_slice(ref, self._shape) for ref in step.touched]
        anew = len({ref.axis for ref in step.touched}) > 1 or len(slices) > _RECOUNT_FROM
        for box in () if anew else slices:
            self.preview.add(state, box, -1)
        apply(state, step, backwards=backwards)
        if anew or locked != state.locked or not state.proposals:
            self.preview.recount(state)
        else:
            for box in slices:
                self.preview.add(state, box, 1)
        for patch in step.patches:
            start, stop = patch.box.start, patch.box.stop
            for ref in [r for r in self._empty if start[r.axis] <= r.index < stop[r.axis]]:
                del self._empty[ref]

    def slices(self, state: State, axis: int, dice: Mapping[SliceRef, float]) -> tuple[SliceState, ...]:
        """Return the state of every slice along an array axis; ``dice`` is what is expected of each."""
        return tuple(self.slice(state, SliceRef(axis, i), dice) for i in range(self._shape[axis]))

    def slice(self, state: State, ref: SliceRef, dice: Mapping[SliceRef, float]) -> SliceState:
        """Return the state of one slice."""
        record = state.records.get(ref)
        proposed = self.preview.open_voxels(ref) > 0
        if record is not None and record.complete and not proposed:
            return self._example(state, ref)
        if ref in state.rejected:
            return SliceState.REJECTED
        if record is not None and not record.complete:
            return SliceState.SCRIBBLED
        if not proposed:
            return SliceState.UNTOUCHED
        return SliceState.TO_REVIEW if dice.get(ref, 1.0) < REVIEW_BELOW else SliceState.PROPOSED

    def _example(self, state: State, ref: SliceRef) -> SliceState:
        if state.records[ref].origin is Origin.ACCEPTED:
            return SliceState.ACCEPTED
        if ref not in self._empty:
            self._empty[ref] = not np.any(label_slice(state.labels, ref) != BACKGROUND)
        return SliceState.EMPTY_EXAMPLE if self._empty[ref] else SliceState.EXAMPLE
