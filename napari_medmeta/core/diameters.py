"""Longest diameter and longest perpendicular of a structure on one slice, as in RECIST 1.1.

Source: Eisenhauer et al., New response evaluation criteria in solid tumours: revised RECIST guideline
(version 1.1), European Journal of Cancer 45 (2009) 228-247. The caliper is set on the outline that runs
midway between a voxel of the structure and its neighbour outside, as PyRadiomics (Maximum2DDiameter) and
scikit-image (feret_diameter_max) do: a row of n voxels is n voxels long.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import ConvexHull

from napari_medmeta.core.types import MaskArray

__all__ = ["Caliper", "Segment", "longest_diameter", "longest_perpendicular", "outline_hull"]

Points = npt.NDArray[np.float64]
"""(n, 2) positions in a plane: mm along two perpendicular directions, or (row, column) indices."""

EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)
"""Voxels that touch at a corner belong to one piece, as a hand-drawn outline would hold them together."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A straight line between two points in a plane (mm)."""

    start: tuple[float, float]
    end: tuple[float, float]

    @property
    def length(self) -> float:
        """Length in mm."""
        return float(np.hypot(self.end[0] - self.start[0], self.end[1] - self.start[1]))


@dataclass(frozen=True, eq=False)
class Caliper:
    """The longest diameter of the pieces on one slice, with the hull (n, 2) mm of the piece it lies in."""

    longest: Segment
    hull: Points


def longest_diameter(mask: MaskArray, plane: Points) -> Caliper | None:
    """Return the longest line between two outline points of one connected piece of ``mask``.

    Parameters
    ----------
    mask
        (rows, columns) bool. Two pieces that do not touch are two lesions, and no caliper spans both.
    plane
        (2, 2); maps a (row, column) step to mm along two perpendicular directions of the plane, so that
        unequal spacing and tilt are taken in.

    Returns
    -------
    Caliper or None
        None for an empty mask. A non-convex piece counts with the hull of its outline.
    """
    labelled, _ = ndimage.label(mask, structure=EIGHT_NEIGHBOURS)
    boxes = ndimage.find_objects(labelled)
    # The largest boxes first: once the rest cannot hold a longer line, they need no hull. A speckled
    # threshold has thousands of pieces.
    order = sorted(range(len(boxes)), key=lambda n: -_bound(boxes[n], plane))
    best: Caliper | None = None
    for number in order:
        if best is not None and _bound(boxes[number], plane) <= best.longest.length:
            break
        rows, columns = boxes[number]
        hull = np.add(outline_hull(labelled[rows, columns] == number + 1), (rows.start, columns.start))
        caliper = _widest(hull @ plane.T)
        if best is None or caliper.longest.length > best.longest.length:
            best = caliper
    return best


def outline_hull(mask: MaskArray) -> Points:
    """Return the convex hull's corners (n, 2), in order, of the outline of a non-empty ``mask`` in index units."""
    points = np.concatenate([_row_ends(mask), _row_ends(mask.T)[:, ::-1]])
    return np.asarray(points[ConvexHull(points).vertices], dtype=np.float64)


def longest_perpendicular(caliper: Caliper) -> Segment:
    """Return the longest line inside the hull that meets the longest diameter at a right angle."""
    start = np.asarray(caliper.longest.start)
    along = (np.asarray(caliper.longest.end) - start) / caliper.longest.length
    across = np.array([-along[1], along[0]])
    u, v = (caliper.hull - start) @ along, (caliper.hull - start) @ across
    low, high = _chains(u, v)
    # The width of a convex figure is concave along the diameter, so it is largest at one of the corners.
    stations = np.unique(u)
    bottom, top = np.interp(stations, *low), np.interp(stations, *high)
    widest = int(np.argmax(top - bottom))
    ends = [start + stations[widest] * along + offset * across for offset in (bottom[widest], top[widest])]
    return Segment((float(ends[0][0]), float(ends[0][1])), (float(ends[1][0]), float(ends[1][1])))


def _row_ends(mask: MaskArray) -> Points:
    """Return (row, column) of the outline left of the first and right of the last voxel of each row."""
    rows = np.flatnonzero(mask.any(axis=1))
    first = mask[rows].argmax(axis=1) - 0.5
    last = mask.shape[1] - mask[rows, ::-1].argmax(axis=1) - 0.5
    return np.concatenate([np.stack([rows, first], axis=1), np.stack([rows, last], axis=1)]).astype(np.float64)


def _bound(box: tuple[slice, slice], plane: Points) -> float:
    """Return a length (mm) that no line inside ``box`` exceeds."""
    rows, columns = (s.stop - s.start for s in box)
    return float(max(np.linalg.norm(plane @ (rows, columns)), np.linalg.norm(plane @ (rows, -columns))))


def _widest(hull: Points) -> Caliper:
    gaps = hull[:, None] - hull[None]
    distances = np.einsum("abi,abi->ab", gaps, gaps)
    a, b = divmod(int(np.argmax(distances)), len(hull))
    ends = sorted((tuple(hull[a].tolist()), tuple(hull[b].tolist())))
    return Caliper(Segment(*ends), hull)


def _chains(u: npt.NDArray[np.float64], v: npt.NDArray[np.float64]) -> tuple[tuple[Points, Points], ...]:
    """Return the lower and the upper side of a hull as (u ascending, v) for interpolation."""
    # The diameter runs from u = 0 to its length at v = 0, and the hull lies between its ends.
    sides = []
    for side in (v <= 0, v >= 0):
        order = np.argsort(u[side], kind="stable")
        sides.append((u[side][order], v[side][order]))
    return tuple(sides)
