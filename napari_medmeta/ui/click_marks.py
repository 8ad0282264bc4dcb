"""What was clicked, as marks large enough to be seen: a voxel of its own is a dot in a modern scan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import numpy as np
from scipy import ndimage

from napari_medmeta.core import BACKGROUND, SliceExample, Triple
from napari_medmeta.ui.guarded_points import GuardedPoints

__all__ = ["CLICKS_NAME", "Click", "ClickMarks", "clicks_on"]

CLICKS_NAME = "Clicks"
BACKGROUND_COLOUR = "#d9d9d9"
SHARE_OF_SLICE = 1 / 50
"""Size of a mark beside the longest side of the scan: seen at a glance, and no lesion is hidden by it."""

Click: TypeAlias = tuple[Triple, int]
"""A voxel, and the structure that it was said to be; 0 for background."""


def clicks_on(examples: Iterable[SliceExample]) -> tuple[Click, ...]:
    """Return the voxels that stand alone on slices of which only a part is known: strokes are seen without a mark."""
    return tuple(click for example in examples if not example.is_complete for click in _alone(example))


def _alone(example: SliceExample) -> list[Click]:
    beside = ndimage.convolve(example.known.astype(np.uint8), np.ones((3, 3), np.uint8), mode="constant")
    found = []
    for row, column in np.argwhere(example.known & (beside == 1)):
        voxel = [int(row), int(column)]
        voxel.insert(example.ref.axis, example.ref.index)
        found.append(((voxel[0], voxel[1], voxel[2]), int(example.labels[row, column])))
    return found


class ClickMarks(GuardedPoints):
    """A plus in the structure's colour at each click on it, a grey cross at each click on background."""

    _shown: tuple[tuple[Click, ...], tuple[tuple[int, str], ...]] = ((), ())

    def show(self, clicks: tuple[Click, ...], colours: Mapping[int, str]) -> None:
        """Mark ``clicks``, and nothing else."""
        wanted = clicks, tuple(sorted(colours.items()))
        if wanted == self._shown:
            return
        self._shown = wanted
        if not clicks:
            self.clear()
            return
        shape, scale = self._image.data.shape[-3:], self._image.scale[-3:]
        longest_mm = max(n * float(step) for n, step in zip(shape, scale, strict=True))
        self.put(
            np.array([voxel for voxel, _ in clicks], dtype=float),
            CLICKS_NAME,
            size=longest_mm * SHARE_OF_SLICE / self.spacing,
            symbol=["x" if value == BACKGROUND else "cross" for _, value in clicks],
            face_color=[colours.get(value, BACKGROUND_COLOUR) for _, value in clicks],
        )
