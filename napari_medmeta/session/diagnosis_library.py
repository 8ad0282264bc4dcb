"""The library of cases with a known finding: their measurements in one SQLite file, for comparison with the next.

Kept of a case are its finding, the kind of scan, and measurements by structure and phase (see `core.diagnosis`):
no image, no outline, no name, no file name, no date of the scan. The file is written and sealed like the library of
structures (session/library.py), and opened for each verb, so that several windows can share it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import struct
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from napari_medmeta.core import InputError, Modality, StorageError
from napari_medmeta.core.diagnosis import Feature, KnownCase, MeasuredCase, Quantity, clean_name
from napari_medmeta.session.storage import READ_ERRORS, error_code, transaction

__all__ = ["CASES_SUFFIX", "CaseLibrary", "new_case"]

CASES_SUFFIX = ".medcases"

APPLICATION_ID = 0x4D4D4331
"""Spells MMC1."""

SCHEMA_VERSION = 1

SCHEMA = "CREATE TABLE known (id TEXT PRIMARY KEY, finding TEXT NOT NULL, about TEXT NOT NULL, seal BLOB NOT NULL)"

MAX_CASE_BYTES = 8 * 2**20
BUSY_SECONDS = 5.0
"""Another window holds the file for milliseconds at a time."""

_HEADER = struct.Struct(">60xI4xI")
"""Where an SQLite file keeps user version and application id (sqlite.org/fileformat.html, section 1.3)."""

_KEEP = "Choose another file, or move this one away: then a new library is begun"


def new_case(finding: str, measured: MeasuredCase) -> KnownCase:
    """Return ``measured`` as a case of ``finding``, with a random id and today's date.

    Raises
    ------
    InputError
        When the finding has no usable name.
    """
    return KnownCase(uuid.uuid4().hex, clean_name(finding, what="a finding"), f"{datetime.now(UTC):%Y-%m-%d}", measured)


class CaseLibrary:
    """All kept cases in one file, which is made when the first one is kept.

    Parameters
    ----------
    path
        The file; it need not exist yet.

    Raises
    ------
    StorageError
        By every verb, when the file is damaged, newer than this program, not a library, or not writable.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def cases(self) -> tuple[KnownCase, ...]:
        """Return all cases in the order in which they were kept."""
        if not self.path.exists():
            return ()
        with self._open() as connection:
            rows = connection.execute("SELECT id, finding, about, seal FROM known ORDER BY rowid").fetchall()
        return tuple(_case(row, self.path) for row in rows)

    def findings(self) -> tuple[str, ...]:
        """Return each finding once, as it was first written, in that order."""
        found: dict[str, str] = {}
        for case in self.cases():
            found.setdefault(case.finding.casefold(), case.finding)
        return tuple(found.values())

    def add(self, cases: Iterable[KnownCase]) -> int:
        """Keep ``cases``; those that are there already (by their id) stay as they are. Returns how many are new."""
        rows = [_row(c) for c in cases]
        with self._open() as connection, transaction(connection):
            before = connection.total_changes
            connection.executemany("INSERT OR IGNORE INTO known VALUES (?, ?, ?, ?)", rows)
            return connection.total_changes - before

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
        _, name, _, mark = row = _row(replace(known, finding=clean_name(finding, what="a finding")))
        with self._open() as connection, transaction(connection):
            connection.execute("UPDATE known SET finding = ?, seal = ? WHERE id = ?", (name, mark, row[0]))

    def remove(self, ids: Iterable[str]) -> int:
        """Forget cases; their bytes are overwritten. Returns how many there were."""
        if not self.path.exists():
            return 0
        with self._open() as connection:
            with transaction(connection):
                removed = sum(connection.execute("DELETE FROM known WHERE id = ?", (i,)).rowcount for i in ids)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return removed

    def export(self, path: Path | str, ids: Iterable[str] | None = None) -> Path:
        """Write cases (default: all) into one new file, to be carried to another computer."""
        path = Path(path)
        if path.exists() and path.resolve() == self.path.resolve():
            raise StorageError("This file is the library itself", next_step="Choose another name")
        wanted = None if ids is None else set(ids)
        chosen = [c for c in self.cases() if wanted is None or c.id in wanted]
        if not chosen:
            raise InputError("There is nothing to export", next_step="Keep a case in the library first")
        beside = path.with_name(f"{path.name}.part")
        try:
            beside.unlink(missing_ok=True)
            CaseLibrary(beside).add(chosen)
            os.replace(beside, path)
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            raise StorageError(f"{path.name} cannot be written ({error.strerror})") from error
        return path

    def import_from(self, path: Path | str) -> int:
        """Take over all cases of another file; returns how many are new."""
        path = Path(path)
        if not path.is_file():
            raise StorageError(f"There is no library of cases {path.name}", next_step="Choose another file")
        return self.add(CaseLibrary(path).cases())

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        fresh = not self.path.exists()
        if not fresh:
            _require_ours(self.path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(_connect(self.path)) as connection:
                if fresh:
                    _prepare(connection)
                elif connection.execute("SELECT name, sql FROM sqlite_master WHERE sql NOT NULL").fetchall() != [
                    ("known", SCHEMA)
                ]:
                    raise _damaged(self.path)
                yield connection
        except READ_ERRORS as error:
            raise _explained(error, self.path) from error
        except (OSError, MemoryError) as error:
            if isinstance(error, StorageError):
                raise
            raise StorageError(f"The library of cases {self.path.name} cannot be used ({error})") from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_SECONDS)
    for setting in ("trusted_schema=OFF", "cell_size_check=ON", "synchronous=FULL", "secure_delete=ON"):
        connection.execute(f"PRAGMA {setting}")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_CASE_BYTES)
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    with transaction(connection):
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        connection.execute(SCHEMA)
    connection.execute("PRAGMA journal_mode=WAL")


def _require_ours(path: Path) -> None:
    """Check the first bytes before SQLite touches the file, as opening it may already change it."""
    try:
        with path.open("rb") as file:
            start = file.read(_HEADER.size)
    except OSError as error:
        raise StorageError(f"The library of cases {path.name} cannot be read ({error.strerror})") from error
    if len(start) < _HEADER.size or not start.startswith(b"SQLite format 3\0"):
        raise StorageError(f"{path.name} is not a library of cases, or it is damaged", next_step=_KEEP)
    version, application = _HEADER.unpack(start)
    if application != APPLICATION_ID:
        raise StorageError(f"{path.name} is not a library of cases", next_step=_KEEP)
    if version != SCHEMA_VERSION:
        raise StorageError(
            f"{path.name} was written by a newer version of napari-medmeta",
            expected=f"format {SCHEMA_VERSION}, found {version}",
            next_step="Update napari-medmeta to use it",
        )


def _damaged(path: Path) -> StorageError:
    return StorageError(f"The library of cases {path.name} is damaged", next_step=_KEEP)


def _explained(error: sqlite3.Error | UnicodeDecodeError, path: Path) -> StorageError:
    code = error_code(error)
    # Our statements are sound: a plain error means that the file does not hold what they ask for.
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
        return _damaged(path)
    reasons = {
        sqlite3.SQLITE_FULL: ("The disk is full: the library of cases cannot grow", "Free some space on the disk"),
        sqlite3.SQLITE_READONLY: (f"{path.name} may not be written to", "Restore the permission to write to it"),
        sqlite3.SQLITE_CANTOPEN: (f"{path.name} cannot be opened", "Check the folder"),
        sqlite3.SQLITE_BUSY: (f"{path.name} is in use by another program", "Try again in a moment"),
    }
    found, next_step = reasons.get(code, (f"{path.name} cannot be used ({error})", "Check the disk"))
    return StorageError(found, next_step=next_step)


def _row(case: KnownCase) -> tuple[str, str, str, bytes]:
    values = [[str(f.quantity), f.structure, f.phase, f.over, f.over_phase, v] for f, v in case.measured.values.items()]
    about = {"day": case.day, "modality": str(case.measured.modality), "values": values}
    text = json.dumps(about, separators=(",", ":"), ensure_ascii=False)
    return case.id, case.finding, text, _seal(case.id, case.finding, text)


def _seal(case: str, finding: str, about: str) -> bytes:
    return hashlib.blake2b(json.dumps([case, finding, about]).encode(), digest_size=16).digest()


def _case(row: Sequence[Any], path: Path) -> KnownCase:
    case, finding, text, mark = row
    if not all(isinstance(v, str) for v in (case, finding, text)) or _seal(case, finding, text) != mark:
        raise _damaged(path)
    try:
        about = json.loads(text)
        measured = MeasuredCase(Modality(about["modality"]), _values(about["values"]))
        return KnownCase(case, finding, str(about["day"]), measured)
    except (ValueError, TypeError, KeyError, RecursionError, InputError) as error:
        raise _damaged(path) from error


def _values(rows: Sequence[Sequence[Any]]) -> Mapping[Feature, float]:
    return {
        Feature(Quantity(quantity), str(structure), str(phase), str(over), str(over_phase)): float(value)
        for quantity, structure, phase, over, over_phase, value in rows
    }
