"""What the libraries have in common: rows in one SQLite file, each under a seal, shared by several windows.

The file is written in write-ahead mode with ``synchronous=FULL``, one transaction for each verb, like session
files (session/storage.py tells why that survives a kill). It is opened for each verb and let go of afterwards.
Removed rows are overwritten.
"""

from __future__ import annotations

import os
import sqlite3
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

from napari_medmeta.core import InputError, StorageError
from napari_medmeta.session.storage import READ_ERRORS, error_code, transaction

__all__ = ["FileKind", "Item", "Kept", "SealedFile"]

BUSY_SECONDS = 5.0
"""Another window holds the file for milliseconds at a time."""

_HEADER = struct.Struct(">60xI4xI")
"""Where an SQLite file keeps user version and application id (sqlite.org/fileformat.html, section 1.3)."""

_KEEP = "Choose another file, or move this one away: then a new library is begun"


class Kept(Protocol):
    """Anything that is kept, under its own id."""

    @property
    def id(self) -> str:
        """Random, so that the same thing is known again in another file."""
        ...


Item = TypeVar("Item", bound=Kept)


@dataclass(frozen=True)
class FileKind:
    """What tells one kind of file from the others.

    Parameters
    ----------
    name, file, full, one
        What messages call the library, its file, a library of this kind and no other, and what is kept in it.
    table, schema
        Its only table and the statement that makes it; the first column is the id.
    max_row_bytes
        A longer value is none of ours.
    """

    name: str
    file: str
    full: str
    one: str
    application_id: int
    version: int
    table: str
    schema: str
    max_row_bytes: int

    def damaged(self, path: Path) -> StorageError:
        """Return what is told of a file that does not hold what it should."""
        return StorageError(f"The {self.name} {path.name} is damaged", next_step=_KEEP)


class SealedFile(ABC, Generic[Item]):
    """Everything that is kept in one file, which is made when the first thing is kept.

    Parameters
    ----------
    path
        The file; it need not exist yet.

    Raises
    ------
    StorageError
        By every verb, when the file is damaged, newer than this program, not of this kind, or not writable.
    """

    kind: ClassVar[FileKind]

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def kept(self) -> tuple[Item, ...]:
        """Return all that is kept, in the order in which it was."""
        return tuple(self._item(row) for row in self._rows("*"))

    @abstractmethod
    def rename(self, ident: str, name: str, /) -> None:
        """Give what has this id another name."""

    def add(self, items: Iterable[Item]) -> int:
        """Keep ``items``; those that are there already (by their id) stay as they are. Returns how many are new."""
        rows = [self._row(item) for item in items]
        with self._open() as connection, transaction(connection):
            before = connection.total_changes
            for row in rows:
                places = ", ".join("?" * len(row))
                connection.execute(f"INSERT OR IGNORE INTO {self.kind.table} VALUES ({places})", row)
            return connection.total_changes - before

    def remove(self, ids: Iterable[str]) -> int:
        """Forget what has these ids; the bytes are overwritten. Returns how many there were."""
        if self._is_new:
            return 0
        forget = f"DELETE FROM {self.kind.table} WHERE id = ?"
        with self._open() as connection:
            with transaction(connection):
                removed = sum(connection.execute(forget, (i,)).rowcount for i in ids)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return removed

    def export(self, path: Path | str, ids: Iterable[str] | None = None) -> Path:
        """Write what has these ids (default: all) into one new file, to be carried to another computer."""
        path = Path(path)
        if path.exists() and path.resolve() == self.path.resolve():
            raise StorageError("This file is the library itself", next_step="Choose another name")
        wanted = None if ids is None else set(ids)
        chosen = [item for item in self.kept() if wanted is None or item.id in wanted]
        if not chosen:
            raise InputError("There is nothing to export", next_step=f"Keep {self.kind.one} in the library first")
        beside = path.with_name(f"{path.name}.part")
        try:
            beside.unlink(missing_ok=True)
            self._at(beside).add(chosen)
            os.replace(beside, path)
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            raise StorageError(f"{path.name} cannot be written ({error.strerror})") from error
        return path

    def import_from(self, path: Path | str) -> int:
        """Take over all that another file of this kind keeps; returns how many are new."""
        path = Path(path)
        if not path.is_file():
            raise StorageError(f"There is no {self.kind.file} {path.name}", next_step="Choose another file")
        _require(self.kind, path)
        return self.add(self._at(path).kept())

    @abstractmethod
    def _row(self, item: Item) -> tuple[Any, ...]:
        """Return the values of the table's columns, the seal among them."""

    @abstractmethod
    def _item(self, row: Sequence[Any]) -> Item:
        """Check a row's seal, and return what was kept."""

    def _at(self, path: Path) -> Self:
        return type(self)(path)

    def _rows(self, columns: str) -> list[Any]:
        if self._is_new:
            return []
        with self._open() as connection:
            return connection.execute(f"SELECT {columns} FROM {self.kind.table} ORDER BY rowid").fetchall()

    @property
    def _is_new(self) -> bool:
        """Whether nothing was ever kept: no file, or the empty one of a program that ended while it began one."""
        try:
            return self.path.stat().st_size == 0
        except FileNotFoundError:
            return True
        except OSError:
            # Something is there that may not be looked at: opening it tells why.
            return False

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        kind, fresh = self.kind, self._is_new
        if not fresh:
            _require(kind, self.path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(_connect(kind, self.path)) as connection:
                if fresh:
                    _prepare(kind, connection)
                if _tables(connection) != [("table", kind.table, kind.schema)]:
                    raise kind.damaged(self.path)
                # Not while another window reads a file that was just begun: then the next opening does it.
                with suppress(sqlite3.OperationalError):
                    connection.execute("PRAGMA journal_mode=WAL")
                yield connection
        except READ_ERRORS as error:
            raise _explained(kind, error, self.path) from error
        except (OSError, MemoryError) as error:
            if isinstance(error, StorageError):
                raise
            raise StorageError(f"The {kind.name} {self.path.name} cannot be used ({error})") from error


def _connect(kind: FileKind, path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_SECONDS)
    try:
        for setting in ("trusted_schema=OFF", "cell_size_check=ON", "synchronous=FULL", "secure_delete=ON"):
            connection.execute(f"PRAGMA {setting}")
    except READ_ERRORS:
        connection.close()
        raise
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, kind.max_row_bytes)
    return connection


def _prepare(kind: FileKind, connection: sqlite3.Connection) -> None:
    with transaction(connection):
        # Another window may have begun the file while this one waited for its turn.
        if _tables(connection):
            return
        connection.execute(f"PRAGMA application_id={kind.application_id}")
        connection.execute(f"PRAGMA user_version={kind.version}")
        connection.execute(kind.schema)


def _tables(connection: sqlite3.Connection) -> list[tuple[str, str, str]]:
    """Return type, name and statement of all that was made in the file."""
    return connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql NOT NULL").fetchall()


def _require(kind: FileKind, path: Path) -> None:
    """Check the first bytes before SQLite touches the file, as opening it may already change it."""
    try:
        with path.open("rb") as file:
            start = file.read(_HEADER.size)
    except OSError as error:
        raise StorageError(f"The {kind.name} {path.name} cannot be read ({error.strerror})") from error
    if len(start) < _HEADER.size or not start.startswith(b"SQLite format 3\0"):
        raise StorageError(f"{path.name} is not a {kind.file}, or it is damaged", next_step=_KEEP)
    version, application = _HEADER.unpack(start)
    if application != kind.application_id:
        raise StorageError(f"{path.name} is not a {kind.full}", next_step=_KEEP)
    if version != kind.version:
        raise StorageError(
            f"{path.name} was written by a newer version of napari-medmeta",
            expected=f"format {kind.version}, found {version}",
            next_step="Update napari-medmeta to use it",
        )


def _explained(kind: FileKind, error: sqlite3.Error | UnicodeDecodeError, path: Path) -> StorageError:
    code = error_code(error)
    # Our statements are sound: a plain error means that the file does not hold what they ask for.
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
        return kind.damaged(path)
    reasons = {
        sqlite3.SQLITE_FULL: (f"The disk is full: the {kind.name} cannot grow", "Free some space on the disk"),
        sqlite3.SQLITE_READONLY: (f"{path.name} may not be written to", "Restore the permission to write to it"),
        sqlite3.SQLITE_CANTOPEN: (f"{path.name} cannot be opened", "Check the folder"),
        sqlite3.SQLITE_BUSY: (f"{path.name} is in use by another program", "Try again in a moment"),
    }
    found, next_step = reasons.get(code, (f"The {kind.name} {path.name} cannot be used ({error})", "Check the disk"))
    return StorageError(found, next_step=next_step)
