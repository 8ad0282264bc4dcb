"""The honest score: what became of the proposals, and whether they saved time, from the events alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from napari_medmeta.core import SliceRef
from napari_medmeta.session.calibration import Calibration
from napari_medmeta.session.model import EventRecord, Json

__all__ = ["LONGEST_GAP_S", "Outcome", "Score", "Stopwatch", "place_of", "score_of"]

LONGEST_GAP_S = 60.0
"""Of a gap without a look, a key or a stroke only this much counts as work: the rest was a pause."""


EXAMPLE = 0.8
"""The expected Dice by which the details show what calibration does."""


class Outcome(StrEnum):
    """What became of a slice."""

    PAINTED = "painted"
    """Painted without a proposal on it."""
    ACCEPTED = "accepted"
    """The proposal was accepted and never changed."""
    CORRECTED = "corrected"
    """The proposal was painted over before or after it was accepted, or rejected and painted."""
    REJECTED = "rejected"
    """The proposal was rejected, and nothing painted."""


class Stopwatch:
    """Seconds of work between two events; each gap counts up to `LONGEST_GAP_S`.

    Parameters
    ----------
    now
        Seconds on the clock that all later calls read.
    """

    def __init__(self, now: float) -> None:
        self._last = now
        self._spent = 0.0

    def mark(self, now: float) -> None:
        """Note a sign of life: a look at another slice."""
        self._spent += min(max(now - self._last, 0.0), LONGEST_GAP_S)
        self._last = now

    def take(self, now: float) -> float:
        """Return the seconds worked since this was last called."""
        self.mark(now)
        spent, self._spent = self._spent, 0.0
        return spent


@dataclass(frozen=True, slots=True)
class Score:
    """How a session went.

    Parameters
    ----------
    outcomes
        What became of each slice that was decided, in the order of finishing.
    open
        Slices with a proposal that nobody decided on yet.
    seconds
        Seconds of work in all, pauses left out.
    painting_seconds, review_seconds
        Seconds per slice painted without a proposal, and per slice whose proposal was decided on; None
        without any.
    even_after
        Number of finished slices from which on the session was quicker than painting each by hand at the
        user's own pace; None while it is not, or while nothing was painted by hand.
    calibration
        What proposals expected of themselves beside what was found.
    """

    outcomes: dict[SliceRef, Outcome]
    open: int = 0
    seconds: float = 0.0
    painting_seconds: float | None = None
    review_seconds: float | None = None
    even_after: int | None = None
    calibration: Calibration = field(default_factory=Calibration)

    def count(self, outcome: Outcome) -> int:
        """Return how many slices had this outcome."""
        return sum(1 for o in self.outcomes.values() if o is outcome)

    @property
    def proposed(self) -> int:
        """Slices on which something was proposed, decided or not."""
        return self.open + len(self.outcomes) - self.count(Outcome.PAINTED)

    @property
    def finished(self) -> int:
        """Slices that are done."""
        return len(self.outcomes)

    @property
    def by_hand_seconds(self) -> float | None:
        """Seconds that the finished slices would have taken by hand, at the user's own pace; None if unknown."""
        return None if self.painting_seconds is None else self.painting_seconds * self.finished

    @property
    def sentence(self) -> str:
        """The score in plain words: what was done, and how true the expectations were."""
        return " ".join(part for part in (self._done, self.calibration.sentence) if part)

    @property
    def _done(self) -> str:
        if not self.finished:
            return "No slice is finished yet."
        accepted, corrected = self.count(Outcome.ACCEPTED), self.count(Outcome.CORRECTED)
        judged = accepted + corrected + self.count(Outcome.REJECTED)
        done = f"{self.finished} slice{'' if self.finished == 1 else 's'} done in {_clock(self.seconds)}"
        if not judged or self.by_hand_seconds is None:
            return f"{done}; no proposal judged yet." if not judged else f"{done}: {accepted} of {judged} as proposed."
        kept = f"{accepted} of {judged} proposals accepted unchanged"
        if self.even_after is None:
            return f"{done}, {kept}; by hand it would not have taken longer (about {_clock(self.by_hand_seconds)})."
        return f"{done}, {kept}; by hand about {_clock(self.by_hand_seconds)}."

    @property
    def details(self) -> str:
        """The figures behind the sentence, one to a line, and how they are counted."""
        pace = (("painted by hand", self.painting_seconds), ("checked on a proposal", self.review_seconds))
        lines = [
            f"Proposed: {self.proposed} slices, of which {self.open} are still open",
            *(f"{o.value.capitalize()}: {self.count(o)}" for o in Outcome),
            *(f"Seconds per slice {what}: {s:.0f}" for what, s in pace if s is not None),
        ]
        if self.even_after is not None:
            lines.append(f"Quicker than by hand since slice number {self.even_after}")
        lines += _readings(self.calibration)
        lines.append(f"Of every pause at most {LONGEST_GAP_S:.0f} seconds count; “by hand” is your own pace.")
        return "\n".join(lines)


def score_of(records: Sequence[EventRecord], *, still_open: int = 0, calibration: Calibration | None = None) -> Score:
    """Return the score of a session's events.

    Undone steps decide nothing, but the time they took was spent. Parts of a slice that were accepted
    alone do not finish it, and imported labels are nobody's work here.
    """
    outcomes: dict[SliceRef, Outcome] = {}
    finished_at: dict[SliceRef, int] = {}
    for record in _standing(records):
        for ref in _slices(record):
            outcome = _outcome(record, outcomes.get(ref))
            if outcome is not None:
                outcomes[ref], finished_at[ref] = outcome, record.number
            elif record.verb == "remove_example":
                outcomes.pop(ref, None)
    spent = dict.fromkeys(outcomes, 0.0)
    for record in records:
        refs = [ref for ref in _slices(record) if ref in spent]
        for ref in refs:
            spent[ref] += _seconds(record) / len(refs)
    painting = _mean(s for ref, s in spent.items() if outcomes[ref] is Outcome.PAINTED)
    order = sorted(outcomes, key=lambda ref: (finished_at[ref], ref))
    return Score(
        {ref: outcomes[ref] for ref in order},
        still_open,
        sum(_seconds(r) for r in records),
        painting,
        _mean(s for ref, s in spent.items() if outcomes[ref] is not Outcome.PAINTED),
        _even_after([finished_at[ref] for ref in order], records, painting, outcomes),
        calibration or Calibration(),
    )


def place_of(parameters: Mapping[str, Json]) -> SliceRef | None:
    """Return the one slice that an event's parameters name, None where they name none or several."""
    axis, index, ijk = (parameters.get(name) for name in ("axis", "index", "ijk"))
    if isinstance(axis, int) and isinstance(ijk, list) and axis < len(ijk):
        index = ijk[axis]
    return SliceRef(axis, index) if isinstance(axis, int) and isinstance(index, int) else None


def _readings(calibration: Calibration) -> list[str]:
    """Say what became of an expectation by calibration, for each source that was judged."""
    sources = {False: "An expected Dice", True: "An expected Dice from the library"}
    return [
        f"{sources[recalled]} of {EXAMPLE:.2f} is now read as {calibration.of_slice(EXAMPLE, recalled=recalled):.2f}"
        for recalled in calibration.shifts
    ]


def _standing(records: Sequence[EventRecord]) -> Iterable[EventRecord]:
    undone: set[int] = set()
    for record in records:
        number = record.parameters.get("event")
        if isinstance(number, int) and record.verb in ("undo", "redo"):
            (undone.add if record.verb == "undo" else undone.discard)(number)
    return (r for r in records if r.number not in undone)


def _slices(record: EventRecord) -> list[SliceRef]:
    """Return the slices that an event is about."""
    one = place_of(record.parameters)
    if one is not None:
        return [one]
    many = record.parameters.get("slices")
    pairs = [p for p in many if isinstance(p, list)] if isinstance(many, list) else []
    return [SliceRef(a, i) for a, i in (p for p in pairs if len(p) == 2) if isinstance(a, int) and isinstance(i, int)]


def _outcome(record: EventRecord, before: Outcome | None) -> Outcome | None:
    """Return what a standing event makes of a slice, None where it decides nothing."""
    if record.verb == "accept_slice":
        whole = "structures" not in record.parameters
        return (before if before is Outcome.CORRECTED else Outcome.ACCEPTED) if whole else None
    if record.verb == "accept_confident":
        return Outcome.ACCEPTED
    if record.verb == "reject_slice":
        return Outcome.REJECTED
    if record.verb not in ("paint", "paint_slice", "mark_complete"):
        return None
    if record.parameters.get("mode") == "scribble" and before is None:
        return None
    proposed = bool(record.parameters.get("proposed")) or before in (Outcome.ACCEPTED, Outcome.REJECTED)
    return Outcome.CORRECTED if proposed or before is Outcome.CORRECTED else Outcome.PAINTED


def _seconds(record: EventRecord) -> float:
    value: Json = record.parameters.get("seconds")
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None


def _even_after(
    finished: Sequence[int], records: Sequence[EventRecord], painting: float | None, outcomes: dict[SliceRef, Outcome]
) -> int | None:
    """Return from how many finished slices on the work was quicker than by hand, None for not (yet)."""
    if not painting or all(o is Outcome.PAINTED for o in outcomes.values()):
        return None
    total, spent = 0.0, {}
    for record in records:
        total += _seconds(record)
        spent[record.number] = total
    last = records[-1].number
    even: int | None = None
    for count, number in enumerate(finished, start=1):
        # At the last slice all later time counts too: undone steps, looks, and what was decided anew.
        ahead = painting * count >= spent[last if count == len(finished) else number]
        even = (even or count) if ahead else None
    return even


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes else f"{rest} s"
