"""One undo step as bounding-box deltas: what changed in the arrays and in the small values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from napari_medmeta.core import Box, LabelArray, SliceRef, Structure, Triple
from napari_medmeta.session.model import Json, SliceRecord, Topic
from napari_medmeta.session.packing import pack
from napari_medmeta.session.records import bounds

__all__ = ["ArrayName", "Patch", "RecordChange", "Rejection", "Selection", "Step", "Table", "slice_patches"]


class ArrayName(StrEnum):
    """The arrays a step can change."""

    LABELS = "labels"
    STATUS = "status"


@dataclass(frozen=True, slots=True)
class Patch:
    """The voxels of one array inside one box, packed, before and after a step."""

    array: ArrayName
    box: Box
    before: bytes
    after: bytes


class RecordChange(NamedTuple):
    """What was said on a slice before and after a step; None where nothing was."""

    ref: SliceRef
    before: SliceRecord | None
    after: SliceRecord | None


class Table(NamedTuple):
    """The structure table before and after a step."""

    before: tuple[Structure, ...]
    after: tuple[Structure, ...]


class Selection(NamedTuple):
    """The active structure before and after a step."""

    before: int | None
    after: int | None


class Rejection(NamedTuple):
    """A slice whose proposal was rejected before or after a step."""

    ref: SliceRef
    before: bool
    after: bool


@dataclass(frozen=True)
class Step:
    """Everything that one verb changes, in a form that can be applied, taken back and stored.

    Parameters
    ----------
    verb
        Name of the verb.
    text
        What it did, as in "paint the liver on axial slice 12".
    parameters
        The verb's arguments, for the audit trail.
    note
        A sentence for the status line; not stored.
    """

    verb: str
    text: str
    parameters: Mapping[str, Json] = field(default_factory=dict)
    patches: tuple[Patch, ...] = ()
    records: tuple[RecordChange, ...] = ()
    rejections: tuple[Rejection, ...] = ()
    table: Table | None = None
    selection: Selection | None = None
    note: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing changes."""
        return not (self.patches or self.records or self.rejections or self.table or self.selection)

    @property
    def is_evidence(self) -> bool:
        """Whether the engine would see a difference."""
        if self.patches or self.records:
            return True
        table = self.table
        return table is not None and [(s.id, s.trust) for s in table.before] != [(s.id, s.trust) for s in table.after]

    @property
    def box(self) -> Box | None:
        """The smallest box of voxels that change, or None."""
        whole: Box | None = None
        for patch in self.patches:
            whole = patch.box if whole is None else whole.union(patch.box)
        return whole

    @property
    def touched(self) -> frozenset[SliceRef]:
        """The slices on which something changes; all on one axis."""
        return frozenset(r.ref for r in self.records) | frozenset(r.ref for r in self.rejections)

    @property
    def topics(self) -> frozenset[Topic]:
        """What a listener has to refresh."""
        topics = {Topic.HISTORY}
        if self.patches:
            topics |= {Topic.LABELS, Topic.PROPOSAL}
        if self.records or self.rejections:
            topics |= {Topic.EXAMPLES, Topic.PROPOSAL}
        if self.table is not None:
            topics |= {Topic.STRUCTURES, Topic.PROPOSAL}
        if self.selection is not None:
            topics.add(Topic.SETTINGS)
        return frozenset(topics)


def slice_patches(
    ref: SliceRef,
    changes: Iterable[tuple[ArrayName, LabelArray, LabelArray]],
    *,
    shape: Triple,
    corner: tuple[int, int] = (0, 0),
) -> tuple[Patch, ...]:
    """Return the patches that turn parts ``before`` of a slice into ``after``, each as small as can be.

    The parts are (rows, columns) arrays whose first voxel is ``corner`` of the slice.
    """
    found = (_patch(ref, name, before, after, shape, corner) for name, before, after in changes)
    return tuple(patch for patch in found if patch is not None)


def _patch(
    ref: SliceRef, name: ArrayName, before: LabelArray, after: LabelArray, shape: Triple, corner: tuple[int, int]
) -> Patch | None:
    window = bounds(before != after)
    if window is None:
        return None
    box = Box.of_slice(ref, shape)
    start, stop = list(box.start), list(box.stop)
    for axis, part, offset in zip((a for a in range(3) if a != ref.axis), window, corner, strict=True):
        start[axis], stop[axis] = offset + part.start, offset + part.stop
    box = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    return Patch(name, box, pack(before[window]), pack(after[window]))
