"""Figures of interactive sessions: how right after how many looks, and after how many seconds of attention.

A session's Dice is the mean over its structures. A goal counts as reached when *every* structure has reached it,
which is how a session ends. After its last round a session keeps the Dice that it has; before the first painted
slice there is nothing. A session that broke off without a round has Dice 0 throughout.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from napari_medmeta.bench.interactive_store import Action, SessionRun
from napari_medmeta.bench.results import OURS, is_variant

__all__ = [
    "GOALS",
    "SUGGESTION",
    "Sessions",
    "accepted_share",
    "dice_after_looks",
    "dice_after_seconds",
    "looks_to",
    "seconds_of",
    "seconds_to",
]

GOALS = (0.85, 0.90, 0.95)
SUGGESTION, EQUAL = "suggestion", "equal"


class Sessions:
    """Sessions by method, policy and case.

    Only cases that every method was judged on with each of its policies count.
    """

    def __init__(self, sessions: Iterable[SessionRun], *, order: Sequence[str] = ()) -> None:
        by: dict[tuple[str, str], dict[str, SessionRun]] = defaultdict(dict)
        for session in sorted(sessions, key=lambda s: s.key):
            by[session.key.method, session.key.policy][session.key.case] = session
        methods = [method for method, _ in by]
        self.order = tuple(order) or tuple(dict.fromkeys(methods))
        self.pairs = tuple(sorted(by, key=self._rank))
        self._by = by
        self._cases = sorted(set.intersection(*map(set, by.values()))) if by else []

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods in the order they were asked for."""
        return tuple(dict.fromkeys(method for method, _ in self.pairs))

    @property
    def count(self) -> int:
        """How many cases count."""
        return len(self._cases)

    @property
    def shown(self) -> tuple[tuple[str, str], ...]:
        """Return the methods and policies to compare: ours as it is used, everyone with the policy all can have."""
        policies = [p for _, p in self.pairs]
        common = EQUAL if EQUAL in policies else policies[0]
        kept = (p for p in self.pairs if not is_variant(p[0]))
        return tuple(p for p in kept if p[1] == common or p == (OURS, SUGGESTION))

    def of(self, method: str, policy: str) -> list[SessionRun]:
        """Return the sessions that count, by case; empty when the method was not judged with the policy."""
        known = self._by.get((method, policy))
        return [known[case] for case in self._cases] if known else []

    def _rank(self, pair: tuple[str, str]) -> tuple[int, str, bool, str]:
        method, policy = pair
        place = self.order.index(method) if method in self.order else len(self.order)
        return place, method, policy != SUGGESTION, policy


def seconds_of(session: SessionRun) -> list[float]:
    """Return the seconds of human and machine that have passed at the end of each round."""
    return list(accumulate(r.human_seconds + r.machine_seconds for r in session.rounds))


def dice_after_looks(session: SessionRun, count: int) -> npt.NDArray[np.float64]:
    """Return the Dice after 1 to ``count`` slices looked at, as ``(count,)``."""
    dice = [r.mean_dice for r in session.rounds[:count]] or [0.0]
    return np.array(dice + dice[-1:] * (count - len(dice)))


def dice_after_seconds(session: SessionRun, times: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the Dice at each of ``times``: that of the last round which had ended by then."""
    dice = np.array([0.0, *(r.mean_dice for r in session.rounds)])
    return dice[np.searchsorted(seconds_of(session), times, side="right")]


def looks_to(session: SessionRun, goal: float) -> int | None:
    """Return the slices looked at until every structure had a Dice of ``goal``; None when they never had."""
    return next((i + 1 for i, r in enumerate(session.rounds) if min(r.dice.values()) >= goal), None)


def seconds_to(session: SessionRun, goal: float) -> float | None:
    """Return the seconds of attention until every structure had a Dice of ``goal``; None when they never had."""
    looks = looks_to(session, goal)
    return None if looks is None else seconds_of(session)[looks - 1]


def accepted_share(sessions: Iterable[SessionRun]) -> float | None:
    """Return the share of slices that could stay as proposed, among those looked at after the first painted one."""
    rounds = [r for s in sessions for r in s.rounds if r.action is not Action.PAINTED]
    return sum(r.action is Action.ACCEPTED for r in rounds) / len(rounds) if rounds else None
