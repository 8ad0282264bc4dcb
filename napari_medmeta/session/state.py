"""The whole of what a session knows, and the one place where steps change it."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from napari_medmeta.core import BACKGROUND, AnnotationError, Geometry, LabelArray, SliceRef, Structure, label_slice
from napari_medmeta.session.model import UNDECIDED, PaintMode, SliceRecord
from napari_medmeta.session.packing import unpack
from napari_medmeta.session.patches import ArrayName, Step
from napari_medmeta.session.preview import ProposalStack
from napari_medmeta.session.records import count_labels
from napari_medmeta.session.words import plane_names, slice_name

__all__ = ["State", "apply", "require_slice", "slice_views"]


class State:
    """Mutable; owned by one session and changed by `apply` only."""

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self.planes = plane_names(geometry)
        # Written to at once: else the first stroke across all slices waits for the memory of the whole scan.
        self.labels: LabelArray = np.full(geometry.shape, BACKGROUND, dtype=np.uint8)
        self.status: LabelArray = np.full(geometry.shape, UNDECIDED, dtype=np.uint8)
        self.structures: tuple[Structure, ...] = ()
        self.records: dict[SliceRef, SliceRecord] = {}
        self.rejected: set[SliceRef] = set()
        self.active: int | None = None
        self.mode = PaintMode.COMPLETE
        self.auto_propose = True
        self.generation = 0
        self.voxels: npt.NDArray[np.int64] = np.zeros(256, dtype=np.int64)
        """For each structure, its number of voxels; the first entry, of background, means nothing."""
        self.proposals = ProposalStack()

    @property
    def ids(self) -> frozenset[int]:
        """Ids of the structures in the table."""
        return frozenset(s.id for s in self.structures)

    @property
    def locked(self) -> frozenset[int]:
        """Ids of the locked structures."""
        return frozenset(s.id for s in self.structures if s.locked)

    def structure(self, number: int) -> Structure:
        """Return the structure with the id ``number``.

        Raises
        ------
        AnnotationError
            When the table holds no such structure.
        """
        for structure in self.structures:
            if structure.id == number:
                return structure
        known = ", ".join(f"{s.id} ({s.name})" for s in self.structures) or "none yet"
        raise AnnotationError(
            f"There is no structure {number}",
            expected=f"one of the table: {known}",
            next_step="Add the structure first",
        )

    def names(self, ids: Iterable[int]) -> str:
        """Return the names of structures in plain words, as in "liver and spleen"."""
        wanted = set(ids)
        names = [s.name for s in self.structures if s.id in wanted]
        return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)

    def with_structures(self, structures: tuple[Structure, ...]) -> State:
        """Return a look at this state with another table; it shares the arrays and is only to be read."""
        other = copy.copy(self)
        other.structures = structures
        return other


def slice_views(state: State, ref: SliceRef) -> tuple[LabelArray, LabelArray]:
    """Return the (rows, columns) views of labels and status on the slice ``ref``."""
    return label_slice(state.labels, ref), label_slice(state.status, ref)


def require_slice(state: State, ref: SliceRef) -> None:
    """Raise `AnnotationError` unless the scan has the slice ``ref``."""
    shape = state.geometry.shape
    if ref.axis not in (0, 1, 2):
        raise AnnotationError(f"The scan has no axis {ref.axis}", expected="0, 1 or 2")
    if not 0 <= ref.index < shape[ref.axis]:
        raise AnnotationError(
            f"The scan has no {slice_name(state.planes, ref)}", expected=f"0 to {shape[ref.axis] - 1}"
        )


def apply(state: State, step: Step, *, backwards: bool = False) -> None:
    """Carry out ``step``, or take it back; the generation grows either way if it is evidence."""
    for patch in step.patches:
        data = unpack(patch.before if backwards else patch.after, patch.box.shape)
        array = state.labels if patch.array is ArrayName.LABELS else state.status
        if patch.array is ArrayName.LABELS:
            state.voxels += count_labels(data) - count_labels(array[patch.box.slices])
        array[patch.box.slices] = data
    for change in step.records:
        record = change.before if backwards else change.after
        if record is None:
            state.records.pop(change.ref, None)
        else:
            state.records[change.ref] = record
    for rejection in step.rejections:
        rejected = rejection.before if backwards else rejection.after
        (state.rejected.add if rejected else state.rejected.discard)(rejection.ref)
    _apply_table(state, step, backwards=backwards)
    state.generation += step.is_evidence


def _apply_table(state: State, step: Step, *, backwards: bool) -> None:
    if step.table is not None:
        before = state.ids
        state.structures = step.table.before if backwards else step.table.after
        if not before <= state.ids:
            # Its number may be given to another structure, which the old proposal knows nothing of.
            state.proposals = ProposalStack()
    if step.selection is not None:
        state.active = step.selection.before if backwards else step.selection.after
    if state.active is not None and state.active not in state.ids:
        state.active = state.structures[0].id if state.structures else None
