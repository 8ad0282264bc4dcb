"""NRRD and MetaImage (MHA, MHD), read by SimpleITK."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from napari_medmeta.core.errors import UnreadableFileError
from napari_medmeta.io._image import Image, as_working_dtype
from napari_medmeta.io.limits import checked_geometry, checked_shape, require_memory

__all__ = ["read_itk"]


def read_itk(path: Path, *, memory_limit_bytes: int | None = None) -> Image:
    """Read a 3D NRRD or MetaImage file."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        i, j, k = checked_shape(reader.GetSize())
        require_memory((k, j, i), 8, limit_bytes=memory_limit_bytes)
        image = reader.Execute()
    except RuntimeError as error:
        raise UnreadableFileError(f"{path.name} is not an image, or it is damaged") from error
    affine = np.eye(4)
    direction = np.asarray(image.GetDirection()).reshape(3, 3)
    affine[:3, :3] = (direction * np.asarray(image.GetSpacing()))[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    return Image(as_working_dtype(sitk.GetArrayFromImage(image)), checked_geometry((k, j, i), affine))
