"""Finished sessions of the protocol ``interactive``, kept by their keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from napari_medmeta.bench.lines import LineStore

__all__ = ["Action", "Policy", "Round", "SessionKey", "SessionRun", "SessionStore"]


class Action(StrEnum):
    """What the radiologist did with the slice of a round."""

    PAINTED = "painted"
    ACCEPTED = "accepted"
    CORRECTED = "corrected"


class Policy(StrEnum):
    """How the next slice is chosen."""

    SUGGESTION = "suggestion"
    """The tool's own suggestion (`rank_slices`); equal spacing where it has none."""
    WORST = "worst"
    """The slice whose correction mends most of the volume, as only the truth tells: an oracle."""
    RANDOM = "random"
    """Any slice that shows something, in truth or proposal."""
    EQUAL = "equal"
    """The slice farthest from all that were looked at, within the structures' extent."""


@dataclass(frozen=True, slots=True, order=True)
class SessionKey:
    """What makes a session this session: finished ones with the same key are not repeated."""

    case: str
    method: str
    policy: str
    seed: int
    version: str


@dataclass(frozen=True)
class Round:
    """One slice looked at, and how good the whole segmentation is after the answer to it.

    Parameters
    ----------
    number
        From 0, the slice painted at the start.
    slice
        The slice looked at, or painted, along the session's axis.
    structures_corrected
        Structures that had to be drawn or changed on it.
    dice
        By structure over the whole volume as it would be saved now: accepted and painted slices as they are,
        the rest as proposed.
    human_seconds
        Time of the radiologist in this round, by the time model.
    machine_seconds
        Time of the proposal that followed.
    """

    number: int
    slice: int
    action: Action
    structures_corrected: int
    dice: Mapping[int, float]
    human_seconds: float
    machine_seconds: float

    @property
    def mean_dice(self) -> float:
        """Mean over the structures."""
        return sum(self.dice.values()) / len(self.dice)


@dataclass(frozen=True)
class SessionRun:
    """One session of a simulated radiologist with one method; or the reason why it ended.

    Parameters
    ----------
    rounds
        In order; empty when the first proposal failed.
    failure
        Why the session broke off, empty when it did not.
    """

    key: SessionKey
    axis: int
    rounds: tuple[Round, ...]
    failure: str = ""


class SessionStore(LineStore[SessionKey, SessionRun]):
    """The file of sessions."""

    @staticmethod
    def key_of(value: SessionRun) -> SessionKey:
        """Return the session's key."""
        return value.key

    @staticmethod
    def to_json(value: SessionRun) -> dict[str, Any]:
        """Return the session as one line, scores to five digits."""
        rounds = [_round_to_json(r) for r in value.rounds]
        return {**asdict(value.key), "axis": value.axis, "rounds": rounds, "failure": value.failure}

    @staticmethod
    def from_json(fields: dict[str, Any]) -> SessionRun:
        """Return the session of one line."""
        key = SessionKey(**{name: fields[name] for name in SessionKey.__dataclass_fields__})
        rounds = tuple(_round_from_json(r) for r in fields["rounds"])
        return SessionRun(key, fields["axis"], rounds, fields["failure"])


def _round_to_json(value: Round) -> dict[str, Any]:
    fields = asdict(value)
    fields["dice"] = {str(s): round(v, 5) for s, v in value.dice.items()}
    for name in ("human_seconds", "machine_seconds"):
        fields[name] = round(fields[name], 3)
    return fields


def _round_from_json(fields: dict[str, Any]) -> Round:
    dice = {int(s): float(v) for s, v in fields["dice"].items()}
    return Round(**{**fields, "action": Action(fields["action"]), "dice": dice})
