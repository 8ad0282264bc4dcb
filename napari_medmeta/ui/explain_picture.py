"""Small pictures of the examples around their voxels, as plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_medmeta.core import LabelArray, SliceRef, Triple, label_slice

__all__ = ["thumbnail"]

HALF_MM = 30.0
"""Half the side of a picture: an organ's border with what lies beside it."""

SIDE = 72
"""Pixels along a picture's side."""

MARK = 5
"""Half the length of the cross that marks the voxel, in pixels."""

Picture = npt.NDArray[np.uint8]


def thumbnail(
    image: npt.NDArray[Any],
    labels: LabelArray,
    *,
    ref: SliceRef,
    voxel: Triple,
    spacing_mm: Sequence[float],
    limits: tuple[float, float],
    colours: Mapping[int, tuple[int, int, int]],
) -> Picture:
    """Return (SIDE, SIDE, 3) uint8: the slice ``ref`` around ``voxel`` with its outlines and a cross.

    Parameters
    ----------
    image, labels
        (I, J, K) of one grid. What lies beyond it is black.
    limits
        Values shown black and white.
    colours
        Red, green and blue (0 to 255) of each structure.
    """
    rows, columns = (a for a in range(3) if a != ref.axis)
    places = [
        voxel[axis] + np.linspace(-HALF_MM, HALF_MM, SIDE, dtype=np.float32) / spacing_mm[axis]
        for axis in (rows, columns)
    ]
    grid = np.meshgrid(*places, indexing="ij")
    low, high = limits
    plane = np.asarray(label_slice(image, ref), dtype=np.float32)
    grey = ndimage.map_coordinates(plane, grid, order=1, mode="constant", cval=low)
    grey = np.clip((grey - low) / max(high - low, 1e-6), 0, 1) * 255
    picture = np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)
    shown = ndimage.map_coordinates(label_slice(labels, ref), grid, order=0, mode="constant", cval=0)
    for value in np.unique(shown[shown > 0]):
        inside = shown == value
        picture[inside & ~ndimage.binary_erosion(inside)] = colours.get(int(value), (255, 255, 255))
    middle = SIDE // 2
    picture[middle, middle - MARK : middle + MARK + 1] = 255
    picture[middle - MARK : middle + MARK + 1, middle] = 255
    return picture
