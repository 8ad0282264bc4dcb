"""Labels as a DICOM SEG beside the series they were painted on, written by highdicom.

Source: PS3.3 A.51 and C.8.20 (Segmentation). One binary segment for each structure, only slices that hold
something, each frame pointing to the image it was painted on.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid
from pydicom.valuerep import DA, TM

from napari_medmeta import __version__
from napari_medmeta.core.errors import GeometryMismatchError, InputError, MedmetaError, MissingExamplesError
from napari_medmeta.core.geometry import Geometry
from napari_medmeta.core.replacing import replacing
from napari_medmeta.core.types import BACKGROUND, MAX_STRUCTURES, LabelArray
from napari_medmeta.io.dicom.codes import segment_code
from napari_medmeta.io.dicom.headers import PARSE_ERRORS
from napari_medmeta.io.dicom.series import Part
from napari_medmeta.io.dicom.source import find_series, whole_headers

__all__ = ["require_segmentable", "write_segmentation"]

MAKER = "napari-medmeta"
SERIES_NUMBER = 300
"""Far from the numbers that scanners give; the standard leaves the choice free."""

NO_SERIAL_NUMBER = "none"
NO_DATE, NO_TIME = "19000101", "000000"
"""Stands for the day of creation, which the standard requires, in an anonymous file (PS3.15 E.3, dummy)."""

UNICODE = "ISO_IR 192"
"""Names of structures may hold any letter, whatever the scanner's alphabet is."""

PATIENT = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex")
STUDY = ("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName")
"""Required in every object, but allowed to be empty (type 2); anonymised series often lack them."""

REQUIRED_UIDS = {
    "StudyInstanceUID": "which study it belongs to",
    "FrameOfReferenceUID": "in which coordinate system its slices lie",
    "SOPInstanceUID": "how its images are called",
}

PLACING = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality",
    "ImageType", "Rows", "Columns", "NumberOfFrames", "ImagePositionPatient", "ImageOrientationPatient",
    "PixelSpacing", "SliceThickness", "SpacingBetweenSlices", "PositionReferenceIndicator",
    "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    "DimensionOrganizationSequence", "DimensionIndexSequence", "DimensionOrganizationType",
)  # fmt: skip
"""All that an anonymous file may know of its series: where the slices lie, and the UIDs that link to them."""


def require_segmentable(
    source: Path, geometry: Geometry, *, series: str | None = None, name: str | None = None
) -> Part:
    """Return the series on ``geometry`` when a DICOM SEG can point to it, before anything is computed.

    Raises
    ------
    InputError
        When the source is no DICOM series, or its slices lack what a reference needs.
    GeometryMismatchError
        When the source holds no volume on this grid.
    """
    part = find_series(source, geometry, series=series, name=name)
    headers = whole_headers(part)
    for keyword, words in REQUIRED_UIDS.items():
        if not all(header.get(keyword) for header in headers):
            raise _unfit(f"The DICOM series does not say {words}")
    if len({str(header.SOPInstanceUID) for header in headers}) < len(headers):
        raise _unfit("The images of the series share one identifier (SOP Instance UID)")
    if len(headers) > 1 and any(int(header.get("NumberOfFrames") or 1) > 1 for header in headers):
        raise _unfit("The series is spread over several multi-frame files")
    if len({(header.StudyInstanceUID, header.FrameOfReferenceUID) for header in headers}) > 1:
        raise _unfit("The slices belong to several studies or coordinate systems")
    return part


def write_segmentation(
    path: Path | str,
    labels: npt.NDArray[Any],
    geometry: Geometry,
    *,
    source: Path,
    series: str | None = None,
    name: str | None = None,
    names: Mapping[int, str] | None = None,
    colours: Mapping[int, str] | None = None,
    anonymous: bool = False,
) -> Path:
    """Write ``labels`` (slices, rows, columns), 0 to 254, on the series' own grid as a DICOM SEG.

    Parameters
    ----------
    labels, geometry
        On the grid that `read_volume` gave for ``source``: label slice n is the n-th image by position,
        also where the gantry was tilted or the distance varies a little.
    source, series, name
        The DICOM folder or file, and what chooses the series in it; see `find_series`.
    names, colours
        For each label its name, from which a segment code is looked up, and its colour (``#rrggbb``).
    anonymous
        Leave out everything of patient and study except the UIDs that link to the source images, and
        put 1900-01-01 for the day of creation.

    Returns the path. Segments are numbered from 1 in the order of the labels; labels that no voxel has
    are left out.

    Raises
    ------
    MissingExamplesError
        When no voxel is labelled: the standard knows no empty segmentation.
    InputError, GeometryMismatchError, StorageError
        See `require_segmentable` and `write_labels`.
    """
    path = Path(path)
    array = _checked(labels, geometry)
    part = require_segmentable(source, geometry, series=series, name=name)
    found = [int(v) for v in np.flatnonzero(np.bincount(array.ravel(), minlength=1)) if v != BACKGROUND]
    if not found:
        raise MissingExamplesError(
            "There is nothing to save: no voxel is labelled", next_step="Paint or accept something first"
        )
    headers = [_fit(header, anonymous=anonymous) for header in whole_headers(part)]
    segments = [
        _segment(number, (names or {}).get(label, f"structure {label}"), (colours or {}).get(label))
        for number, label in enumerate(found, start=1)
    ]
    lut = np.zeros(256, dtype=np.uint8)
    lut[found] = np.arange(1, len(found) + 1)
    dataset = _dataset(headers, _in_file_order(lut[array], part), segments)
    if anonymous:
        _forget_today(dataset)
    with replacing(path) as temporary:
        dataset.save_as(temporary)
    return path


def _checked(labels: npt.NDArray[Any], geometry: Geometry) -> LabelArray:
    array = np.asarray(labels)
    if array.dtype.kind not in "iub" or (array.size and (array.min() < 0 or array.max() > MAX_STRUCTURES)):
        raise InputError(
            f"The labels are not whole numbers from 0 to {MAX_STRUCTURES}",
            expected="one structure number in each voxel",
        )
    if array.shape != geometry.shape:
        raise GeometryMismatchError(f"The array has the shape {array.shape}", expected=f"the grid's {geometry.shape}")
    return array.astype(np.uint8)


def _in_file_order(array: LabelArray, part: Part) -> LabelArray:
    """Return the label slices as the images' pixels: one for each file, or for each frame of the one file."""
    frames = part.stack.frames if part.stack is not None else ()
    count = frames[0].file.frames
    if len(frames) > 1 and frames[0].file.path != frames[1].file.path:
        return array
    out = np.zeros((count, *array.shape[1:]), dtype=np.uint8)
    for plane, frame in zip(array, frames, strict=True):
        out[frame.index] = plane
    return out


def _fit(header: Dataset, *, anonymous: bool) -> Dataset:
    """Return what highdicom copies from the source, with what it requires and without what it rejects."""
    kept = Dataset()
    for element in header:
        if not anonymous or element.keyword in PLACING:
            kept.add(element)
    for keyword in (*PATIENT, *STUDY):
        if keyword not in kept:
            setattr(kept, keyword, "")
    kept.SpecificCharacterSet = UNICODE
    if kept.PatientSex not in ("M", "F", "O"):
        kept.PatientSex = ""
    for keyword, kind in (("PatientBirthDate", DA), ("StudyDate", DA), ("StudyTime", TM)):
        try:
            kind(kept[keyword].value)
        except (ValueError, TypeError):
            setattr(kept, keyword, "")
    return kept


def _segment(number: int, name: str, colour: str | None) -> Any:
    import highdicom as hd

    code = segment_code(name)
    segment = hd.seg.SegmentDescription(
        number,
        name,
        code.category,
        code.type,
        hd.seg.SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
        hd.AlgorithmIdentificationSequence(MAKER, codes.DCM.ArtificialIntelligence, __version__),
        display_color=hd.color.CIELabColor.from_string(colour) if colour is not None else None,
    )
    if code.side is not None:
        kind = segment.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = Items([hd.sr.CodedConcept.from_code(code.side)])
    return segment


def _dataset(headers: Sequence[Dataset], array: LabelArray, segments: Sequence[Any]) -> Any:
    import highdicom as hd

    try:
        with warnings.catch_warnings():
            # Real headers bend the standard's letter, and some warnings quote the patient's name.
            warnings.simplefilter("ignore", UserWarning)
            return hd.seg.Segmentation(
                list(headers),
                array,
                hd.seg.SegmentationTypeValues.BINARY,
                list(segments),
                series_instance_uid=generate_uid(),
                series_number=SERIES_NUMBER,
                sop_instance_uid=generate_uid(),
                instance_number=1,
                manufacturer=MAKER,
                manufacturer_model_name=MAKER,
                software_versions=__version__,
                device_serial_number=NO_SERIAL_NUMBER,
                series_description="Segmentation",
                content_label="SEGMENTATION",
                omit_empty_frames=True,
            )
    except MedmetaError:
        raise
    except PARSE_ERRORS as error:
        raise _unfit("The headers of the series lack something that a DICOM SEG needs") from error


def _forget_today(dataset: Dataset) -> None:
    dataset.ContentDate, dataset.ContentTime = NO_DATE, NO_TIME
    for keyword in ("InstanceCreationDate", "InstanceCreationTime"):
        with suppress(AttributeError):
            delattr(dataset, keyword)
    for item in dataset.get("ContributingEquipmentSequence", ()):
        with suppress(AttributeError):
            del item.ContributionDateTime


def _unfit(found: str) -> InputError:
    return InputError(
        found,
        expected="a complete DICOM series that a segmentation can point to",
        next_step="Save as NIfTI (.nii.gz) instead",
    )
