"""Tables of the protocol ``interactive``."""

from __future__ import annotations

from collections.abc import Sequence

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


def progress(sessions: Sessions, policy: str) -> Table:
    """Return for each method the mean Dice after some slices looked at, and how many of them were right at once."""
    rows = []
    for method in sessions.methods:
        found = sessions.of(method, policy)
        if found:
            dice = np.mean([dice_after_looks(s, LOOKS[-1]) for s in found], axis=0)
            accepted = accepted_share(found)
            total = float(np.median([seconds_of(s)[-1] if s.rounds else 0.0 for s in found]))
            cells = [f"{dice[look - 1]:.3f}" for look in LOOKS]
            share = "" if accepted is None else f"{accepted:.0%}"
            rows.append((method, str(len(found)), *cells, share, f"{total:.0f}"))
    looks = (f"Dice after {n}" for n in LOOKS)
    return Table(("method", "cases", *looks, "accepted as proposed", "seconds, median"), tuple(rows))


def goals(sessions: Sessions, policy: str) -> Table:
    """Return for each method what it took to reach each goal: the share that did, the medians of slices and seconds."""
    rows = []
    for method in sessions.methods:
        found = sessions.of(method, policy)
        if found:
            rows.append((method, *(cell for goal in GOALS for cell in _reaching(found, goal))))
    header = [f"{what} {goal:.2f}" for goal in GOALS for what in ("reached", "slices to", "seconds to")]
    return Table(("method", *header), tuple(rows))


def _reaching(sessions: Sequence[SessionRun], goal: float) -> tuple[str, ...]:
    looks = Reaching.of([looks_to(s, goal) for s in sessions])
    seconds = Reaching.of([seconds_to(s, goal) for s in sessions])
    return (f"{looks.share:.0%}", *(NEVER if m is None else f"{m:g}" for m in (looks.median, seconds.median)))
