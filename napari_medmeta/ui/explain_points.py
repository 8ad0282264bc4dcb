"""The voxels that caused an answer, as points over the scan."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from napari_medmeta.core import BACKGROUND
from napari_medmeta.core.explanation import Explanation
from napari_medmeta.ui.guarded_points import GuardedPoints

__all__ = ["ExplanationPoints"]

NAME = "Why"
LARGEST_MM, SMALLEST_MM = 8.0, 3.0
BACKGROUND_COLOUR = "#d9d9d9"
ASKED_COLOUR = "#ffffff"


class ExplanationPoints(GuardedPoints):
    """A ring at the voxel asked about, and dots at the examples behind the answer."""

    def show(self, explanation: Explanation, colours: Mapping[int, str]) -> None:
        """Mark the voxel asked about by a ring, and the example voxels by dots as large as their weight."""
        found = [v for example in explanation.examples for v in example.voxels]
        heaviest = max((v.weight for v in found), default=1.0)
        sizes = [SMALLEST_MM + (LARGEST_MM - SMALLEST_MM) * v.weight / heaviest for v in found]
        colour = (
            BACKGROUND_COLOUR if explanation.label == BACKGROUND else colours.get(explanation.label, BACKGROUND_COLOUR)
        )
        self.put(
            np.array([explanation.voxel, *(v.voxel for v in found)], dtype=float),
            NAME,
            size=np.array([LARGEST_MM, *sizes]) / self.spacing,
            symbol=["ring", *("disc" for _ in found)],
            face_color=[ASKED_COLOUR, *(colour for _ in found)],
        )
