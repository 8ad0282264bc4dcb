"""The audit trail as a table that anyone can read: what was said, when, and what was taken back."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from napari_medmeta.core.replacing import replacing
from napari_medmeta.session.model import EventRecord

__all__ = ["AUDIT_COLUMNS", "audit_table", "write_audit"]

AUDIT_COLUMNS = ("number", "time (UTC)", "what was done", "seconds of work", "taken back")


def audit_table(records: Sequence[EventRecord]) -> list[tuple[str, ...]]:
    """Return one row of `AUDIT_COLUMNS` for each event, oldest first.

    Names of structures are the user's own words; nothing else in it could tell of a patient.
    """
    undone: set[int] = set()
    for record in records:
        number = record.parameters.get("event")
        if isinstance(number, int) and record.verb in ("undo", "redo"):
            (undone.add if record.verb == "undo" else undone.discard)(number)
    return [
        (
            str(r.number),
            r.time.strftime("%Y-%m-%d %H:%M:%S"),
            r.sentence,
            _seconds(r),
            "yes" if r.number in undone else "",
        )
        for r in records
    ]


def write_audit(path: Path | str, records: Sequence[EventRecord]) -> Path:
    """Write the audit trail as CSV (UTF-8 with a mark, so that spreadsheets read it) and return the path.

    Raises
    ------
    StorageError
        When the file cannot be written.
    """
    path = Path(path)
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(AUDIT_COLUMNS)
    writer.writerows(audit_table(records))
    with replacing(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8-sig", newline="")
    return path


def _seconds(record: EventRecord) -> str:
    value = record.parameters.get("seconds")
    return f"{value:.1f}" if isinstance(value, int | float) else ""
