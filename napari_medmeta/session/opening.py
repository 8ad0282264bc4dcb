"""Creating and opening session files: nothing in them is believed before it is checked."""

from __future__ import annotations

import json
import math
import sqlite3
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_medmeta import __version__
from napari_medmeta.core import (
    Geometry,
    GeometryMismatchError,
    InputError,
    MedmetaError,
    StorageError,
    VolumeTooLargeError,
)
from napari_medmeta.session.codec import damaged
from napari_medmeta.session.replay import Replayed, Source, replay
from napari_medmeta.session.rescue import rescue
from napari_medmeta.session.storage import (
    APPLICATION_ID,
    READ_ERRORS,
    SCHEMA,
    SCHEMA_VERSION,
    SessionFile,
    connect,
    create,
    error_code,
    explain,
    seal,
)

__all__ = ["create_file", "open_file"]

_MOST_VOXELS = 2**33
"""A cube of 2048 voxels: larger than any CT; a file that claims more is refused before memory is taken."""

_HEADER = struct.Struct(">16s44xi4xi")
"""SQLite's own header: the magic text, the schema version at byte 60, the application id at byte 68."""


@dataclass(frozen=True, eq=False)
class _Scan:
    fingerprint: str
    geometry: Geometry
    row: tuple[str, str, str, str]

    @property
    def seal(self) -> bytes:
        """The seal that the first event's builds on."""
        return seal(b"", self.row, None)


def create_file(path: Path, geometry: Geometry, *, fingerprint: str) -> SessionFile:
    """Write a new session file for a scan.

    Raises
    ------
    StorageError
        When something is there already, or it cannot be written.
    """
    path = Path(path)
    if path.exists():
        raise StorageError(f"There is a file {path.name} already", next_step="Open it, or choose another name")
    affine = json.dumps([[float(v) for v in row] for row in geometry.affine])
    row = (fingerprint, json.dumps([*geometry.shape]), affine, __version__)
    try:
        connection = create(path, row)
    except sqlite3.Error as error:
        raise explain(error, path) from error
    return SessionFile(path, connection, geometry.shape, last_stored=0, last_seal=seal(b"", row, None))


def open_file(
    path: Path, *, fingerprint: str | None = None, geometry: Geometry | None = None
) -> tuple[Replayed, SessionFile]:
    """Read a session file; a damaged end is left out, and the file as it was is kept beside it.

    Raises
    ------
    GeometryMismatchError
        When it belongs to another scan than ``fingerprint`` or ``geometry``.
    StorageError
        When it cannot be read, is in use, or is no session file.
    """
    _require_ours(path)
    connection, whole = _connected(path)
    try:
        scan = _read_scan(connection)
        _require_same_scan(scan, fingerprint, geometry)
        _limit(connection, scan.geometry)
        replayed = replay(Source(connection, scan.geometry, first_seal=scan.seal), fingerprint=scan.fingerprint)
        if not whole or replayed.damage:
            connection = rescue(path, connection, scan.row, replayed, first_seal=scan.seal)
    except READ_ERRORS as error:
        connection.close()
        raise explain(error, path) from error
    except MedmetaError:
        connection.close()
        raise
    except (OSError, MemoryError) as error:
        connection.close()
        raise StorageError(
            f"The session file {path.name} cannot be opened ({error})", next_step="Check the disk and the memory"
        ) from error
    last = replayed.rows[-1] if replayed.rows else None
    file = SessionFile(
        path,
        connection,
        scan.geometry.shape,
        last_stored=last.number if last else 0,
        last_seal=last.seal if last else scan.seal,
        last_checkpoint=replayed.checkpoint,
    )
    return replayed, file


def _require_ours(path: Path) -> None:
    """Check the first bytes before SQLite touches the file, as opening it may already change it."""
    try:
        with path.open("rb") as file:
            start = file.read(_HEADER.size)
    except OSError as error:
        raise StorageError(
            f"The session file {path.name} cannot be read ({error.strerror})", next_step="Choose another file"
        ) from error
    if len(start) < _HEADER.size or not start.startswith(b"SQLite format 3\0"):
        raise StorageError(f"{path.name} is not a session file, or it is damaged", next_step="Choose another file")
    _, version, application = _HEADER.unpack(start)
    if application != APPLICATION_ID:
        raise StorageError(f"{path.name} belongs to another program", next_step="Choose a session file")
    if version != SCHEMA_VERSION:
        raise StorageError(
            f"{path.name} was written by a newer version of napari-medmeta",
            expected=f"format {SCHEMA_VERSION}, found {version}",
            next_step="Update napari-medmeta to open it",
        )


def _connected(path: Path) -> tuple[sqlite3.Connection, bool]:
    """Return a connection, and whether the file is as long as it should be."""
    for damaged_file in (False, True):
        try:
            connection = connect(path, damaged_file=damaged_file)
        except READ_ERRORS as error:
            if damaged_file or error_code(error) != sqlite3.SQLITE_CORRUPT:
                raise explain(error, path) from error
            continue
        try:
            _require_schema(connection)
        except READ_ERRORS as error:
            connection.close()
            if damaged_file:
                raise explain(error, path) from error
            continue
        except StorageError:
            connection.close()
            raise
        return connection, not damaged_file
    raise damaged()


def _require_schema(connection: sqlite3.Connection) -> None:
    """Refuse triggers, views and any table that is not exactly ours."""
    found = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    if len(found) != len(SCHEMA) or set(found) != {("table", name, sql) for name, sql in SCHEMA.items()}:
        raise damaged()


def _read_scan(connection: sqlite3.Connection) -> _Scan:
    rows = connection.execute("SELECT fingerprint, shape, affine, program, seal FROM scan LIMIT 2").fetchall()
    if len(rows) != 1 or not all(isinstance(v, str) for v in rows[0][:4]) or seal(b"", rows[0][:4], None) != rows[0][4]:
        raise damaged()
    fingerprint, shape, affine, program = rows[0][:4]
    try:
        size = json.loads(shape)
        if not all(type(n) is int and n > 0 for n in size):
            raise damaged()
        if math.prod(size) > _MOST_VOXELS:
            raise VolumeTooLargeError(f"The session file claims a scan of {' x '.join(map(str, size))} voxels")
        geometry = Geometry(size, np.array(json.loads(affine), dtype=np.float64))
    except VolumeTooLargeError:
        raise
    except (ValueError, TypeError, RecursionError, InputError) as error:
        raise damaged() from error
    return _Scan(fingerprint, geometry, (fingerprint, shape, affine, program))


def _require_same_scan(scan: _Scan, fingerprint: str | None, geometry: Geometry | None) -> None:
    if fingerprint is not None and fingerprint != scan.fingerprint:
        raise GeometryMismatchError(
            "This session was made on another scan",
            next_step="Open the scan that it belongs to, or begin a new session",
        )
    if geometry is not None:
        scan.geometry.require_same_grid(geometry, what="The scan")


def _limit(connection: sqlite3.Connection, geometry: Geometry) -> None:
    """Let SQLite refuse any value larger than the largest step could be."""
    arrays = 4 * math.prod(geometry.shape)
    room = 64 * 2**20
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, min(arrays + room, 10**9))
