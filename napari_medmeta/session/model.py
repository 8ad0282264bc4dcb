"""The values a session speaks: paint mode, slice states, changes, audit records, slice records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from napari_medmeta.core import Box, Origin

__all__ = [
    "ACCEPTED",
    "OUTDATED",
    "PAINTED",
    "REVIEW_BELOW",
    "UNDECIDED",
    "Change",
    "EventRecord",
    "Json",
    "Layer",
    "Offer",
    "PaintMode",
    "SliceRecord",
    "SliceState",
    "Topic",
]

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

UNDECIDED, PAINTED, ACCEPTED = 0, 1, 2
"""What `Session.status` holds: nothing said yet, painted by hand, accepted from a proposal."""

OUTDATED = 3
"""A stroke's code for background painted before the table grew, and painted anew on the same slice
since: still decided, yet no longer evidence, as nobody said that the new structure is absent there."""

REVIEW_BELOW = 0.8
"""Expected Dice of a slice below which it is marked for review: the mean Dice that the strongest plain
vote of published methods reaches with three painted slices, so the slice is worse than usual."""


class PaintMode(StrEnum):
    """What a stroke says about the rest of its slice."""

    COMPLETE = "complete"
    """The slice is complete: what is left unpainted is background."""
    SCRIBBLE = "scribble"
    """Only the stroked voxels are known; background has its own stroke."""


class SliceState(StrEnum):
    """One slice at a glance."""

    EMPTY_EXAMPLE = "empty example"
    EXAMPLE = "example"
    SCRIBBLED = "scribbled"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    PROPOSED = "proposed"
    TO_REVIEW = "to review"
    UNTOUCHED = "untouched"


class Topic(StrEnum):
    """What a change is about, so that a listener refreshes only that."""

    LABELS = "labels"
    STRUCTURES = "structures"
    EXAMPLES = "examples"
    PROPOSAL = "proposal"
    HISTORY = "history"
    SETTINGS = "settings"


@dataclass(frozen=True, slots=True)
class Change:
    """What a verb changed; empty (false) when it changed nothing.

    Parameters
    ----------
    what
        The topics to refresh.
    box
        Where voxels of `Session.labels`, `Session.status` or the proposal changed, None for nowhere.
    generation
        The session's generation after the change.
    note
        A sentence for the status line, or nothing.
    """

    what: frozenset[Topic] = frozenset()
    box: Box | None = None
    generation: int = 0
    note: str = ""

    def __bool__(self) -> bool:
        return bool(self.what)


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One line of the audit trail: when (UTC), which verb, and what it did in a plain sentence."""

    number: int
    time: datetime
    verb: str
    sentence: str
    parameters: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Layer:
    """Voxels that the user claimed on one slice between two moments, packed.

    Parameters
    ----------
    tick
        When the newest of them was claimed; the newest layer wins where slices cross.
    start, shape
        (row, column) of the first voxel, and (rows, columns) of the arrays, inside the slice.
    labels, codes
        Packed uint8 arrays of ``shape``: the label, and 0 (not claimed), PAINTED, ACCEPTED or OUTDATED.
    background
        Whether background is claimed anywhere in it.
    """

    tick: int
    start: tuple[int, int]
    shape: tuple[int, int]
    labels: bytes
    codes: bytes
    background: bool


@dataclass(frozen=True, slots=True)
class Offer:
    """What was proposed on a slice at the moment when somebody decided on it.

    Parameters
    ----------
    start, shape
        (row, column) of the first voxel, and (rows, columns) of ``labels``, inside the slice.
    labels
        Packed uint8 of ``shape``: the structures that were proposed here, as they were shown.
    expected
        The slice's Dice as the proposal expected it, in [0, 1], before any calibration.
    recalled
        Whether it came from the example library, not from examples on this scan.
    looked_at
        Whether the slice was decided on by itself; False: it was accepted together with others.
    """

    start: tuple[int, int]
    shape: tuple[int, int]
    labels: bytes
    expected: float
    recalled: bool = False
    looked_at: bool = True


@dataclass(frozen=True, slots=True)
class SliceRecord:
    """What the user said on one slice, and only there.

    Parameters
    ----------
    layers
        Claimed voxels, oldest first. More than one only where crossing slices were edited in between.
    complete
        Whether everything that is not claimed is background.
    looked_for
        Structures that are absent where this slice says background.
    origin
        Painted by hand, or accepted from a proposal.
    weight
        How much it counts as an example, in [0, 1]; at 0 its voxels stay, but nothing is learnt from it.
    offers
        What was proposed when it was decided, each of other structures; what it became is in the labels.
    """

    layers: tuple[Layer, ...] = ()
    complete: bool = False
    looked_for: frozenset[int] = frozenset()
    origin: Origin = Origin.PAINTED
    weight: float = 1.0
    offers: tuple[Offer, ...] = ()

    @property
    def tick(self) -> int:
        """When the newest voxel was claimed, 0 for never."""
        return self.layers[-1].tick if self.layers else 0
