"""The candidates of the list as numbered points over the scan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_medmeta.ui.detection import Row, Standing
from napari_medmeta.ui.guarded_points import GuardedPoints

__all__ = ["CANDIDATES_NAME", "CandidatePoints"]

CANDIDATES_NAME = "Candidates"
COLOURS = {Standing.OPEN: "#ffd24a", Standing.ACCEPTED: "#4ac26b", Standing.DISMISSED: "#8c8c8c"}
SIZE_MM = 8.0
TEXT_POINTS = 10


class CandidatePoints(GuardedPoints):
    """A ring and a number at each candidate."""

    def show(self, rows: Sequence[Row]) -> None:
        """Mark each row's centre by a ring and its number in the list (from 1); dismissed ones are left out."""
        shown = [(n, row) for n, row in enumerate(rows, start=1) if row.standing is not Standing.DISMISSED]
        if not shown:
            self.clear()
            return
        self.put(
            np.array([row.candidate.voxel for _, row in shown], dtype=float),
            CANDIDATES_NAME,
            size=SIZE_MM / self.spacing,
            symbol="ring",
            face_color=[COLOURS[row.standing] for _, row in shown],
            # Seen, smaller, on the neighbouring slices too.
            projection_mode="rescale_linear",
            features={"number": [str(n) for n, _ in shown]},
            text={"string": "{number}", "color": "#ffd24a", "size": TEXT_POINTS, "translation": (0, -3, 3)},
        )
