"""RTSTRUCT contours to labels on a scan's grid.

A voxel belongs to a structure when its centre lies inside the structure's contours on its slice; a centre
on the line belongs to one side only, so that contours that share a line never share a voxel. Several
contours of one structure on one slice are taken by the even-odd rule, so an inner contour is a hole.
Source: PS3.3 C.8.8.6 (ROI Contour).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset

from napari_medmeta.core.errors import (
    GeometryMismatchError,
    InputError,
    MedmetaError,
    UnreadableFileError,
    UnsupportedImageError,
)
from napari_medmeta.core.geometry import Geometry
from napari_medmeta.core.types import MAX_STRUCTURES, LabelArray, MaskArray, SliceRef, label_slice
from napari_medmeta.io._image import NamedLabels
from napari_medmeta.io.dicom.headers import PARSE_ERRORS, damaged
from napari_medmeta.io.dicom.segments import require_same_space

__all__ = ["read_contours"]

PLANAR_TOLERANCE = 0.25
"""Slices by which a contour may lie off a slice's middle; beyond, it was drawn on other slices."""

MARGIN = 0.5
"""Voxels by which a contour may reach beyond the scan: its edge voxels end there."""

Points = npt.NDArray[np.float64]


def read_contours(path: Path, *, like: Geometry | None, frame_of_reference: str = "") -> NamedLabels:
    """Read an RTSTRUCT onto the grid ``like``; structures are numbered from 1 in the file's order.

    Raises
    ------
    InputError
        Without a grid: contours have no voxels of their own.
    GeometryMismatchError
        When contours lie in another frame of reference, outside of the scan, or between its slices.
    UnsupportedImageError
        When the file holds no closed contour, or more than 254 structures.
    UnreadableFileError
        When the file is damaged.
    """
    if like is None:
        raise InputError(
            f"{path.name} holds contours, which have no voxels of their own",
            expected="the scan that they were drawn on",
            next_step="Open the scan first, then the contours",
        )
    try:
        data = pydicom.dcmread(path, stop_before_pixels=True)
        regions = _regions(data, path, frame_of_reference)
        contours = {number: list(_contours(data, number)) for number in regions}
    except MedmetaError:
        raise
    except PARSE_ERRORS as error:
        raise damaged(path) from error
    labels = np.zeros(like.shape, dtype=np.uint8)
    names, overlaps = {}, 0
    for value, number in enumerate((n for n in regions if contours[n]), start=1):
        if value > MAX_STRUCTURES:
            raise UnsupportedImageError(f"{path.name} holds more than {MAX_STRUCTURES} structures")
        names[value] = regions[number]
        overlaps += _draw(labels, like, value, contours[number], path)
    if not names:
        raise UnsupportedImageError(f"{path.name} holds no closed contour", next_step="Choose another file")
    notes = (f"{overlaps} voxels lie inside several structures; the later one was taken.",) if overlaps else ()
    return NamedLabels(labels, like, names, notes)


def _regions(data: Dataset, path: Path, frame_of_reference: str) -> Mapping[int, str]:
    regions = {}
    for item in data.StructureSetROISequence:
        require_same_space(str(item.get("ReferencedFrameOfReferenceUID") or ""), frame_of_reference, path)
        number = int(item.ROINumber)
        regions[number] = " ".join(str(item.get("ROIName") or f"structure {number}").split())
    return regions


def _contours(data: Dataset, number: int) -> Iterator[Points]:
    """Yield the corners (n, 3), LPS mm, of each closed contour of a structure."""
    for region in data.get("ROIContourSequence", ()):
        if int(region.ReferencedROINumber) != number:
            continue
        for contour in region.get("ContourSequence", ()):
            kind = str(contour.get("ContourGeometricType", ""))
            # XOR contours follow the same even-odd rule (C.8.8.6.3); points and open lines enclose nothing.
            if kind in ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR"):
                points = np.asarray(contour.ContourData, dtype=np.float64).reshape(-1, 3)
                if len(points) >= 3:
                    yield points


def _draw(labels: LabelArray, geometry: Geometry, value: int, contours: list[Points], path: Path) -> int:
    """Fill one structure's contours; return how many voxels another structure had already."""
    inside: dict[SliceRef, MaskArray] = {}
    for points in contours:
        corners = geometry.to_index(points)
        if not np.isfinite(corners).all():
            raise UnreadableFileError(f"{path.name} holds a contour without a position")
        ref = _slice_of(corners, geometry, path)
        mask = inside.setdefault(ref, np.zeros(label_slice(labels, ref).shape, dtype=bool))
        mask ^= _filled(np.delete(corners, ref.axis, axis=1), mask.shape)
    overlaps = 0
    for ref, mask in inside.items():
        view = label_slice(labels, ref)
        overlaps += int(np.count_nonzero(mask & (view != 0) & (view != value)))
        view[mask] = value
    return overlaps


def _slice_of(corners: Points, geometry: Geometry, path: Path) -> SliceRef:
    axis = int(np.argmin(np.ptp(corners, axis=0)))
    place = corners[:, axis]
    index = round(float(place.mean()))
    if (corners < -0.5 - MARGIN).any() or (corners > np.asarray(geometry.shape) - 0.5 + MARGIN).any():
        raise _misplaced(path, "reach beyond this scan")
    if np.abs(place - index).max() > PLANAR_TOLERANCE or not 0 <= index < geometry.shape[axis]:
        raise _misplaced(path, "do not lie on this scan's slices")
    return SliceRef(axis, index)


def _filled(polygon: Points, shape: tuple[int, ...]) -> MaskArray:
    import skimage.measure

    measure: Any = skimage.measure  # untyped
    low = np.maximum(np.ceil(polygon.min(axis=0)).astype(int), 0)
    high = np.minimum(np.floor(polygon.max(axis=0)).astype(int) + 1, shape)
    mask = np.zeros(shape, dtype=bool)
    if (high > low).all():
        grid = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"), axis=-1)
        hit = measure.points_in_poly(grid.reshape(-1, 2).astype(np.float64), polygon)
        mask[low[0] : high[0], low[1] : high[1]] = np.reshape(hit, grid.shape[:2])
    return mask


def _misplaced(path: Path, what: str) -> GeometryMismatchError:
    return GeometryMismatchError(
        f"The contours of {path.name} {what}",
        expected="contours that were drawn on this series",
        next_step="Open the series that they were drawn on",
    )
