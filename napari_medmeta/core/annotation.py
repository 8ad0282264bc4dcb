"""What the radiologist said: structures, and examples as slices of labels with what is known of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_medmeta.core.errors import AnnotationError, MissingExamplesError
from napari_medmeta.core.geometry import Geometry
from napari_medmeta.core.trust import require_trust
from napari_medmeta.core.types import (
    BACKGROUND,
    MAX_STRUCTURES,
    UNLABELLED,
    LabelArray,
    MaskArray,
    SliceRef,
    Triple,
    label_slice,
)

__all__ = ["Origin", "SliceExample", "Structure", "Support", "guess_axis", "support_from_labels"]


@dataclass(frozen=True, slots=True)
class Structure:
    """One thing to segment.

    Parameters
    ----------
    id, name, colour, locked
        Its label value (1 to 254), what it is called, ``#rrggbb``, and whether nothing may change its voxels.
    trust
        Where it is known from earlier scans: how many times as far as usual each source of evidence is trusted
        before anything was tested on this scan, as pairs of the source's name and the factor.
    """

    id: int
    name: str
    colour: str
    locked: bool = False
    trust: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        require_trust(dict(self.trust))
        if not 1 <= self.id <= MAX_STRUCTURES:
            raise AnnotationError(f"Structure number {self.id} cannot be used", expected=f"1 to {MAX_STRUCTURES}")


class Origin(StrEnum):
    """How an example came about."""

    PAINTED = "painted"
    ACCEPTED = "accepted"


@dataclass(frozen=True, eq=False)
class SliceExample:
    """One slice on which the user said something: a whole painted slice, a few strokes, or one click.

    It is a value: its arrays must not change any more, as what was once found out about them is kept.

    Parameters
    ----------
    ref
        The slice, on any array axis.
    labels
        (rows, columns) uint8: the volume's two other axes in order. Meaningful where ``known``.
    known
        (rows, columns) bool: where the user said what is there. All True for a complete slice.
    complete_for
        Structures that were looked for here: on known voxels of label 0, these are absent, while a
        structure added to the table later stays unknown. None means every structure.
    origin
        Painted by hand, or accepted from a proposal.
    weight
        How much it counts beside the other examples, above 0 and up to 1.
    """

    ref: SliceRef
    labels: LabelArray
    known: MaskArray
    complete_for: frozenset[int] | None = None
    origin: Origin = Origin.PAINTED
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 < self.weight <= 1.0:
            raise AnnotationError(f"An example has the weight {self.weight}", expected="above 0 and up to 1")
        if self.labels.shape != self.known.shape or self.labels.ndim != 2:
            raise AnnotationError(
                f"A slice example has labels of shape {self.labels.shape} and a mask of shape {self.known.shape}",
                expected="two 2D arrays of one shape",
            )

    @cached_property
    def is_complete(self) -> bool:
        """Whether every voxel of the slice is known."""
        return bool(self.known.all())

    @cached_property
    def occurring(self) -> frozenset[int]:
        """The labels that known voxels have, `BACKGROUND` among them."""
        # Marking what occurs is three times as fast as np.unique.
        found = np.zeros(np.iinfo(np.uint8).max + 1, dtype=bool)
        found[self.labels if self.is_complete else self.labels[self.known]] = True
        return frozenset(np.flatnonzero(found).tolist())

    def positive(self, structure: int) -> MaskArray:
        """Return (rows, columns) bool: where the user said that ``structure`` is."""
        return np.asarray(self.known & (self.labels == structure))

    def negative(self, structure: int) -> MaskArray:
        """Return (rows, columns) bool: where the user said that ``structure`` is not."""
        other = self.known & (self.labels != structure)
        if self.complete_for is not None and structure not in self.complete_for:
            other &= self.labels != BACKGROUND
        return np.asarray(other)


@dataclass(frozen=True, eq=False)
class Support:
    """All that the user said about one volume, as an immutable value.

    Parameters
    ----------
    shape
        The volume's shape (I, J, K).
    examples
        At most one for each slice.
    structures
        Ids of the structures to propose, ascending.
    generation
        Grows with every change in the session; a proposal carries the one it answers.
    trust
        What the structures' own `Structure.trust` says, by id and by the source's name.
    """

    shape: Triple
    examples: tuple[SliceExample, ...] = ()
    structures: tuple[int, ...] = ()
    generation: int = 0
    trust: Mapping[int, Mapping[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        seen: set[SliceRef] = set()
        for example in self.examples:
            axis, index = example.ref.axis, example.ref.index
            expected = tuple(n for a, n in enumerate(self.shape) if a != axis)
            if not 0 <= index < self.shape[axis] or example.labels.shape != expected:
                raise AnnotationError(
                    f"An example for slice {index} of axis {axis} has the shape {example.labels.shape}",
                    expected=f"an index below {self.shape[axis]} and the shape {expected}",
                )
            if example.ref in seen:
                raise AnnotationError(f"Slice {index} of axis {axis} was given twice", expected="one example a slice")
            seen.add(example.ref)

    @property
    def complete(self) -> tuple[SliceExample, ...]:
        """The examples on which every voxel is known."""
        return tuple(e for e in self.examples if e.is_complete)

    def without(self, ref: SliceRef) -> Support:
        """Return the support as if the slice ``ref`` had never been painted."""
        kept = tuple(e for e in self.examples if e.ref != ref)
        return replace(self, examples=kept)

    def labels_and_known(self) -> tuple[LabelArray, MaskArray]:
        """Return dense (I, J, K) labels (0 where nothing is known) and the known mask."""
        labels = np.zeros(self.shape, dtype=np.uint8)
        known = np.zeros(self.shape, dtype=bool)
        for example in self.examples:
            view = label_slice(labels, example.ref)
            view[example.known] = example.labels[example.known]
            label_slice(known, example.ref)[...] |= example.known
        return labels, known

    def painted_structures(self) -> tuple[int, ...]:
        """Ids of the structures with at least one painted voxel, ascending."""
        found = frozenset[int]().union(*(example.occurring for example in self.examples))
        return tuple(s for s in self.structures if s in found)


def support_from_labels(
    labels: npt.NDArray[Any],
    *,
    axis: int,
    slices: Iterable[int] = (),
    unlabelled: int = UNLABELLED,
    generation: int = 0,
) -> Support:
    """Read examples off a label volume: every slice along ``axis`` that holds a label is complete.

    Parameters
    ----------
    labels
        (I, J, K) integers: 0 background, 1 to 254 structures, ``unlabelled`` where nothing is known.
    axis
        Array axis along which the slices are complete.
    slices
        Further complete slices, also empty ones.

    Raises
    ------
    AnnotationError
        When a value is no structure number, or a slice index lies outside the volume.
    MissingExamplesError
        When no structure is painted anywhere.
    """
    values = [int(v) for v in np.unique(labels)]
    structures = tuple(v for v in values if v not in (BACKGROUND, unlabelled))
    if structures and not (min(structures) >= 1 and max(structures) <= MAX_STRUCTURES):
        raise AnnotationError(
            f"The examples hold the values {min(structures)} to {max(structures)}",
            expected=f"0 for background and 1 to {MAX_STRUCTURES} for structures",
            next_step="Renumber the structures",
        )
    if not structures:
        raise MissingExamplesError(
            "The examples hold no structure: every voxel is background or unlabelled",
            next_step="Paint at least one structure on one slice",
        )
    count = labels.shape[axis]
    extra = {int(s) for s in slices}
    outside = sorted(s for s in extra if not 0 <= s < count)
    if outside:
        raise AnnotationError(f"Slice {outside[0]} does not exist along axis {axis}", expected=f"0 to {count - 1}")
    others = tuple(a for a in range(3) if a != axis)
    painted = np.any((labels != BACKGROUND) & (labels != unlabelled), axis=others)
    indices = sorted(extra | {int(i) for i in np.flatnonzero(painted)})
    examples = []
    for index in indices:
        ref = SliceRef(axis, index)
        view = label_slice(labels, ref)
        known = np.asarray(view != unlabelled)
        examples.append(SliceExample(ref, np.where(known, view, 0).astype(np.uint8), known))
    shape: Triple = (labels.shape[0], labels.shape[1], labels.shape[2])
    return Support(shape, tuple(examples), structures, generation)


def guess_axis(labels: npt.NDArray[Any], geometry: Geometry, *, unlabelled: int = UNLABELLED) -> int:
    """Return the axis along which ``labels`` (I, J, K) were painted slice by slice.

    The axis on which labelled slices leave the most slices empty: painting a few whole slices fills
    few indices of its own axis and nearly all of the structure's extent on the others. Ties go to the
    larger spacing, as radiologists paint the acquired plane.
    """
    mask = (labels != BACKGROUND) & (labels != unlabelled)
    spacing: Sequence[float] = geometry.spacing_mm

    def emptiness(axis: int) -> tuple[float, float, int]:
        others = tuple(a for a in range(3) if a != axis)
        hit = np.flatnonzero(np.any(mask, axis=others))
        if hit.size == 0:
            return 0.0, spacing[axis], -axis
        # A slice that is on its own within its neighbours is typical of sparse painting.
        filled = hit.size / (hit[-1] - hit[0] + 1) if hit.size > 1 else 1.0 / labels.shape[axis]
        return round(1.0 - filled, 3), round(spacing[axis], 4), -axis

    return max(range(3), key=emptiness)
