"""The protocol ``slices``: which structures, which example slices, and what a method is given.

A structure counts when it has at least 300 voxels on at least 5 slices along the axis of largest
spacing (the first of equals); at most the 8 largest. Their *extent* is the range of slices from the
first to the last that holds any of them. With k examples the slices lie at fractions (i + 0.5) / k of
the extent; one example lies where their total area is largest. An example slice shows every chosen
structure on it; every other label of the scan is background there.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from napari_medmeta.core import (
    Geometry,
    InputError,
    LabelArray,
    MaskArray,
    SliceExample,
    SliceRef,
    Support,
    label_slice,
)

__all__ = [
    "MAX_CHOSEN",
    "MIN_SLICES",
    "MIN_VOXELS",
    "Placement",
    "Task",
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
    scored
        (I, J, K) bool: the voxels of the slices that were not painted.
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
    seed: int = 0,
    case_id: str = "",
) -> Task:
    """Build the task of a scan for ``k`` example slices.

    Raises
    ------
    InputError
        When no structure is large enough.
    """
    axis = geometry.through_plane_axis
    structures = chosen_structures(truth, axis=axis)
    if not structures:
        raise InputError(
            "No structure is large enough",
            expected=f"at least {MIN_VOXELS} voxels on at least {MIN_SLICES} slices",
        )
    kept = np.where(np.isin(truth, structures), truth, 0).astype(np.uint8)
    rng = _generator(case_id, k=k, seed=seed)
    painted = example_slices(kept, axis=axis, k=k, placement=placement, rng=rng)
    examples = tuple(_example(kept, SliceRef(axis, index)) for index in painted)
    kept.setflags(write=False)
    return Task(Support(geometry.shape, examples, structures), kept, axis, painted, structures)


def _example(truth: LabelArray, ref: SliceRef) -> SliceExample:
    # A copy: a view would keep the whole truth reachable through its base.
    labels = label_slice(truth, ref).copy()
    return SliceExample(ref, labels, np.ones(labels.shape, dtype=bool))


def _generator(case_id: str, *, k: int, seed: int) -> np.random.Generator:
    # From the case's name, so that the order in which cases run changes nothing.
    digest = hashlib.blake2b(f"{case_id}/{k}/{seed}".encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))
