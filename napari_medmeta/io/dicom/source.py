"""The series that a segmentation belongs to: found again by its grid, with what other objects need of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from napari_medmeta.core.errors import GeometryMismatchError, InputError, UnreadableFileError
from napari_medmeta.core.geometry import Geometry
from napari_medmeta.io.dicom.headers import PARSE_ERRORS, damaged
from napari_medmeta.io.dicom.reader import series_name
from napari_medmeta.io.dicom.series import PART_MARK, Part, read_folder

__all__ = ["SourceSeries", "find_series", "frame_of_reference", "whole_headers"]

SourceSeries = Part


def find_series(source: Path, geometry: Geometry, *, series: str | None = None, name: str | None = None) -> Part:
    """Return the volume of a DICOM folder (or file) that lies on ``geometry``, its frames in the grid's order.

    ``series`` (the uid that `list_series` gives) or ``name`` (that of the `Volume`) choose between
    several on one grid, such as the echoes of one scan.

    Raises
    ------
    GeometryMismatchError
        When no volume of the folder lies on this grid.
    InputError
        When several do, and nothing tells them apart.
    """
    parts = [p for p in read_folder(source).parts if p.stack is not None and p.stack.geometry.same_grid(geometry)]
    if not parts:
        raise GeometryMismatchError(
            "The DICOM series that this scan came from holds no volume on its grid any more",
            expected="the folder as it was when the scan was opened",
            next_step="Save as NIfTI, or open the scan from its DICOM folder again",
        )
    chosen = [p for p in parts if series in (p.uid, p.uid.partition(PART_MARK)[0])]
    if len(chosen) != 1:
        chosen = [p for p in chosen or parts if name is not None and series_name(p) == name] or chosen or parts
    if len(chosen) > 1:
        uids = ", ".join(p.uid for p in chosen)
        raise InputError(
            f"{len(chosen)} volumes of the folder lie on this grid: {uids}",
            expected="the choice of one",
            next_step="Open the series that the segmentation belongs to by its number",
        )
    return chosen[0]


def whole_headers(part: Part) -> tuple[Dataset, ...]:
    """Return the header, without pixels, of each file of ``part``, in the order of its frames."""
    stack = part.stack
    files = dict.fromkeys(frame.file.path for frame in stack.frames) if stack is not None else {}
    return tuple(_header(path) for path in files)


def frame_of_reference(part: Part) -> str:
    """Return the UID of the patient's coordinate system, empty where the series does not say it."""
    return _shared_uid(whole_headers(part)[:1], "FrameOfReferenceUID")


def _header(path: Path) -> Dataset:
    try:
        return pydicom.dcmread(path, stop_before_pixels=True)
    except FileNotFoundError as error:
        raise UnreadableFileError(
            f"{path.name} is not there any more", next_step="Put the series' files back where they were"
        ) from error
    except PARSE_ERRORS as error:
        raise damaged(path) from error


def _shared_uid(headers: Sequence[Dataset], name: str) -> str:
    return str(headers[0].get(name) or "") if headers else ""
