"""The voxels that caused an answer, as points over the scan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Points

from napari_medmeta.core import BACKGROUND
from napari_medmeta.core.explanation import Explanation
from napari_medmeta.ui.layers import PLACING

__all__ = ["ExplanationPoints"]

NAME = "Why"
LARGEST_MM, SMALLEST_MM = 8.0, 3.0
BACKGROUND_COLOUR = "#d9d9d9"
ASKED_COLOUR = "#ffffff"


class ExplanationPoints:
    """A points layer that is there while an explanation is, and never in the user's way.

    Parameters
    ----------
    viewer, image
        Where the scan is shown; the points copy its place.
    """

    def __init__(self, viewer: ViewerModel, image: Image) -> None:
        self._viewer, self._image = viewer, image
        self.layer: Points | None = None

    def show(self, explanation: Explanation, colours: Mapping[int, str]) -> None:
        """Mark the voxel asked about by a ring, and the example voxels by dots as large as their weight."""
        self.clear()
        found = [v for example in explanation.examples for v in example.voxels]
        heaviest = max((v.weight for v in found), default=1.0)
        sizes = [SMALLEST_MM + (LARGEST_MM - SMALLEST_MM) * v.weight / heaviest for v in found]
        colour = (
            BACKGROUND_COLOUR if explanation.label == BACKGROUND else colours.get(explanation.label, BACKGROUND_COLOUR)
        )
        spacing = min(self._image.scale[-3:])
        active, selection = self._viewer.layers.selection.active, set(self._viewer.layers.selection)
        layer = Points(
            np.array([explanation.voxel, *(v.voxel for v in found)], dtype=float),
            name=NAME,
            size=np.array([LARGEST_MM, *sizes]) / spacing,
            symbol=["ring", *("disc" for _ in found)],
            face_color=[ASKED_COLOUR, *(colour for _ in found)],
            border_color="black",
            border_width=0.1,
            **self._placement(),
        )
        # Not to be moved, added to or deleted by a stray click or key.
        layer.editable = False
        self._viewer.add_layer(layer)
        self._viewer.layers.selection = selection
        self._viewer.layers.selection.active = active
        self.layer = layer

    def clear(self) -> None:
        """Remove the points."""
        layer, self.layer = self.layer, None
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)

    def _placement(self) -> dict[str, Any]:
        return {name: getattr(self._image, name) for name in PLACING}
