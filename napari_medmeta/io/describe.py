"""What a path holds, in plain values that can be printed or turned into JSON."""

from __future__ import annotations

from pathlib import Path

from napari_medmeta.core.volume import Volume
from napari_medmeta.io._suffix import suffix_of
from napari_medmeta.io.dicom import SeriesInfo, is_dicom, list_series
from napari_medmeta.io.reading import read_volume

__all__ = ["describe"]

KINDS = {".nii": "NIfTI", ".nii.gz": "NIfTI, compressed", ".nrrd": "NRRD", ".mha": "MetaImage", ".mhd": "MetaImage"}


def describe(path: Path | str) -> dict[str, object]:
    """Return what a scan or a DICOM folder is.

    For a scan: kind, name, shape (I, J, K), spacing_mm, axis_codes (the direction in which each index
    grows), size_mm, voxel_type, modality, value_range, oblique, tilted, notes. For a DICOM folder: kind
    and series; the scan's entries too when there is one volume to open.

    Raises
    ------
    MedmetaError
        When there is nothing that can be opened; the message says why.
    """
    path = Path(path)
    if not path.exists() or not (path.is_dir() or is_dicom(path)):
        return {"kind": KINDS.get(suffix_of(path), "unknown"), **_volume_facts(read_volume(path))}
    series = list_series(path)
    facts: dict[str, object] = {"kind": "DICOM folder" if path.is_dir() else "DICOM file"}
    if not series:
        return {**facts, **_volume_facts(read_volume(path))}  # raises, with the reason
    facts["series"] = [_series_facts(info) for info in series]
    if sum(info.problem is None for info in series) == 1:
        facts.update(_volume_facts(read_volume(path)))
    return facts


def _volume_facts(volume: Volume) -> dict[str, object]:
    geometry = volume.geometry
    return {
        "name": volume.name,
        "shape": list(geometry.shape),
        "spacing_mm": [round(s, 4) for s in geometry.spacing_mm],
        "size_mm": [round(n * s, 1) for n, s in zip(geometry.shape, geometry.spacing_mm, strict=True)],
        "axis_codes": "".join(geometry.axis_codes),
        "oblique": geometry.is_oblique,
        "tilted": geometry.is_sheared,
        "voxel_type": str(volume.array.dtype),
        "modality": volume.modality.value,
        "value_range": [volume.array.min().item(), volume.array.max().item()],
        "notes": list(volume.notes),
    }


def _series_facts(info: SeriesInfo) -> dict[str, object]:
    facts: dict[str, object] = {
        "uid": info.uid,
        "description": info.description,
        "modality": info.modality,
        "slices": info.slices,
    }
    if info.spacing_mm is not None and info.size is not None:
        facts |= {"spacing_mm": [round(s, 4) for s in info.spacing_mm], "shape": list(info.size)}
    if info.problem is not None:
        facts["problem"] = info.problem
    return {**facts, "notes": list(info.notes)}
