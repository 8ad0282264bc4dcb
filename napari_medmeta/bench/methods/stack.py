"""What the peers share: painted slices as a stack, how far a structure may reach, and a small working grid."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_medmeta.core import FloatArray, LabelArray, MaskArray, MissingExamplesError, Support, Triple, Volume

__all__ = ["Region", "Stack", "region_of", "stack_of"]

IN_PLANE_MARGIN = 0.2
"""Share of a structure's painted width by which it may grow sideways between and beyond the examples."""
IN_PLANE_MARGIN_MM = 4.0
ONE_SLICE_REACH = 2.0
"""Radii by which a structure may go on beyond a single example; 1, 1.5, 2 and 3 were tried on the development
cases: the random walker reached 0.59, 0.63, 0.65 and 0.63, forest and GrowCut the like."""
UNEVEN_REACH = 1.5
"""Radii beyond the outer one of unevenly placed slices, at most. Placed at random on five development cases (three
and five slices), GrowCut reached 0.60 with half a mean distance, 0.72 with a whole one, 0.72 and 0.71 with 1.5 and 1
radii as a limit, the dome 0.49, 0.58, 0.58 and 0.58; placed evenly, a whole distance lost 0.04 to 0.05 against half."""
MAX_VOXELS = 400_000
"""Voxels on which the random walker and the forest work; finer grids gain little and cost minutes."""


@dataclass(frozen=True, eq=False)
class Stack:
    """Painted slices along one axis, slice axis first.

    Parameters
    ----------
    axis
        Array axis of the volume along which the slices are stacked.
    count
        Slices of the volume along it.
    indices
        (n,) painted slices, ascending.
    labels
        (n, R, C) uint8, 0 where not known.
    known
        (n, R, C) bool: everywhere on complete slices, under the strokes on the others.
    structures
        Painted structures, ascending.
    spacing_mm
        (slices, rows, columns).
    """

    axis: int
    count: int
    indices: npt.NDArray[np.int64]
    labels: LabelArray
    known: MaskArray
    structures: tuple[int, ...]
    spacing_mm: tuple[float, float, float]

    @property
    def complete(self) -> MaskArray:
        """(n,) bool: slices on which every voxel is known."""
        return np.asarray(self.known.all(axis=(1, 2)))

    def to_volume(self, stacked: LabelArray) -> LabelArray:
        """Return (I, J, K) labels from (S, R, C) ones, with what was painted as it was painted."""
        out = np.array(stacked)
        out[self.indices] = np.where(self.known, self.labels, out[self.indices])
        return np.ascontiguousarray(np.moveaxis(out, 0, self.axis))

    def painted_with(self, structure: int) -> npt.NDArray[np.int64]:
        """Return the positions in ``indices`` of the slices that hold ``structure``."""
        return np.flatnonzero(np.any(self.labels == structure, axis=(1, 2)))

    def reach_mm(self, structure: int, position: int) -> float:
        """Return how far a structure is thought to go on beyond the painted slice at ``position``.

        Slices at equal distances are taken to cover what they show from end to end: it goes on for half a
        distance. Of slices that lie anywhere in it, the outer ones are a whole mean distance away from its ends,
        yet hardly farther than a small painted area lets expect. With one slice, some radii of a ball.
        """
        radius = self.radius_mm(structure, position)
        if len(self.indices) == 1:
            return ONE_SLICE_REACH * radius
        distances = np.diff(self.indices)
        mean = float(np.mean(distances)) * self.spacing_mm[0]
        if np.ptp(distances) <= 1:  # equal, up to rounding
            return mean / 2
        return min(mean, UNEVEN_REACH * radius)

    def radius_mm(self, structure: int, position: int) -> float:
        """Return the radius of a disc of the structure's painted area on the slice at ``position``.

        Of strokes, which run along the middle, half of their longer side.
        """
        mask = self.labels[position] == structure
        if not self.complete[position]:
            return max(np.ptp(hit) + 1.0 for hit in np.nonzero(mask)) * min(self.spacing_mm[1:]) / 2
        area = np.count_nonzero(mask) * self.spacing_mm[1] * self.spacing_mm[2]
        return float(np.sqrt(area / np.pi))

    def allowed_slices(self, structure: int) -> MaskArray:
        """Return (S,) bool: the slices on which ``structure`` may be, by the painted extent and its reach."""
        held = self.painted_with(structure)
        first, last = int(self.indices[held[0]]), int(self.indices[held[-1]])
        low = first - self.reach_mm(structure, int(held[0])) / self.spacing_mm[0]
        high = last + self.reach_mm(structure, int(held[-1])) / self.spacing_mm[0]
        at = np.arange(self.count)
        before, after = self.indices[: held[0]], self.indices[held[-1] + 1 :]
        low = max(low, float(before[-1]) + 0.5) if before.size else low
        high = min(high, float(after[0]) - 0.5) if after.size else high
        return np.asarray((at >= low) & (at <= high))

    def allowed_box(self, structure: int) -> tuple[slice, slice]:
        """Return the rows and columns on which ``structure`` may be: its painted box and a margin.

        Where only strokes were drawn, the box of all of them, as background strokes go around.
        """
        held = self.painted_with(structure)
        drawn = np.where(self.complete[held, None, None], self.labels[held] == structure, self.known[held])
        mask = np.any(drawn, axis=0)
        rows, columns = (self._grown(np.flatnonzero(mask.any(axis=1 - a)), a) for a in (0, 1))
        return rows, columns

    def _grown(self, hit: npt.NDArray[np.int64], axis: int) -> slice:
        spacing = self.spacing_mm[axis + 1]
        first, stop = int(hit[0]), int(hit[-1]) + 1
        margin = int(np.ceil(max((stop - first) * IN_PLANE_MARGIN, IN_PLANE_MARGIN_MM / spacing)))
        return slice(max(0, first - margin), min(self.labels.shape[axis + 1], stop + margin))


def stack_of(volume: Volume, support: Support, *, strokes: bool = False) -> Stack:
    """Gather the painted slices of the axis on which most were painted: complete ones, or any with ``strokes``.

    Raises
    ------
    MissingExamplesError
        When no such slice holds a structure.
    """
    usable = support.examples if strokes else support.complete
    axes = Counter(e.ref.axis for e in usable)
    axis = axes.most_common(1)[0][0] if axes else 0
    examples = sorted((e for e in usable if e.ref.axis == axis), key=lambda e: e.ref.index)
    found = {int(v) for e in examples for v in np.unique(e.labels[e.known])}
    structures = tuple(s for s in support.structures if s in found)
    if not structures:
        raise MissingExamplesError("No complete slice holds a structure", next_step="Paint one whole slice")
    rows, columns = (a for a in range(3) if a != axis)
    spacing = volume.geometry.spacing_mm
    known = np.stack([e.known for e in examples])
    return Stack(
        axis,
        volume.array.shape[axis],
        np.array([e.ref.index for e in examples], dtype=np.int64),
        np.where(known, np.stack([e.labels for e in examples]), 0).astype(np.uint8),
        known,
        structures,
        (spacing[axis], spacing[rows], spacing[columns]),
    )


@dataclass(frozen=True, eq=False)
class Region:
    """The part of the scan where structures may be, on a grid coarse enough to work on.

    Parameters
    ----------
    box
        Where the region lies in the (S, R, C) stack.
    step
        In-plane voxels of the scan for one of the grid.
    image
        (s, r, c) float32 on the grid, clipped to its robust range and scaled to [0, 1].
    seeds
        (s, r, c) int32: 0 unknown, 1 background, 2 + n for the n-th structure.
    """

    stack: Stack
    box: tuple[slice, slice, slice]
    step: int
    image: FloatArray
    seeds: npt.NDArray[np.int32]

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Spacing of the working grid."""
        through, row, column = self.stack.spacing_mm
        return through, row * self.step, column * self.step

    @property
    def undecided(self) -> MaskArray:
        """(s, r, c) bool: voxels that are not seeded and on which some structure may be."""
        allowed = np.any([self._bound(s) for s in self.stack.structures], axis=0)
        middle = (self.step - 1) // 2
        padded = np.pad(allowed, [(0, 0)] + [(0, -n % self.step) for n in allowed.shape[1:]], mode="edge")
        return np.asarray((self.seeds == 0) & padded[:, middle :: self.step, middle :: self.step])

    def labels_from(self, probability: FloatArray) -> LabelArray:
        """Return (I, J, K) labels from (1 + structures, s, r, c) probabilities, bounded and painted.

        Each structure is only proposed where its own bound allows; what was painted stays.
        """
        stack = self.stack
        shape = tuple(b.stop - b.start for b in self.box)
        best = self._fine(probability[0], shape)
        out = np.zeros(shape, dtype=np.uint8)
        for number, structure in enumerate(stack.structures, start=1):
            value = np.where(self._bound(structure), self._fine(probability[number], shape), -np.inf)
            np.copyto(out, np.uint8(structure), where=value > best)
            np.maximum(best, value, out=best)
        whole = np.zeros((stack.count, *stack.labels.shape[1:]), dtype=np.uint8)
        whole[self.box] = out
        return stack.to_volume(whole)

    def _bound(self, structure: int) -> MaskArray:
        along = self.stack.allowed_slices(structure)
        rows, columns = self.stack.allowed_box(structure)
        mask = np.zeros((self.stack.count, *self.stack.labels.shape[1:]), dtype=bool)
        mask[:, rows, columns] = along[:, None, None]
        return mask[self.box]

    def _fine(self, coarse: FloatArray, shape: tuple[int, ...]) -> FloatArray:
        if self.step == 1:
            return np.array(coarse, dtype=np.float32)
        matrix = np.array([1.0, 1 / self.step, 1 / self.step])
        offset = np.array([0.0, *(((1 - self.step) / 2 / self.step,) * 2)])
        fine = ndimage.affine_transform(coarse, matrix, offset, output_shape=shape, order=1, mode="nearest")
        return np.asarray(fine, dtype=np.float32)


def region_of(
    volume: Volume,
    support: Support,
    *,
    max_voxels: int = MAX_VOXELS,
    seeded_ends: bool = False,
    strokes: bool = False,
) -> Region:
    """Cut out the union of the structures' bounds, on a grid of at most ``max_voxels``.

    It is one ring wider in plane, and with ``seeded_ends`` one slice longer at each end, seeded as background.
    With ``strokes``, slices count on which only a part is known.
    """
    stack = stack_of(volume, support, strokes=strokes)
    along = np.any([stack.allowed_slices(s) for s in stack.structures], axis=0)
    hit = np.flatnonzero(along)
    boxes = [stack.allowed_box(s) for s in stack.structures]
    rows, columns = (
        slice(max(0, min(b[a].start for b in boxes) - 2), min(n, max(b[a].stop for b in boxes) + 2))
        for a, n in enumerate(stack.labels.shape[1:])
    )
    longer = int(seeded_ends)
    box = (slice(max(0, int(hit[0]) - longer), min(stack.count, int(hit[-1]) + 1 + longer)), rows, columns)
    shape = tuple(b.stop - b.start for b in box)
    step = 1
    while shape[0] * (shape[1] // step) * (shape[2] // step) > max_voxels:
        step += 1
    image = _coarse(np.moveaxis(volume.array, stack.axis, 0)[box].astype(np.float32), step)
    low, high = np.percentile(image, (0.5, 99.5))
    image = np.clip((image - low) / max(float(high - low), 1e-6), 0, 1)
    seeds = _seeds(stack, box, step, _as_triple(image.shape))
    if seeded_ends:
        seeds[~along[box[0]]] = 1
    return Region(stack, box, step, image, seeds)


def _coarse(array: FloatArray, step: int) -> FloatArray:
    if step == 1:
        return array
    pad = [(0, 0)] + [(0, -n % step) for n in array.shape[1:]]
    padded = np.pad(array, pad, mode="edge")
    s, r, c = padded.shape
    return np.asarray(padded.reshape(s, r // step, step, c // step, step).mean(axis=(2, 4)), dtype=np.float32)


def _seeds(stack: Stack, box: tuple[slice, slice, slice], step: int, shape: Triple) -> npt.NDArray[np.int32]:
    seeds = np.zeros(shape, dtype=np.int32)
    # Nothing lies outside of the bound in plane. The ends are cut off afterwards, unless asked for: background
    # seeds there draw a random walk's structures short.
    for axis, size in enumerate(stack.labels.shape[1:], start=1):
        for end, inside in ((0, box[axis].start > 0), (-1, box[axis].stop < size)):
            # Where the scan itself ends, a structure may well go on.
            if inside:
                np.moveaxis(seeds, axis, 0)[end] = 1
    for position, index in enumerate(stack.indices):
        if box[0].start <= index < box[0].stop:
            _plant(seeds[index - box[0].start], stack, position, box[1:], step)
    return seeds


def _plant(seeds: npt.NDArray[np.int32], stack: Stack, position: int, box: tuple[slice, slice], step: int) -> None:
    """Write one painted slice into (r, c) seeds of the grid."""
    numbers = np.ones(256, dtype=np.int32)
    numbers[list(stack.structures)] = 2 + np.arange(len(stack.structures))
    fine = np.where(stack.known[position][box], numbers[stack.labels[position][box]], 0)
    padded = np.pad(fine, [(0, -n % step) for n in fine.shape], mode="edge")
    if stack.complete[position]:
        middle = (step - 1) // 2
        seeds[...] = padded[middle::step, middle::step]
        return
    # A stroke may be thinner than the grid: any of it counts.
    rows, columns = seeds.shape
    coarse = padded.reshape(rows, step, columns, step).max(axis=(1, 3))
    np.copyto(seeds, coarse, where=coarse > 0)


def _as_triple(shape: tuple[int, ...]) -> Triple:
    i, j, k = shape
    return i, j, k
