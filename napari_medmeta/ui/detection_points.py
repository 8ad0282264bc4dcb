"""The candidates of the list as numbered points over the scan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from napari_medmeta.ui.detection import Row, Standing
from napari_medmeta.ui.guarded_points import GuardedPoints

__all__ = ["CANDIDATES_NAME", "CandidatePoints", "marks_along"]

CANDIDATES_NAME = "Candidates"
COLOURS = {Standing.OPEN: "#ffd24a", Standing.ACCEPTED: "#4ac26b", Standing.DISMISSED: "#8c8c8c"}
SIZE_MM = 8.0
SMALLEST = 0.5
"""Of the ring at the ends of a candidate, as a share of the one at its centre."""
BESIDE_MM = 7.0
"""How far up and to the side of its ring a number stands, so that neither hides the other."""
TEXT_POINTS = 11
TEXT_COLOUR = "#f0640f"
"""Of middling brightness: read on dark tissue and on a bright lesion alike."""


class CandidatePoints(GuardedPoints):
    """A ring and a number at each candidate, on every slice that it reaches."""

    def show(self, rows: Sequence[Row], axis: int = 0) -> None:
        """Mark each row by rings and its number in the list (from 1); dismissed ones are left out.

        Parameters
        ----------
        rows
            The list.
        axis
            Across the slices on screen. A point is seen on one slice only, and whoever turns the pages of the
            scan must not miss a candidate: so each slice of it has a point of its own.
        """
        marks = [
            (row, str(n), place, share)
            for n, row in enumerate(rows, start=1)
            if row.standing is not Standing.DISMISSED
            for place, share in marks_along(row, axis)
        ]
        if not marks:
            self.clear()
            return
        spacing = np.asarray(self._image.scale[-3:], dtype=float)
        self.put(
            np.array([place for _, _, place, _ in marks]),
            CANDIDATES_NAME,
            size=np.array([share for *_, share in marks]) * SIZE_MM / self.spacing,
            symbol="ring",
            face_color=[COLOURS[row.standing] for row, *_ in marks],
            features={"number": [number for _, number, *_ in marks]},
            text={
                "string": "{number}",
                "color": TEXT_COLOUR,
                "size": TEXT_POINTS,
                "translation": BESIDE_MM * np.array([-1.0, -1.0, 1.0]) / spacing,
            },
        )


def marks_along(row: Row, axis: int) -> Iterator[tuple[npt.NDArray[np.float64], float]]:
    """Return a place (3,) and a size on each slice of a candidate across ``axis``, the one at its centre first.

    Sizes are shares of the whole size: 1 on the slice through the centre, less towards the ends.
    """
    candidate = row.candidate
    centre, start = candidate.voxel, np.array(candidate.box.start)
    yield np.array(centre, dtype=float), 1.0
    slices = [start[axis] + n for n in range(candidate.mask.shape[axis])]
    longest = max(abs(index - centre[axis]) for index in slices)
    for index in slices:
        inside = np.argwhere(np.take(candidate.mask, index - start[axis], axis=axis))
        if index == centre[axis] or not len(inside):
            continue
        place = np.insert(inside.mean(axis=0), axis, 0.0) + start
        place[axis] = index
        yield place, 1.0 - (1.0 - SMALLEST) * abs(index - centre[axis]) / longest
