"""Points over the scan that show something and cannot be touched."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from napari.components import ViewerModel
from napari.layers import Image, Points

from napari_medmeta.ui.layers import PLACING

__all__ = ["GuardedPoints"]


class GuardedPoints:
    """A points layer that is there while there is something to show, and never in the user's way.

    Parameters
    ----------
    viewer, image
        Where the scan is shown; the points copy its place.
    """

    def __init__(self, viewer: ViewerModel, image: Image) -> None:
        self._viewer, self._image = viewer, image
        self.layer: Points | None = None

    @property
    def spacing(self) -> float:
        """Millimetres of a voxel's shortest side: sizes of points are counted in it."""
        return float(min(self._image.scale[-3:]))

    def put(self, voxels: npt.NDArray[np.float64], name: str, **look: Any) -> None:
        """Show points at (n, 3) ``voxels`` in place of those before; the selected layer stays the selected one."""
        self.clear()
        layers = self._viewer.layers
        active, selection = layers.selection.active, set(layers.selection)
        place = {key: getattr(self._image, key) for key in PLACING}
        layer = Points(voxels, name=name, border_color="black", border_width=0.1, **look, **place)
        self._viewer.add_layer(layer)
        # Not to be moved, added to or deleted by a stray click or key; the layer's controls make it editable at first.
        layer.editable = False
        layers.selection = selection
        layers.selection.active = active
        self.layer = layer

    def clear(self) -> None:
        """Remove the points."""
        layer, self.layer = self.layer, None
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)
