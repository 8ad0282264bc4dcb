"""The file names we know."""

from __future__ import annotations

from pathlib import Path

__all__ = ["DICOM_SUFFIXES", "ITK_SUFFIXES", "NIFTI_SUFFIXES", "WRITABLE_SUFFIXES", "stem_of", "suffix_of"]

NIFTI_SUFFIXES = (".nii", ".nii.gz")
ITK_SUFFIXES = (".nrrd", ".mha", ".mhd")
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
"""What calls itself DICOM; files of any other name are known by their first bytes."""

WRITABLE_SUFFIXES = (*NIFTI_SUFFIXES, *ITK_SUFFIXES)


def suffix_of(path: Path) -> str:
    """Return the suffix that tells the format, in small letters; ``.nii.gz`` counts as one."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def stem_of(path: Path) -> str:
    """Return the file's name without that suffix."""
    return path.name[: len(path.name) - len(suffix_of(path))]
