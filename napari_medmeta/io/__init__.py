"""Scans and labels from disk and back: path -> Volume, labels -> path, always on the original grid."""

from napari_medmeta.io.reading import read_labels, read_volume
from napari_medmeta.io.writing import write_image, write_labels

__all__ = ["read_labels", "read_volume", "write_image", "write_labels"]
