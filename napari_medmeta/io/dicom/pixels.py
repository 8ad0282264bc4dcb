"""Stored values of frames, plain or run-length encoded by pydicom, else by the GDCM inside SimpleITK."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.decoders.base import RLELosslessDecoder
from pydicom.uid import UID, SecondaryCaptureImageStorage

from napari_medmeta.core.errors import MedmetaError, UnreadableFileError, UnsupportedImageError
from napari_medmeta.io._stream import open_plain, truncated
from napari_medmeta.io._untyped import sitk
from napari_medmeta.io.dicom.frames import Frame, ImageFile
from napari_medmeta.io.dicom.headers import PARSE_ERRORS, damaged

__all__ = ["read_stored_values", "require_readable_pixels"]

GREY = ("MONOCHROME1", "MONOCHROME2")
DEPTHS = (8, 16, 32)
TAG_BYTES = 8
"""A tag with its length takes 8 bytes in the implicit, 12 in the explicit transfer syntax (PS3.5, 7.1)."""

NATIVE_LITTLE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
NATIVE_BIG = "1.2.840.10008.1.2.2"
COMPRESSED = (
    "1.2.840.10008.1.2.4.50",  # JPEG baseline, 8 bit
    "1.2.840.10008.1.2.4.51",  # JPEG extended, 12 bit
    "1.2.840.10008.1.2.4.57",  # JPEG lossless
    "1.2.840.10008.1.2.4.70",  # JPEG lossless, first-order prediction: what most archives send
    "1.2.840.10008.1.2.4.80",  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.81",  # JPEG-LS near-lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
)
"""Transfer syntaxes (PS3.6, table A-1) that GDCM can decode."""

RLE = "1.2.840.10008.1.2.5"
"""Decoded by pydicom itself; GDCM refuses sound files of small images."""

PIXEL_TAGS = (
    "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "PixelData",
)  # fmt: skip


def require_readable_pixels(frame: Frame) -> None:
    """Raise a `MedmetaError` when this frame's pixels cannot become grey values, judged by its header."""
    file = frame.file
    if file.samples != 1 or file.photometric not in GREY:
        raise UnsupportedImageError(
            f"The series is in colour ({file.photometric or 'unknown'})",
            expected="grey values",
            next_step="Choose the scan itself, not a screenshot or a coloured map of it",
        )
    if file.bits_allocated not in DEPTHS:
        raise UnsupportedImageError(f"The pixels have {file.bits_allocated} bits", expected="8, 16 or 32")
    if file.transfer_syntax in (*NATIVE_LITTLE, NATIVE_BIG):
        if file.path.stat().st_size < file.header_bytes + TAG_BYTES + file.pixel_bytes:
            raise truncated(file.path)
    elif file.transfer_syntax not in (*COMPRESSED, RLE):
        raise UnsupportedImageError(
            f"The images are compressed in a way that cannot be read ({UID(file.transfer_syntax).name})",
            expected="uncompressed, JPEG, JPEG-LS, JPEG 2000 or RLE images",
            next_step="Export the series uncompressed",
        )


def read_stored_values(frames: Sequence[Frame]) -> npt.NDArray[Any]:
    """Return (frames, rows, columns): the stored values, before slope and intercept.

    Raises
    ------
    UnreadableFileError
        When pixels are missing, too few or too many, or cannot be decoded.
    """
    first = frames[0]
    result = np.empty((len(frames), first.file.rows, first.file.columns), dtype=first.dtype)
    places: dict[Path, list[int]] = {}
    for place, frame in enumerate(frames):
        places.setdefault(frame.file.path, []).append(place)
    for mine in places.values():
        values = _file_values(frames[mine[0]])
        for place in mine:
            result[place] = values[frames[place].index]
    return result


def _file_values(frame: Frame) -> npt.NDArray[Any]:
    """Return (frames, rows, columns) of one file."""
    file = frame.file
    try:
        with open_plain(file.path) as handle:
            data = pydicom.dcmread(handle)
        if file.transfer_syntax in COMPRESSED:
            return _decoded(data, file, frame.dtype)
        if file.transfer_syntax == RLE:
            return _masked(_unpacked_rle(data, file, frame.dtype), file)
        return _masked(_native(data, file, frame.dtype), file)
    except MedmetaError:
        raise
    except PARSE_ERRORS as error:
        raise damaged(file.path) from error


def _native(data: Dataset, file: ImageFile, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    raw = data.get("PixelData")
    if raw is None or len(raw) < file.pixel_bytes:
        raise truncated(file.path)
    if any(raw[file.pixel_bytes :]):  # one zero byte may pad the data to an even length
        raise UnreadableFileError(
            f"{file.path.name} holds more pixels than its header says",
            expected="as many as rows times columns",
            next_step="The file is damaged: export the series again",
        )
    order = dtype.newbyteorder(">" if file.transfer_syntax == NATIVE_BIG else "<")
    values = np.frombuffer(raw, dtype=order, count=file.pixel_bytes // dtype.itemsize)
    return values.reshape(file.frames, file.rows, file.columns).astype(dtype, copy=False)


def _unpacked_rle(data: Dataset, file: ImageFile, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    try:
        values, _ = RLELosslessDecoder.as_array(data, raw=True)
    except RuntimeError as error:  # what pydicom makes of every decoder's error
        raise damaged(file.path, "its compressed pixels cannot be unpacked") from error
    return np.asarray(values.reshape(file.frames, file.rows, file.columns), dtype=dtype)


def _masked(values: npt.NDArray[Any], file: ImageFile) -> npt.NDArray[Any]:
    """Drop the bits above the stored ones (old scanners keep overlays there) and extend the sign."""
    above = file.bits_allocated - file.bits_stored
    if above == 0:
        return values
    return np.asarray(np.right_shift(np.left_shift(values, above), above), dtype=values.dtype)


def _decoded(data: Dataset, file: ImageFile, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Decode with GDCM, which knows more compressions than pydicom with pure-Python parts.

    It gets a copy that holds the pixels and nothing else: it would apply slope and intercept for some
    kinds of objects and not for others, and nothing of the patient belongs into a temporary file.
    """
    with tempfile.TemporaryDirectory(prefix="medmeta-") as folder:
        bare = Path(folder, "pixels.dcm")
        _bare_copy(data, file).save_as(bare, enforce_file_format=True)
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(bare))
        try:
            values = sitk.GetArrayFromImage(reader.Execute())
        except RuntimeError as error:
            raise damaged(file.path, "its compressed pixels cannot be unpacked") from error
    if values.size != file.frames * file.rows * file.columns:
        raise damaged(file.path, "its compressed pixels are of another size than its header says")
    return np.asarray(values.reshape(file.frames, file.rows, file.columns), dtype=dtype)


def _bare_copy(data: Dataset, file: ImageFile) -> Dataset:
    bare = Dataset()
    bare.file_meta = FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = UID(file.transfer_syntax)
    bare.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    bare.file_meta.MediaStorageSOPInstanceUID = bare.SOPInstanceUID = pydicom.uid.generate_uid()
    bare.SOPClassUID = SecondaryCaptureImageStorage
    for name in PIXEL_TAGS:
        if name in data:
            bare[name] = data[name]
    bare.NumberOfFrames = file.frames
    return bare
