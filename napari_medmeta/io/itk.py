"""NRRD and MetaImage (MHA, MHD), read by SimpleITK once the header's promises are verified."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_medmeta.core.errors import UnreadableFileError
from napari_medmeta.core.geometry import Geometry
from napari_medmeta.io._image import Image, as_working_dtype
from napari_medmeta.io._layout import Layout, meta_layout, nrrd_layout, verify_payload
from napari_medmeta.io._untyped import sitk
from napari_medmeta.io.limits import checked_geometry, require_memory

__all__ = ["layout_of", "read_itk", "sitk_image", "slicer_names"]

LAYOUTS: dict[str, Callable[[Path], Layout]] = {".nrrd": nrrd_layout, ".mha": meta_layout, ".mhd": meta_layout}
NOT_PLACED = "The file does not say how the scan lies in the patient: left and right, and head and feet, are a guess."


def read_itk(path: Path, *, memory_limit_bytes: int | None = None) -> Image:
    """Read a 3D NRRD or MetaImage file as (k, j, i), (z, y, x) of an axial scan.

    Raises
    ------
    UnreadableFileError
        When the file is not of its format, is truncated, or its header contradicts the voxels.
    UnsupportedImageError
        For colour, 2D or 4D images.
    VolumeTooLargeError
        When it would not fit into memory.
    """
    layout = layout_of(path)
    # SimpleITK's own image, and the copy that outlives it.
    require_memory(layout.shape, 2 * layout.dtype.itemsize, limit_bytes=memory_limit_bytes)
    verify_payload(layout)
    image = _read(path)
    array = sitk.GetArrayFromImage(image)
    if array.dtype != layout.dtype or array.shape[-3:] != layout.shape or array.size != np.prod(layout.sizes):
        raise _unreadable(path)
    notes = () if layout.placed else (NOT_PLACED,)
    names = slicer_names({key: image.GetMetaData(key) for key in image.GetMetaDataKeys() if key.startswith("Segment")})
    return Image(
        as_working_dtype(array.reshape(layout.shape)), _geometry(image, layout), notes=notes, label_names=names
    )


def layout_of(path: Path) -> Layout:
    """Return what the header of a .nrrd, .mha or .mhd file promises."""
    return LAYOUTS[path.suffix.lower()](path)


def slicer_names(pairs: Mapping[str, str]) -> dict[int, str]:
    """Return the names of labels from the key-value pairs by which 3D Slicer describes segments."""
    names = {}
    for key, name in pairs.items():
        value = pairs.get(key.removesuffix("_Name") + "_LabelValue", "")
        if key.endswith("_Name") and value.isdecimal():
            names[int(value)] = name
    return names


def sitk_image(array: npt.NDArray[Any], geometry: Geometry) -> Any:
    """Return ``array`` (I, J, K) as a SimpleITK image on ``geometry``, which must not be sheared."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    image.SetSpacing(geometry.spacing_mm[::-1])
    image.SetOrigin(geometry.origin_mm)
    image.SetDirection(geometry.direction[:, ::-1].ravel().tolist())
    return image


def _read(path: Path) -> Any:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO("NrrdImageIO" if path.suffix.lower() == ".nrrd" else "MetaImageIO")
    try:
        return reader.Execute()
    except RuntimeError as error:
        raise _unreadable(path) from error


def _geometry(image: Any, layout: Layout) -> Geometry:
    axes = image.GetDimension()
    direction = np.asarray(image.GetDirection(), dtype=np.float64).reshape(axes, axes)[:3, :3]
    affine = np.eye(4)
    # Columns of ITK are those of (i, j, k); ours are those of the reversed array.
    affine[:3, :3] = (direction * np.asarray(image.GetSpacing()[:3]))[:, ::-1]
    affine[:3, 3] = image.GetOrigin()[:3]
    return checked_geometry(layout.shape, affine)


def _unreadable(path: Path) -> UnreadableFileError:
    return UnreadableFileError(
        f"{path.name} is not a complete image, or its header is damaged", next_step="Export or download it again"
    )
