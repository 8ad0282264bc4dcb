"""Fixtures that every package's tests share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything under tests/ui as needing a display."""
    for item in items:
        if REPO / "tests" / "ui" in item.path.parents:
            item.add_marker(pytest.mark.gui)


@pytest.fixture(scope="session")
def repo() -> Path:
    """The root of the checkout."""
    return REPO


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real scans (cases/, dicom/), which is not part of the repository."""
    folder = Path(os.environ.get("MEDMETA_SHARED_DATA", REPO.parent / "shared" / "data"))
    if not (folder / "cases").is_dir():
        pytest.skip(f"no real scans in {folder}: set MEDMETA_SHARED_DATA to the folder that holds cases/ and dicom/")
    return folder


@pytest.fixture(scope="session")
def write_ct_series() -> Callable[..., Path]:
    """Return a function that writes (slices, rows, columns) int16 pixels as a CT series of a named patient."""

    def write(
        folder: Path,
        pixels: Any,
        *,
        spacing_mm: tuple[float, float, float] = (5.0, 1.0, 1.0),
        series_uid: str = "1.2.3.4",
    ) -> Path:
        from pydicom.dataset import Dataset, FileMetaDataset
        from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

        folder.mkdir()
        for index, plane in enumerate(pixels):
            data = Dataset()
            data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, f"{series_uid}.{index + 1}"
            data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = "1.2.3", series_uid, "1.2.3.9"
            data.Modality, data.SeriesDescription, data.PatientName = "CT", "thin soft", "Doe^Jane"
            data.PatientID, data.PatientBirthDate, data.StudyDate = "PAT0815", "19700102", "20010203"
            data.ImagePositionPatient = [-12, -10, spacing_mm[0] * index]
            data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
            data.PixelSpacing, data.SliceThickness = list(spacing_mm[1:]), spacing_mm[0]
            data.RescaleSlope, data.RescaleIntercept = 1, 0
            data.Rows, data.Columns = plane.shape
            data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
            data.BitsAllocated = data.BitsStored = 16
            data.HighBit, data.PixelRepresentation = 15, 1
            data.PixelData = plane.astype("<i2").tobytes()
            data.file_meta = FileMetaDataset()
            data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
            data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
            data.save_as(folder / f"{index}.dcm", enforce_file_format=True)
        return folder

    return write
