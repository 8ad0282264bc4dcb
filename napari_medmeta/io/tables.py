"""Tables for a report or a spreadsheet: CSV or JSON, the same columns in both."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from napari_medmeta.core.errors import InputError
from napari_medmeta.core.replacing import replacing
from napari_medmeta.io._suffix import suffix_of

__all__ = ["TABLE_SUFFIXES", "Cell", "require_table_path", "write_table"]

TABLE_SUFFIXES = (".csv", ".json")

Cell: TypeAlias = "str | int | float | None"


def require_table_path(path: Path) -> None:
    """Raise `InputError` unless the name tells CSV or JSON."""
    if suffix_of(path) not in TABLE_SUFFIXES:
        raise InputError(
            f"{path.name} names no table that can be written",
            expected="a name that ends in " + " or ".join(TABLE_SUFFIXES),
        )


def write_table(path: Path | str, rows: Sequence[Mapping[str, Cell]], *, columns: Mapping[str, str], name: str) -> Path:
    """Write ``rows``; the suffix .csv or .json chooses the format. Returns the path.

    Parameters
    ----------
    columns
        The columns in their order, and what each means; JSON tells it, under "columns".
    name
        What JSON calls the rows.

    Raises
    ------
    InputError
        When the suffix is another one.
    StorageError
        When the disk is full or the folder is not writable; an older file is then still whole.
    """
    path = Path(path)
    require_table_path(path)
    text = _csv(rows, columns) if suffix_of(path) == ".csv" else _json(rows, columns, name)
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))
    return path


def _csv(rows: Sequence[Mapping[str, Cell]], columns: Mapping[str, str]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(columns), lineterminator="\r\n")  # RFC 4180
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _json(rows: Sequence[Mapping[str, Cell]], columns: Mapping[str, str], name: str) -> str:
    return json.dumps({"columns": dict(columns), name: list(rows)}, indent=2, ensure_ascii=False) + "\n"
