"""A finished segmentation to disk, in whatever format its name tells, with what the format needs checked first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from napari_medmeta.core.errors import InputError
from napari_medmeta.core.geometry import Geometry
from napari_medmeta.io._suffix import WRITABLE_SUFFIXES, suffix_of
from napari_medmeta.io.dicom import is_dicom
from napari_medmeta.io.writing import write_labels

__all__ = ["RESULT_SUFFIXES", "SEGMENTATION_SUFFIX", "ScanSource", "is_dicom_source", "require_savable", "save_labels"]

SEGMENTATION_SUFFIX = ".dcm"
RESULT_SUFFIXES = (*WRITABLE_SUFFIXES, SEGMENTATION_SUFFIX)
"""What `save_labels` writes; .dcm is a DICOM SEG and needs the scan's own DICOM series."""


@dataclass(frozen=True, slots=True)
class ScanSource:
    """Where a scan came from: file or folder, and what chooses one series of a DICOM folder.

    ``series`` is the uid that `list_series` gives, ``name`` that of the `Volume`; either may be missing.
    """

    path: Path | None = None
    series: str | None = None
    name: str | None = None


def is_dicom_source(source: ScanSource | None) -> bool:
    """Whether the scan came from a DICOM folder or file that is still there."""
    path = source.path if source is not None else None
    return path is not None and (path.is_dir() or (path.is_file() and is_dicom(path)))


def require_savable(path: Path, *, source: ScanSource | None = None, geometry: Geometry | None = None) -> None:
    """Refuse a name that `save_labels` could not write, before minutes are spent on its content.

    Without ``geometry``, which is known only once the scan is read, the series is not looked at.

    Raises
    ------
    InputError
        When no format belongs to the name, or a DICOM SEG is wanted of a scan that is no complete DICOM
        series.
    """
    suffix = suffix_of(path)
    if suffix not in RESULT_SUFFIXES:
        raise InputError(
            f"{path.name} names no format that can be written",
            expected="a name that ends in " + ", ".join(RESULT_SUFFIXES),
        )
    if suffix != SEGMENTATION_SUFFIX:
        return
    if source is None or source.path is None or not is_dicom_source(source):
        raise InputError(
            "A DICOM segmentation belongs to a DICOM series, and this scan did not come from one",
            expected="a scan that was opened from its DICOM folder",
            next_step="Save as NIfTI (.nii.gz) instead",
        )
    if geometry is not None:
        from napari_medmeta.io.dicom.segmentation import require_segmentable

        require_segmentable(source.path, geometry, series=source.series, name=source.name)


def save_labels(
    path: Path | str,
    labels: npt.NDArray[Any],
    geometry: Geometry,
    *,
    names: Mapping[int, str] | None = None,
    colours: Mapping[int, str] | None = None,
    source: ScanSource | None = None,
    anonymous: bool = False,
) -> Path:
    """Write ``labels`` (I, J, K) on the scan's own grid as NIfTI, NRRD, MetaImage or DICOM SEG; return the path.

    ``anonymous`` concerns DICOM SEG: the other formats hold nothing of the patient anyway. See
    `write_labels` and `write_segmentation` for the rest and for errors.
    """
    path = Path(path)
    require_savable(path, source=source)
    if suffix_of(path) != SEGMENTATION_SUFFIX or source is None or source.path is None:
        return write_labels(path, labels, geometry, names=names)
    from napari_medmeta.io.dicom.segmentation import write_segmentation

    return write_segmentation(
        path,
        labels,
        geometry,
        source=source.path,
        series=source.series,
        name=source.name,
        names=names,
        colours=colours,
        anonymous=anonymous,
    )
