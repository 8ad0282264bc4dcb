"""Saving what can be read of a damaged session file."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path

from napari_medmeta.session.replay import Replayed
from napari_medmeta.session.storage import READ_ERRORS, SessionFile, connect, create, transaction

__all__ = ["rescue"]


def rescue(
    path: Path,
    damaged: sqlite3.Connection,
    scan: tuple[str, str, str, str],
    replayed: Replayed,
    *,
    first_seal: bytes,
) -> sqlite3.Connection:
    """Put a sound file with all readable events in place of a damaged one, which is kept under another name.

    Returns the connection to the sound file and sets ``replayed.note``. Raises `sqlite3.Error` or
    `OSError` with the damaged file untouched.
    """
    fresh = path.with_name(f"{path.name}.rescued")
    _delete(fresh)
    connection = create(fresh, scan)
    try:
        _copy(damaged, connection, replayed)
        file = SessionFile(
            fresh,
            connection,
            replayed.state.geometry.shape,
            last_stored=len(replayed.rows),
            last_seal=replayed.rows[-1].seal if replayed.rows else first_seal,
        )
        if replayed.rows:
            file.write_checkpoint(replayed.state)
    finally:
        connection.close()
    damaged.close()
    kept = _free_name(path)
    _move(path, kept)
    try:
        fresh.replace(path)
    except OSError:
        _move(kept, path)
        raise
    last = f" (the last one: {replayed.rows[-1].sentence})" if replayed.rows else ""
    replayed.note = (
        f"The end of the session file was damaged. {len(replayed.rows)} changes could be read and are here{last}; "
        f"later ones are lost. The damaged file is kept as {kept.name}."
    )
    return connect(path)


def _copy(damaged: sqlite3.Connection, sound: sqlite3.Connection, replayed: Replayed) -> None:
    with transaction(sound):
        for row in replayed.rows:
            payload = None
            # A step from before the last checkpoint may be lost: then it cannot be undone, but all else holds.
            with suppress(*READ_ERRORS, TypeError):
                (payload,) = damaged.execute("SELECT payload FROM event WHERE number = ?", (row.number,)).fetchone()
            sound.execute("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*row.fields, row.seal, payload))


def _move(path: Path, to: Path) -> None:
    """Give a file and its log, where it has one, another name."""
    with suppress(FileNotFoundError):
        _log(path).replace(_log(to))
    path.replace(to)


def _free_name(path: Path) -> Path:
    number, kept = 1, path.with_name(f"{path.name}.damaged")
    while kept.exists():
        number, kept = number + 1, path.with_name(f"{path.name}.damaged-{number}")
    return kept


def _delete(path: Path) -> None:
    for file in (path, _log(path)):
        file.unlink(missing_ok=True)


def _log(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")
