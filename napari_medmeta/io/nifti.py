"""NIfTI-1 and NIfTI-2, plain or gzip-compressed.

The header's fields are read by nibabel; the voxels are read here, so that a size in the header is
never trusted before the file was seen to hold that much. The array is handed out as (k, j, i) of the
file, (z, y, x) as SimpleITK does.
Source: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h
"""

from __future__ import annotations

import gzip
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from nibabel.spatialimages import HeaderDataError

from napari_medmeta.core.errors import UnreadableFileError, UnsupportedImageError
from napari_medmeta.core.geometry import GRID_TOLERANCE_MM, Geometry
from napari_medmeta.core.types import Triple
from napari_medmeta.io._image import Image, as_working_dtype, scaled
from napari_medmeta.io._stream import fill_from, open_stream, refuse_leftover, skip
from napari_medmeta.io._untyped import nib
from napari_medmeta.io.limits import checked_geometry, checked_shape, require_memory

__all__ = ["read_nifti"]

HEADER_BYTES = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
"""NIfTI tells its version and byte order by the header's own length in the first four bytes."""

MAGICS = (b"n+1", b"n+2")
LARGEST_OFFSET = 1 << 27
"""Header extensions beyond 128 MB are damage; skipping them would only take time."""

GZIP_MOST = 1032
"""Deflate cannot shrink data more than 1032-fold (zlib's documentation), so a small file that
claims a huge image is seen through without unpacking it."""

RGB_CODES = (128, 2304)
PIXDIM_TOLERANCE = 0.01
SFORM_LOST = "The file's first position matrix (sform) is not usable; the second (qform) was taken."
LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""xyzt_units & 7: unknown (read as mm), metre, millimetre, micron."""


@dataclass(frozen=True, eq=False)
class _Header:
    """What a NIfTI header says, checked: shape (k, j, i), grid, stored type, voxels' place, scaling."""

    shape: Triple
    geometry: Geometry
    dtype: np.dtype[Any]
    offset: int
    slope: float
    intercept: float
    notes: tuple[str, ...]


def read_nifti(path: Path, *, memory_limit_bytes: int | None = None) -> Image:
    """Read a 3D NIfTI file.

    Raises
    ------
    UnreadableFileError
        When the file is not NIfTI, is truncated, or its header contradicts itself.
    UnsupportedImageError
        For colour, complex, 2D or 4D images.
    VolumeTooLargeError
        When it would not fit into memory.
    """
    with open_stream(path) as handle:
        header, read = _header(handle, path=path)
        _require_size(header, path=path, compressed=isinstance(handle, gzip.GzipFile))
        require_memory(header.shape, _bytes_per_voxel(header), limit_bytes=memory_limit_bytes)
        skip(handle, header.offset - read, path=path)
        array = np.empty(header.shape, dtype=header.dtype)
        fill_from(handle, array, path=path)
        refuse_leftover(handle, path=path)
    array = scaled(as_working_dtype(array), slope=header.slope, intercept=header.intercept)
    return Image(array, header.geometry, notes=header.notes)


def _bytes_per_voxel(header: _Header) -> int:
    plain = (header.slope, header.intercept) == (1.0, 0.0)
    kept = plain and header.dtype.isnative and (header.dtype.kind != "f" or header.dtype.itemsize == 4)
    return header.dtype.itemsize + (0 if kept else 4)


def _header(handle: BinaryIO, *, path: Path) -> tuple[_Header, int]:
    raw = _parse(handle, path=path)
    shape = _shape(raw)
    dtype = _dtype(raw)
    geometry, notes = _geometry(raw, shape)
    slope, intercept, scale_notes = _scaling(raw)
    offset = _offset(raw)
    header = _Header(shape, geometry, dtype, offset, slope, intercept, (*notes, *scale_notes))
    return header, int(raw["sizeof_hdr"])


def _parse(handle: BinaryIO, *, path: Path) -> Any:
    first = handle.read(4)
    for order in ("<", ">"):
        size = int(np.frombuffer(first, f"{order}i4")[0]) if len(first) == 4 else 0
        if size in HEADER_BYTES:
            block = first + handle.read(size - 4)
            if len(block) == size:
                return _known_magic(HEADER_BYTES[size](block, endianness=order, check=False), path=path)
    raise _not_nifti(path)


def _known_magic(raw: Any, *, path: Path) -> Any:
    magic = bytes(raw["magic"].item())[:3]
    if magic not in MAGICS:
        raise _not_nifti(path)
    return raw


def _not_nifti(path: Path) -> UnreadableFileError:
    return UnreadableFileError(
        f"{path.name} is not a NIfTI image, or its header is damaged",
        expected="a .nii or .nii.gz file with header and voxels in one file",
        next_step="Export or download it again",
    )


def _damaged(what: str) -> UnreadableFileError:
    return UnreadableFileError(f"The NIfTI header is damaged: {what}", next_step="Export or download the file again")


def _shape(raw: Any) -> Triple:
    dimensions = [int(n) for n in raw["dim"]]
    if not 1 <= dimensions[0] <= 7:
        raise _damaged(f"it gives {dimensions[0]} dimensions")
    i, j, k = checked_shape(dimensions[1 : dimensions[0] + 1])
    return k, j, i


def _dtype(raw: Any) -> np.dtype[Any]:
    code = int(raw["datatype"])
    if code in RGB_CODES:
        raise UnsupportedImageError(
            "This is a colour image (RGB)",
            expected="one grey value in each voxel",
            next_step="Export the scan itself, not a coloured picture of it",
        )
    try:
        dtype: np.dtype[Any] = np.dtype(raw.get_data_dtype())
    except (HeaderDataError, KeyError) as error:
        raise _damaged(f"it names the unknown voxel type {code}") from error
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise UnsupportedImageError(f"The voxels are of the type {dtype}", expected="one real number in each voxel")
    if int(raw["bitpix"]) != 8 * dtype.itemsize:
        raise _damaged(f"voxels of the type {dtype} cannot have {int(raw['bitpix'])} bits")
    return dtype


def _offset(raw: Any) -> int:
    offset = float(raw["vox_offset"])
    start = int(raw["sizeof_hdr"]) + 4  # four bytes after the header tell whether extensions follow
    if not (offset.is_integer() and start <= offset <= LARGEST_OFFSET):
        raise _damaged(f"the voxels cannot start at byte {offset:g}")
    return int(offset)


def _scaling(raw: Any) -> tuple[float, float, tuple[str, ...]]:
    slope, intercept = float(raw["scl_slope"]), float(raw["scl_inter"])
    if slope == 0 or not math.isfinite(slope):  # the format's way to say "no scaling"
        return 1.0, 0.0, ()
    if not math.isfinite(intercept):
        raise _damaged("the intercept of the grey values is not a number")
    if (slope, intercept) == (1.0, 0.0):
        return slope, intercept, ()
    return slope, intercept, (f"Grey values were scaled as the file says: times {slope:g}, plus {intercept:g}.",)


def _require_size(header: _Header, *, path: Path, compressed: bool) -> None:
    needed = header.offset + math.prod(header.shape) * header.dtype.itemsize
    held = path.stat().st_size
    most = held * GZIP_MOST if compressed else held
    if needed > most:
        raise UnreadableFileError(
            f"{path.name} is incomplete: its header needs {needed} bytes and the file can hold {most} at most",
            expected="a complete file",
            next_step="Copy, download or export it again",
        )


def _geometry(raw: Any, shape: Triple) -> tuple[Geometry, tuple[str, ...]]:
    affine, notes = _ras_affine(raw)
    scale, unit_notes = _unit(raw)
    affine[:3] *= scale
    # nibabel's columns are (i, j, k) of the file; ours are those of the reversed array.
    lps = LPS_FROM_RAS @ affine[:, [2, 1, 0, 3]]
    geometry = checked_geometry(shape, lps)
    return geometry, (*notes, *unit_notes)


def _unit(raw: Any) -> tuple[float, tuple[str, ...]]:
    unit = int(raw["xyzt_units"]) & 7
    scale = MM_PER_UNIT.get(unit, 1.0)
    if scale == 1.0:
        return 1.0, ()
    return scale, (f"Positions were given in {'metres' if unit == 1 else 'micrometres'} and were turned into mm.",)


def _ras_affine(raw: Any) -> tuple[npt.NDArray[np.float64], tuple[str, ...]]:
    sform, qform = _sform(raw), _qform(raw)
    if sform is not None and qform is not None:
        return sform, _disagreement(sform, qform, raw)
    if sform is not None:
        return sform, _pixdim_disagreement(sform, raw)
    if qform is not None:
        return qform, (SFORM_LOST,) if int(raw["sform_code"]) > 0 else ()
    if int(raw["sform_code"]) > 0 or int(raw["qform_code"]) > 0:
        raise _damaged("neither of its position matrices is usable")
    return _without_position(raw)


def _sform(raw: Any) -> npt.NDArray[np.float64] | None:
    if int(raw["sform_code"]) <= 0:
        return None
    return _usable(np.asarray(raw.get_sform(), dtype=np.float64))


def _qform(raw: Any) -> npt.NDArray[np.float64] | None:
    if int(raw["qform_code"]) <= 0:
        return None
    try:
        with np.errstate(all="ignore"):
            return _usable(np.asarray(raw.get_qform(), dtype=np.float64))
    except (HeaderDataError, ValueError):  # a quaternion longer than 1, or a negative spacing
        return None


def _usable(affine: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
    if not np.isfinite(affine).all():
        return None
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if lengths.min() == 0 or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-3:
        return None
    return affine


def _disagreement(sform: npt.NDArray[np.float64], qform: npt.NDArray[np.float64], raw: Any) -> tuple[str, ...]:
    last = np.asarray([int(n) for n in raw["dim"][1:4]], dtype=np.float64) - 1
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * last
    gap = corners @ (sform - qform)[:3, :3].T + (sform - qform)[:3, 3]
    worst = float(np.linalg.norm(gap, axis=1).max())
    # The quaternion is stored in single precision; ten times the grid's tolerance is its rounding on a large scan.
    if worst <= 10 * GRID_TOLERANCE_MM:
        return ()
    return (
        f"The file gives two positions (sform and qform) that differ by up to {worst:.3g} mm; the sform was taken, "
        "as most programs do.",
    )


def _pixdim_disagreement(sform: npt.NDArray[np.float64], raw: Any) -> tuple[str, ...]:
    stated = np.abs(np.asarray(raw["pixdim"][1:4], dtype=np.float64))
    real = np.linalg.norm(sform[:3, :3], axis=0)
    if np.isfinite(stated).all() and np.allclose(stated, real, rtol=PIXDIM_TOLERANCE):
        return ()
    return ("The voxel size in the file's header differs from its position matrix; the matrix was taken.",)


def _without_position(raw: Any) -> tuple[npt.NDArray[np.float64], tuple[str, ...]]:
    spacing = np.abs(np.asarray(raw["pixdim"][1:4], dtype=np.float64))
    if not np.isfinite(spacing).all() or spacing.min() == 0:
        raise _damaged("it gives neither a position nor a voxel size")
    note = "The file does not say how the scan lies in the patient: left and right, and head and feet, are a guess."
    raw["pixdim"][1:4] = spacing
    return np.asarray(raw.get_base_affine(), dtype=np.float64), (note,)
