"""Any path to a `Volume` or to labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_medmeta.core.errors import UnreadableFileError, UnsupportedImageError
from napari_medmeta.core.geometry import Geometry
from napari_medmeta.core.types import LabelArray, Modality
from napari_medmeta.core.volume import Volume
from napari_medmeta.io._image import Image
from napari_medmeta.io.itk import read_itk
from napari_medmeta.io.nifti import read_nifti
from napari_medmeta.io.writing import suffix_of

__all__ = ["read_labels", "read_volume"]


def read_volume(path: Path | str, *, series: str | None = None, memory_limit_bytes: int | None = None) -> Volume:
    """Read a scan: a NIfTI, NRRD, MHA or MHD file."""
    path = Path(path)
    image = _read(path, memory_limit_bytes)
    name = path.name[: len(path.name) - len(suffix_of(path))]
    return Volume(image.array, image.geometry, image.modality or Modality.OTHER, name, path, image.notes)


def read_labels(path: Path | str, *, like: Geometry | None = None) -> tuple[LabelArray, Geometry]:
    """Read labels (I, J, K) of whole numbers 0 to 255 and their grid; ``like`` is the grid they must lie on."""
    path = Path(path)
    image = _read(path, None)
    array = image.array
    if array.dtype.kind == "f" and not (np.isfinite(array).all() and np.array_equal(array, np.round(array))):
        raise UnsupportedImageError(f"{path.name} holds values that are not whole numbers")
    if array.min() < 0 or array.max() > 255:
        raise UnsupportedImageError(f"{path.name} holds values outside 0 to 255")
    if like is not None:
        like.require_same_grid(image.geometry, what=path.name)
    return array.astype(np.uint8), image.geometry


def _read(path: Path, memory_limit_bytes: int | None) -> Image:
    suffix = suffix_of(path)
    if suffix in (".nii", ".nii.gz"):
        return read_nifti(path, memory_limit_bytes=memory_limit_bytes)
    if suffix in (".nrrd", ".mha", ".mhd"):
        return read_itk(path, memory_limit_bytes=memory_limit_bytes)
    raise UnreadableFileError(f"{path.name} is not an image that can be read")
