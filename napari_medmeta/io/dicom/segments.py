"""DICOM SEG back to labels: each frame put where it lies, on the scan's grid or on one of its own.

Source: PS3.3 A.51 and C.8.20.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset

from napari_medmeta.core.errors import (
    GeometryMismatchError,
    MedmetaError,
    UnreadableFileError,
    UnsupportedImageError,
)
from napari_medmeta.core.geometry import Geometry
from napari_medmeta.core.types import MAX_STRUCTURES, LabelArray, SliceRef, label_slice
from napari_medmeta.io._image import NamedLabels
from napari_medmeta.io.dicom.grid import FLAGGED_UNEVENNESS, SAME_PLACE_MM
from napari_medmeta.io.dicom.headers import PARSE_ERRORS, damaged
from napari_medmeta.io.limits import checked_geometry, require_memory

__all__ = ["read_segments", "require_same_space"]

IN_PLANE_TOLERANCE = 0.1
"""Pixels by which a frame may lie off the scan's: positions are written with few digits."""

THROUGH_PLANE_TOLERANCE = 0.25
"""Slices; a series' own slices may lie off its even grid by a tenth (see `grid.FLAGGED_UNEVENNESS`)."""

THICKNESS_MM = 1.0
"""For a single frame that tells neither thickness nor spacing."""


@dataclass(frozen=True, eq=False)
class _Plane:
    """One frame: which segment (None where its pixels tell), its first pixel's centre and its steps, LPS mm."""

    segment: int | None
    pixels: npt.NDArray[Any]
    corner: npt.NDArray[np.float64]
    along_rows: npt.NDArray[np.float64]
    along_columns: npt.NDArray[np.float64]
    spacing_mm: float | None


def read_segments(path: Path, *, like: Geometry | None = None, frame_of_reference: str = "") -> NamedLabels:
    """Read a DICOM SEG onto ``like``, or onto the smallest grid that holds its frames.

    Labels are the segments' numbers. In a fractional segmentation a half counts as inside; where two
    segments overlap, the later one is taken, and a note says so.

    Raises
    ------
    GeometryMismatchError
        When a frame does not lie on the voxels of ``like``, or in another frame of reference.
    UnsupportedImageError
        When it has more than 254 segments.
    UnreadableFileError
        When the file is damaged.
    """
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
        require_same_space(str(header.get("FrameOfReferenceUID") or ""), frame_of_reference, path)
        size = (int(header.NumberOfFrames), int(header.Rows), int(header.Columns))
        require_memory(size, 2)
        names = _names(header)
        planes = _planes(pydicom.dcmread(path))
    except MedmetaError:
        raise
    except PARSE_ERRORS as error:
        raise damaged(path) from error
    geometry = _own_grid(planes) if like is None else like
    labels = np.zeros(geometry.shape, dtype=np.uint8)
    overlaps = sum(_paste(labels, geometry, plane, path) for plane in planes)
    return NamedLabels(labels, geometry, names, _notes(header, overlaps))


def require_same_space(found: str, wanted: str, path: Path) -> None:
    """Raise `GeometryMismatchError` when both frames of reference are known and differ."""
    if found and wanted and found != wanted:
        raise GeometryMismatchError(
            f"{path.name} was drawn in another frame of reference than this scan's: its positions do not fit it",
            expected="contours or segments of this very examination",
            next_step="Open the series that it was drawn on",
        )


def _names(header: Dataset) -> Mapping[int, str]:
    names = {int(item.SegmentNumber): str(item.get("SegmentLabel") or "") for item in header.SegmentSequence}
    # A label map may describe its background.
    names.pop(0, None)
    if names and max(names) > MAX_STRUCTURES:
        raise UnsupportedImageError(
            f"The segmentation numbers its segments up to {max(names)}", expected=f"1 to {MAX_STRUCTURES}"
        )
    return {number: name or f"structure {number}" for number, name in names.items()}


def _planes(data: Dataset) -> list[_Plane]:
    frames = np.asarray(data.pixel_array).reshape(-1, data.Rows, data.Columns)
    kind = str(data.get("SegmentationType", "BINARY"))
    if kind == "FRACTIONAL":
        frames = frames >= int(data.MaximumFractionalValue) / 2
    shared = data.SharedFunctionalGroupsSequence[0]
    groups = data.PerFrameFunctionalGroupsSequence
    if len(groups) != len(frames):
        raise UnreadableFileError("The segmentation has a different number of frames than its header says")
    return [_plane(shared, own, pixels, kind) for own, pixels in zip(groups, frames, strict=True)]


def _plane(shared: Dataset, own: Dataset, pixels: npt.NDArray[Any], kind: str) -> _Plane:
    def group(name: str) -> Dataset:
        item: Dataset = (own if name in own else shared)[name].value[0]
        return item

    measures, turned = group("PixelMeasuresSequence"), group("PlaneOrientationSequence").ImageOrientationPatient
    between_rows, between_columns = (float(v) for v in measures.PixelSpacing)
    along_row, along_column = (np.asarray(turned[part], dtype=np.float64) for part in (slice(3), slice(3, 6)))
    spacing = measures.get("SpacingBetweenSlices") or measures.get("SliceThickness")
    labelmap = kind == "LABELMAP"
    return _Plane(
        None if labelmap else int(group("SegmentIdentificationSequence").ReferencedSegmentNumber),
        pixels,
        np.asarray(group("PlanePositionSequence").ImagePositionPatient, dtype=np.float64),
        along_column * between_rows,
        along_row * between_columns,
        float(spacing) if spacing else None,
    )


def _own_grid(planes: Sequence[_Plane]) -> Geometry:
    """Return the grid of all frames; slices that the file leaves out because they are empty are filled in."""
    first = planes[0]
    normal = np.cross(first.along_columns, first.along_rows)
    normal /= np.linalg.norm(normal)
    ordered = sorted(planes, key=lambda p: float(p.corner @ normal))
    low, high = ordered[0].corner, ordered[-1].corner
    places = np.array([float((p.corner - low) @ normal) for p in ordered])
    gaps = np.diff(places)
    gaps = gaps[gaps > SAME_PLACE_MM]
    spacing = first.spacing_mm if first.spacing_mm is not None else THICKNESS_MM
    step = float(gaps.min()) if gaps.size else spacing
    if gaps.size and spacing < step and np.abs(gaps / spacing - np.rint(gaps / spacing)).max() < FLAGGED_UNEVENNESS:
        step = spacing
    count = round(float(places[-1]) / step)
    affine = np.eye(4)
    affine[:3, 0] = (high - low) / count if count else normal * step
    affine[:3, 1], affine[:3, 2], affine[:3, 3] = first.along_rows, first.along_columns, low
    rows, columns = first.pixels.shape
    require_memory((count + 1, rows, columns), 1)
    return checked_geometry((count + 1, rows, columns), affine)


def _paste(labels: LabelArray, geometry: Geometry, plane: _Plane, path: Path) -> int:
    """Write one frame into ``labels``; return how many voxels another segment had already."""
    drawn = plane.pixels != 0
    if not drawn.any():
        return 0
    axis, index, row_axis, rows, columns = _place(geometry, plane, path)
    view = label_slice(labels, SliceRef(axis, index))
    if row_axis != min(a for a in range(3) if a != axis):
        view = view.T
    spot = np.ix_(rows, columns)
    before = view[spot]
    values = plane.pixels if plane.segment is None else np.uint8(plane.segment)
    view[spot] = np.where(drawn, values, before)
    return int(np.count_nonzero(drawn & (before != 0) & (before != values)))


def _place(
    geometry: Geometry, plane: _Plane, path: Path
) -> tuple[int, int, int, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the slice's axis and index, the axis along which rows count up, and the indices of rows and columns."""
    shape = plane.pixels.shape
    corner = geometry.to_index(plane.corner)
    # Index steps over the whole frame: what is off by little at each pixel shows at the far edge.
    spans = [
        geometry.to_index(plane.corner + step * (n - 1)) - corner if n > 1 else _unit(geometry, step)
        for step, n in zip((plane.along_rows, plane.along_columns), shape, strict=True)
    ]
    row_axis, column_axis = (int(np.argmax(np.abs(span))) for span in spans)
    axis = 3 - row_axis - column_axis
    if row_axis == column_axis:
        raise _off_grid(path)
    counts: list[npt.NDArray[np.int64]] = []
    for span, along, n in zip(spans, (row_axis, column_axis), shape, strict=True):
        wanted = np.zeros(3)
        wanted[along] = np.sign(span[along]) * max(n - 1, 1)
        if np.abs(span - wanted).max() > IN_PLANE_TOLERANCE:
            raise _off_grid(path)
        counts.append(round(corner[along]) + np.sign(span[along]).astype(np.int64) * np.arange(n))
    off = np.abs(corner - np.rint(corner))
    index = round(corner[axis])
    allowed = np.full(3, IN_PLANE_TOLERANCE)
    allowed[axis] = THROUGH_PLANE_TOLERANCE
    reached = ((row_axis, counts[0]), (column_axis, counts[1]), (axis, np.array([index])))
    if (off > allowed).any() or any(c.min() < 0 or c.max() >= geometry.shape[a] for a, c in reached):
        raise _off_grid(path)
    return axis, index, row_axis, counts[0], counts[1]


def _unit(geometry: Geometry, step: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return geometry.to_index(step) - geometry.to_index(np.zeros(3))


def _off_grid(path: Path) -> GeometryMismatchError:
    return GeometryMismatchError(
        f"{path.name} does not lie on the scan's grid: its slices or pixels are elsewhere",
        expected="a segmentation of this very series",
        next_step="Open the series that it was made on, or resample it onto this scan",
    )


def _notes(header: Dataset, overlaps: int) -> tuple[str, ...]:
    notes = []
    if str(header.get("SegmentationType")) == "FRACTIONAL":
        notes.append("The segmentation is fractional: voxels of a half and more were taken.")
    if overlaps:
        notes.append(f"{overlaps} voxels belong to several structures in the file; the later one was taken.")
    return tuple(notes)
