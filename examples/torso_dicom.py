"""Write the synthetic torso as a DICOM series, to try what needs one: reading a folder, writing DICOM SEG.

Usage: python examples/torso_dicom.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from napari_medmeta.core.phantoms import torso_ct


def series_header(rows: int, columns: int) -> Dataset:
    header = Dataset()
    header.SOPClassUID = CTImageStorage
    header.StudyInstanceUID, header.SeriesInstanceUID, header.FrameOfReferenceUID = (generate_uid() for _ in range(3))
    header.Modality, header.SeriesDescription = "CT", "synthetic torso"
    header.PatientName, header.PatientID, header.PatientBirthDate, header.PatientSex = "Synthetic^Torso", "0", "", ""
    header.StudyDate, header.StudyTime, header.StudyID = "20000101", "120000", "1"
    header.AccessionNumber, header.ReferringPhysicianName, header.Manufacturer = "", "", "napari-medmeta"
    header.SeriesNumber = 1
    header.Rows, header.Columns = rows, columns
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 1
    header.RescaleSlope, header.RescaleIntercept, header.RescaleType = 1, 0, "HU"
    return header


def main(folder: Path) -> None:
    volume = torso_ct().volume
    affine, spacing = volume.geometry.affine.round(6), volume.geometry.spacing_mm
    header = series_header(*volume.geometry.shape[1:])
    header.PixelSpacing, header.SliceThickness = [float(s) for s in spacing[1:]], float(spacing[0])
    header.ImageOrientationPatient = [*(affine[:3, 2] / spacing[2]), *(affine[:3, 1] / spacing[1])]
    folder.mkdir(parents=True)
    for index, plane in enumerate(np.asarray(volume.array)):
        header.SOPInstanceUID, header.InstanceNumber = generate_uid(), index + 1
        header.ImagePositionPatient = [*(affine @ (index, 0, 0, 1))[:3]]
        header.PixelData = np.round(plane).astype("<i2").tobytes()
        header.file_meta = FileMetaDataset()
        header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
        header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
        header.save_as(folder / f"{index + 1:03d}.dcm", enforce_file_format=True)
    print(f"Wrote {len(volume.array)} slices into {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
