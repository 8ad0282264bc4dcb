"""A carried segmentation, written down in the session: what of it was not accepted yet is there the next time too.

It is a note in the session's audit trail, as what is said to lesions' candidates is (`detection_marks`): on disk as
soon as it is carried, of no effect on any voxel of the segmentation, and passed over by versions that do not know it.
Neither image nor name of the earlier scan is kept.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medmeta.core import MAX_STRUCTURES, Box, MedmetaError, Proposal, SliceRef, Triple
from napari_medmeta.session import Session
from napari_medmeta.session.model import Json
from napari_medmeta.session.packing import pack, unpack

if TYPE_CHECKING:
    from napari_medmeta.tasks.registration import Carried

__all__ = ["Landed", "landed", "landed_in", "write_landed"]

VERB = "carry_prior"
"""The word of the audit trail."""

SURE = 255
"""Steps of the confidence that is kept: a byte a voxel, finer than the uncertainty map shows."""

SOURCE = "prior scan"

_MALFORMED = (KeyError, IndexError, TypeError, ValueError, OverflowError, binascii.Error, MedmetaError)
"""All that reading a malformed note can raise."""


@dataclass(frozen=True, eq=False)
class Landed:
    """A prior segmentation on today's grid, packed as it is written down.

    Parameters
    ----------
    box
        Where it lies.
    labels
        Its labels (`session.packing.pack`).
    sureness
        The probability of each label in steps of 1 / `SURE`, packed as well.
    prior_ml
        Volume of each structure before, in ml, also of those of which nothing arrived.
    expected_dice, slice_dice
        The Dice expected of each structure and each slice.
    notes
        What the user should know, one sentence each.
    numbers
        The number of each structure of ``prior_ml`` in the session's table, by its value in ``labels``.
    """

    box: Box
    labels: bytes
    sureness: bytes
    prior_ml: Mapping[int, float]
    expected_dice: Mapping[int, float]
    slice_dice: Mapping[SliceRef, float]
    notes: tuple[str, ...] = ()
    numbers: Mapping[int, int] = field(default_factory=dict)

    def proposal(self, shape: Triple, *, generation: int) -> Proposal:
        """Return it as a proposal for a scan of ``shape``, under the numbers of the structure table."""
        lut = np.zeros(256, dtype=np.uint8)
        lut[list(self.numbers)] = list(self.numbers.values())
        size = self.box.shape
        return Proposal(
            generation=generation,
            box=self.box,
            labels=lut[unpack(self.labels, size)],
            confidence=np.divide(unpack(self.sureness, size), np.float32(SURE), dtype=np.float32),
            covered=Box.whole(shape),
            expected_dice=self.numbered(self.expected_dice),
            slice_dice=self.slice_dice,
            trust={number: {SOURCE: 1.0} for number in self.numbers.values()},
        )

    def numbered(self, told: Mapping[int, float]) -> dict[int, float]:
        """Return what is told of structures under their numbers in the table, without those that have none."""
        return {self.numbers[s]: value for s, value in told.items() if s in self.numbers}


def landed(carried: Carried, prior_ml: Mapping[int, float]) -> Landed:
    """Pack what was carried; takes a moment for a large one, so it is called in the background."""
    sureness = np.round(carried.carrying.confidence() * SURE).astype(np.uint8)
    return Landed(
        carried.carrying.box,
        pack(carried.carrying.labels()),
        pack(sureness),
        dict(prior_ml),
        dict(carried.expected.of_structure),
        dict(carried.expected.of_slice),
        carried.notes,
    )


def write_landed(session: Session, found: Landed) -> None:
    """Write down what was carried; it lies on the session's grid, and its numbers are those of the table."""
    names = {s.id: s.name for s in session.structures}
    listed = ", ".join(names[number] for number in found.numbers.values() if number in names)
    session.note(VERB, f"carried an earlier segmentation to this scan: {listed}", {"carried": _written(found)})


def landed_in(session: Session) -> Landed | None:
    """Return what was carried last, also when the session was opened from a file; None where nothing was.

    Structures that have left the table since then are left out, also where their number was given to another one.
    A note that cannot be read is passed over: no voxel of the segmentation rests on it.
    """
    last: Json = None
    given_anew: set[int] = set()
    for record in session.events():
        if record.verb == VERB:
            last, given_anew = record.parameters.get("carried"), set()
        elif record.verb == "add_structure" and isinstance(number := record.parameters.get("structure"), int):
            given_anew.add(number)
    found = _read(last, session.geometry.shape)
    if found is None:
        return None
    still = {s.id for s in session.structures} - given_anew
    numbers = {s: number for s, number in found.numbers.items() if number in still}
    return replace(found, numbers=numbers) if numbers else None


def _written(found: Landed) -> dict[str, Json]:
    return {
        "box": [[*found.box.start], [*found.box.stop]],
        "labels": base64.b64encode(found.labels).decode("ascii"),
        "sureness": base64.b64encode(found.sureness).decode("ascii"),
        "structures": [[s, number, float(found.prior_ml[s])] for s, number in found.numbers.items()],
        "expected_dice": [[s, float(dice)] for s, dice in found.expected_dice.items()],
        "slice_dice": [[ref.axis, ref.index, float(dice)] for ref, dice in found.slice_dice.items()],
        "notes": [*found.notes],
    }


def _read(written: Json, shape: Triple) -> Landed | None:
    """Return what was written, None where it is nothing or does not lie on a scan of ``shape``."""
    try:
        return _checked(written, shape) if isinstance(written, dict) else None
    except _MALFORMED:
        return None


def _checked(written: Mapping[str, Any], shape: Triple) -> Landed:
    start, stop = (_triple(corner) for corner in written["box"])
    _require(all(0 <= a < b <= n for a, b, n in zip(start, stop, shape, strict=True)))
    rows = [(_structure(s), _structure(number), _number(ml)) for s, number, ml in written["structures"]]
    found = Landed(
        Box(start, stop),
        base64.b64decode(written["labels"], validate=True),
        base64.b64decode(written["sureness"], validate=True),
        {s: ml for s, _, ml in rows},
        {_structure(s): _share(dice) for s, dice in written["expected_dice"]},
        {_ref(axis, index, shape): _share(dice) for axis, index, dice in written["slice_dice"]},
        tuple(str(note) for note in written["notes"]),
        {s: number for s, number, _ in rows},
    )
    # Whether the voxels fit is known once they are unpacked.
    found.proposal(shape, generation=0)
    return found


def _triple(values: Sequence[Any]) -> Triple:
    i, j, k = (int(v) for v in values)
    return i, j, k


def _ref(axis: Any, index: Any, shape: Triple) -> SliceRef:
    ref = SliceRef(int(axis), int(index))
    _require(0 <= ref.axis < 3 and 0 <= ref.index < shape[ref.axis])
    return ref


def _structure(value: Any) -> int:
    _require(isinstance(value, int) and 1 <= value <= MAX_STRUCTURES)
    return int(value)


def _number(value: Any) -> float:
    number = float(value)
    _require(math.isfinite(number))
    return number


def _share(value: Any) -> float:
    share = _number(value)
    _require(0.0 <= share <= 1.0)
    return share


def _require(fits: bool) -> None:
    if not fits:
        raise ValueError
