"""What the layers read of the session, and what a slice of the segmentation layer should look like."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from napari_medmeta.core import Box, FloatArray, LabelArray, MaskArray, SliceRef, Structure, label_slice
from napari_medmeta.ui.strokes import BACKGROUND_STROKE, Edit

__all__ = ["Shown", "differences", "expected_plane"]


class Shown(Protocol):
    """What the layers read of the session, through the controller."""

    @property
    def labels(self) -> LabelArray:
        """What is painted and accepted (I, J, K)."""
        ...

    @property
    def structures(self) -> Sequence[Structure]:
        """The structures and their colours."""
        ...

    def proposed_labels(self, box: Box, /) -> LabelArray:
        """Return what is still proposed inside a box."""
        ...

    def confidence(self, box: Box, /) -> FloatArray:
        """Return how sure the engine is inside a box, in [0, 1]."""
        ...

    def background_strokes(self) -> Iterable[tuple[SliceRef, MaskArray]]:
        """Return for each slice with strokes where they say "background"."""
        ...

    def takes_over(self, ref: SliceRef, /, *, erasing: bool) -> bool:
        """Whether a stroke on a slice starts from its proposal."""
        ...

    def is_hint(self, ref: SliceRef, /) -> bool:
        """Whether the proposal on a slice is too unsure to be outlined."""
        ...

    def words(self, ref: SliceRef, /) -> str:
        """Say what is known about a slice."""
        ...


def expected_plane(shown: Shown, ref: SliceRef) -> LabelArray:
    """Return (rows, columns) uint8: the slice ``ref`` as it has to be on screen, background strokes marked."""
    plane = np.array(label_slice(shown.labels, ref))
    for other, mask in shown.background_strokes():
        if other == ref:
            plane[mask & (plane == 0)] = BACKGROUND_STROKE
        elif other.axis != ref.axis:
            _cross(plane, ref, other, mask)
    return plane


def differences(array: LabelArray, shown: Shown, ref: SliceRef) -> tuple[Edit, ...]:
    """Return what ``array`` (I, J, K, as on screen) holds on the slice ``ref`` that the session does not know."""
    i, j, k = array.shape
    box = Box.of_slice(ref, (i, j, k))
    seen, known = array[box.slices], expected_plane(shown, ref)
    changed = np.asarray(seen != known.reshape(box.shape))
    return tuple(Edit(box, changed & (seen == v), int(v)) for v in np.unique(seen[changed]))


def _cross(plane: LabelArray, ref: SliceRef, other: SliceRef, mask: MaskArray) -> None:
    """Mark on ``plane`` the background strokes of a slice that crosses it in a line."""
    rest = [a for a in range(3) if a != ref.axis]
    line: list[Any] = [slice(None), slice(None)]
    line[rest.index(other.axis)] = other.index
    through = [a for a in range(3) if a != other.axis].index(ref.axis)
    marked = np.take(mask, ref.index, axis=through)
    view = plane[tuple(line)]
    view[marked & (view == 0)] = BACKGROUND_STROKE
