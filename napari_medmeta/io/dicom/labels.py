"""DICOM objects that hold labels: segmentations (SEG) and contours (RTSTRUCT), told apart by their modality."""

from __future__ import annotations

from pathlib import Path

from napari_medmeta.core.errors import MedmetaError, UnsupportedImageError
from napari_medmeta.core.geometry import Geometry
from napari_medmeta.io._image import NamedLabels
from napari_medmeta.io.dicom.contours import read_contours
from napari_medmeta.io.dicom.headers import NOT_SCANS, is_dicom, read_header
from napari_medmeta.io.dicom.segments import read_segments
from napari_medmeta.io.dicom.source import find_series, frame_of_reference

__all__ = ["is_dicom_labels", "read_dicom_labels"]

LABEL_KINDS = ("SEG", "RTSTRUCT")


def is_dicom_labels(path: Path) -> bool:
    """Whether the file is a DICOM segmentation or a set of contours."""
    if not path.is_file() or not is_dicom(path):
        return False
    try:
        return _kind(path) in LABEL_KINDS
    except MedmetaError:
        return False


def read_dicom_labels(path: Path, *, like: Geometry | None = None, source: Path | None = None) -> NamedLabels:
    """Read a SEG or RTSTRUCT file; with the DICOM ``source`` of the scan on ``like``, frames of reference must agree.

    Raises
    ------
    UnsupportedImageError
        When the file is another kind of DICOM object.
    MedmetaError
        See `read_segments` and `read_contours`.
    """
    kind = _kind(path)
    if kind not in LABEL_KINDS:
        what = NOT_SCANS.get(kind, f"an image ({kind})" if kind else "an image")
        raise UnsupportedImageError(
            f"{path.name} is {what}, which holds no labels",
            expected="a DICOM segmentation (SEG) or contours (RTSTRUCT)",
            next_step="Choose the segmentation, not the scan",
        )
    space = _space(like, source)
    if kind == "SEG":
        return read_segments(path, like=like, frame_of_reference=space)
    return read_contours(path, like=like, frame_of_reference=space)


def _kind(path: Path) -> str:
    return str(read_header(path)[0].get("Modality") or "").upper()


def _space(like: Geometry | None, source: Path | None) -> str:
    """Return the scan's frame of reference, empty where it is not known: then positions alone decide."""
    if like is None or source is None or not source.exists() or not (source.is_dir() or is_dicom(source)):
        return ""
    try:
        return frame_of_reference(find_series(source, like))
    except MedmetaError:
        return ""
