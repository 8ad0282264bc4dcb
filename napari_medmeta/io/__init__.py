"""Scans and labels from disk and back: path -> Volume, labels -> path, always on the original grid."""

from napari_medmeta.io.describe import describe
from napari_medmeta.io.dicom import SeriesInfo, list_series
from napari_medmeta.io.reading import can_read, read_labels, read_volume
from napari_medmeta.io.writing import write_image, write_labels

__all__ = [
    "SeriesInfo",
    "can_read",
    "describe",
    "list_series",
    "read_labels",
    "read_volume",
    "write_image",
    "write_labels",
]
