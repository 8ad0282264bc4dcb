"""The engine's answer, as an immutable value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from napari_medmeta.core.errors import GeometryMismatchError
from napari_medmeta.core.types import BACKGROUND, Box, FloatArray, LabelArray, SliceRef, Triple

__all__ = ["FROM_LIBRARY", "Proposal", "Recipe"]

FROM_LIBRARY = "library"
"""The one source of evidence of what the example library proposes."""


@dataclass(frozen=True, eq=False)
class Recipe:
    """What else it takes to make the engine's answer at one voxel again, to explain it.

    Parameters
    ----------
    weight
        For each structure the sum of the sources' weights, not negative; `Proposal.trust` tells each one's share.
    tested_mm
        How far from the nearest painted slice the weights were tested; beyond, they go back to the fixed ones.
    last
        For each structure the trained network's last layer as adapted to this scan, (2, features + 1) float32; empty
        where the network was followed as it was learnt beforehand, or not at all.
    """

    weight: Mapping[int, float]
    tested_mm: float
    last: Mapping[int, FloatArray] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Proposal:
    """Proposed labels inside a box of the volume; outside of ``box`` the engine proposes background.

    Parameters
    ----------
    generation
        The `Support.generation` this answers; an older one than the session's is out of date.
    box
        Where the arrays lie in the volume.
    labels
        ``box.shape`` uint8: 0 or the structure proposed.
    confidence
        ``box.shape`` float32 in [0, 1]: probability of the proposed label (background included).
    covered
        The part of the volume that has been computed: the whole volume, or one slice of it. Outside
        of it this proposal says nothing.
    expected_dice
        For each structure the Dice expected over the slices that are not painted, in [0, 1].
    slice_dice
        For each slice along the examples' axis that holds a proposal, the expected Dice in [0, 1].
    trust
        For each structure, the weight of each source of evidence by name; weights sum to 1.
    network
        For each structure how far the trained network's correction was taken, in [0, 1]; empty where there is none.
    seconds
        Seconds by stage.
    recipe
        How the engine joined its sources; None where something else proposed.
    """

    generation: int
    box: Box
    labels: LabelArray
    confidence: FloatArray
    covered: Box
    expected_dice: Mapping[int, float] = field(default_factory=dict)
    slice_dice: Mapping[SliceRef, float] = field(default_factory=dict)
    trust: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    network: Mapping[int, float] = field(default_factory=dict)
    recipe: Recipe | None = None

    def __post_init__(self) -> None:
        if self.labels.shape != self.box.shape or self.confidence.shape != self.box.shape:
            raise GeometryMismatchError(
                f"A proposal's labels have the shape {self.labels.shape} and its confidence {self.confidence.shape}",
                expected=f"its box, {self.box.shape}",
            )
        for name in ("labels", "confidence"):
            array = getattr(self, name).view()
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        for name in ("expected_dice", "slice_dice", "trust", "seconds", "network"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    @property
    def recalled(self) -> frozenset[int]:
        """The structures that the example library proposes, not examples on this scan."""
        return frozenset(s for s, sources in self.trust.items() if set(sources) == {FROM_LIBRARY})

    def labels_in(self, box: Box) -> LabelArray:
        """Return the proposed labels inside ``box`` (``box.shape`` uint8), background outside of ours."""
        out = np.full(box.shape, BACKGROUND, dtype=np.uint8)
        _paste(self.labels, self.box, out, box)
        return out

    def confidence_in(self, box: Box) -> FloatArray:
        """Return the confidence inside ``box`` (``box.shape`` float32), 1 (sure background) outside of ours."""
        out = np.ones(box.shape, dtype=np.float32)
        _paste(self.confidence, self.box, out, box)
        return out

    def volume(self, shape: Triple) -> LabelArray:
        """Return the proposed labels on the whole grid of ``shape``."""
        return self.labels_in(Box.whole(shape))


def _paste(source: LabelArray | FloatArray, source_box: Box, target: LabelArray | FloatArray, target_box: Box) -> None:
    common = source_box.intersection(target_box)
    if common.size == 0:
        return

    def local(box: Box) -> tuple[slice, slice, slice]:
        i, j, k = (slice(a - o, b - o) for a, b, o in zip(common.start, common.stop, box.start, strict=True))
        return i, j, k

    target[local(target_box)] = source[local(source_box)]
