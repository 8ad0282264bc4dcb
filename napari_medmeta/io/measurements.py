"""Measurements as a table for a report or a spreadsheet: CSV or JSON, the same columns in both.

A row holds numbers and the structure's name only: nothing of the patient, no file name and no date.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from napari_medmeta.core.measurements import PERCENTILES, Diameter, Measurement
from napari_medmeta.io.tables import Cell, write_table

__all__ = ["COLUMNS", "measurement_rows", "write_measurements"]

COLUMNS: Mapping[str, str] = {
    "structure": "the structure's name",
    "label": "its value in the label file",
    "volume_ml": "volume in millilitres",
    "voxels": "number of voxels",
    "unit": "unit of mean, sd and percentiles: HU for CT, empty where the scan's values have none",
    "mean": "mean of the scan's values inside",
    "sd": "their standard deviation (divided by n)",
    **{f"p{p}": f"their {p}th percentile" for p in PERCENTILES},
    "longest_diameter_mm": "longest diameter on an axial slice (RECIST 1.1)",
    "perpendicular_mm": "longest line at a right angle to it on the same slice",
    "diameter_axis": "array axis of that slice",
    "diameter_slice": "its number along that axis, counted from 0",
    "extent_left_right_mm": "extent along the patient's left-right axis",
    "extent_front_back_mm": "extent along the patient's front-back axis",
    "extent_head_foot_mm": "extent along the patient's head-foot axis",
    "axial_slices": "number of axial slices that hold some of it",
    **{
        f"{line}_{end}_{axis}_mm": f"{end} of the {words}, {axis} of LPS"
        for line, words in (("longest", "longest diameter"), ("perpendicular", "perpendicular"))
        for end in ("start", "end")
        for axis in "xyz"
    },
}
"""The columns in their order, and what each means."""

DIGITS = 4
"""Behind the point: a ten-thousandth of a millimetre, and less than a voxel of any scan in ml."""


def write_measurements(path: Path | str, measured: Iterable[tuple[str, Measurement]]) -> Path:
    """Write (structure's name, measurement) pairs; the suffix .csv or .json chooses the format.

    Returns the path. Empty cells (null in JSON) stand for what an empty structure does not have.

    Raises
    ------
    InputError
        When the suffix is another one.
    StorageError
        When the disk is full or the folder is not writable; an older file is then still whole.
    """
    return write_table(path, measurement_rows(measured), columns=COLUMNS, name="structures")


def measurement_rows(measured: Iterable[tuple[str, Measurement]]) -> list[dict[str, Cell]]:
    """Return one row of `COLUMNS` for each pair, numbers rounded to four digits behind the point."""
    return [{column: _rounded(value) for column, value in _row(name, found).items()} for name, found in measured]


def _row(name: str, found: Measurement) -> dict[str, Cell]:
    extent = found.extent_mm or (None, None, None)
    row: dict[str, Cell] = {
        "structure": " ".join(name.split()),
        "label": found.structure,
        "volume_ml": found.volume_ml,
        "voxels": found.voxels,
        "unit": found.unit,
        "mean": found.mean,
        "sd": found.sd,
        **{f"p{p}": found.percentiles.get(p) for p in PERCENTILES},
        "longest_diameter_mm": found.longest.length_mm if found.longest else None,
        "perpendicular_mm": found.perpendicular.length_mm if found.perpendicular else None,
        "diameter_axis": found.ref.axis if found.ref else None,
        "diameter_slice": found.ref.index if found.ref else None,
        "extent_left_right_mm": extent[0],
        "extent_front_back_mm": extent[1],
        "extent_head_foot_mm": extent[2],
        "axial_slices": found.slices,
    }
    return {**row, **_ends("longest", found.longest), **_ends("perpendicular", found.perpendicular)}


def _ends(line: str, found: Diameter | None) -> dict[str, Cell]:
    ends = {"start": found.start_mm, "end": found.end_mm} if found else {"start": (None,) * 3, "end": (None,) * 3}
    return {
        f"{line}_{end}_{axis}_mm": value
        for end, point in ends.items()
        for axis, value in zip("xyz", point, strict=True)
    }


def _rounded(value: Cell) -> Cell:
    return round(value, DIGITS) + 0.0 if isinstance(value, float) else value  # + 0.0: no "-0.0"
