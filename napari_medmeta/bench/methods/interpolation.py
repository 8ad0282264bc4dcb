"""Shape interpolation between painted slices: signed distances, with or without rounded ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_medmeta.bench.methods.stack import Stack, stack_of
from napari_medmeta.core import FloatArray, LabelArray, MaskArray, Support, Volume

__all__ = ["SignedDistance", "rounded_ends", "signed_distance_mm"]

END_MARGIN = 0.25
"""Slices added to the reach of a rounded end; 0, 0.25 and 0.5 were tried on the development cases (0.25 best)."""

ONE_SLICE_DOME = 1.5
"""Radii over which a single example is rounded off; 1, 1.5, 2 and 3 were tried likewise (0.51, 0.52, 0.50, 0.47)."""


@dataclass(frozen=True)
class SignedDistance:
    """Linear interpolation of signed distances in mm (Raya and Udupa 1990, Herman et al. 1992).

    Between two neighbouring painted slices that both hold a structure its signed distances are blended
    linearly. Beyond its ends it is absent or, with ``dome``, an ellipse rounds it off over the reach that all
    peers are given (`Stack.reach_mm`; with one slice, over 1.5 radii of the painted area).
    """

    dome: bool = False
    version: str = "3"

    @property
    def name(self) -> str:
        """Name in tables."""
        return "interpolation-dome" if self.dome else "interpolation"

    def segment(self, volume: Volume, support: Support) -> LabelArray:
        """Return (I, J, K) labels; where two structures claim a voxel, the deeper one has it."""
        stack = stack_of(volume, support)
        out = np.zeros((stack.count, *stack.labels.shape[1:]), dtype=np.uint8)
        best = np.zeros(out.shape, dtype=np.float32)
        for structure in stack.structures:
            fields = _fields(stack, structure)
            ends = _ends(stack, structure, fields) if self.dome else ()
            for index, field in (*_between(stack, fields), *ends):
                _put(structure, index, field, out, best)
        return stack.to_volume(out)


def signed_distance_mm(mask: MaskArray, spacing_mm: tuple[float, float]) -> FloatArray:
    """Return (R, C) distances to the mask's edge in mm: positive inside, negative outside, 0 on the edge."""
    inside = ndimage.distance_transform_edt(mask, sampling=spacing_mm)
    outside = ndimage.distance_transform_edt(~mask, sampling=spacing_mm)
    half = min(spacing_mm) / 2
    return np.asarray(np.where(mask, inside - half, half - outside), dtype=np.float32)


def rounded_ends(stack: Stack) -> LabelArray:
    """Return (S, R, C) labels of what rounds the structures off beyond their painted ends, and nothing else."""
    out = np.zeros((stack.count, *stack.labels.shape[1:]), dtype=np.uint8)
    best = np.zeros(out.shape, dtype=np.float32)
    for structure in stack.structures:
        for index, field in _ends(stack, structure, _fields(stack, structure)):
            _put(structure, index, field, out, best)
    return out


def _fields(stack: Stack, structure: int) -> dict[int, FloatArray]:
    plane = stack.spacing_mm[1], stack.spacing_mm[2]
    held = stack.painted_with(structure)
    return {int(p): signed_distance_mm(stack.labels[p] == structure, plane) for p in held}


def _put(structure: int, index: int, field: FloatArray, out: LabelArray, best: FloatArray) -> None:
    wins = field > best[index]
    out[index][wins] = structure
    best[index][wins] = field[wins]


def _between(stack: Stack, fields: dict[int, FloatArray]) -> Iterator[tuple[int, FloatArray]]:
    for position, field in fields.items():
        if position + 1 in fields:
            start, stop = int(stack.indices[position]), int(stack.indices[position + 1])
            for index in range(start + 1, stop):
                share = (index - start) / (stop - start)
                yield index, (1 - share) * field + share * fields[position + 1]


def _ends(stack: Stack, structure: int, fields: dict[int, FloatArray]) -> Iterator[tuple[int, FloatArray]]:
    for position, field in fields.items():
        for step in (-1, 1):
            if position + step not in fields:
                yield from _rounded_off(stack, structure, position, field, step)


def _rounded_off(
    stack: Stack, structure: int, position: int, field: FloatArray, step: int
) -> Iterator[tuple[int, FloatArray]]:
    reach = stack.reach_mm(structure, position) + END_MARGIN * stack.spacing_mm[0]
    if len(stack.indices) == 1:
        reach = ONE_SLICE_DOME * stack.radius_mm(structure, position)
    deepest = float(field.max())
    neighbour = position + step
    known = 0 <= neighbour < len(stack.indices)
    limit = int(stack.indices[neighbour]) if known else (-1 if step < 0 else stack.count)
    for index in range(int(stack.indices[position]) + step, limit, step):
        away = abs(index - int(stack.indices[position])) * stack.spacing_mm[0] / reach
        if away >= 1:
            break
        yield index, field - deepest * np.float32(1 - np.sqrt(1 - away**2))
