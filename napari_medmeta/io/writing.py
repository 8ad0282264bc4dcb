"""Labels and images to disk, on exactly the grid they came from; whole or not at all."""

from __future__ import annotations

import errno
import gzip
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from napari_medmeta.core.errors import GeometryMismatchError, InputError, StorageError
from napari_medmeta.core.geometry import Geometry

__all__ = ["WRITABLE_SUFFIXES", "write_image", "write_labels"]

WRITABLE_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd")
GZIP_LEVEL = 6
RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def write_labels(
    path: Path | str, labels: npt.NDArray[Any], geometry: Geometry, *, names: Mapping[int, str] | None = None
) -> Path:
    """Write ``labels`` (I, J, K), 0 to 255, as uint8 on ``geometry``; the suffix chooses the format.

    Returns the path. ``names`` are kept where the format has a place for them (NRRD).

    Raises
    ------
    InputError
        When the suffix is not known, the labels are not whole numbers from 0 to 255, or the format
        cannot hold the grid.
    GeometryMismatchError
        When labels and geometry disagree on the shape.
    StorageError
        When the disk is full or the folder is not writable; an older file is then still whole.
    """
    array = np.asarray(labels)
    if array.dtype.kind not in "iub" or (array.size and (array.min() < 0 or array.max() > 255)):
        raise InputError("The labels are not whole numbers from 0 to 255", expected="one structure number in each voxel")
    return _write(Path(path), array.astype(np.uint8), geometry, names=names or {})


def write_image(path: Path | str, array: npt.NDArray[Any], geometry: Geometry) -> Path:
    """Write an image (I, J, K) with its own voxel type on ``geometry``; errors as `write_labels`."""
    return _write(Path(path), np.asarray(array), geometry, names={})


def suffix_of(path: Path) -> str:
    """Return the suffix that tells the format, in small letters; ``.nii.gz`` counts as one."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def _write(path: Path, array: npt.NDArray[Any], geometry: Geometry, *, names: Mapping[int, str]) -> Path:
    if array.shape != geometry.shape:
        raise GeometryMismatchError(f"The array has the shape {array.shape}", expected=f"the grid's {geometry.shape}")
    suffix = suffix_of(path)
    if suffix not in WRITABLE_SUFFIXES:
        raise InputError(
            f"Files ending in {suffix or 'nothing'} cannot be written",
            expected=", ".join(WRITABLE_SUFFIXES),
            next_step="Choose a name that ends in .nii.gz",
        )
    if suffix.startswith(".nii"):
        payload = _nifti_bytes(array, geometry)
        with _replacing(path) as temporary:
            temporary.write_bytes(gzip.compress(payload, GZIP_LEVEL, mtime=0) if suffix == ".nii.gz" else payload)
    else:
        image = sitk_image(array, geometry)
        with _replacing(path) as temporary:
            sitk.WriteImage(image, str(temporary), useCompression=True)
    return path


def _nifti_bytes(array: npt.NDArray[Any], geometry: Geometry) -> bytes:
    affine = RAS_FROM_LPS @ geometry.affine[:, [2, 1, 0, 3]]
    image = nib.Nifti1Image(array.transpose(2, 1, 0), affine, dtype=array.dtype)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    if geometry.is_sheared:  # a quaternion has no room for shear
        image.set_qform(None, code=0)
    else:
        image.set_qform(affine, code=1)
    return bytes(image.to_bytes())


def sitk_image(array: npt.NDArray[Any], geometry: Geometry) -> Any:
    """Return ``array`` (I, J, K) as a SimpleITK image on ``geometry``, which must not be sheared."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    image.SetSpacing(geometry.spacing_mm[::-1])
    image.SetOrigin(geometry.origin_mm)
    image.SetDirection(geometry.direction[:, ::-1].ravel().tolist())
    return image


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Hand out a temporary name in the same folder; it takes the place of ``path`` when all went well."""
    handle, name = _temporary(path)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        raise storage_error(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _temporary(path: Path) -> tuple[int, str]:
    try:
        return tempfile.mkstemp(suffix=suffix_of(path), prefix=".writing-", dir=path.parent)
    except OSError as error:
        raise storage_error(path, error) from error


def storage_error(path: Path, error: Exception) -> StorageError:
    """Return the sentence for a failed write."""
    number = getattr(error, "errno", None)
    if number == errno.ENOSPC:
        return StorageError(f"The disk is full: {path.name} was not written", next_step="Free some space and save again")
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StorageError(
            f"You may not write into the folder {path.parent}", next_step="Choose another folder to save into"
        )
    if number in (errno.ENOENT, errno.ENOTDIR):
        return StorageError(f"There is no folder {path.parent}", next_step="Create it, or choose another one")
    return StorageError(f"{path.name} could not be written ({error})", next_step="Choose another folder to save into")
