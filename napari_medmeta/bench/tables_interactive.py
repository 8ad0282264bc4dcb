"""Tables of the protocol ``interactive``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from napari_medmeta.bench.attention import (
    GOALS,
    Sessions,
    accepted_share,
    dice_after_looks,
    looks_to,
    seconds_of,
    seconds_to,
)
from napari_medmeta.bench.document import Table
from napari_medmeta.bench.interactive_store import SessionRun
from napari_medmeta.bench.statistics import Reaching

__all__ = ["goals", "progress"]

LOOKS = (1, 2, 3, 5, 10, 20)
NEVER = "–"


def progress(sessions: Sessions) -> Table:
    """Return the mean Dice after some slices looked at, the share of them that were right at once, and the time."""
    rows = []
    for method, policy in sessions.pairs:
        found = sessions.of(method, policy)
        if found:
            dice = np.mean([dice_after_looks(s, LOOKS[-1]) for s in found], axis=0)
            accepted = accepted_share(found)
            total = float(np.median([seconds_of(s)[-1] if s.rounds else 0.0 for s in found]))
            share = NEVER if accepted is None else f"{accepted:.0%}"
            rows.append((method, policy, *(f"{dice[look - 1]:.3f}" for look in LOOKS), share, f"{total:.0f}"))
    looks = (f"Dice after {n}" for n in LOOKS)
    return Table(("method", "next slice by", *looks, "accepted as proposed", "seconds in all, median"), tuple(rows))


def goals(sessions: Sessions, by_hand: Mapping[str, float] | None = None) -> Table:
    """Return what it took to reach each goal: the share of cases that did, and the medians of slices and seconds.

    Parameters
    ----------
    by_hand
        Seconds to paint each case by hand; with it, the time to the last goal is told as a share of it too.
    """
    rows = []
    for method, policy in sessions.pairs:
        found = sessions.of(method, policy)
        if found:
            cells = [cell for goal in GOALS for cell in _reaching(found, goal)]
            rows.append((method, policy, *cells, *([_share_of(found, by_hand)] if by_hand else [])))
    header = [f"{what} {goal:.2f}" for goal in GOALS for what in ("reached", "slices to", "seconds to")]
    last = [f"seconds to {GOALS[-1]:.2f} as share of painting by hand"] if by_hand else []
    return Table(("method", "next slice by", *header, *last), tuple(rows))


def _reaching(sessions: Sequence[SessionRun], goal: float) -> tuple[str, ...]:
    looks = Reaching.of([looks_to(s, goal) for s in sessions])
    seconds = Reaching.of([seconds_to(s, goal) for s in sessions])
    slices = NEVER if looks.median is None else f"{looks.median:g}"
    return f"{looks.share:.0%}", slices, NEVER if seconds.median is None else f"{seconds.median:.0f}"


def _share_of(sessions: Sequence[SessionRun], by_hand: Mapping[str, float]) -> str:
    known = [s for s in sessions if by_hand.get(s.key.case)]
    if not known:
        return NEVER
    spent = [(seconds_to(s, GOALS[-1]), by_hand[s.key.case]) for s in known]
    median = Reaching.of([None if seconds is None else seconds / hand for seconds, hand in spent]).median
    return NEVER if median is None else f"{median:.0%}"
