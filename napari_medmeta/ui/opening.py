"""Which session belongs to a scan: go on with it where there is one, else begin one beside the scan."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qtpy.QtCore import QStandardPaths

from napari_medmeta.core import InputError, StorageError
from napari_medmeta.session import Session
from napari_medmeta.session.words import plane_names, slice_name
from napari_medmeta.ui.scan import Scan

__all__ = ["SESSION_SUFFIX", "Opened", "begin_session", "open_session", "user_folder"]

SESSION_SUFFIX = ".medmeta"
SCAN_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
MOST_SESSIONS = 100
"""Sessions of one scan, numbered; more than this means that something else is wrong."""


@dataclass(frozen=True, eq=False)
class Opened:
    """A session and what the user should know about it."""

    session: Session
    note: str = ""


def open_session(scan: Scan, *, folder: Path | None = None) -> Opened:
    """Go on with the newest session of ``scan``, or begin one.

    Parameters
    ----------
    folder
        Where sessions are kept; None: beside the scan, or in the user's own folder where that cannot
        be written.
    """
    last: Path | None = None
    for path in _candidates(scan, folder):
        if not path.exists():
            break
        last = path
    if last is None:
        return begin_session(scan, folder=folder)
    try:
        session = Session.open(last, fingerprint=scan.fingerprint, geometry=scan.grid.working)
    except (InputError, StorageError) as error:
        begun = begin_session(scan, folder=folder)
        return Opened(begun.session, f"{error.message} A new session was begun; the file {last.name} stays as it is.")
    count = len(session.support().examples)
    place = session.last_slice()
    where = f" You were on {slice_name(plane_names(session.geometry), place)}." if place is not None else ""
    note = f"Continued the session {last.name} with {count} example slice{'' if count == 1 else 's'}.{where}"
    return Opened(session, note if session.structures else "")


def begin_session(scan: Scan, *, folder: Path | None = None) -> Opened:
    """Begin a new session of ``scan`` under the first free name; in memory where nothing can be written."""
    for path in _candidates(scan, folder):
        if path.exists():
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return Opened(_create(scan, path))
        except (StorageError, OSError) as error:
            reason = error.message if isinstance(error, StorageError) else f"{path.parent} cannot be written."
            return Opened(_create(scan, None), f"{reason} The session is kept in memory only: save your result.")
    return Opened(_create(scan, None), "There are too many sessions of this scan; this one is kept in memory only.")


def user_folder() -> Path:
    """Return the folder in which the user's own sessions are kept where a scan's folder is read-only."""
    base = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.GenericDataLocation)
    return Path(base or Path.home()) / "napari-medmeta" / "sessions"


def _create(scan: Scan, path: Path | None) -> Session:
    return Session.create(scan.grid.working, fingerprint=scan.fingerprint, path=path, name=scan.name)


def _candidates(scan: Scan, folder: Path | None) -> Iterator[Path]:
    home, stem = _place(scan, folder)
    yield home / f"{stem}{SESSION_SUFFIX}"
    for number in range(2, MOST_SESSIONS):
        yield home / f"{stem}-{number}{SESSION_SUFFIX}"


def _place(scan: Scan, folder: Path | None) -> tuple[Path, str]:
    source = scan.source
    if folder is None and source is not None and os.access(source.parent, os.W_OK):
        suffix = next((s for s in SCAN_SUFFIXES if source.name.lower().endswith(s)), "")
        stem = source.name[: len(source.name) - len(suffix)]
        return source.parent, f"{stem}-part-{scan.fingerprint[:8]}" if scan.is_part else stem
    # In a folder shared by all scans only the fingerprint tells two of one name apart.
    safe = re.sub(r"[^\w-]+", "_", scan.name).strip("_") or "scan"
    return folder or user_folder(), f"{safe}-{scan.fingerprint[:8]}"
