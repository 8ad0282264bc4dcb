"""From the slices' positions to one grid, or to a sentence that says why there is none.

Orientation and position are those of PS3.3 C.7.6.2. Gantry tilt needs no special case: the step from
slice to slice is taken from the positions, so the grid is sheared exactly as the patient was scanned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_medmeta.core.errors import UnreadableFileError, UnsupportedImageError
from napari_medmeta.core.geometry import Geometry
from napari_medmeta.io.dicom.frames import Frame
from napari_medmeta.io.limits import checked_geometry

__all__ = ["SAME_PLACE_MM", "Stack", "normal_of", "place_along", "stack_of"]

SAME_PLACE_MM = 0.01
"""Slices nearer than this lie at the same place; no scanner cuts thinner than 0.1 mm."""

UNIT_TOLERANCE = 1e-2
"""Direction cosines are written with few digits by some scanners."""

HARMLESS_UNEVENNESS = 0.01
"""Share of the slice distance: rounding of positions to 0.01 mm, not worth a word."""

FLAGGED_UNEVENNESS = 0.10
"""Share of the slice distance by which a slice may be off its place on the even grid and still be used,
with a note; beyond, the slices are refused. A tenth of a slice is below what a reader sees."""


@dataclass(frozen=True, eq=False)
class Stack:
    """Frames in the order of the grid's first axis, with the grid and what is worth knowing."""

    frames: tuple[Frame, ...]
    geometry: Geometry
    notes: tuple[str, ...]


def normal_of(frame: Frame) -> npt.NDArray[np.float64]:
    """Return the unit vector (LPS) across the slice: direction along a row, cross that along a column."""
    along_row, along_column = _directions(frame)
    return np.asarray(np.cross(along_row, along_column), dtype=np.float64)


def place_along(frame: Frame, normal: npt.NDArray[np.float64]) -> float:
    """Return where the frame lies along ``normal``, in mm."""
    return float(normal @ _position(frame))


def stack_of(frames: Sequence[Frame]) -> Stack:
    """Sort parallel frames of one size by position and return them with their grid.

    Raises
    ------
    UnsupportedImageError
        For a single slice, uneven distances, or missing slices: the sentence names the gap.
    UnreadableFileError
        When positions, orientation or pixel spacing are missing or impossible.
    """
    first = frames[0]
    normal = normal_of(first)
    ordered = sorted(frames, key=lambda f: place_along(f, normal))
    if len(ordered) < 2:
        raise UnsupportedImageError(
            "The series has a single slice",
            expected="a volume of at least two slices",
            next_step="Choose the folder that holds all slices of the series",
        )
    positions = np.array([_position(f) for f in ordered])
    step = (positions[-1] - positions[0]) / (len(ordered) - 1)
    notes = _check_even(positions, step, normal)
    geometry = _geometry(ordered[0], len(ordered), step)
    return Stack(tuple(ordered), geometry, (*notes, *_tilt_note(geometry, step, normal)))


def _check_even(
    positions: npt.NDArray[np.float64], step: npt.NDArray[np.float64], normal: npt.NDArray[np.float64]
) -> tuple[str, ...]:
    gaps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    usual = float(np.median(gaps))
    even = positions[0] + np.arange(len(positions))[:, None] * step
    off = np.linalg.norm(positions - even, axis=1)
    unevenness = max(float(off.max()), float(np.abs(gaps - usual).max())) / max(usual, SAME_PLACE_MM)
    if unevenness > FLAGGED_UNEVENNESS:
        raise _uneven(gaps, usual)
    if abs(float(normal @ step)) < SAME_PLACE_MM:
        raise UnsupportedImageError("The slices do not lie one behind the other", next_step="Choose another series")
    if unevenness > HARMLESS_UNEVENNESS:
        return (f"The slice distance varies by up to {off.max():.2g} mm; an even distance of {usual:.3g} mm is used.",)
    return ()


def _uneven(gaps: npt.NDArray[np.float64], usual: float) -> UnsupportedImageError:
    after = int(np.argmax(np.abs(gaps - usual) > FLAGGED_UNEVENNESS * usual))
    wrong = float(gaps[after])
    multiple = wrong / usual
    missing = round(multiple) - 1
    if missing >= 1 and abs(multiple - round(multiple)) <= FLAGGED_UNEVENNESS:
        count = f"{missing} slice{'s are' if missing > 1 else ' is'}"
        return UnsupportedImageError(
            f"{count} missing after slice {after + 1}: the gap there is {wrong:.3g} mm instead of {usual:.3g} mm",
            expected="slices at an even distance",
            next_step="Export the complete series again",
        )
    return UnsupportedImageError(
        f"The slices are not evenly spaced: {_runs(gaps)}",
        expected="one slice distance through the whole scan",
        next_step="Open only the part with one slice distance, or a reconstruction with even slices",
    )


def _runs(gaps: npt.NDArray[np.float64]) -> str:
    """Return the distances in words: 4.2 mm up to slice 6, then 1.1 mm, then 7.4 mm from slice 7 on."""
    starts = [0, *(n for n in range(1, len(gaps)) if abs(gaps[n] - gaps[n - 1]) > 0.05 * gaps[n - 1])]
    words = [f"{gaps[start]:.3g} mm after slice {start + 1}" for start in starts]
    shown = ", then ".join(words[:4])
    return f"{shown}, and so on" if len(words) > 4 else shown


def _geometry(first: Frame, count: int, step: npt.NDArray[np.float64]) -> Geometry:
    along_row, along_column = _directions(first)
    between_rows, between_columns = _pixel_spacing(first)
    affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = along_column * between_rows
    affine[:3, 2] = along_row * between_columns
    affine[:3, 3] = _position(first)
    return checked_geometry((count, first.file.rows, first.file.columns), affine)


def _tilt_note(geometry: Geometry, step: npt.NDArray[np.float64], normal: npt.NDArray[np.float64]) -> tuple[str, ...]:
    if not geometry.is_sheared:
        return ()
    cosine = min(1.0, abs(float(normal @ step)) / float(np.linalg.norm(step)))
    degrees = math.degrees(math.acos(cosine))
    return (f"The slices are tilted against their stacking direction by {degrees:.3g} degrees (gantry tilt).",)


def _directions(frame: Frame) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    if frame.orientation is None:
        raise _missing("how its slices are turned (Image Orientation)")
    row, column = np.asarray(frame.orientation[:3]), np.asarray(frame.orientation[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(n - 1) for n in lengths) > UNIT_TOLERANCE or abs(row @ column) > UNIT_TOLERANCE:
        raise UnreadableFileError(
            "The slices' directions are impossible: rows and columns are not at a right angle",
            next_step="The header is damaged: export the series again",
        )
    row = row / lengths[0]
    column = column - row * (row @ column)
    return row, column / np.linalg.norm(column)


def _position(frame: Frame) -> npt.NDArray[np.float64]:
    if frame.position is None:
        raise _missing("where its slices lie (Image Position)")
    return np.asarray(frame.position, dtype=np.float64)


def _pixel_spacing(frame: Frame) -> tuple[float, float]:
    if frame.spacing_mm is None:
        raise _missing("the size of its pixels (Pixel Spacing)")
    between_rows, between_columns = frame.spacing_mm
    if min(between_rows, between_columns) <= 0:
        raise UnreadableFileError(
            "The pixels have the size 0", next_step="The header is damaged: export the series again"
        )
    return between_rows, between_columns


def _missing(what: str) -> UnreadableFileError:
    return UnreadableFileError(
        f"The series does not say {what}",
        expected="slices with a position in the patient, as CT and MR scanners write them",
        next_step="Choose the original series from the scanner",
    )
