"""Creating and opening session files."""

from __future__ import annotations

from pathlib import Path

from napari_medmeta.core import Geometry, StorageError
from napari_medmeta.session.journal import Journal
from napari_medmeta.session.replay import Replayed

__all__ = ["create_file", "open_file"]


def create_file(path: Path, geometry: Geometry, *, fingerprint: str) -> Journal:
    """Create a session file."""
    raise StorageError("Session files are not there yet")


def open_file(path: Path, *, fingerprint: str | None, geometry: Geometry | None) -> tuple[Replayed, Journal]:
    """Open a session file."""
    raise StorageError("Session files are not there yet")
