"""Labels and images to disk, on exactly the grid they came from; whole or not at all."""

from __future__ import annotations

import errno
import gzip
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_medmeta.core.errors import GeometryMismatchError, InputError
from napari_medmeta.core.geometry import Geometry
from napari_medmeta.core.replacing import replacing
from napari_medmeta.core.types import UNLABELLED
from napari_medmeta.io._layout import verify_payload
from napari_medmeta.io._suffix import WRITABLE_SUFFIXES, suffix_of
from napari_medmeta.io._untyped import nib, sitk
from napari_medmeta.io.itk import layout_of, sitk_image

__all__ = ["write_image", "write_labels"]

LABEL_GZIP_LEVEL = 6
IMAGE_GZIP_LEVEL = 1
"""What nibabel takes too: on the noise of a scan, higher levels take ten times as long for little."""

RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
LOCAL_DATA = b"ElementDataFile = LOCAL\n"


def write_labels(
    path: Path | str, labels: npt.NDArray[Any], geometry: Geometry, *, names: Mapping[int, str] | None = None
) -> Path:
    """Write ``labels`` (I, J, K), 0 to 255, as uint8 on ``geometry``; the suffix chooses the format.

    Returns the path. ``names`` are kept where the format has a place for them: in NRRD, as the
    segments of 3D Slicer.

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
    if array.dtype.kind not in "iub" or (array.size and (array.min() < 0 or array.max() > UNLABELLED)):
        raise InputError(
            "The labels are not whole numbers from 0 to 255", expected="one structure number in each voxel"
        )
    return _write(Path(path), array.astype(np.uint8), geometry, names=names or {})


def write_image(path: Path | str, array: npt.NDArray[Any], geometry: Geometry) -> Path:
    """Write an image (I, J, K) with its own voxel type on ``geometry``; errors as `write_labels`."""
    image = np.asarray(array)
    if image.dtype.kind not in "iuf" or image.dtype.itemsize > 8 or image.dtype == np.float16:
        raise InputError(f"Voxels of the type {image.dtype} cannot be written", expected="integers, float32 or float64")
    return _write(Path(path), image, geometry, names={})


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
    if suffix in (".nii", ".nii.gz"):
        _write_nifti(path, array, geometry, compressed=suffix == ".nii.gz")
    else:
        _write_itk(path, array, geometry, names=names)
    return path


def _write_nifti(path: Path, array: npt.NDArray[Any], geometry: Geometry, *, compressed: bool) -> None:
    payload = _nifti_bytes(array, geometry)
    level = LABEL_GZIP_LEVEL if array.dtype == np.uint8 else IMAGE_GZIP_LEVEL
    with replacing(path) as temporary:
        # No time stamp: the same labels give the same bytes.
        temporary.write_bytes(gzip.compress(payload, level, mtime=0) if compressed else payload)


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


def _write_itk(path: Path, array: npt.NDArray[Any], geometry: Geometry, *, names: Mapping[int, str]) -> None:
    if geometry.is_sheared:
        raise InputError(
            f"A scan with gantry tilt cannot be saved as {path.suffix}: the format needs right-angled axes",
            expected="NIfTI, which can hold it exactly",
            next_step="Choose a name that ends in .nii.gz",
        )
    image = sitk_image(array, geometry)
    if path.suffix.lower() == ".mhd":
        _write_pair(path, image)
        return
    if path.suffix.lower() == ".nrrd":
        for key, value in _slicer_segments(names).items():
            image.SetMetaData(key, value)
    with replacing(path) as temporary:
        _write_verified(image, temporary)


def _slicer_segments(names: Mapping[int, str]) -> dict[str, str]:
    """Return the key-value pairs by which 3D Slicer names the labels of a .seg.nrrd file."""
    pairs: dict[str, str] = {}
    for number, (value, name) in enumerate(sorted(names.items())):
        pairs[f"Segment{number}_ID"] = f"Segment_{value}"
        pairs[f"Segment{number}_Name"] = " ".join(name.split())  # a line break would end the header's line
        pairs[f"Segment{number}_LabelValue"] = str(value)
        pairs[f"Segment{number}_Layer"] = "0"
    return pairs


def _write_verified(image: Any, temporary: Path) -> None:
    sitk.WriteImage(image, str(temporary), useCompression=True)
    # ITK does not notice every short write; what is on disk must hold all voxels before it counts.
    try:
        verify_payload(layout_of(temporary))
    except InputError as error:
        raise OSError(errno.ENOSPC, "not all bytes were written") from error


def _write_pair(path: Path, image: Any) -> None:
    """Write header and data file: one .mha, cut in two, so that the data file gets its final name."""
    data = path.with_suffix(".zraw")
    with replacing(path) as header_part, replacing(data) as data_part:
        whole = header_part.with_suffix(".mha")
        try:
            _write_verified(image, whole)
            header, _, voxels = whole.read_bytes().partition(LOCAL_DATA)
        finally:
            with suppress(OSError):
                whole.unlink()
        header_part.write_bytes(header + f"ElementDataFile = {data.name}\n".encode())
        data_part.write_bytes(voxels)
