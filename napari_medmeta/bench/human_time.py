"""How long a radiologist would take to view, accept, paint or correct a slice: a model with sources.

Its parts are those of the keystroke-level model (Card, Moran and Newell, "The keystroke-level model for user
performance time with interactive systems", Communications of the ACM 1980, 23:396-410), which was fitted to
people at work, and one figure from radiologists: the step of the eyes to the neighbouring CT image (Beard et
al., "Eye movement during computed tomography interpretation", Journal of Digital Imaging 1994, 7:189-192).

The model's answer for a whole organ painted by hand is that of practice. A liver of 40 slices with an outline
of 45 cm each takes 40 (0.5 + 1.4 + 3.1 + 55) s = 40 minutes; 30 to 60 minutes are reported for an abdominal
organ (Qu et al., "AbdomenAtlas-8K", NeurIPS 2023). It is no measurement of our own users: the session file of a
real case holds that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_medmeta.core import LabelArray, MaskArray

__all__ = ["TimeModel", "outline_mm", "wrong_outline_mm"]


@dataclass(frozen=True)
class TimeModel:
    """Seconds by action.

    Parameters
    ----------
    next_slice
        To step to another slice: 0.54 s between neighbouring CT images (Beard et al. 1994).
    decide
        Operator M of Card et al., to prepare an action mentally: once for every structure that is checked or drawn.
    key
        Operator K, a key or button: 0.28 s for people who do not type for a living.
    home
        Operator H, to move the hand from keys to mouse.
    point
        Operator P, to point at where a stroke starts.
    draw_per_mm
        Operator D, 0.9 s for each straight piece and 0.16 s for each cm drawn. We take a piece for each cm of
        outline, shown at twice its size, as on a usual screen: 0.9 + 2 * 0.16 = 1.22 s for a cm.
    """

    next_slice: float = 0.54
    decide: float = 1.35
    key: float = 0.28
    home: float = 0.40
    point: float = 1.10
    draw_per_mm: float = 0.122

    def view(self, structures: int) -> float:
        """Return the seconds to go to a slice and check ``structures`` outlines, at least one look."""
        return self.next_slice + self.decide * max(1, structures)

    @property
    def accept(self) -> float:
        """Seconds to accept a slice that has been viewed: one key."""
        return self.key

    def draw(self, lengths_mm: Sequence[float]) -> float:
        """Return the seconds to draw outlines, one for each structure; 0 mm is a structure cleared away."""
        start = self.decide + self.key + self.home + self.point
        return sum(start + self.draw_per_mm * length for length in lengths_mm)


def outline_mm(mask: MaskArray, spacing_mm: tuple[float, float]) -> float:
    """Return the length of the outline of ``mask`` (R, C): its edge voxels, each as long as it is wide."""
    return int(np.count_nonzero(_edge(mask))) * _width(spacing_mm)


def wrong_outline_mm(labels: LabelArray, truth: LabelArray, spacing_mm: tuple[float, float]) -> dict[int, float]:
    """Return for each structure that is wrong on a slice how much of its true outline has to be drawn, in mm.

    That is the outline that truth and proposal do not share, the longer of the two, but never more than the
    true outline, as one would rather clear the structure and draw it anew; nothing where the truth has none of
    it. This is an upper bound: an outline that is off by a single voxel all around is drawn anew, although
    observers differ by more.

    Parameters
    ----------
    labels, truth
        (R, C) uint8, the slice as proposed and as it is.
    """
    out = {}
    for structure in (int(v) for v in np.union1d(labels, truth) if v != 0):
        found, true = labels == structure, truth == structure
        if np.array_equal(found, true):
            continue
        mine, theirs = _edge(found), _edge(true)
        unshared = max(np.count_nonzero(mine & ~theirs), np.count_nonzero(theirs & ~mine))
        out[structure] = int(min(unshared, np.count_nonzero(theirs))) * _width(spacing_mm)
    return out


def _edge(mask: MaskArray) -> MaskArray:
    return np.asarray(mask & ~ndimage.binary_erosion(mask))


def _width(spacing_mm: tuple[float, float]) -> float:
    return float(np.sqrt(spacing_mm[0] * spacing_mm[1]))
