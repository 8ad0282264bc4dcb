"""Figures of many runs: means over structures, then over cases; who wins where."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from napari_medmeta.bench.cases import DEVELOPMENT_CASES, source_of
from napari_medmeta.bench.scores import mean_of
from napari_medmeta.bench.store import EXACT, Run

__all__ = [
    "GROUPS",
    "OURS",
    "VOTE",
    "Loss",
    "Results",
    "by_placement",
    "is_peer",
    "is_variant",
    "main_painting",
    "noisy_dice",
    "split_by_coverage",
]

OURS = "medmeta"
VOTE = "vote"
GROUPS: Mapping[str, Callable[[str], bool]] = {
    "all cases": lambda case: True,
    "held out": lambda case: case not in DEVELOPMENT_CASES,
    "development": lambda case: case in DEVELOPMENT_CASES,
}
FULL_SHARE = 0.9
"""A slow method runs on a small subset of the cases; a case or two that are missing make no method slow."""


def is_variant(method: str) -> bool:
    """Tell whether a method is our engine with a part taken away, such as one of its sources alone."""
    return method.startswith(f"{OURS}-")


def is_peer(method: str) -> bool:
    """Tell whether a method is not ours."""
    return method != OURS and not is_variant(method)


@dataclass(frozen=True, slots=True)
class Loss:
    """A case on which another method did better than ours."""

    case: str
    k: int
    ours: float
    best: str
    best_dice: float
    where: str


class Results:
    """Runs of one setting, by method, k and case.

    Only cases that every method was judged on count, so that all means are over the same cases. A failed
    run counts with Dice 0. ``order`` is that of the methods in tables; ``source`` tells a case's collection.
    """

    def __init__(
        self, runs: Iterable[Run], *, order: Sequence[str] = (), source: Callable[[str], str] = source_of
    ) -> None:
        self._source = source
        every = sorted(runs, key=lambda r: r.key)
        found = dict.fromkeys(r.key.method for r in every)
        self.methods = (*(m for m in order if m in found), *(m for m in found if m not in order))
        self.order = tuple(order) or self.methods
        self.ks = tuple(sorted({r.key.k for r in every}))
        self._runs = {(r.key.method, r.key.k, r.key.case): r for r in every if _counts(r)}
        self._cases = {k: self._common(k) for k in self.ks}

    @property
    def peers(self) -> tuple[str, ...]:
        """Methods that are not ours."""
        return tuple(m for m in self.methods if is_peer(m))

    @property
    def placement(self) -> str:
        """Where the painted slices lie: of one kind, as runs of several are never put together."""
        return next(iter(self._runs.values())).key.placement

    @property
    def middle(self) -> int:
        """The number of painted slices that tables with one of them show: 3 where there is, else the largest."""
        return 3 if 3 in self.ks else self.ks[-1]

    def cases(self, k: int, *, group: str = "all cases") -> tuple[str, ...]:
        """Return the ids of the cases judged with ``k`` examples, ascending."""
        return tuple(c for c in self._cases[k] if GROUPS[group](c))

    def sources(self, k: int) -> tuple[str, ...]:
        """Return the collections of the cases, ascending."""
        return tuple(sorted({self._source(c) for c in self._cases[k]}))

    def has(self, method: str, k: int) -> bool:
        """Tell whether a method was judged with ``k`` examples."""
        return any((method, k, c) in self._runs for c in self._cases[k])

    def run(self, method: str, k: int, case: str) -> Run:
        """Return one run."""
        return self._runs[method, k, case]

    def runs(self, method: str, k: int) -> list[Run]:
        """Return the runs of a method, in the order of `cases`."""
        return [self._runs[method, k, c] for c in self._cases[k] if (method, k, c) in self._runs]

    def dice(self, method: str, k: int, *, group: str = "all cases", source: str | None = None) -> list[float]:
        """Return the mean Dice of each case, in the order of `cases`; nothing when not judged with ``k``."""
        if not self.has(method, k):
            return []
        chosen = (c for c in self.cases(k, group=group) if source is None or self._source(c) == source)
        return [self._dice(method, k, c) for c in chosen]

    def mean(self, method: str, k: int, of: Callable[[Run], float | None]) -> float | None:
        """Return the mean over cases of any figure of a run; cases without it are left out."""
        return mean_of(of(r) for r in self.runs(method, k))

    def typical(self, method: str, of: Callable[[Run], float | None]) -> float | None:
        """Return the median over all cases and k: a first run also loads libraries, which a mean would show."""
        known = [v for k in self.ks for r in self.runs(method, k) if (v := of(r)) is not None]
        return float(np.median(known)) if known else None

    def expected_and_true(self, method: str, k: int) -> list[tuple[float, float]]:
        """Return for each structure of each case what the method expected of itself, and what came true."""
        return [
            (r.expected_dice[s], d)
            for r in self.runs(method, k)
            for s, d in r.dice.items()
            if d is not None and r.expected_dice.get(s) is not None
        ]

    def by_structure(self, method: str, k: int, names: Callable[[str, int], str]) -> dict[str, list[float]]:
        """Return the Dice of each structure by its name, which ``names`` tells by case and label value."""
        found: dict[str, list[float]] = defaultdict(list)
        for run in self.runs(method, k):
            for structure, dice in run.dice.items():
                if dice is not None:
                    found[names(run.key.case, structure)].append(dice)
        return dict(sorted(found.items()))

    def best_peer(self, k: int, case: str) -> tuple[str, float]:
        """Return the method that is not ours with the highest Dice on a case; nobody could choose it beforehand."""
        peers = [m for m in self.peers if self.has(m, k)]
        return max(((m, self._dice(m, k, case)) for m in peers), key=lambda pair: pair[1])

    def losses(self, against: str, *, margin: float) -> tuple[Loss, ...]:
        """Return the cases on which ``against`` beats ours by more than ``margin``, largest loss first."""
        found = []
        for k in (k for k in self.ks if self.has(OURS, k) and self.has(against, k)):
            for case in self.cases(k):
                ours, theirs = self._dice(OURS, k, case), self._dice(against, k, case)
                if theirs - ours > margin:
                    where = _where(self.run(OURS, k, case), self.run(against, k, case))
                    found.append(Loss(case, k, ours, against, theirs, where))
        return tuple(sorted(found, key=lambda loss: loss.ours - loss.best_dice))

    def worst(self, k: int, *, count: int) -> tuple[Run, ...]:
        """Return our runs of lowest Dice with ``k`` examples, lowest first; failed ones have no proposal to look at."""
        runs = [r for r in self.runs(OURS, k) if not r.failure]
        return tuple(sorted(runs, key=lambda r: (r.mean_dice or 0.0, r.key.case))[:count])

    def _dice(self, method: str, k: int, case: str) -> float:
        value = self._runs[method, k, case].mean_dice
        return 0.0 if value is None else value

    def _common(self, k: int) -> tuple[str, ...]:
        per_method = [{c for m, n, c in self._runs if m == method and n == k} for method in self.methods]
        judged = [cases for cases in per_method if cases]
        return tuple(sorted(set.intersection(*judged))) if judged else ()


def main_painting(runs: Iterable[Run]) -> str:
    """Return the way of painting of the main table: exact, or the first by name where nothing was painted exactly."""
    return min((run.key.painting for run in runs), key=lambda way: (way != EXACT, way), default=EXACT)


def by_placement(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Return the runs of the main way of painting by placement, even placement first."""
    found: dict[str, list[Run]] = defaultdict(list)
    runs = list(runs)
    main = main_painting(runs)
    for run in runs:
        if run.key.painting == main:
            found[run.key.placement].append(run)
    return dict(sorted(found.items()))


def split_by_coverage(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Return the runs of the methods that were judged on most cases, and the names of the others.

    A few slow methods that ran on a subset must not shrink the main table to that subset. Where ours was judged,
    most cases are those of ours.
    """
    cases: dict[str, set[str]] = defaultdict(set)
    for run in runs:
        cases[run.key.method].add(run.key.case)
    most = len(cases[OURS]) if OURS in cases else max(map(len, cases.values()), default=0)
    # Ours stays whatever it ran on: without it there is nothing to compare.
    partial = {m for m, judged in cases.items() if m != OURS and len(judged) < FULL_SHARE * most}
    return [r for r in runs if r.key.method not in partial], sorted(partial)


def noisy_dice(runs: Iterable[Run], k: int, *, placement: str) -> dict[str, dict[str, list[float]]]:
    """Return the Dice of each case by method and way of painting.

    Only cases on which a method was judged in all of its ways count for it, so that the ways can be compared.
    """
    found: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for run in runs:
        if run.key.k == k and run.key.placement == placement and _counts(run):
            found[run.key.method][run.key.painting][run.key.case] = run.mean_dice or 0.0
    out = {}
    for method, ways in found.items():
        common = sorted(set.intersection(*(set(dice) for dice in ways.values())))
        if len(ways) > 1 and common:
            out[method] = {way: [dice[c] for c in common] for way, dice in ways.items()}
    return out


def _counts(run: Run) -> bool:
    # A failed run without any score still counts as 0; a case in which the truth leaves nothing to score does not.
    return run.mean_dice is not None or bool(run.failure and not run.dice)


def _where(ours: Run, theirs: Run) -> str:
    """Tell in words on which part of the scan the difference arises, and on which structure most."""
    parts = []
    for name, mine, other in (
        ("between", ours.between, theirs.between),
        ("beyond the ends", ours.beyond, theirs.beyond),
    ):
        a, b = mean_of(mine), mean_of(other)
        if a is not None and b is not None and b > a:
            parts.append(f"{name} {a:.2f} to {b:.2f}")
    gaps = {s: (theirs.dice.get(s) or 0.0) - (d or 0.0) for s, d in ours.dice.items()}
    if len(gaps) > 1:
        worst = max(gaps, key=lambda s: gaps[s])
        parts.append(f"most on structure {worst}: {ours.dice[worst] or 0:.2f} to {theirs.dice.get(worst) or 0:.2f}")
    return "; ".join(parts)
