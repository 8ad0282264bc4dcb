"""The library of cases with a known finding: their measurements in one SQLite file, for comparison with the next.

Kept of a case are its finding, the kind of scan, and measurements by structure and phase (see `core.diagnosis`):
no image, no outline, no name, no file name, no date of the scan. The file is written and sealed like the library of
structures (session/sealed.py).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from napari_medmeta.core import InputError, Modality
from napari_medmeta.core.diagnosis import Feature, KnownCase, MeasuredCase, Quantity, clean_name
from napari_medmeta.session.sealed import FileKind, SealedFile
from napari_medmeta.session.storage import seal, transaction

__all__ = ["CASES_SUFFIX", "CaseLibrary", "new_case"]

CASES_SUFFIX = ".medcases"

NAME = "library of cases"

KIND = FileKind(
    name=NAME,
    file=NAME,
    full=NAME,
    one="a case",
    application_id=0x4D4D4331,  # spells MMC1
    version=1,
    table="known",
    schema="CREATE TABLE known (id TEXT PRIMARY KEY, finding TEXT NOT NULL, about TEXT NOT NULL, seal BLOB NOT NULL)",
    max_row_bytes=8 * 2**20,
)


def new_case(finding: str, measured: MeasuredCase) -> KnownCase:
    """Return ``measured`` as a case of ``finding``, with a random id and today's date.

    Raises
    ------
    InputError
        When the finding has no usable name.
    """
    return KnownCase(uuid.uuid4().hex, clean_name(finding, what="a finding"), f"{datetime.now(UTC):%Y-%m-%d}", measured)


class CaseLibrary(SealedFile[KnownCase]):
    """All kept cases in one file; see `SealedFile` for its verbs."""

    kind = KIND

    def cases(self) -> tuple[KnownCase, ...]:
        """Return all cases in the order in which they were kept."""
        return self.kept()

    def findings(self) -> tuple[str, ...]:
        """Return each finding once, as it was first written, in that order."""
        found: dict[str, str] = {}
        for case in self.cases():
            found.setdefault(case.finding.casefold(), case.finding)
        return tuple(found.values())

    def rename(self, case: str, finding: str) -> None:
        """Give the case with the id ``case`` another finding.

        Raises
        ------
        InputError
            When there is no such case, or the finding has no usable name.
        """
        known = next((c for c in self.cases() if c.id == case), None)
        if known is None:
            raise InputError("This case is not in the library any more", next_step="Look at the list again")
        _, name, _, mark = row = self._row(replace(known, finding=clean_name(finding, what="a finding")))
        with self._open() as connection, transaction(connection):
            connection.execute("UPDATE known SET finding = ?, seal = ? WHERE id = ?", (name, mark, row[0]))

    def _row(self, item: KnownCase) -> tuple[str, str, str, bytes]:
        measured = item.measured
        values = [[str(f.quantity), f.structure, f.phase, f.over, f.over_phase, v] for f, v in measured.values.items()]
        about = {"day": item.day, "modality": str(measured.modality), "values": values}
        text = json.dumps(about, separators=(",", ":"), ensure_ascii=False)
        return item.id, item.finding, text, _seal(item.id, item.finding, text)

    def _item(self, row: Sequence[Any]) -> KnownCase:
        case, finding, text, mark = row
        if not all(isinstance(v, str) for v in (case, finding, text)) or _seal(case, finding, text) != mark:
            raise KIND.damaged(self.path)
        try:
            about = json.loads(text)
            measured = MeasuredCase(Modality(about["modality"]), _values(about["values"]))
            return KnownCase(case, finding, str(about["day"]), measured)
        except (ValueError, TypeError, KeyError, RecursionError, InputError) as error:
            raise KIND.damaged(self.path) from error


def _seal(case: str, finding: str, about: str) -> bytes:
    return seal(b"", (case, finding, about), None)


def _values(rows: Sequence[Sequence[Any]]) -> Mapping[Feature, float]:
    return {
        Feature(Quantity(quantity), str(structure), str(phase), str(over), str(over_phase)): float(value)
        for quantity, structure, phase, over, over_phase, value in rows
    }
