"""What was said to candidates, written down in the session: a dismissed place stays dismissed the next time.

Each word is a note in the session's audit trail with the candidate's outline and numbers, so it is on disk as
soon as it is said, and a session file that holds such notes stays readable by versions that know nothing of them.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from napari_medmeta.core import Box, MedmetaError, SliceRef, Triple
from napari_medmeta.session import Session
from napari_medmeta.session.model import Json
from napari_medmeta.session.packing import pack, unpack

if TYPE_CHECKING:
    from napari_medmeta.tasks.detection_candidates import Candidate

__all__ = ["Marks", "Said", "marks_of", "write_mark"]


class Said(StrEnum):
    """What was said to a candidate; the word of the audit trail."""

    ACCEPTED = "accept_candidate"
    DISMISSED = "dismiss_candidate"
    BROUGHT_BACK = "bring_back_candidate"


@dataclass(frozen=True, eq=False)
class Marks:
    """The candidates of one structure that something was said to, in the order in which it was said.

    Parameters
    ----------
    accepted
        Taken over into the segmentation at that time; an undo since then is not told here.
    dismissed
        No lesions.
    brought_back
        Dismissed once, and to be looked at again.
    """

    accepted: tuple[Candidate, ...] = ()
    dismissed: tuple[Candidate, ...] = ()
    brought_back: tuple[Candidate, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.accepted or self.dismissed or self.brought_back)


_SENTENCES = {
    Said.ACCEPTED: "accepted a candidate for {name}",
    Said.DISMISSED: "dismissed a candidate for {name}",
    Said.BROUGHT_BACK: "took back that a candidate for {name} is none",
}

_NUMBERS = ("score", "likelihood", "contrast", "volume_ml", "longest_mm")

_MALFORMED = (KeyError, IndexError, TypeError, ValueError, OverflowError, binascii.Error, MedmetaError)
"""All that reading a malformed note can raise."""


def write_mark(session: Session, candidate: Candidate, *, structure: int, said: Said) -> None:
    """Write down what was said to a candidate for the lesions of ``structure``; it lies on the session's grid."""
    name = next((s.name for s in session.structures if s.id == structure), f"structure {structure}")
    parameters: dict[str, Json] = {"of": structure, "candidate": _written(candidate)}
    session.note(said.value, _SENTENCES[said].format(name=name), parameters)


def marks_of(session: Session, structure: int) -> Marks:
    """Return what was said to the candidates of ``structure`` so far, also when the session was opened from a file.

    What was said before the number was given to another structure is not of this one. A note that cannot be read
    is passed over: no voxel of the segmentation rests on it.
    """
    kept: dict[Said, dict[tuple[Triple, Triple], Candidate]] = {said: {} for said in Said}
    for record in session.events():
        if record.verb == "add_structure" and record.parameters.get("structure") == structure:
            kept = {said: {} for said in Said}
        if record.verb not in set(Said) or record.parameters.get("of") != structure:
            continue
        candidate = _read(record.parameters.get("candidate"), session.geometry.shape)
        if candidate is None:
            continue
        place = (candidate.box.start, candidate.box.stop)
        for said, there in kept.items():
            there.pop(place, None)
            if record.verb == said:
                there[place] = candidate
    return Marks(*(tuple(kept[said].values()) for said in (Said.ACCEPTED, Said.DISMISSED, Said.BROUGHT_BACK)))


def _written(candidate: Candidate) -> dict[str, Json]:
    written: dict[str, Json] = {name: float(getattr(candidate, name)) for name in _NUMBERS}
    written["centre_mm"] = [float(v) for v in candidate.centre_mm]
    written["voxel"] = [int(v) for v in candidate.voxel]
    written["slice"] = [candidate.ref.axis, candidate.ref.index]
    written["box"] = [[int(v) for v in candidate.box.start], [int(v) for v in candidate.box.stop]]
    written["mask"] = base64.b64encode(pack(candidate.mask.astype("uint8"))).decode("ascii")
    return written


def _read(written: Json, shape: Triple) -> Candidate | None:
    """Return the candidate that was written, None where it is none or does not lie on a scan of ``shape``."""
    try:
        return _checked(written, shape) if isinstance(written, dict) else None
    except _MALFORMED:
        return None


def _checked(written: Mapping[str, Any], shape: Triple) -> Candidate:
    # Loaded when there is one to read: what is behind it takes seconds to load.
    from napari_medmeta.tasks.detection_candidates import Candidate

    start, stop = (_triple(corner) for corner in written["box"])
    box = Box(start, stop)
    _require(all(0 <= a < b <= n for a, b, n in zip(start, stop, shape, strict=True)))
    mask = unpack(base64.b64decode(written["mask"], validate=True), box.shape) > 0
    _require(bool(mask.any()))
    voxel, (axis, index) = _triple(written["voxel"]), (int(n) for n in written["slice"])
    _require(all(0 <= v < n for v, n in zip(voxel, shape, strict=True)) and 0 <= axis < 3 and 0 <= index < shape[axis])
    x, y, z = (_number(v) for v in written["centre_mm"])
    numbers = {name: _number(written[name]) for name in _NUMBERS}
    return Candidate(**numbers, centre_mm=(x, y, z), voxel=voxel, ref=SliceRef(axis, index), box=box, mask=mask)


def _triple(values: Sequence[Any]) -> Triple:
    i, j, k = (int(v) for v in values)
    return i, j, k


def _number(value: Any) -> float:
    number = float(value)
    _require(math.isfinite(number))
    return number


def _require(fits: bool) -> None:
    if not fits:
        raise ValueError
