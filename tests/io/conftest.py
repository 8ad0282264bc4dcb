"""Small scans on disk, made by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

from napari_medmeta.core import Geometry

WriteSlice = Callable[..., Path]

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@pytest.fixture
def numbers() -> np.ndarray:
    """(4, 6, 5) int16, every voxel different and none of them 0."""
    return (np.arange(120, dtype=np.int16) + 1).reshape(4, 6, 5)


@pytest.fixture
def grid() -> Geometry:
    """An oblique grid for `numbers`."""
    return Geometry.from_parts(
        (4, 6, 5), spacing_mm=(3.0, 0.75, 0.5), origin_mm=(-10.0, 20.0, 30.5), direction=turned(0.3)
    )


def turned(angle: float) -> np.ndarray:
    """Return the direction (z, y, x order) of an axial scan turned about the patient's left-right axis."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])[:, ::-1]


@pytest.fixture
def sheared_grid(grid: Geometry) -> Geometry:
    """A grid as of a tilted gantry."""
    affine = np.array(grid.affine)
    affine[:3, 0] += [0.0, 0.9, 0.0]
    return Geometry(grid.shape, affine)


def _meta(data: Dataset, syntax: str) -> None:
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID


def _pixels(data: Dataset, pixels: np.ndarray) -> None:
    data.Rows, data.Columns = pixels.shape[-2:]
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 8 * pixels.dtype.itemsize
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    data.PixelData = pixels.tobytes()


@pytest.fixture
def write_slice(tmp_path: Path) -> WriteSlice:
    """Return a function that writes one CT slice into ``tmp_path / "scan"`` and returns its path.

    Every keyword is a DICOM attribute that replaces the usual one; None leaves it out.
    """
    folder = tmp_path / "scan"

    def write(pixels: np.ndarray, *, position: Sequence[float], name: str = "", **attributes: Any) -> Path:
        data = Dataset()
        data.SOPClassUID = CTImageStorage
        data.SOPInstanceUID = generate_uid(entropy_srcs=[str(folder), name, str(tuple(position)), str(attributes)])
        data.SeriesInstanceUID = "1.2.3.4"
        data.Modality = "CT"
        data.SeriesDescription = "thin soft"
        data.PatientName = "Doe^Jane"
        data.PatientID = "PAT0815"
        data.PatientBirthDate = "19700102"
        data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.ImagePositionPatient = list(position)
        data.ImageOrientationPatient = list(AXIAL)
        data.PixelSpacing = [0.75, 0.5]
        data.RescaleSlope, data.RescaleIntercept = 1, -1024
        _pixels(data, pixels)
        for key, value in attributes.items():
            if value is None:
                delattr(data, key)
            else:
                setattr(data, key, value)
        _meta(data, ExplicitVRLittleEndian)
        folder.mkdir(exist_ok=True)
        path = folder / (name or f"slice{len(list(folder.iterdir())):03}.dcm")
        path.parent.mkdir(parents=True, exist_ok=True)
        data.save_as(path, enforce_file_format=True)
        return path

    return write


@pytest.fixture
def write_series(write_slice: WriteSlice, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes (slices, rows, columns) pixels at z = 0, 3, 6... and returns the folder."""

    def write(pixels: np.ndarray, *, z: Sequence[float] | None = None, **attributes: Any) -> Path:
        places = [3.0 * n for n in range(len(pixels))] if z is None else z
        for plane, place in zip(pixels, places, strict=True):
            write_slice(plane, position=(-10.0, 20.0, place), **attributes)
        return tmp_path / "scan"

    return write


@pytest.fixture
def write_multiframe(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes an enhanced multi-frame CT and returns its path."""

    def write(pixels: np.ndarray, *, z: Sequence[float], **attributes: Any) -> Path:
        data = Dataset()
        data.SOPClassUID = EnhancedCTImageStorage
        data.SOPInstanceUID = generate_uid(entropy_srcs=[str(tmp_path)])
        data.SeriesInstanceUID = "1.2.3.5"
        data.Modality = "CT"
        data.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
        data.NumberOfFrames = len(pixels)
        _pixels(data, pixels)
        data.SharedFunctionalGroupsSequence = Items([_shared_groups()])
        data.PerFrameFunctionalGroupsSequence = Items([_frame_groups(place) for place in z])
        for key, value in attributes.items():
            setattr(data, key, value)
        _meta(data, ExplicitVRLittleEndian)
        path = tmp_path / "multiframe.dcm"
        data.save_as(path, enforce_file_format=True)
        return path

    return write


def _group(name: str, **attributes: Any) -> Dataset:
    item, inner = Dataset(), Dataset()
    for key, value in attributes.items():
        setattr(inner, key, value)
    setattr(item, name, Items([inner]))
    return item


def _shared_groups() -> Dataset:
    item = Dataset()
    item.update(_group("PlaneOrientationSequence", ImageOrientationPatient=list(AXIAL)))
    item.update(_group("PixelMeasuresSequence", PixelSpacing=[0.75, 0.5], SliceThickness=3))
    item.update(_group("PixelValueTransformationSequence", RescaleSlope=1, RescaleIntercept=-1000, RescaleType="HU"))
    return item


def _frame_groups(place: float) -> Dataset:
    return _group("PlanePositionSequence", ImagePositionPatient=[-10.0, 20.0, place])


@pytest.fixture
def edit() -> Callable[..., None]:
    """Return a function that changes attributes of a DICOM file in place."""

    def change(path: Path, **attributes: Any) -> None:
        data = pydicom.dcmread(path)
        for key, value in attributes.items():
            setattr(data, key, value)
        data.save_as(path)

    return change
