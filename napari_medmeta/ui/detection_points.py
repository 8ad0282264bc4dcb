"""The candidates of the list as numbered points over the scan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Points

from napari_medmeta.ui.detection import Row, Standing
from napari_medmeta.ui.layers import PLACING

__all__ = ["CANDIDATES_NAME", "CandidatePoints"]

CANDIDATES_NAME = "Candidates"
COLOURS = {Standing.OPEN: "#ffd24a", Standing.ACCEPTED: "#4ac26b", Standing.DISMISSED: "#8c8c8c"}
SIZE_MM = 8.0
TEXT_POINTS = 10


class CandidatePoints:
    """A points layer that is there while a list is, and never in the user's way.

    Parameters
    ----------
    viewer, image
        Where the scan is shown; the points copy its place.
    """

    def __init__(self, viewer: ViewerModel, image: Image) -> None:
        self._viewer, self._image = viewer, image
        self.layer: Points | None = None

    def show(self, rows: Sequence[Row]) -> None:
        """Mark each row's centre by a ring and its number in the list (from 1); dismissed ones are left out."""
        self.clear()
        shown = [(n, row) for n, row in enumerate(rows, start=1) if row.standing is not Standing.DISMISSED]
        if not shown:
            return
        active, selection = self._viewer.layers.selection.active, set(self._viewer.layers.selection)
        layer = Points(
            np.array([row.candidate.voxel for _, row in shown], dtype=float),
            name=CANDIDATES_NAME,
            size=SIZE_MM / min(self._image.scale[-3:]),
            symbol="ring",
            face_color=[COLOURS[row.standing] for _, row in shown],
            border_color="black",
            border_width=0.1,
            out_of_slice_display=True,
            features={"number": [str(n) for n, _ in shown]},
            text={"string": "{number}", "color": "#ffd24a", "size": TEXT_POINTS, "translation": (0, -3, 3)},
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
