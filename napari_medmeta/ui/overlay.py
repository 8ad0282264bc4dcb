"""An array on screen that is brought up to date slice by slice, so that the window never waits for all of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_medmeta.core import Box, SliceRef, Triple

__all__ = ["Chores", "LazyArray"]

SLAB_VOXELS = 1_000_000
"""Filling this many voxels takes a few milliseconds, far below what a user feels."""


class LazyArray:
    """A uint8 array (I, J, K) that knows which part of it is out of date, and how to compute a part.

    Parameters
    ----------
    compute
        Returns the values inside a box (``box.shape`` uint8).
    """

    def __init__(self, shape: Triple, compute: Callable[[Box], npt.NDArray[np.uint8]]) -> None:
        self.array: npt.NDArray[np.uint8] = np.zeros(shape, dtype=np.uint8)
        self._compute = compute
        self._shape = shape
        self._stale: list[Box] = []

    def mark(self, box: Box) -> None:
        """Note that everything inside ``box`` has to be computed again."""
        if box.size:
            kept = [old for old in self._stale if old.intersection(box) != old]
            self._stale = [*kept, *_slabs(box)]

    def refresh_slice(self, ref: SliceRef) -> bool:
        """Compute what is out of date on the slice ``ref``; return whether there was anything."""
        plane = Box.of_slice(ref, self._shape)
        parts = [box.intersection(plane) for box in self._stale]
        for part in parts:
            if part.size:
                self._fill(part)
        return any(part.size for part in parts)

    def step(self) -> bool:
        """Compute one more slab; return whether any is left."""
        if self._stale:
            self._fill(self._stale.pop(0))
        return bool(self._stale)

    def _fill(self, box: Box) -> None:
        self.array[box.slices] = self._compute(box)


class Chores:
    """Small steps of work that are done between two events of the window, one at a time.

    Parameters
    ----------
    start
        Starts calling `step` again and again until it returns False: a timer of the window.
    """

    def __init__(self, start: Callable[[], Any]) -> None:
        self._start = start
        self._waiting: list[Callable[[], bool]] = []

    def add(self, chore: Callable[[], bool]) -> None:
        """Call ``chore`` until it returns False."""
        if chore not in self._waiting:
            self._waiting.append(chore)
            self._start()

    def step(self) -> bool:
        """Do one step of the first chore; return whether any is left."""
        if self._waiting and not self._waiting[0]():
            self._waiting.pop(0)
        return bool(self._waiting)

    def clear(self) -> None:
        """Forget everything that is left to do."""
        self._waiting.clear()


def _slabs(box: Box) -> list[Box]:
    plane = max(1, box.shape[1] * box.shape[2])
    step = max(1, SLAB_VOXELS // plane)
    starts = range(box.start[0], box.stop[0], step)
    return [
        Box((i, *box.start[1:]), (min(i + step, box.stop[0]), *box.stop[1:]))  # the two other axes whole
        for i in starts
    ]
