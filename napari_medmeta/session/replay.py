"""From events back to a state: what opening a session file does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from napari_medmeta.core import StorageError
from napari_medmeta.session.history import History, Past
from napari_medmeta.session.model import EventRecord, Json, PaintMode
from napari_medmeta.session.patches import Step
from napari_medmeta.session.state import State

__all__ = ["Replayed", "apply_setting"]


@dataclass
class Replayed:
    """A state with its past, as read from a file."""

    state: State
    fingerprint: str
    done: list[Past] = field(default_factory=list)
    undone: list[Past] = field(default_factory=list)
    records: list[EventRecord] = field(default_factory=list)
    note: str = ""

    def history(self, load: Callable[[int], Step]) -> History:
        """Return the history whose steps are read from the file when needed."""
        return History.resumed(self.done, self.undone, load)


def apply_setting(state: State, verb: str, parameters: Mapping[str, Json]) -> None:
    """Set the active structure, the paint mode or automatic proposals.

    Raises
    ------
    StorageError
        When the event names none of them, or a value that cannot be.
    """
    value = parameters.get("value")
    if verb == "set_active" and isinstance(value, int) and value in state.ids:
        state.active = value
    elif verb == "set_mode" and value in set(PaintMode):
        state.mode = PaintMode(str(value))
    elif verb == "set_auto_propose" and isinstance(value, bool):
        state.auto_propose = value
    else:
        raise StorageError(
            f"The session file holds a setting that cannot be: {verb}",
            next_step="Open a copy of the session file from before it was damaged",
        )
