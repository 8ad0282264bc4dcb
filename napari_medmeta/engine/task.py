"""What a learner gets to see: one region of the scan with its features and the painted labels in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import torch
from torch import Tensor

from napari_medmeta.core import Triple

__all__ = ["UNKNOWN", "Faces", "PaintedSlice", "Task"]

Faces: TypeAlias = tuple[tuple[bool, bool], tuple[bool, bool], tuple[bool, bool]]
"""For each region axis, something said of its first and of its last face."""

UNKNOWN = -1
"""Class index of a voxel of which the user said nothing."""


@dataclass(frozen=True, eq=False)
class PaintedSlice:
    """One complete example inside the region.

    Parameters
    ----------
    axis, index
        The region axis it is perpendicular to, and its index along it.
    classes
        (rows, columns) int64: 0 background, 1 to S the structures by their order.
    asked
        Class indices that were looked for on this slice; others may be there unpainted.
    weight
        How much it counts beside the other slices, above 0 and up to 1.
    """

    axis: int
    index: int
    classes: Tensor
    asked: frozenset[int]
    weight: float = 1.0


@dataclass(frozen=True, eq=False)
class Task:
    """A few-shot segmentation task on a region whose first axis (D) is the painted slices' normal.

    Parameters
    ----------
    features
        (C, D, H, W) float32.
    intensity
        (D, H, W) float32, robustly normalised.
    spacing_mm
        Voxel spacing along D, H, W.
    classes
        (D, H, W) int64: 0 background, 1 to S structures, `UNKNOWN` elsewhere.
    painted
        The complete slices, on any axis.
    structures
        S, the number of structures.
    bounded
        Faces beyond which nothing is expected. At the scan's own border a structure may be cut off, and
        where a slab was cut out of a region it goes on: these faces are not bounded.
    missing
        Slices by which the scan ends before the region's reach, below and above along D.
    embedding
        (E, D, H, W) float32: the learnt embedding; None where no learner asks for it.
    """

    features: Tensor
    intensity: Tensor
    spacing_mm: tuple[float, float, float]
    classes: Tensor
    painted: tuple[PaintedSlice, ...]
    structures: int
    bounded: Faces
    missing: tuple[int, int] = (0, 0)
    embedding: Tensor | None = None

    @property
    def shape(self) -> Triple:
        """(D, H, W)."""
        d, h, w = self.classes.shape
        return d, h, w

    @property
    def device(self) -> torch.device:
        """Where the tensors live."""
        return self.features.device

    @cached_property
    def depths(self) -> tuple[int, ...]:
        """Indices of the complete slices along D, ascending."""
        return tuple(sorted(p.index for p in self.painted if p.axis == 0))

    @cached_property
    def walls(self) -> tuple[int, ...]:
        """Indices of the slices along D of which every voxel is known, ascending: nothing spreads across them."""
        return tuple(z for z in self.depths if bool((self.classes[z] >= 0).all()))

    def distance_mm(self, depths: Sequence[int]) -> Tensor:
        """Return (n,) float32: how far each slice of ``depths`` is from the nearest complete one; 0 without any."""
        gaps = [min((abs(z - p) for p in self.depths), default=0) * self.spacing_mm[0] for z in depths]
        return torch.tensor(gaps, dtype=torch.float32, device=self.device)

    def without(self, depth: int) -> Task:
        """Return the task as if the complete slice at ``depth`` along D had never been painted."""
        classes = self.classes.clone()
        classes[depth] = UNKNOWN
        # Slices of other axes still know their own line of voxels on this one.
        for other in self.painted:
            if other.axis == 1:
                classes[depth, other.index] = other.classes[depth]
            elif other.axis == 2:
                classes[depth, :, other.index] = other.classes[depth]
        kept = tuple(p for p in self.painted if not (p.axis == 0 and p.index == depth))
        return replace(self, classes=classes, painted=kept)

    def slab(self, start: int, stop: int) -> Task:
        """Return the part of the task between the depths ``start`` and ``stop`` (half-open)."""
        painted = []
        for p in self.painted:
            if p.axis != 0:
                painted.append(replace(p, classes=p.classes[start:stop]))
            elif start <= p.index < stop:
                painted.append(replace(p, index=p.index - start))
        part = slice(start, stop)
        first, last = self.bounded[0]
        at_start, at_end = start == 0, stop == self.shape[0]
        return replace(
            self,
            features=self.features[:, part],
            intensity=self.intensity[part],
            classes=self.classes[part],
            painted=tuple(painted),
            bounded=((first and at_start, last and at_end), self.bounded[1], self.bounded[2]),
            missing=(self.missing[0] * at_start, self.missing[1] * at_end),
            embedding=None if self.embedding is None else self.embedding[:, part],
        )

    def transposed(self, axis: int) -> Task:
        """Return the task with ``axis`` moved to the front, as its painted slices see it."""
        order = (axis, *(a for a in range(3) if a != axis))
        painted = []
        for p in self.painted:
            others = [a for a in range(3) if a != p.axis]
            new = order.index(p.axis)
            kept = [order.index(a) for a in others]
            classes = p.classes if kept[0] < kept[1] else p.classes.T
            painted.append(replace(p, axis=new, classes=classes))
        i, j, k = (self.spacing_mm[a] for a in order)
        d, h, w = (self.bounded[a] for a in order)
        return Task(
            features=self.features.permute(0, *(a + 1 for a in order)),
            intensity=self.intensity.permute(order),
            spacing_mm=(i, j, k),
            classes=self.classes.permute(order),
            painted=tuple(painted),
            structures=self.structures,
            bounded=(d, h, w),
            embedding=None if self.embedding is None else self.embedding.permute(0, *(a + 1 for a in order)),
        )

    def positions_mm(self) -> Tensor:
        """Return (3, D, H, W) float32: each voxel's place in the region, in mm along D, H, W."""
        axes = [
            torch.arange(n, device=self.device, dtype=torch.float32) * s
            for n, s in zip(self.shape, self.spacing_mm, strict=True)
        ]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"))
