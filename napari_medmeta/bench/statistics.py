"""Statistics over cases: bootstrap intervals, paired differences, calibration, medians with those who never arrive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

__all__ = ["Bin", "Calibration", "Interval", "Paired", "Reaching", "paired", "reliability", "spearman"]

RESAMPLES = 2000
"""Enough for two digits of a 95 % interval."""
Pair = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with the range that holds it in 95 % of bootstrap samples of the cases."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Interval:
        """Resample the cases with replacement; the generator is fixed, so a table comes out the same twice.

        Raises
        ------
        ValueError
            When there are no values.
        """
        array = np.asarray(values, dtype=np.float64)
        if array.size == 0:
            raise ValueError("there is no mean of no cases")
        rng = np.random.default_rng(0)
        means = array[rng.integers(0, array.size, size=(RESAMPLES, array.size))].mean(axis=1)
        low, high = np.percentile(means, (2.5, 97.5))
        return cls(float(array.mean()), float(low), float(high))


@dataclass(frozen=True, slots=True)
class Paired:
    """How far one method is above another on the same cases, and on which share of them it is above."""

    gap: Interval
    won: float


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Paired:
    """Return the mean difference, ours minus theirs, with its interval; an even case is not won."""
    gap = np.asarray(ours, dtype=np.float64) - np.asarray(theirs, dtype=np.float64)
    return Paired(Interval.of(gap.tolist()), float(np.mean(gap > 0)))


def spearman(pairs: Sequence[Pair]) -> float | None:
    """Return the rank correlation in [-1, 1]; None where one side never varies, so that there are no ranks."""
    if len(pairs) < 2:
        return None
    first, second = np.asarray(pairs, dtype=np.float64).T
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(spearmanr(first, second).statistic)


@dataclass(frozen=True, slots=True)
class Calibration:
    """How well expected values foretell the true ones.

    Parameters
    ----------
    count
        Pairs compared.
    error
        Mean absolute difference.
    bias
        Mean of expected minus true: above 0 is too sure of itself.
    rank
        Rank correlation (`spearman`).
    """

    count: int
    error: float
    bias: float
    rank: float | None

    @classmethod
    def of(cls, pairs: Sequence[Pair]) -> Calibration | None:
        """Compare pairs of expected and true; None for fewer than two."""
        if len(pairs) < 2:
            return None
        gap = np.array([expected - true for expected, true in pairs])
        return cls(len(pairs), float(np.abs(gap).mean()), float(gap.mean()), spearman(pairs))


@dataclass(frozen=True, slots=True)
class Bin:
    """Pairs whose expected value lies close together: how many, and the means of both sides."""

    count: int
    expected: float
    true: float


def reliability(pairs: Sequence[Pair], *, bins: int = 10) -> tuple[Bin, ...]:
    """Sort pairs of expected and true in [0, 1] by the expected one into bins of equal width; empty ones drop out."""
    if not pairs:
        return ()
    expected, true = np.asarray(pairs, dtype=np.float64).T
    index = np.clip((expected * bins).astype(int), 0, bins - 1)
    groups = ((expected[index == i], true[index == i]) for i in range(bins))
    return tuple(Bin(len(e), float(e.mean()), float(t.mean())) for e, t in groups if len(e))


@dataclass(frozen=True, slots=True)
class Reaching:
    """What it took to reach a goal that some never reach.

    Parameters
    ----------
    share
        Of the cases that reached it.
    median
        Over all cases, where never counts as more than any number; None when half of them or more never did.
    """

    share: float
    median: float | None

    @classmethod
    def of(cls, values: Sequence[float | None]) -> Reaching:
        """Summarise what each case took, None for never.

        Raises
        ------
        ValueError
            When there are no values.
        """
        if not values:
            raise ValueError("there is no median of no cases")
        array = np.array([np.inf if v is None else v for v in values], dtype=np.float64)
        median = float(np.median(array))
        return cls(float(np.isfinite(array).mean()), median if np.isfinite(median) else None)
