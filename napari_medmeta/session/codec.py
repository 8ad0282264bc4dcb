"""Steps and checkpoints as bytes, and back from bytes that may come from anywhere.

A payload is a length (4 bytes, little-endian), a JSON header of that length, and the packed arrays one
after the other; the header refers to them by number. Nothing is inflated before its box has been
checked against the scan, and nothing in a payload is ever executed.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from napari_medmeta.core import Box, MedmetaError, Origin, SliceRef, StorageError, Structure, Triple
from napari_medmeta.session.model import Json, Layer, Offer, PaintMode, SliceRecord
from napari_medmeta.session.packing import unpack
from napari_medmeta.session.patches import ArrayName, Patch, RecordChange, Rejection, Selection, Step, Table
from napari_medmeta.session.records import slice_shape
from napari_medmeta.session.table import require_colour, require_name

__all__ = ["Checkpoint", "Sound", "damaged", "decode_checkpoint", "decode_step", "encode_checkpoint", "encode_step"]

_LENGTH = struct.Struct("<I")

Sound: TypeAlias = set[Layer]
"""Layers whose arrays have been inflated once and found sound."""


@dataclass(frozen=True)
class Checkpoint:
    """A whole state after an event; the arrays follow from the records."""

    structures: tuple[Structure, ...]
    records: dict[SliceRef, SliceRecord]
    rejected: frozenset[SliceRef]
    active: int | None
    mode: PaintMode
    auto_propose: bool
    generation: int


def encode_step(step: Step) -> bytes:
    """Return a step's changes as bytes; verb, text and parameters are stored beside them."""
    chunks = _Chunks()
    header: dict[str, Json] = {}
    if step.patches:
        header["patches"] = [
            [p.array.value, [*p.box.start], [*p.box.stop], chunks.add(p.before), chunks.add(p.after)]
            for p in step.patches
        ]
    if step.records:
        header["records"] = [
            [r.ref.axis, r.ref.index, _record_out(r.before, chunks), _record_out(r.after, chunks)] for r in step.records
        ]
    if step.rejections:
        header["rejections"] = [[r.ref.axis, r.ref.index, r.before, r.after] for r in step.rejections]
    if step.table is not None:
        header["table"] = [_table_out(step.table.before), _table_out(step.table.after)]
    if step.selection is not None:
        header["selection"] = [step.selection.before, step.selection.after]
    return chunks.seal(header)


def decode_step(payload: bytes, shape: Triple, *, verb: str, text: str, sound: Sound | None = None) -> Step:
    """Return the step of a payload written for a scan of ``shape``; all of its arrays are sound.

    ``sound`` remembers arrays that were found sound, as neighbouring steps hold the same ones.

    Raises
    ------
    StorageError
        When anything in it does not fit.
    """
    try:
        header, chunks = _opened(payload)
        sound = set() if sound is None else sound
        patches = tuple(_patch_in(p, chunks, shape) for p in _rows(header, "patches"))
        for array in ArrayName:
            _require(sum(p.box.size for p in patches if p.array is array) <= shape[0] * shape[1] * shape[2])
        return Step(
            verb,
            text,
            {},
            patches,
            tuple(
                RecordChange(
                    _ref_in(r, shape),
                    _record_in(r[2], chunks, _ref_in(r, shape), shape, sound),
                    _record_in(r[3], chunks, _ref_in(r, shape), shape, sound),
                )
                for r in _rows(header, "records")
            ),
            tuple(Rejection(_ref_in(r, shape), _bool(r[2]), _bool(r[3])) for r in _rows(header, "rejections")),
            Table(*(_table_in(t) for t in _pair(header["table"]))) if "table" in header else None,
            Selection(*(_number_or_none(v) for v in _pair(header["selection"]))) if "selection" in header else None,
        )
    except _MALFORMED as error:
        raise damaged() from error


def encode_checkpoint(checkpoint: Checkpoint) -> bytes:
    """Return a whole state as bytes."""
    chunks = _Chunks()
    records: list[Json] = [
        [ref.axis, ref.index, _record_out(record, chunks)] for ref, record in checkpoint.records.items()
    ]
    return chunks.seal(
        {
            "structures": _table_out(checkpoint.structures),
            "records": records,
            "rejected": [[r.axis, r.index] for r in sorted(checkpoint.rejected)],
            "active": checkpoint.active,
            "mode": checkpoint.mode.value,
            "auto_propose": checkpoint.auto_propose,
            "generation": checkpoint.generation,
        }
    )


def decode_checkpoint(payload: bytes, shape: Triple) -> Checkpoint:
    """Return the state of a payload written for a scan of ``shape``, or raise `StorageError`."""
    try:
        header, chunks = _opened(payload)
        records: dict[SliceRef, SliceRecord] = {}
        for row in _rows(header, "records"):
            ref = _ref_in(row, shape)
            record = _record_in(row[2], chunks, ref, shape, set())
            if record is None:
                raise damaged()
            records[ref] = record
        structures = _table_in(header["structures"])
        active = _number_or_none(header["active"])
        _require(active is None or active in {s.id for s in structures})
        return Checkpoint(
            structures,
            records,
            frozenset(_ref_in(r, shape) for r in _rows(header, "rejected")),
            active,
            PaintMode(str(header["mode"])),
            _bool(header["auto_propose"]),
            _count(header["generation"]),
        )
    except _MALFORMED as error:
        raise damaged() from error


def damaged() -> StorageError:
    """Return the error for a file whose contents do not fit together."""
    return StorageError(
        "The session file is damaged: a part of it does not fit the rest",
        next_step="Open a copy from before it was damaged, or begin a new session",
    )


_MALFORMED = (KeyError, IndexError, TypeError, ValueError, RecursionError, OverflowError, MedmetaError)
"""All that reading a malformed header can raise."""


class _Chunks:
    """Packed arrays in order; one that comes twice is stored once."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}

    def add(self, data: bytes) -> int:
        return self._numbers.setdefault(data, len(self._numbers))

    def seal(self, header: dict[str, Json]) -> bytes:
        header["chunks"] = [len(data) for data in self._numbers]
        text = json.dumps(header, separators=(",", ":")).encode()
        return b"".join((_LENGTH.pack(len(text)), text, *self._numbers))


def _opened(payload: bytes) -> tuple[dict[str, Json], list[bytes]]:
    (length,) = _LENGTH.unpack(payload[:4]) if len(payload) >= 4 else (len(payload),)
    position = 4 + length
    _require(position <= len(payload))
    header = json.loads(payload[4:position])
    chunks = []
    for size in header["chunks"]:
        chunks.append(payload[position : position + _count(size)])
        position += size
    _require(position == len(payload))
    return header, chunks


def _record_out(record: SliceRecord | None, chunks: _Chunks) -> Json:
    if record is None:
        return None
    layers: list[Json] = [
        [v.tick, [*v.start], [*v.shape], chunks.add(v.labels), chunks.add(v.codes), v.background] for v in record.layers
    ]
    said: list[Json] = [record.complete, [*sorted(record.looked_for)], record.origin.value, layers]
    # Only where it differs, so that earlier versions can read what they could have written.
    if record.offers:
        offers: list[Json] = [
            [[*o.start], [*o.shape], chunks.add(o.labels), o.expected, o.recalled, o.looked_at] for o in record.offers
        ]
        return [*said, record.weight, offers]
    return said if record.weight == 1.0 else [*said, record.weight]


def _record_in(value: Json, chunks: list[bytes], ref: SliceRef, shape: Triple, sound: Sound) -> SliceRecord | None:
    if value is None:
        return None
    complete, looked_for, origin, layers, *rest = _row(value)
    _require(len(rest) <= 2)
    weight = rest[0] if rest else 1.0
    offers = rest[1] if len(rest) > 1 else []
    extent = slice_shape(shape, ref.axis)
    read = tuple(_layer_in(_row(v), chunks, extent, sound) for v in _row(layers))
    ticks = [v.tick for v in read]
    _require(ticks == sorted(set(ticks)))
    wanted = frozenset(_number(n) for n in _row(looked_for))
    offered = tuple(_offer_in(_row(v), chunks, extent) for v in _row(offers))
    return SliceRecord(read, _bool(complete), wanted, Origin(str(origin)), _share(weight), offered)


def _offer_in(row: Sequence[Json], chunks: list[bytes], extent: tuple[int, int]) -> Offer:
    start, size, labels, expected, recalled, looked_at = row
    corner, shape = _window_in(start, size, extent)
    offer = Offer(corner, shape, chunks[_count(labels)], _share(expected), _bool(recalled), _bool(looked_at))
    _require(1 <= int(unpack(offer.labels, shape).max()) <= _LAST_ID)
    return offer


def _window_in(start: Json, size: Json, extent: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    top, left = (_count(n) for n in _pair(start))
    rows, columns = (_count(n) for n in _pair(size))
    _require(rows > 0 and columns > 0 and top + rows <= extent[0] and left + columns <= extent[1])
    return (top, left), (rows, columns)


def _layer_in(row: Sequence[Json], chunks: list[bytes], extent: tuple[int, int], sound: Sound) -> Layer:
    tick, start, size, labels, codes, background = row
    corner, window = _window_in(start, size, extent)
    layer = Layer(
        _count(tick),
        corner,
        window,
        chunks[_count(labels)],
        chunks[_count(codes)],
        _bool(background),
    )
    if layer not in sound:
        _require(int(unpack(layer.labels, layer.shape).max()) <= _LAST_ID)
        _require(int(unpack(layer.codes, layer.shape).max()) <= _LAST_CODE)
        sound.add(layer)
    return layer


_LAST_ID, _LAST_CODE, _LAST_STATUS = 254, 3, 2


def _patch_in(row: Sequence[Json], chunks: list[bytes], shape: Triple) -> Patch:
    name, start, stop, before, after = row
    array = ArrayName(str(name))
    i, j, k = (_count(n) for n in _row(start))
    p, q, r = (_count(n) for n in _row(stop))
    box = Box((i, j, k), (p, q, r))
    _require(i < p <= shape[0] and j < q <= shape[1] and k < r <= shape[2])
    patch = Patch(array, box, chunks[_count(before)], chunks[_count(after)])
    highest = _LAST_ID if array is ArrayName.LABELS else _LAST_STATUS
    for data in (patch.before, patch.after):
        _require(int(unpack(data, box.shape).max()) <= highest)
    return patch


def _table_out(structures: tuple[Structure, ...]) -> Json:
    # What earlier scans taught only where there is any, so that earlier versions can read what they could have written.
    return [[s.id, s.name, s.colour, s.locked, *_trust_out(s)] for s in structures]


def _trust_out(structure: Structure) -> list[Json]:
    kept: dict[str, Json] = {**dict(structure.trust)}
    return [kept] if kept else []


def _table_in(value: Json) -> tuple[Structure, ...]:
    rows = [_row(v) for v in _row(value)]
    structures = tuple(_structure_in(row) for row in rows)
    ids = [s.id for s in structures]
    _require(ids == sorted(set(ids)))
    return structures


def _structure_in(row: Sequence[Json]) -> Structure:
    number, name, colour, locked, *rest = row
    _require(len(rest) <= 1)
    trust = rest[0] if rest else {}
    if not isinstance(trust, dict):
        raise damaged()
    kept = tuple((source, _factor(value)) for source, value in trust.items())
    return Structure(_number(number), require_name(str(name)), require_colour(str(colour)), _bool(locked), kept)


def _ref_in(row: Sequence[Json], shape: Triple) -> SliceRef:
    axis, index = _count(row[0]), _count(row[1])
    _require(axis < 3 and index < shape[axis])
    return SliceRef(axis, index)


def _rows(header: dict[str, Json], name: str) -> list[Sequence[Json]]:
    return [_row(v) for v in _row(header.get(name, []))]


def _row(value: Json) -> Sequence[Json]:
    if not isinstance(value, list):
        raise damaged()
    return value


def _pair(value: Json) -> tuple[Json, Json]:
    first, second = _row(value)
    return first, second


def _count(value: Json) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise damaged()
    return value


def _number(value: Json) -> int:
    number = _count(value)
    _require(1 <= number <= _LAST_ID)
    return number


def _number_or_none(value: Json) -> int | None:
    return None if value is None else _number(value)


def _factor(value: Json) -> float:
    if not isinstance(value, float):
        raise damaged()
    return value


def _share(value: Json) -> float:
    if not isinstance(value, float) or not 0.0 <= value <= 1.0:
        raise damaged()
    return value


def _bool(value: Json) -> bool:
    if not isinstance(value, bool):
        raise damaged()
    return value


def _require(fits: bool) -> None:
    if not fits:
        raise damaged()
