"""The connected part of a mask around one voxel, in a fraction of the time that labelling all parts takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from napari_medmeta.core import Box, MaskArray, Triple

__all__ = ["component_at"]

_Index = npt.NDArray[np.int64]

NEIGHBOUR_LINES = ((0, 1), (1, -1), (1, 0), (1, 1))
"""Of a line's eight neighbours along the first two axes, those that follow it; the others are these seen from there."""


@dataclass(frozen=True, eq=False)
class _Runs:
    """Unbroken runs of true voxels along the last axis, in order.

    ``starts`` and ``stops`` (just outside) count voxels line by line, with one more voxel, which is false,
    behind each line: so no run goes from one line to the next.
    """

    starts: _Index
    stops: _Index
    shape: Triple

    @property
    def line(self) -> int:
        return self.shape[2] + 1


def component_at(mask: MaskArray, ijk: Triple) -> tuple[Box, MaskArray]:
    """Return the part of ``mask`` (I, J, K) connected with a voxel of it (26 neighbours): its box, and the part there.

    Works on runs of voxels rather than on voxels: an organ has some ten thousand of them. The voxel has to
    lie in the mask.
    """
    runs = _runs_of(mask)
    position = (ijk[0] * runs.shape[1] + ijk[1]) * runs.line + ijk[2]
    seed = int(np.searchsorted(runs.starts, position, side="right")) - 1
    first, second = (np.concatenate(ends) for ends in zip(*(_touching(runs, *d) for d in NEIGHBOUR_LINES), strict=True))
    count = runs.starts.size
    touching = csr_array((np.ones(first.size, dtype=np.int8), (first, second)), shape=(count, count))
    _, parts = connected_components(touching, directed=False)
    chosen = parts == parts[seed]
    return _drawn(_Runs(runs.starts[chosen], runs.stops[chosen], runs.shape))


def _runs_of(mask: MaskArray) -> _Runs:
    i, j, k = mask.shape
    padded = np.zeros((i, j, k + 1), dtype=bool)
    padded[..., :k] = mask
    flat = padded.reshape(-1)
    turns = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    if flat[0]:
        turns = np.concatenate([[0], turns])
    return _Runs(turns[0::2], turns[1::2], (i, j, k))


def _touching(runs: _Runs, down: int, across: int) -> tuple[_Index, _Index]:
    """Return the pairs of runs that touch, the second one ``down`` and ``across`` lines further."""
    _, columns, _ = runs.shape
    column = runs.starts // runs.line % columns + across
    inside = (column >= 0) & (column < columns)
    # One voxel further at both ends, as corners count as touching.
    shift = (down * columns + across) * runs.line
    low = np.searchsorted(runs.stops, runs.starts + shift, side="left")
    high = np.searchsorted(runs.starts, runs.stops + shift, side="right")
    counts = np.where(inside, np.maximum(high - low, 0), 0)
    first = np.repeat(np.arange(counts.size), counts)
    offset = np.arange(first.size) - np.repeat(np.cumsum(counts) - counts, counts)
    return first, np.repeat(low, counts) + offset


def _drawn(runs: _Runs) -> tuple[Box, MaskArray]:
    """Return the box around runs, and the voxels of the runs in it."""
    lines, first = np.divmod(runs.starts, runs.line)
    last = runs.stops - lines * runs.line
    rows, columns = np.divmod(lines, runs.shape[1])
    box = Box(
        (int(rows.min()), int(columns.min()), int(first.min())),
        (int(rows.max()) + 1, int(columns.max()) + 1, int(last.max())),
    )
    i, j, k = box.shape
    at = ((rows - box.start[0]) * j + columns - box.start[1]) * (k + 1) - box.start[2]
    turns = np.zeros(i * j * (k + 1), dtype=np.int8)
    turns[at + first], turns[at + last] = 1, -1
    part = np.cumsum(turns, dtype=np.int8).view(bool).reshape(i, j, k + 1)
    return box, part[..., :k]
