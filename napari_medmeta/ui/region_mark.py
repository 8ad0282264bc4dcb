"""A frame around the part of a slice that is worth a look; it goes when the slice does."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from napari.components import ViewerModel
from napari.layers import Shapes

from napari_medmeta.core import Box

__all__ = ["RegionMark"]

COLOUR = "#ff00ff"
"""That of the map of uncertain places, and none of the structures' own; seen on dark and bright tissue."""

WIDTH_SHARE = 0.005
"""Width of the frame as a share of the slice's larger side: about two pixels of a usual window."""

MARGIN = 2
"""Voxels between the frame and what it points at."""


class RegionMark:
    """One frame in one viewer.

    Parameters
    ----------
    viewer
        Where it is drawn.
    place
        Scale, position and the like of the scan's layer.
    """

    def __init__(self, viewer: ViewerModel, place: dict[str, Any]) -> None:
        self._viewer, self._place = viewer, place
        self.layer: Shapes | None = None

    def show(self, region: Box, shape: tuple[int, int, int]) -> None:
        """Draw a frame around ``region``, which is one slice thick, in a scan of ``shape``."""
        self.clear()
        axis = region.shape.index(1)
        layer = Shapes(
            [frame(region, axis)],
            shape_type="rectangle",
            name="Look here",
            edge_color=COLOUR,
            face_color="transparent",
            edge_width=max(n for a, n in enumerate(shape) if a != axis) * WIDTH_SHARE,
            **self._place,
        )
        layer.editable = False
        active = self._viewer.layers.selection.active
        self._viewer.add_layer(layer)
        # The brush stays in hand: the frame is only looked at.
        self._viewer.layers.selection.active = active
        self.layer = layer

    def clear(self) -> None:
        """Take the frame away."""
        layer, self.layer = self.layer, None
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)


def frame(region: Box, axis: int) -> npt.NDArray[np.float64]:
    """Return the four corners (4, 3) around ``region`` on its slice along ``axis``, in voxels."""
    rows, columns = (a for a in range(3) if a != axis)
    low = np.asarray(region.start) - 0.5 - MARGIN
    high = np.asarray(region.stop) - 0.5 + MARGIN
    corners = np.full((4, 3), float(region.start[axis]))
    corners[:, rows] = (low[rows], low[rows], high[rows], high[rows])
    corners[:, columns] = (low[columns], high[columns], high[columns], low[columns])
    return corners
