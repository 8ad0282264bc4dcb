"""The session file: SQLite in write-ahead mode, one transaction for each event.

Why an acknowledged event survives. A verb returns only after its COMMIT has. With ``journal_mode=WAL``
and ``synchronous=FULL`` every commit appends to the log and syncs it to the disk (sqlite.org/wal.html,
sqlite.org/pragma.html#pragma_synchronous). A process that is killed loses nothing that it handed to the
operating system, so any setting survives kill -9; FULL makes it hold for a power cut as well, where
NORMAL may lose the last commits. A half-written commit fails the log's checksum and is left out.

``locking_mode=EXCLUSIVE`` keeps a second window from opening the same session, and keeps the log's index
in memory instead of a shared file, so that folders on a network drive work too.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePath

from napari_medmeta.core import StorageError, Triple
from napari_medmeta.session.codec import Checkpoint, damaged, decode_step, encode_checkpoint, encode_step
from napari_medmeta.session.events import Event, Kind
from napari_medmeta.session.patches import Step
from napari_medmeta.session.state import State

__all__ = [
    "APPLICATION_ID",
    "READ_ERRORS",
    "SCHEMA",
    "SCHEMA_VERSION",
    "Row",
    "SessionFile",
    "connect",
    "create",
    "error_code",
    "explain",
    "file_uri",
    "seal",
    "transaction",
]

APPLICATION_ID = 0x4D4D5331
"""Spells MMS1; tells our files from other SQLite files (`file` and `PRAGMA application_id` show it)."""

SCHEMA_VERSION = 1

SCHEMA = {
    "scan": (
        "CREATE TABLE scan (fingerprint TEXT NOT NULL, shape TEXT NOT NULL, affine TEXT NOT NULL, "
        "program TEXT NOT NULL, seal BLOB NOT NULL)"
    ),
    "event": (
        "CREATE TABLE event (number INTEGER PRIMARY KEY, time REAL NOT NULL, kind TEXT NOT NULL, "
        "verb TEXT NOT NULL, sentence TEXT NOT NULL, parameters TEXT NOT NULL, seal BLOB NOT NULL, payload BLOB)"
    ),
    "checkpoint": "CREATE TABLE checkpoint (number INTEGER PRIMARY KEY, seal BLOB NOT NULL, payload BLOB NOT NULL)",
}
"""The seal stands before the payload, so that the audit trail is read without reading any payload."""

READ_ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""What reading a damaged file raises; the second where SQLite's message quotes the damage itself."""

_BUSY_SECONDS = 1.0

_SETTINGS = ("locking_mode=EXCLUSIVE", "trusted_schema=OFF", "cell_size_check=ON", "synchronous=FULL")

_CHECKPOINT_EVERY = 100
"""Events between two checkpoints: replaying a hundred takes a tenth of a second."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the event table, as stored."""

    number: int
    time: float
    kind: str
    verb: str
    sentence: str
    parameters: str
    seal: bytes

    @property
    def fields(self) -> tuple[int, float, str, str, str, str]:
        """What the seal covers besides the payload."""
        return self.number, self.time, self.kind, self.verb, self.sentence, self.parameters


def seal(before: bytes, fields: tuple[object, ...], payload: bytes | None) -> bytes:
    """Return the seal (16 bytes) of a row that follows the row sealed with ``before``.

    Each seal covers the one before it, so that a row that was changed, lost or moved is noticed.
    """
    digest = hashlib.blake2b(before, digest_size=16)
    digest.update(json.dumps(fields).encode())
    digest.update(payload or b"")
    return digest.digest()


def connect(path: Path, *, damaged_file: bool = False) -> sqlite3.Connection:
    """Open the file for this process alone; raises `sqlite3.Error`.

    With ``damaged_file``, a file whose end is missing can be read as far as it goes.
    """
    # SQLite refuses a file that is shorter than its header says, except under this setting.
    connection = _exclusive(path, "mode=rw", *(("writable_schema=ON",) if damaged_file else ()))
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    except READ_ERRORS:
        connection.close()
        raise
    return connection


def create(path: Path, scan: tuple[str, str, str, str]) -> sqlite3.Connection:
    """Write a new, empty session file; raises `sqlite3.Error`.

    ``scan`` is what its table "scan" tells: fingerprint, shape, affine, and the program that wrote it.
    """
    connection = _exclusive(path, "mode=rwc")
    try:
        # Still with a rollback journal: the file itself holds its identity from the first moment on.
        with transaction(connection):
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            for statement in SCHEMA.values():
                connection.execute(statement)
            connection.execute("INSERT INTO scan VALUES (?, ?, ?, ?, ?)", (*scan, seal(b"", scan, None)))
        connection.execute("PRAGMA journal_mode=WAL")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _exclusive(path: Path, query: str, *settings: str) -> sqlite3.Connection:
    uri = f"{file_uri(path.absolute())}?{query}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_BUSY_SECONDS)
    try:
        for setting in (*settings, *_SETTINGS):
            connection.execute(f"PRAGMA {setting}")
    except READ_ERRORS:
        connection.close()
        raise
    return connection


def file_uri(path: PurePath) -> str:
    """Return an absolute path as SQLite wants it: all of it behind an empty authority (sqlite.org/uri.html, 3.1).

    `PurePath.as_uri` takes the server of a Windows network path for the authority, which SQLite refuses.

    Examples
    --------
    >>> from pathlib import PureWindowsPath
    >>> file_uri(PureWindowsPath("//server/share/case.medmeta"))
    'file:////server/share/case.medmeta'
    """
    uri = path.as_uri()
    return uri if uri.startswith("file:///") else uri.replace("file://", "file:////", 1)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what happens inside, or take all of it back."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


class SessionFile:
    """A `Journal` in one file; what cannot be written stays queued in order and is tried again.

    Parameters
    ----------
    last_stored, last_seal
        Number and seal of the newest event in the file; 0 and the scan's seal when there is none.
    last_checkpoint
        Number of the event after which the state was stored as a whole, 0 for never.
    """

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        shape: Triple,
        *,
        last_stored: int,
        last_seal: bytes,
        last_checkpoint: int = 0,
    ) -> None:
        self.path = path
        self.problem = ""
        self.last_stored = last_stored
        self.last_checkpoint = last_checkpoint
        self._connection = connection
        self._shape = shape
        self._seal = last_seal
        self._queue: list[Event] = []

    @property
    def pending(self) -> int:
        """How many events are not on disk yet."""
        return len(self._queue)

    def append(self, event: Event, state: State) -> None:
        """Write the event, after all that are still queued, and now and then a checkpoint of ``state``."""
        self._queue.append(event)
        self._flush()
        if not self._queue and self.last_stored >= self.last_checkpoint + _CHECKPOINT_EVERY:
            # Only a convenience for the next opening: without it more events are replayed.
            with suppress(sqlite3.Error):
                self.write_checkpoint(state)

    def retry(self) -> bool:
        """Write what is queued; return whether everything is on disk."""
        if self._queue:
            self._flush()
        return not self._queue

    def load_step(self, number: int) -> Step:
        """Read a step back.

        Raises
        ------
        StorageError
            When it cannot be read.
        """
        try:
            row = self._connection.execute(
                "SELECT verb, sentence, payload FROM event WHERE number = ? AND kind = ?", (number, Kind.STEP.value)
            ).fetchone()
        except sqlite3.Error as error:
            raise explain(error, self.path) from error
        if row is None or not isinstance(row[2], bytes):
            raise damaged()
        return decode_step(row[2], self._shape, verb=str(row[0]), text=str(row[1]))

    def write_checkpoint(self, state: State) -> None:
        """Store the state after the newest event, so that opening need not replay what came before."""
        payload = encode_checkpoint(_checkpoint_of(state))
        with transaction(self._connection):
            self._connection.execute("DELETE FROM checkpoint")
            self._connection.execute(
                "INSERT INTO checkpoint VALUES (?, ?, ?)",
                (self.last_stored, seal(self._seal, (self.last_stored,), payload), payload),
            )
        self.last_checkpoint = self.last_stored

    def close(self, state: State, *, last: int) -> None:
        """Write what is queued and a checkpoint, and let go of the file.

        Raises
        ------
        StorageError
            When events are still queued; the file stays open, so that closing can be tried again.
        """
        if not self.retry():
            raise StorageError(
                self.problem, next_step="Make room or restore the permission, then close the session again"
            )
        if self.last_checkpoint < self.last_stored == last:
            with suppress(sqlite3.Error):
                self.write_checkpoint(state)
        self._connection.close()

    def _flush(self) -> None:
        try:
            if self.problem:
                self._reconnect()
            while self._queue:
                self._insert(self._queue[0])
                del self._queue[0]
        except sqlite3.Error as error:
            waiting = len(self._queue)
            changes = "The last change is" if waiting == 1 else f"The last {waiting} changes are"
            self.problem = f"{explain(error, self.path).message} {changes} kept in memory and tried again."
            return
        self.problem = ""

    def _insert(self, event: Event) -> None:
        if event.number <= self.last_stored:
            return
        payload = encode_step(event.step) if event.step is not None else None
        parameters = json.dumps(dict(event.parameters), separators=(",", ":"))
        fields = (event.number, event.time, event.kind.value, event.verb, event.sentence, parameters)
        mark = seal(self._seal, fields, payload)
        with transaction(self._connection):
            self._connection.execute("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*fields, mark, payload))
        self._seal, self.last_stored = mark, event.number

    def _reconnect(self) -> None:
        """Open the file anew, as a failed disk leaves a connection behind that may not recover."""
        self._connection.close()
        self._connection = connect(self.path)
        row = self._connection.execute("SELECT number, seal FROM event ORDER BY number DESC LIMIT 1").fetchone()
        # A commit may have reached the disk although it was reported as failed.
        if row is not None and row[0] > self.last_stored:
            self.last_stored, self._seal = int(row[0]), bytes(row[1])


def explain(error: sqlite3.Error | UnicodeDecodeError, path: Path) -> StorageError:
    """Return an SQLite error in words that a radiologist understands."""
    code = error_code(error)
    found, next_step = _REASONS.get(
        code, (f"The session file {path.name} cannot be used ({error})", "Check the disk, or begin a new session")
    )
    return StorageError(found.format(name=path.name), next_step=next_step)


def error_code(error: Exception) -> int:
    """Return SQLite's primary result code of an error."""
    if isinstance(error, UnicodeDecodeError):
        return sqlite3.SQLITE_CORRUPT
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF


_REASONS = {
    sqlite3.SQLITE_FULL: ("The disk is full: {name} cannot grow", "Free some space on the disk"),
    sqlite3.SQLITE_READONLY: ("{name} may not be written to", "Restore the permission to write to it and its folder"),
    sqlite3.SQLITE_PERM: ("{name} may not be written to", "Restore the permission to write to it and its folder"),
    sqlite3.SQLITE_CANTOPEN: ("{name} cannot be opened or its folder not be written to", "Check the folder"),
    sqlite3.SQLITE_IOERR: ("The disk failed or is full while {name} was written", "Check the disk and its free space"),
    sqlite3.SQLITE_BUSY: ("{name} is open in another window", "Close it there first"),
    sqlite3.SQLITE_NOTADB: ("{name} is not a session file, or damaged", "Choose another file"),
    sqlite3.SQLITE_CORRUPT: ("{name} is damaged", "Open a copy from before it was damaged, or begin a new session"),
}


def _checkpoint_of(state: State) -> Checkpoint:
    return Checkpoint(
        state.structures,
        state.records,
        frozenset(state.rejected),
        state.active,
        state.mode,
        state.auto_propose,
        state.generation,
    )
