"""Figures of many runs: means over structures, then over cases; intervals; who wins where."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from napari_medmeta.bench.cases import DEVELOPMENT_CASES, source_of
from napari_medmeta.bench.scores import mean_of
from napari_medmeta.bench.store import Run

__all__ = ["GROUPS", "OURS", "Interval", "Loss", "Results", "paired"]

OURS = "medmeta"
GROUPS: Mapping[str, Callable[[str], bool]] = {
    "all cases": lambda case: True,
    "held out": lambda case: case not in DEVELOPMENT_CASES,
    "development": lambda case: case in DEVELOPMENT_CASES,
}
RESAMPLES = 2000
"""Enough for two digits of a 95 % interval."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with the range that holds it in 95 % of bootstrap samples of the cases."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Interval:
        """Resample the cases with replacement; the generator is fixed, so a table comes out the same twice."""
        array = np.asarray(values, dtype=np.float64)
        rng = np.random.default_rng(0)
        means = array[rng.integers(0, array.size, size=(RESAMPLES, array.size))].mean(axis=1)
        low, high = np.percentile(means, (2.5, 97.5))
        return cls(float(array.mean()), float(low), float(high))


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
    run counts with Dice 0. ``order`` is that of the methods in tables.
    """

    def __init__(self, runs: Iterable[Run], *, order: Sequence[str] = ()) -> None:
        every = tuple(runs)
        found = dict.fromkeys(r.key.method for r in every)
        self.methods = (*(m for m in order if m in found), *(m for m in found if m not in order))
        self.ks = tuple(sorted({r.key.k for r in every}))
        self._runs = {(r.key.method, r.key.k, r.key.case): r for r in every if r.mean_dice is not None}
        self._cases = {k: self._common(k) for k in self.ks}

    def cases(self, k: int, *, group: str = "all cases") -> tuple[str, ...]:
        """Return the ids of the cases judged with ``k`` examples, ascending."""
        return tuple(c for c in self._cases[k] if GROUPS[group](c))

    def sources(self, k: int) -> tuple[str, ...]:
        """Return the collections of the cases, ascending."""
        return tuple(sorted({source_of(c) for c in self._cases[k]}))

    def run(self, method: str, k: int, case: str) -> Run:
        """Return one run."""
        return self._runs[method, k, case]

    def dice(self, method: str, k: int, *, group: str = "all cases", source: str | None = None) -> list[float]:
        """Return the mean Dice of each case, in the order of `cases`."""
        chosen = (c for c in self.cases(k, group=group) if source is None or source_of(c) == source)
        return [self._dice(method, k, c) for c in chosen]

    def mean(self, method: str, k: int, of: Callable[[Run], float | None]) -> float | None:
        """Return the mean over cases of any figure of a run; cases without it are left out."""
        return mean_of(of(self.run(method, k, c)) for c in self.cases(k))

    def typical(self, method: str, of: Callable[[Run], float]) -> float:
        """Return the median over all cases and k: a first run also loads libraries, which a mean would show."""
        return float(np.median([of(self.run(method, k, c)) for k in self.ks for c in self.cases(k)] or [0.0]))

    def expected_and_true(self, method: str, k: int) -> list[tuple[float, float]]:
        """Return for each structure of each case what the method expected of itself, and what came true."""
        runs = (self.run(method, k, c) for c in self.cases(k))
        return [
            (r.expected_dice[s], d) for r in runs for s, d in r.dice.items() if d is not None and s in r.expected_dice
        ]

    def best_peer(self, k: int, case: str) -> tuple[str, float]:
        """Return the method other than ours with the highest Dice on a case; nobody could choose it beforehand."""
        peers = [m for m in self.methods if m != OURS]
        return max(((m, self._dice(m, k, case)) for m in peers), key=lambda pair: pair[1])

    def losses(self, against: str, *, margin: float = 0.005) -> tuple[Loss, ...]:
        """Return the cases on which ``against`` beats ours by more than ``margin``, largest loss first."""
        found = []
        for k in self.ks:
            for case in self.cases(k):
                ours, theirs = self._dice(OURS, k, case), self._dice(against, k, case)
                if theirs - ours > margin:
                    where = _where(self.run(OURS, k, case), self.run(against, k, case))
                    found.append(Loss(case, k, ours, against, theirs, where))
        return tuple(sorted(found, key=lambda loss: loss.ours - loss.best_dice))

    def _dice(self, method: str, k: int, case: str) -> float:
        value = self._runs[method, k, case].mean_dice
        return 0.0 if value is None else value

    def _common(self, k: int) -> tuple[str, ...]:
        per_method = [{c for m, n, c in self._runs if m == method and n == k} for method in self.methods]
        return tuple(sorted(set.intersection(*per_method))) if per_method else ()


def paired(ours: Sequence[float], theirs: Sequence[float]) -> tuple[Interval, float]:
    """Return the mean difference, ours minus theirs, with its interval, and the share of cases we win."""
    gap = np.asarray(ours) - np.asarray(theirs)
    return Interval.of(gap.tolist()), float(np.mean(gap > 0))


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
    gaps = {s: (theirs.dice[s] or 0.0) - (d or 0.0) for s, d in ours.dice.items()}
    worst = max(gaps, key=lambda s: gaps[s])
    if len(gaps) > 1:
        parts.append(f"most on structure {worst}: {ours.dice[worst] or 0:.2f} to {theirs.dice[worst] or 0:.2f}")
    return "; ".join(parts)
