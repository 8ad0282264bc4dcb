"""Plain words for slices and counts, used in notes, the undo menu and the audit trail."""

from __future__ import annotations

from napari_medmeta.core import Geometry, SliceRef

__all__ = ["counted", "plane_names", "slice_name"]

_PLANES = {"S": "axial", "I": "axial", "A": "coronal", "P": "coronal", "L": "sagittal", "R": "sagittal"}


def plane_names(geometry: Geometry) -> tuple[str, str, str]:
    """Return what radiologists call the slices along each array axis: axial, coronal or sagittal."""
    i, j, k = (_PLANES[code] for code in geometry.axis_codes)
    return i, j, k


def slice_name(planes: tuple[str, str, str], ref: SliceRef) -> str:
    """Return a slice in words, as in "axial slice 12"; slices count from 0, as on napari's slider."""
    return f"{planes[ref.axis]} slice {ref.index}"


def counted(number: int, word: str) -> str:
    """Return a number with its noun, as in "1 voxel" or "1,024 voxels"."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"
