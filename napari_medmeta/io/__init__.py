"""Scans and labels from disk and back: path -> Volume, labels -> path, always on the original grid."""

from napari_medmeta.io._image import NamedLabels
from napari_medmeta.io._suffix import DICOM_SUFFIXES, WRITABLE_SUFFIXES
from napari_medmeta.io.describe import describe
from napari_medmeta.io.dicom import SeriesInfo, is_dicom, is_dicom_labels, list_series
from napari_medmeta.io.dicom.segmentation import require_segmentable, write_segmentation
from napari_medmeta.io.measurements import (
    measurement_rows,
    write_measurements,
)
from napari_medmeta.io.reading import can_read, read_labels, read_named_labels, read_scan, read_volume
from napari_medmeta.io.saving import (
    RESULT_SUFFIXES,
    SEGMENTATION_SUFFIX,
    ScanSource,
    is_dicom_source,
    require_savable,
    save_labels,
)
from napari_medmeta.io.tables import TABLE_SUFFIXES, Cell, require_table_path, write_table
from napari_medmeta.io.writing import write_image, write_labels

__all__ = [
    "DICOM_SUFFIXES",
    "RESULT_SUFFIXES",
    "SEGMENTATION_SUFFIX",
    "TABLE_SUFFIXES",
    "WRITABLE_SUFFIXES",
    "Cell",
    "NamedLabels",
    "ScanSource",
    "SeriesInfo",
    "can_read",
    "describe",
    "is_dicom",
    "is_dicom_labels",
    "is_dicom_source",
    "list_series",
    "measurement_rows",
    "read_labels",
    "read_named_labels",
    "read_scan",
    "read_volume",
    "require_savable",
    "require_segmentable",
    "require_table_path",
    "save_labels",
    "write_image",
    "write_labels",
    "write_measurements",
    "write_segmentation",
    "write_table",
]
