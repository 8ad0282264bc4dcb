"""Any path to a `Volume` or to labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_medmeta.core.errors import UnreadableFileError, UnsupportedImageError
from napari_medmeta.core.geometry import Geometry
from napari_medmeta.core.types import UNLABELLED, LabelArray
from napari_medmeta.core.volume import Volume, require_contrast
from napari_medmeta.io._image import Image, NamedLabels
from napari_medmeta.io._suffix import (
    DICOM_SUFFIXES,
    ITK_SUFFIXES,
    NIFTI_SUFFIXES,
    WRITABLE_SUFFIXES,
    stem_of,
    suffix_of,
)
from napari_medmeta.io.dicom import is_dicom, read_dicom, read_dicom_labels
from napari_medmeta.io.itk import read_itk
from napari_medmeta.io.modality import guess_modality
from napari_medmeta.io.nifti import read_nifti

__all__ = ["can_read", "read_labels", "read_named_labels", "read_scan", "read_volume"]

NEXT_STEPS = {
    ".hdr": "Save the scan as .nii.gz: header and voxels in one file",
    ".img": "Save the scan as .nii.gz: header and voxels in one file",
    ".nhdr": "Save the scan as one .nrrd file with its voxels inside",
    ".zip": "Unpack the archive first and choose the folder",
    ".tar": "Unpack the archive first and choose the folder",
    ".png": "Choose the scan itself, not a picture of it",
    ".jpg": "Choose the scan itself, not a picture of it",
    ".jpeg": "Choose the scan itself, not a picture of it",
    ".tif": "Choose the scan itself, not a picture of it",
    ".tiff": "Choose the scan itself, not a picture of it",
}
FILES_LOOKED_AT = 64
"""`can_read` must be quick: a DICOM export has an image among its first files."""


def read_volume(path: Path | str, *, series: str | None = None, memory_limit_bytes: int | None = None) -> Volume:
    """Read a scan: a NIfTI, NRRD, MHA or MHD file, a DICOM folder, or a multi-frame DICOM file.

    ``series`` chooses one volume of a DICOM folder by the uid that `list_series` gives. The memory
    limit is what is free now, unless given. Integers keep their type, other numbers become float32.

    Raises
    ------
    UnreadableFileError
        When the path does not exist, is not an image, or is truncated or damaged.
    UnsupportedImageError
        When it is an image, but not one 3D volume of finite grey values.
    VolumeTooLargeError
        When it would not fit into memory.
    """
    path = Path(path)
    image = _read(path, series=series, memory_limit_bytes=memory_limit_bytes)
    modality = image.modality or guess_modality(image.array)
    return Volume(image.array, image.geometry, modality, image.name or stem_of(path), path, image.notes)


def read_scan(path: Path | str, *, series: str | None = None) -> Volume:
    """Read a scan to be worked on: as `read_volume`, but one on which nothing can be seen is refused.

    Raises
    ------
    UnsupportedImageError
        Also when all voxels have the same value.
    """
    volume = read_volume(path, series=series)
    require_contrast(volume.array, name=volume.name)
    return volume


def read_labels(
    path: Path | str, *, like: Geometry | None = None, source: Path | None = None
) -> tuple[LabelArray, Geometry]:
    """Read labels (I, J, K), whole numbers from 0 to 255, and their grid; see `read_named_labels`."""
    found = read_named_labels(path, like=like, source=source)
    return found.labels, found.geometry


def read_named_labels(path: Path | str, *, like: Geometry | None = None, source: Path | None = None) -> NamedLabels:
    """Read a label file: NIfTI, NRRD, MHA, MHD, a DICOM segmentation (SEG), or DICOM contours (RTSTRUCT).

    Parameters
    ----------
    like
        The scan's grid, which the labels must lie on; contours need one.
    source
        The DICOM folder of the scan on ``like``: SEG and RTSTRUCT must then share its frame of reference.

    Names are those of SEG, RTSTRUCT and 3D Slicer's NRRD; other formats have none.

    Raises
    ------
    UnsupportedImageError
        When a value is not a whole number or not in that range: then it is a scan, not labels.
    GeometryMismatchError
        When they do not lie on the grid ``like``.
    """
    path = Path(path)
    if path.is_file() and is_dicom(path):
        return read_dicom_labels(path, like=like, source=source)
    image = _read(path)
    if like is not None:
        like.require_same_grid(image.geometry, what=path.name)
    return NamedLabels(_labels(image, path), image.geometry, image.label_names, image.notes)


def can_read(path: Path | str) -> bool:
    """Whether `read_volume` is worth a try, judged by names and first bytes only."""
    path = Path(path)
    if path.is_dir():
        candidates = (p for p in path.rglob("*") if p.is_file())
        return any(is_dicom(file) for file, _ in zip(candidates, range(FILES_LOOKED_AT), strict=False))
    return path.is_file() and (suffix_of(path) in WRITABLE_SUFFIXES or is_dicom(path))


def _labels(image: Image, path: Path) -> LabelArray:
    array = image.array
    if array.dtype.kind == "f":
        whole = np.isfinite(array).all() and np.array_equal(array, np.rint(array))
        if not whole:
            raise _not_labels(path, "has values that are not whole numbers")
    low, high = array.min(), array.max()
    if low < 0 or high > UNLABELLED:
        raise _not_labels(path, f"has values from {low:g} to {high:g}")
    return array.astype(np.uint8)


def _not_labels(path: Path, what: str) -> UnsupportedImageError:
    return UnsupportedImageError(
        f"{path.name} {what}, so it is not a label image",
        expected="whole numbers from 0 to 255, one for each structure",
        next_step="Choose the labels, not the scan",
    )


def _read(path: Path, *, series: str | None = None, memory_limit_bytes: int | None = None) -> Image:
    if not path.exists():
        raise UnreadableFileError(f"There is no file or folder {path.name}", next_step="Check the name and the folder")
    suffix = suffix_of(path)
    if path.is_dir() or is_dicom(path):
        image = read_dicom(path, series=series, memory_limit_bytes=memory_limit_bytes)
        # A DICOM file's or folder's own name is often the patient's.
        return replace(image, name=image.name or "DICOM series")
    if suffix in NIFTI_SUFFIXES:
        return read_nifti(path, memory_limit_bytes=memory_limit_bytes)
    if suffix in ITK_SUFFIXES:
        return read_itk(path, memory_limit_bytes=memory_limit_bytes)
    if suffix in DICOM_SUFFIXES:
        raise UnreadableFileError(
            f"{path.name} is called DICOM by its name, but it is not: it is damaged or another kind of file",
            expected="a DICOM file as a scanner or an archive exports it",
            next_step="Copy or export it again, and choose the folder that holds all slices of the scan",
        )
    raise UnreadableFileError(
        f"{path.name} is not a scan that can be read",
        expected=f"a file ending in {', '.join(WRITABLE_SUFFIXES)}, or a DICOM folder",
        next_step=NEXT_STEPS.get(suffix, "Choose a scan"),
    )
