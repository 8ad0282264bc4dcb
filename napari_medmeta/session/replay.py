"""From events back to a state: what opening a session file does."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from napari_medmeta.core import Geometry
from napari_medmeta.session.codec import Checkpoint, Sound, damaged, decode_checkpoint, decode_step
from napari_medmeta.session.events import Event, Kind
from napari_medmeta.session.history import History, Past
from napari_medmeta.session.model import EventRecord, Json, PaintMode
from napari_medmeta.session.patches import Step
from napari_medmeta.session.records import compose_volume, count_labels
from napari_medmeta.session.state import State, apply
from napari_medmeta.session.storage import READ_ERRORS, Row, seal

__all__ = ["Replayed", "Source", "apply_setting", "replay"]

_YEAR_9999 = 253_370_764_800.0
"""Seconds since 1970; a later time cannot be shown as a date."""


class _Unreadable(Exception):
    """An event cannot be read any more: the file is good up to here."""


@dataclass
class Replayed:
    """A state with its past, as read from a file.

    Parameters
    ----------
    rows
        The events that could be read.
    checkpoint
        Number of the event from which the others were replayed, 0 for the beginning.
    damage
        Whether events after them were lost.
    note
        A sentence on what was lost, or nothing.
    """

    state: State
    fingerprint: str
    done: list[Past] = field(default_factory=list)
    undone: list[Past] = field(default_factory=list)
    records: list[EventRecord] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    checkpoint: int = 0
    damage: bool = False
    note: str = ""

    def history(self, load: Callable[[int], Step]) -> History:
        """Return the history whose steps are read from the file when needed."""
        return History.resumed(self.done, self.undone, load)


class Source:
    """Reads rows of a session file, and tells what can no longer be read."""

    def __init__(self, connection: sqlite3.Connection, geometry: Geometry, *, first_seal: bytes) -> None:
        self._connection = connection
        self.geometry = geometry
        self.first_seal = first_seal
        self.cut_off = False
        self.sound: Sound = set()

    def rows(self) -> list[Row]:
        """Return all rows up to the first that is missing or cannot be read, without their payloads."""
        found: list[Row] = []
        query = "SELECT number, time, kind, verb, sentence, parameters, seal FROM event ORDER BY number"
        try:
            for values in self._connection.execute(query):
                if not _is_row(values) or values[0] != len(found) + 1:
                    self.cut_off = True
                    break
                found.append(Row(*values))
        except READ_ERRORS:
            self.cut_off = True
        return found

    def payload(self, number: int) -> bytes | None:
        """Return the payload of an event; raises `_Unreadable`."""
        try:
            row = self._connection.execute("SELECT payload FROM event WHERE number = ?", (number,)).fetchone()
        except READ_ERRORS as error:
            raise _Unreadable from error
        if row is None or not isinstance(row[0], bytes | None):
            raise _Unreadable
        data: bytes | None = row[0]
        return data

    def checkpoint(self, rows: list[Row]) -> tuple[int, Checkpoint] | None:
        """Return the newest checkpoint and its event number, None when there is none to rely on."""
        try:
            row = self._connection.execute("SELECT number, seal, payload FROM checkpoint").fetchone()
        except READ_ERRORS:
            return None
        if row is None or not isinstance(row[0], int) or not 1 <= row[0] <= len(rows):
            return None
        number, mark, payload = row
        if not isinstance(payload, bytes) or seal(rows[number - 1].seal, (number,), payload) != mark:
            return None
        return number, decode_checkpoint(payload, self.geometry.shape)


def replay(source: Source, *, fingerprint: str) -> Replayed:
    """Return the state after all events that can be read.

    Raises
    ------
    StorageError
        When an event that is not damaged does not fit the scan: the file was not written by us.
    """
    rows = source.rows()
    out = Replayed(State(source.geometry), fingerprint, rows=rows, damage=source.cut_off)
    start = _from_checkpoint(source, out)
    mark = rows[start - 1].seal if start else source.first_seal
    for row in rows[:start]:
        _move(out, row)
    for row in rows[start:]:
        try:
            payload = source.payload(row.number)
            if seal(mark, row.fields, payload) != row.seal:
                raise _Unreadable
            _carry_out(source, out, row, payload)
        except _Unreadable:
            out.damage = True
            del rows[row.number - 1 :]
            break
        mark = row.seal
    out.checkpoint = start
    out.records = [_record(row) for row in rows]
    return out


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
    elif verb == "set_mode" and isinstance(value, str) and value in set(PaintMode):
        state.mode = PaintMode(value)
    elif verb == "set_auto_propose" and isinstance(value, bool):
        state.auto_propose = value
    else:
        raise damaged()


def _from_checkpoint(source: Source, out: Replayed) -> int:
    found = source.checkpoint(out.rows)
    if found is None:
        return 0
    number, checkpoint = found
    state = out.state
    state.structures, state.records = checkpoint.structures, checkpoint.records
    state.rejected = set(checkpoint.rejected)
    state.active, state.mode = checkpoint.active, checkpoint.mode
    state.auto_propose, state.generation = checkpoint.auto_propose, checkpoint.generation
    state.labels, state.status = compose_volume(state.records, source.geometry.shape)
    state.voxels = count_labels(state.labels)
    return number


def _move(out: Replayed, row: Row) -> None:
    """Move the past as an event does, without its effect on the state."""
    if row.kind == Kind.STEP:
        out.undone.clear()
        out.done.append(Past(row.number, row.sentence))
    elif row.kind == Kind.UNDO:
        out.undone.append(_popped(out.done))
    elif row.kind == Kind.REDO:
        out.done.append(_popped(out.undone))


def _carry_out(source: Source, out: Replayed, row: Row, payload: bytes | None) -> None:
    if row.kind == Kind.STEP:
        apply(out.state, _step(source, row, payload))
    elif row.kind in (Kind.UNDO, Kind.REDO):
        backwards = row.kind == Kind.UNDO
        past = (out.done if backwards else out.undone)[-1:]
        if not past:
            raise damaged()
        before = out.rows[past[0].number - 1]
        apply(out.state, _step(source, before, source.payload(before.number)), backwards=backwards)
    elif row.kind == Kind.SETTING:
        apply_setting(out.state, row.verb, _parameters(row))
    _move(out, row)


def _step(source: Source, row: Row, payload: bytes | None) -> Step:
    if payload is None:
        raise damaged()
    return decode_step(payload, source.geometry.shape, verb=row.verb, text=row.sentence, sound=source.sound)


def _popped(stack: list[Past]) -> Past:
    if not stack:
        raise damaged()
    return stack.pop()


def _is_row(values: tuple[object, ...]) -> bool:
    number, time, kind, verb, sentence, parameters, mark = values
    texts = all(isinstance(v, str) for v in (kind, verb, sentence, parameters))
    if not (isinstance(number, int) and isinstance(time, float) and texts and isinstance(mark, bytes)):
        return False
    return kind in set(Kind) and math.isfinite(time) and 0 <= time < _YEAR_9999


def _parameters(row: Row) -> dict[str, Json]:
    try:
        values = json.loads(row.parameters)
    except (ValueError, RecursionError) as error:
        raise damaged() from error
    if not isinstance(values, dict):
        raise damaged()
    return values


def _record(row: Row) -> EventRecord:
    return Event(row.number, row.time, Kind(row.kind), row.verb, row.sentence, _parameters(row)).record
