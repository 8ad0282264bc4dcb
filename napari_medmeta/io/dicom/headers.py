"""DICOM headers to frames: single-slice objects and enhanced multi-frame ones alike.

Only the tags named here are parsed. The patient's name, number and dates are looked at for one purpose:
to keep them out of descriptions.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.uid import UID

from napari_medmeta.core.errors import MedmetaError, UnreadableFileError, UnsupportedImageError
from napari_medmeta.io._stream import open_plain
from napari_medmeta.io.dicom.frames import Frame, ImageFile
from napari_medmeta.io.dicom.privacy import harmless_description, private_words

__all__ = ["KIND", "NOT_SCANS", "PARSE_ERRORS", "NotAnImage", "damaged", "is_dicom", "read_frames", "read_header"]

PREAMBLE_BYTES = 128
DEFLATED = "1.2.840.10008.1.2.1.99"
FRAMES_LIMIT = 100_000
MATRIX_LIMIT = 65_535

NOT_SCANS = {
    "SEG": "a segmentation",
    "RTSTRUCT": "a set of contours",
    "RTDOSE": "a radiotherapy dose",
    "RTPLAN": "a radiotherapy plan",
    "SR": "a report",
    "PR": "a display setting",
    "KO": "a list of key images",
    "REG": "a registration",
    "DOC": "a document",
    "RWV": "a table of values",
    "FID": "a set of landmarks",
}
"""Modality (0008,0060) of objects that are stored beside scans."""

MARKS = (
    ("echo", ("EchoNumbers",)),
    ("echo time", ("EffectiveEchoTime", "EchoTime")),
    ("time point", ("TemporalPositionIdentifier", "TemporalPositionIndex")),
    ("b-value", ("DiffusionBValue",)),
    ("diffusion direction", ("DiffusionGradientOrientation",)),
    ("heart phase", ("TriggerTime", "NominalPercentageOfCardiacPhase", "NominalCardiacTriggerDelayTime")),
    ("inversion time", ("InversionTime",)),
    ("stack", ("StackID",)),
    ("acquisition", ("AcquisitionNumber",)),
)
"""What may differ between two images of the same place within one series, the most telling first."""

KIND = "image type"
"""The first mark: in-phase beside out-of-phase, water beside fat, magnitude beside phase."""

GROUP_SEQUENCES = (
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
    "FrameContentSequence",
    "CTImageFrameTypeSequence",
    "MRImageFrameTypeSequence",
    "PETFrameTypeSequence",
    "MREchoSequence",
    "MRDiffusionSequence",
    "DiffusionGradientDirectionSequence",
    "CardiacSynchronizationSequence",
    "TemporalPositionSequence",
)
"""Functional groups (PS3.3 C.7.6.16) that hold what a classic header holds at its top."""

PARSE_ERRORS = (
    InvalidDicomError, BytesLengthException, struct.error, EOFError, ValueError, TypeError, AttributeError, KeyError,
    IndexError, OSError, NotImplementedError, OverflowError, RecursionError,
)  # fmt: skip
"""What pydicom lets through when a header is damaged; it has no common class for it."""

TAGS = [
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "SeriesDescription", "ImageType",
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    "PatientName", "PatientID", "PatientBirthDate", "OtherPatientIDs", "AccessionNumber",
    "ReferringPhysicianName", "StudyDate", "StudyID", "InstitutionName",
    *(name for _, names in MARKS for name in names),
]  # fmt: skip


class NotAnImage(UnsupportedImageError):
    """A sound DICOM object that is no scan, such as a report; it may lie in a scan's folder."""


def is_dicom(path: Path) -> bool:
    """Whether the file carries DICOM's mark after its preamble (PS3.10, 7.1)."""
    try:
        with path.open("rb") as handle:
            handle.seek(PREAMBLE_BYTES)
            return handle.read(4) == b"DICM"
    except OSError:
        return False


def read_header(path: Path) -> tuple[Dataset, int]:
    """Return the tags we use, without the pixels, and the place in the file where the pixels' tag starts.

    Raises
    ------
    UnreadableFileError
        When the file is not DICOM or its header is damaged.
    UnsupportedImageError
        When the whole file is compressed (deflated).
    """
    try:
        with open_plain(path) as handle:
            if _transfer_syntax(handle, path) == DEFLATED:  # pydicom would unpack it without a bound
                raise UnsupportedImageError(
                    f"{path.name} is compressed as a whole (deflated)", next_step="Export the series uncompressed"
                )
            return pydicom.dcmread(handle, stop_before_pixels=True, specific_tags=list(TAGS)), handle.tell()
    except MedmetaError:
        raise
    except PARSE_ERRORS as error:
        raise damaged(path) from error


def _transfer_syntax(handle: BinaryIO, path: Path) -> str:
    """Read the group 2 elements, which are always explicit little endian, and go back to the start."""
    if not is_dicom(path):
        raise damaged(path, "it lacks DICOM's mark")
    handle.seek(PREAMBLE_BYTES + 4)
    meta = read_dataset(handle, False, True, stop_when=lambda tag, *_: tag.group != 2)
    handle.seek(0)
    return _word(meta, "TransferSyntaxUID")


def damaged(path: Path, what: str = "") -> UnreadableFileError:
    """Return the error for a DICOM file that contradicts itself."""
    return UnreadableFileError(
        f"The DICOM file {path.name} is damaged{': ' if what else ''}{what}",
        next_step="Export or send the series again",
    )


def read_frames(path: Path) -> tuple[Frame, ...]:
    """Return the frames of one DICOM file.

    Raises
    ------
    NotAnImage
        For reports, contours, segmentations and the like.
    UnreadableFileError
        When the header is damaged or contradicts the file's size.
    """
    header, length = read_header(path)
    try:
        file = _image_file(header, path, header_bytes=length)
        return tuple(_frames(header, file))
    except MedmetaError:
        raise
    except PARSE_ERRORS as error:  # values are parsed when first looked at
        raise damaged(path) from error


def _image_file(header: Dataset, path: Path, *, header_bytes: int) -> ImageFile:
    modality = _word(header, "Modality")
    if modality in NOT_SCANS:
        raise NotAnImage(
            f"{path.name} is {NOT_SCANS[modality]} ({modality}), not a scan", next_step="Choose the scan it belongs to"
        )
    if ("Rows" not in header or "Columns" not in header) and _is_known_other(_word(header, "SOPClassUID")):
        raise NotAnImage(f"{path.name} is a DICOM object without an image", next_step="Choose a folder with a scan")
    allocated = _whole(header, "BitsAllocated", path)
    stored = _whole(header, "BitsStored", path, default=allocated)
    file = ImageFile(
        path=path,
        instance_uid=_word(header, "SOPInstanceUID"),
        series_uid=_word(header, "SeriesInstanceUID"),
        modality=modality,
        description=harmless_description(_word(header, "SeriesDescription"), private_words(header)),
        rows=_whole(header, "Rows", path),
        columns=_whole(header, "Columns", path),
        frames=_whole(header, "NumberOfFrames", path, default=1),
        samples=_whole(header, "SamplesPerPixel", path, default=1),
        photometric=_word(header, "PhotometricInterpretation"),
        bits_allocated=allocated,
        bits_stored=stored,
        signed=_whole(header, "PixelRepresentation", path, default=0) == 1,
        transfer_syntax=str(header.file_meta.get("TransferSyntaxUID", "")),
        padding=_padding(header),
        header_bytes=header_bytes,
    )
    _check(file, path, high_bit=_whole(header, "HighBit", path, default=stored - 1))
    return file


def _is_known_other(sop_class: str) -> bool:
    """Whether the standard knows this kind of object and it is no image; a cut-off slice has no such kind."""
    name = UID(sop_class).name
    return name not in ("", sop_class) and "Image" not in name


def _check(file: ImageFile, path: Path, *, high_bit: int) -> None:
    if not (1 <= file.rows <= MATRIX_LIMIT and 1 <= file.columns <= MATRIX_LIMIT and 1 <= file.frames <= FRAMES_LIMIT):
        raise damaged(path, f"it gives a size of {file.columns} x {file.rows} x {file.frames} pixels")
    if not file.series_uid or not file.transfer_syntax:
        raise damaged(path, "it does not say to which series it belongs or how its pixels are stored")
    if file.bits_allocated not in (1, 8, 16, 32, 64):
        raise damaged(path, f"it gives {file.bits_allocated} bits a pixel")
    if not 1 <= file.bits_stored <= file.bits_allocated:
        raise damaged(path, f"{file.bits_stored} bits a pixel cannot be stored in {file.bits_allocated}")
    if high_bit != file.bits_stored - 1:  # PS3.5, 8.1.1
        raise damaged(path, f"its highest bit is number {high_bit}, with {file.bits_stored} bits")


def _frames(header: Dataset, file: ImageFile) -> Iterable[Frame]:
    groups = header.get("PerFrameFunctionalGroupsSequence")
    if groups is None:
        if file.frames > 1:
            raise UnsupportedImageError(
                f"{file.path.name} holds {file.frames} pictures without saying where each lies in the patient",
                expected="a CT or MR volume",
                next_step="Choose a CT or MR series",
            )
        yield _frame(file, 0, [header], _strings(header.get("ImageType")))
        return
    if len(groups) != file.frames:
        raise damaged(file.path, f"it describes {len(groups)} of {file.frames} frames")
    shared = [part for item in header.get("SharedFunctionalGroupsSequence") or [] for part in _parts(item)]
    for index, item in enumerate(groups):
        parts = [*_parts(item), *shared, header]
        kind = next((_strings(p.get("FrameType")) for p in parts if "FrameType" in p), ())
        yield _frame(file, index, parts, kind or _strings(header.get("ImageType")))


def _parts(item: Dataset) -> list[Dataset]:
    """Return the functional groups inside one item, those nested in another included."""
    found: list[Dataset] = []
    for name in GROUP_SEQUENCES:
        for part in item.get(name) or []:
            found += [part, *_parts(part)]
    return found


def _frame(file: ImageFile, index: int, parts: Sequence[Dataset], kind: tuple[str, ...]) -> Frame:
    slope = _numbers(parts, "RescaleSlope", 1, file.path)
    intercept = _numbers(parts, "RescaleIntercept", 1, file.path)
    if slope is not None and slope[0] == 0:
        raise damaged(file.path, "its grey values are all multiplied by 0")
    return Frame(
        file=file,
        index=index,
        position=_numbers(parts, "ImagePositionPatient", 3, file.path),
        orientation=_numbers(parts, "ImageOrientationPatient", 6, file.path),
        spacing_mm=_numbers(parts, "PixelSpacing", 2, file.path),
        slope=None if slope is None else slope[0],
        intercept=None if intercept is None else intercept[0],
        kind=kind,
        marks=((KIND, " ".join(kind)), *((label, _mark(parts, names)) for label, names in MARKS)),
    )


def _mark(parts: Sequence[Dataset], names: Sequence[str]) -> str:
    values = (part.get(name) for name in names for part in parts if name in part)
    return next((_short(v) for v in values if v is not None and str(v)), "")


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _numbers(parts: Sequence[Dataset], name: str, count: int, path: Path) -> tuple[float, ...] | None:
    raw = next((part.get(name) for part in parts if part.get(name) not in (None, "")), None)
    if raw is None:
        return None
    values = tuple(float(v) for v in ([raw] if count == 1 else raw))
    if len(values) != count or not all(math.isfinite(v) for v in values):
        raise damaged(path, f"{name} is not {count} numbers")
    return values


def _whole(header: Dataset, name: str, path: Path, *, default: int | None = None) -> int:
    value = header.get(name)
    if value is None or value == "":
        if default is None:
            raise damaged(path, f"{name} is missing")
        return default
    return int(value)


def _padding(header: Dataset) -> int | None:
    value = header.get("PixelPaddingValue")
    return int(value) if isinstance(value, int) else None


def _word(header: Dataset, name: str) -> str:
    value: Any = header.get(name)
    return "" if value is None else str(value).strip()


def _strings(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    words = [value] if isinstance(value, str) else list(value)
    return tuple(re.sub(r"\s+", " ", str(w)).strip() for w in words)
