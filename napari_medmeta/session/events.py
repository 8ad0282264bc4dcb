"""What is written down: every verb, undo, redo and setting is one numbered event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from napari_medmeta.session.model import EventRecord, Json
from napari_medmeta.session.patches import Step

__all__ = ["Event", "Kind"]


class Kind(StrEnum):
    """What replaying an event means."""

    STEP = "step"
    """Apply the step, and put it on the history."""
    UNDO = "undo"
    """Take back the newest step of the history."""
    REDO = "redo"
    """Carry out again what was undone last."""
    SETTING = "setting"
    """Set the active structure, the paint mode or automatic proposals; no undo step."""
    NOTE = "note"
    """For the audit trail only: a proposal came in, or something was said that changes no voxel."""


@dataclass(frozen=True)
class Event:
    """One event; numbers count from 1 without a gap.

    Parameters
    ----------
    time
        Seconds since 1970 (UTC).
    sentence
        What happened, in the past tense of the audit trail.
    step
        The changes, of a STEP only.
    """

    number: int
    time: float
    kind: Kind
    verb: str
    sentence: str
    parameters: Mapping[str, Json] = field(default_factory=dict)
    step: Step | None = None

    @property
    def record(self) -> EventRecord:
        """The event's line in the audit trail."""
        time = datetime.fromtimestamp(self.time, tz=UTC)
        return EventRecord(self.number, time, self.verb, self.sentence, self.parameters)
