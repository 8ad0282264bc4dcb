"""DICOM folders and files: series told apart, slices sorted by position, values in their real units.

Source: https://dicom.nema.org/medical/dicom/current/output/html/part03.html
"""

from napari_medmeta.io.dicom.headers import is_dicom
from napari_medmeta.io.dicom.reader import SeriesInfo, list_series, read_dicom

__all__ = ["SeriesInfo", "is_dicom", "list_series", "read_dicom"]
