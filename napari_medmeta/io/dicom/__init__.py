"""DICOM folders and files: series told apart, slices sorted by position, values in their real units.

Source: https://dicom.nema.org/medical/dicom/current/output/html/part03.html
"""

from napari_medmeta.io.dicom.headers import is_dicom
from napari_medmeta.io.dicom.labels import is_dicom_labels, read_dicom_labels
from napari_medmeta.io.dicom.reader import SeriesInfo, list_series, read_dicom

__all__ = ["SeriesInfo", "is_dicom", "is_dicom_labels", "list_series", "read_dicom", "read_dicom_labels"]
