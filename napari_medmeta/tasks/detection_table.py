"""Candidates as a table: CSV or JSON, the same columns in both; nothing of the patient, no file name and no date."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from napari_medmeta.core.errors import InputError
from napari_medmeta.core.types import MAX_STRUCTURES, LabelArray, Triple
from napari_medmeta.io import Cell, write_table
from napari_medmeta.tasks.detection_candidates import Candidate

__all__ = ["COLUMNS", "candidate_labels", "candidate_rows", "write_candidates"]

COLUMNS: Mapping[str, str] = {
    "candidate": "its number, the best first; also its value in the label file",
    "score": "0 to 1, to compare candidates of one list; no probability",
    "volume_ml": "volume in millilitres",
    "longest_diameter_mm": "longest diameter on an axial slice (RECIST 1.1)",
    "axial_slice": "number of that slice along the scan's head-foot axis, counted from 0",
    **{f"centre_{axis}_mm": f"its centre, {axis} of LPS" for axis in "xyz"},
    **{f"centre_{axis}": f"the same voxel, index along {axis}, counted from 0" for axis in "ijk"},
    "likelihood": "mean likelihood inside",
    "contrast": "by how much that is above its surroundings",
}
"""The columns in their order, and what each means."""

DIGITS = 4
"""Behind the point, as in the table of measurements."""


def candidate_rows(candidates: Iterable[Candidate]) -> list[dict[str, Cell]]:
    """Return one row of `COLUMNS` for each candidate, numbered from 1."""
    return [_row(number, found) for number, found in enumerate(candidates, start=1)]


def write_candidates(path: Path | str, candidates: Iterable[Candidate]) -> Path:
    """Write the table; the suffix .csv or .json chooses the format. Returns the path.

    Raises
    ------
    InputError
        When the suffix is another one.
    StorageError
        When the disk is full or the folder is not writable; an older file is then still whole.
    """
    return write_table(path, candidate_rows(candidates), columns=COLUMNS, name="candidates")


def candidate_labels(candidates: Sequence[Candidate], shape: Triple) -> LabelArray:
    """Return (I, J, K) uint8: each candidate's voxels with its number.

    Raises
    ------
    InputError
        When there are more candidates than labels.
    """
    if len(candidates) > MAX_STRUCTURES:
        raise InputError(f"{len(candidates)} candidates do not fit one label file", expected=f"up to {MAX_STRUCTURES}")
    labels = np.zeros(shape, dtype=np.uint8)
    for number, found in enumerate(candidates, start=1):
        labels[found.box.slices][found.mask] = number
    return labels


def _row(number: int, found: Candidate) -> dict[str, Cell]:
    return {
        "candidate": number,
        "score": round(found.score, DIGITS),
        "volume_ml": round(found.volume_ml, DIGITS),
        "longest_diameter_mm": round(found.longest_mm, DIGITS),
        "axial_slice": found.ref.index,
        **{f"centre_{axis}_mm": round(v, DIGITS) for axis, v in zip("xyz", found.centre_mm, strict=True)},
        **{f"centre_{axis}": v for axis, v in zip("ijk", found.voxel, strict=True)},
        "likelihood": round(found.likelihood, DIGITS),
        "contrast": round(found.contrast, DIGITS),
    }
