"""Plain words for slices, counts and verbs, used in notes, the undo menu and the audit trail."""

from __future__ import annotations

from napari_medmeta.core import Geometry, SliceRef

__all__ = ["counted", "plane_name", "slice_name"]

_PLANES = {"S": "axial", "I": "axial", "A": "coronal", "P": "coronal", "L": "sagittal", "R": "sagittal"}


def plane_name(geometry: Geometry, axis: int) -> str:
    """Return what radiologists call the slices along ``axis``: axial, coronal or sagittal."""
    return _PLANES[geometry.axis_codes[axis]]


def slice_name(geometry: Geometry, ref: SliceRef) -> str:
    """Return a slice in words, as in "axial slice 12"; slices count from 0, as on napari's slider."""
    return f"{plane_name(geometry, ref.axis)} slice {ref.index}"


def counted(number: int, word: str) -> str:
    """Return a number with its noun, as in "1 voxel" or "1,024 voxels"."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"
