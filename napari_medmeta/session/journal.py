"""What a session needs of the place where its events are written down."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from napari_medmeta.session.events import Event
from napari_medmeta.session.patches import Step
from napari_medmeta.session.state import State

__all__ = ["Journal"]


class Journal(Protocol):
    """Keeps events in order; what cannot be written stays queued."""

    path: Path
    problem: str
    """Why the newest events are not on disk, or nothing."""
    last_stored: int
    """Number of the newest event on disk."""

    def append(self, event: Event, state: State) -> None:
        """Write the event, after which ``state`` holds, after all that are still queued."""
        ...

    def retry(self) -> bool:
        """Write what is queued; return whether everything is on disk."""
        ...

    def load_step(self, number: int) -> Step:
        """Read a step back, or raise `StorageError`."""
        ...

    def close(self, state: State, *, last: int) -> None:
        """Write what is queued and a checkpoint of ``state`` (after event ``last``), and let go of the file."""
        ...
