"""The protocol ``slices``: which structures, which example slices, and what a method is given.

A structure counts when it has at least 300 voxels on at least 5 slices along the axis of largest
spacing (the first of equals); at most the 8 largest. Their *extent* is the range of slices from the
first to the last that holds any of them. With k examples the slices lie at fractions (i + 0.5) / k of
the extent; one example lies where their total area is largest. An example slice shows every chosen
structure on it; every other label of the scan is background there. How the examples are painted, `painting` tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from napari_medmeta.bench.painting import EXACT, Mode, Painting, drawn, paint, seeded
from napari_medmeta.core import (
    Geometry,
    InputError,
    LabelArray,
    MaskArray,
    SliceRef,
    Support,
    label_slice,
)

__all__ = [
    "MAX_CHOSEN",
    "MIN_SLICES",
    "MIN_VOXELS",
    "Anatomy",
    "Placement",
    "Task",
    "anatomy_of",
    "chosen_structures",
    "example_slices",
    "make_task",
]

MIN_VOXELS = 300
MIN_SLICES = 5
MAX_CHOSEN = 8


class Placement(StrEnum):
    """Where the example slices lie."""

    EVEN = "even"
    RANDOM = "random"


@dataclass(frozen=True, eq=False)
class Task:
    """One question to a method, and the truth that only the judge sees.

    Parameters
    ----------
    support
        The painted slices: all that a method receives besides the scan.
    truth
        (I, J, K) uint8: the chosen structures, everything else 0.
    axis
        Array axis of the painted slices.
    """

    support: Support
    truth: LabelArray
    axis: int
    painted: tuple[int, ...]
    structures: tuple[int, ...]

    @property
    def scored(self) -> MaskArray:
        """(n,) bool along ``axis``: the slices that were not painted."""
        mask = np.ones(self.truth.shape[self.axis], dtype=bool)
        mask[list(self.painted)] = False
        return mask

    def saved(self, labels: LabelArray) -> LabelArray:
        """Return what the user would save: ``labels`` (I, J, K) with everything painted as it was painted."""
        out = labels.copy()
        for example in self.support.examples:
            label_slice(out, example.ref)[example.known] = example.labels[example.known]
        return out


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The part of a scan's truth that is judged, from which tasks are made.

    Parameters
    ----------
    truth
        (I, J, K) uint8, read-only: the chosen structures, everything else 0.
    strokes
        (I, J, K) uint8: what a person drew on this scan, for the painting ``drawn`` (see `painting.drawn`).
    """

    truth: LabelArray
    geometry: Geometry
    structures: tuple[int, ...]
    case_id: str = ""
    strokes: LabelArray | None = None

    @property
    def axis(self) -> int:
        """Array axis of the largest spacing."""
        return self.geometry.through_plane_axis

    def task(self, *, k: int, placement: Placement = Placement.EVEN, painting: Painting = EXACT, seed: int = 0) -> Task:
        """Return the task with ``k`` example slices, painted in this way.

        Raises
        ------
        InputError
            When a person's strokes are asked for, and nobody drew any on these structures.
        """
        axis = painting.axis(self.axis)
        rng = seeded(self.case_id, k, seed)
        strokes = self._strokes() if painting.mode is Mode.DRAWN else None
        # Nobody can be given strokes on a slice that holds none.
        shown = self.truth if strokes is None else np.where(np.isin(strokes, self.structures), strokes, np.uint8(0))
        painted = example_slices(shown, axis=axis, k=k, placement=placement, rng=rng)
        refs = [SliceRef(axis, index) for index in painted]
        spacing = self.geometry.spacing_mm
        if strokes is None:
            examples = paint(self.truth, refs, painting, spacing_mm=spacing, seed=seed, case_id=self.case_id)
        else:
            examples = drawn(strokes, refs, self.structures)
        return Task(Support(self.geometry.shape, examples, self.structures), self.truth, axis, painted, self.structures)

    def _strokes(self) -> LabelArray:
        if self.strokes is None or not np.isin(self.strokes, self.structures).any():
            raise InputError(
                "Nobody drew strokes on this scan's structures",
                expected="a file scribble.nii.gz beside the image, with the structures' values where they are marked",
                next_step="Ask for another painting, such as scribbles, or add the strokes",
            )
        return self.strokes


def anatomy_of(
    truth: LabelArray, geometry: Geometry, *, case_id: str = "", strokes: LabelArray | None = None
) -> Anatomy:
    """Choose the structures of a scan that are judged.

    Raises
    ------
    InputError
        When no structure is large enough.
    """
    structures = chosen_structures(truth, axis=geometry.through_plane_axis)
    if not structures:
        raise InputError(
            "No structure is large enough",
            expected=f"at least {MIN_VOXELS} voxels on at least {MIN_SLICES} slices",
        )
    kept = np.where(np.isin(truth, structures), truth, 0).astype(np.uint8)
    kept.setflags(write=False)
    return Anatomy(kept, geometry, structures, case_id, strokes)


def chosen_structures(truth: npt.NDArray[np.integer], *, axis: int) -> tuple[int, ...]:
    """Return the label values that count, ascending; empty when none is large enough."""
    others = tuple(a for a in range(3) if a != axis)
    sizes = {}
    for value in (int(v) for v in np.unique(truth) if v != 0):
        mask = truth == value
        voxels, slices = int(mask.sum()), int(np.any(mask, axis=others).sum())
        if voxels >= MIN_VOXELS and slices >= MIN_SLICES:
            sizes[value] = voxels
    largest = sorted(sizes, key=lambda v: (-sizes[v], v))[:MAX_CHOSEN]
    return tuple(sorted(largest))


def example_slices(
    truth: LabelArray, *, axis: int, k: int, placement: Placement, rng: np.random.Generator
) -> tuple[int, ...]:
    """Return the indices of the example slices along ``axis``, ascending and distinct.

    Random placement draws from the slices that hold a structure, without replacement. Fewer than ``k``
    come back when the extent has fewer slices.
    """
    others = tuple(a for a in range(3) if a != axis)
    area = np.count_nonzero(truth, axis=others)
    held = np.flatnonzero(area)
    if placement is Placement.RANDOM:
        return tuple(sorted(int(i) for i in rng.choice(held, size=min(k, held.size), replace=False)))
    if k == 1:
        return (int(np.argmax(area)),)
    first, count = int(held[0]), int(held[-1] - held[0] + 1)
    return tuple(sorted({first + int((i + 0.5) / k * count) for i in range(k)}))


def make_task(
    truth: LabelArray,
    geometry: Geometry,
    *,
    k: int,
    placement: Placement = Placement.EVEN,
    painting: Painting = EXACT,
    seed: int = 0,
    case_id: str = "",
) -> Task:
    """Build the task of a scan for ``k`` example slices.

    Raises
    ------
    InputError
        When no structure is large enough.
    """
    anatomy = anatomy_of(truth, geometry, case_id=case_id)
    return anatomy.task(k=k, placement=placement, painting=painting, seed=seed)
