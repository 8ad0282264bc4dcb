"""The example library: what was learnt of each structure, kept in one SQLite file for the next patient.

The file holds samples of features and a few numbers per structure (see `core.library`), no image, no mask
and nothing that names a patient. It is written in write-ahead mode with ``synchronous=FULL``, one
transaction for each verb, like session files (session/storage.py tells why that survives a kill). It is
opened for each verb and let go of afterwards, so that several windows can share it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_medmeta.core import InputError, Modality, StorageError
from napari_medmeta.core.library import MAX_SAMPLES, KeptSamples, LibraryEntry, same_name
from napari_medmeta.session.storage import READ_ERRORS, error_code, transaction

__all__ = ["LIBRARY_SUFFIX", "Library"]

LIBRARY_SUFFIX = ".medlib"

APPLICATION_ID = 0x4D4D4C31
"""Spells MML1."""

SCHEMA_VERSION = 1

SCHEMA = (
    "CREATE TABLE entry (id TEXT PRIMARY KEY, structure TEXT NOT NULL, about TEXT NOT NULL, "
    "seal BLOB NOT NULL, samples BLOB NOT NULL)"
)

MAX_CHANNELS = 1024
MAX_ENTRY_BYTES = 64 * 2**20
BUSY_SECONDS = 5.0
"""Another window holds the file for milliseconds at a time."""

_HEADER = struct.Struct(">60xI4xI")
"""Where an SQLite file keeps user version and application id (sqlite.org/fileformat.html, section 1.3)."""


class Library:
    """All kept structures in one file, which is made when the first one is kept.

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

    def entries(self, structure: str | None = None) -> tuple[LibraryEntry, ...]:
        """Return all entries, or those of one structure by its name, in the order in which they were kept."""
        if not self.path.exists():
            return ()
        with self._open() as connection:
            rows = connection.execute("SELECT id, structure, about, seal, samples FROM entry ORDER BY rowid").fetchall()
        found = (_entry(row, self.path) for row in rows)
        return tuple(e for e in found if structure is None or same_name(e.structure, structure))

    def names(self) -> tuple[str, ...]:
        """Return the structures' names, each once, in the order in which they were first kept."""
        if not self.path.exists():
            return ()
        with self._open() as connection:
            rows = connection.execute("SELECT structure FROM entry ORDER BY rowid").fetchall()
        kept: list[str] = []
        for (name,) in rows:
            if not any(same_name(name, other) for other in kept):
                kept.append(name)
        return tuple(kept)

    def add(self, entries: Iterable[LibraryEntry]) -> int:
        """Keep ``entries``; those that are there already (by their id) stay as they are. Returns how many are new."""
        rows = [_row(e) for e in entries]
        with self._open() as connection, transaction(connection):
            before = connection.total_changes
            connection.executemany("INSERT OR IGNORE INTO entry VALUES (?, ?, ?, ?, ?)", rows)
            return connection.total_changes - before

    def rename(self, entry: str, structure: str) -> None:
        """Give the structure of the entry with the id ``entry`` another name."""
        renamed = replace(self._one(entry), structure=" ".join(structure.split()))
        with self._open() as connection, transaction(connection):
            _, name, about, mark, _ = _row(renamed)
            connection.execute(
                "UPDATE entry SET structure = ?, about = ?, seal = ? WHERE id = ?", (name, about, mark, entry)
            )

    def remove(self, ids: Iterable[str]) -> int:
        """Forget entries; their bytes are overwritten. Returns how many there were."""
        if not self.path.exists():
            return 0
        with self._open() as connection:
            with transaction(connection):
                removed = sum(connection.execute("DELETE FROM entry WHERE id = ?", (i,)).rowcount for i in ids)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return removed

    def export(self, path: Path | str, ids: Iterable[str] | None = None) -> Path:
        """Write entries (default: all) into one new library file, to be carried to another computer."""
        path = Path(path)
        if path.exists() and path.resolve() == self.path.resolve():
            raise StorageError("This file is the library itself", next_step="Choose another name")
        wanted = None if ids is None else set(ids)
        chosen = [e for e in self.entries() if wanted is None or e.id in wanted]
        if not chosen:
            raise InputError("There is nothing to export", next_step="Keep a structure in the library first")
        beside = path.with_name(f"{path.name}.part")
        try:
            beside.unlink(missing_ok=True)
            Library(beside).add(chosen)
            os.replace(beside, path)
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            raise StorageError(f"{path.name} cannot be written ({error.strerror})") from error
        return path

    def import_from(self, path: Path | str) -> int:
        """Take over all entries of another library file; returns how many are new."""
        path = Path(path)
        if not path.is_file():
            raise StorageError(f"There is no library file {path.name}", next_step="Choose another file")
        return self.add(Library(path).entries())

    def _one(self, entry: str) -> LibraryEntry:
        found = next((e for e in self.entries() if e.id == entry), None)
        if found is None:
            raise InputError("This entry is not in the library any more", next_step="Look at the list again")
        return found

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
                elif connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql NOT NULL").fetchall() != [
                    ("table", "entry", SCHEMA)
                ]:
                    raise _damaged(self.path)
                yield connection
        except READ_ERRORS as error:
            raise _explained(error, self.path) from error
        except (OSError, MemoryError) as error:
            if isinstance(error, StorageError):
                raise
            raise StorageError(f"The library {self.path.name} cannot be used ({error})") from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_SECONDS)
    for setting in ("trusted_schema=OFF", "cell_size_check=ON", "synchronous=FULL", "secure_delete=ON"):
        connection.execute(f"PRAGMA {setting}")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_ENTRY_BYTES)
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
        raise StorageError(f"The library {path.name} cannot be read ({error.strerror})") from error
    if len(start) < _HEADER.size or not start.startswith(b"SQLite format 3\0"):
        raise StorageError(f"{path.name} is not a library file, or it is damaged", next_step=_KEEP)
    version, application = _HEADER.unpack(start)
    if application != APPLICATION_ID:
        raise StorageError(f"{path.name} is not a library of structures", next_step=_KEEP)
    if version != SCHEMA_VERSION:
        raise StorageError(
            f"{path.name} was written by a newer version of napari-medmeta",
            expected=f"format {SCHEMA_VERSION}, found {version}",
            next_step="Update napari-medmeta to use it",
        )


_KEEP = "Choose another file, or move this one away: then a new library is begun"


def _damaged(path: Path) -> StorageError:
    return StorageError(f"The library {path.name} is damaged", next_step=_KEEP)


def _explained(error: sqlite3.Error | UnicodeDecodeError, path: Path) -> StorageError:
    code = error_code(error)
    # Our statements are sound: a plain error means that the file does not hold what they ask for.
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
        return _damaged(path)
    reasons = {
        sqlite3.SQLITE_FULL: ("The disk is full: the library cannot grow", "Free some space on the disk"),
        sqlite3.SQLITE_READONLY: (f"{path.name} may not be written to", "Restore the permission to write to it"),
        sqlite3.SQLITE_CANTOPEN: (f"{path.name} cannot be opened", "Check the folder"),
        sqlite3.SQLITE_BUSY: (f"{path.name} is in use by another program", "Try again in a moment"),
    }
    found, next_step = reasons.get(code, (f"The library {path.name} cannot be used ({error})", "Check the disk"))
    return StorageError(found, next_step=next_step)


def _row(entry: LibraryEntry) -> tuple[str, str, str, bytes, bytes]:
    samples = entry.samples
    about = {
        "colour": entry.colour,
        "modality": str(entry.modality),
        "spacing_mm": [*entry.spacing_mm],
        "day": entry.day,
        "features": entry.features,
        "volume_ml": entry.volume_ml,
        "extent_mm": [*entry.extent_mm],
        "largest_share": entry.largest_share,
        "count": len(samples.inside),
        "channels": samples.features.shape[1],
    }
    text = json.dumps(about, separators=(",", ":"))
    arrays = (samples.features, samples.places, samples.offsets_mm, samples.ml)
    # Half precision is finer than any feature is known, and halves the file.
    blob = b"".join(a.astype("<f2" if n == 0 else "<f4").tobytes() for n, a in enumerate(arrays))
    blob += samples.inside.astype(np.uint8).tobytes()
    return entry.id, entry.structure, text, _seal(entry.id, entry.structure, text, blob), blob


def _seal(entry: str, structure: str, about: str, blob: bytes) -> bytes:
    digest = hashlib.blake2b(json.dumps([entry, structure, about]).encode(), digest_size=16)
    digest.update(blob)
    return digest.digest()


def _entry(row: Sequence[Any], path: Path) -> LibraryEntry:
    entry, structure, text, mark, blob = row
    texts = all(isinstance(v, str) for v in (entry, structure, text))
    if not texts or not isinstance(blob, bytes) or _seal(entry, structure, text, blob) != mark:
        raise _damaged(path)
    try:
        about = json.loads(text)
        samples = _samples(blob, count=int(about["count"]), channels=int(about["channels"]))
        return LibraryEntry(
            id=entry,
            structure=structure,
            colour=str(about["colour"]),
            modality=Modality(about["modality"]),
            spacing_mm=_three(about["spacing_mm"]),
            day=str(about["day"]),
            features=str(about["features"]),
            volume_ml=float(about["volume_ml"]),
            extent_mm=_three(about["extent_mm"]),
            largest_share=float(about["largest_share"]),
            samples=samples,
        )
    except (ValueError, TypeError, KeyError, RecursionError, InputError) as error:
        raise _damaged(path) from error


def _samples(blob: bytes, *, count: int, channels: int) -> KeptSamples:
    if not 0 < count <= MAX_SAMPLES or not 0 < channels <= MAX_CHANNELS:
        raise ValueError("no entry of ours")
    widths = (2 * channels, 4 * 3, 4 * 3, 4, 1)
    if len(blob) != count * sum(widths):
        raise ValueError("the samples are cut off")
    parts, start = [], 0
    for width in widths:
        parts.append(blob[start : start + count * width])
        start += count * width
    features = np.frombuffer(parts[0], dtype="<f2").astype(np.float32).reshape(count, channels)
    places, offsets, ml = (_floats(part) for part in parts[1:4])
    inside = np.frombuffer(parts[4], dtype=np.uint8).astype(bool)
    return KeptSamples(features, places.reshape(count, 3), offsets.reshape(count, 3), inside, ml)


def _floats(part: bytes) -> npt.NDArray[np.float32]:
    return np.frombuffer(part, dtype="<f4").astype(np.float32)


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    a, b, c = (float(v) for v in values)
    return a, b, c
