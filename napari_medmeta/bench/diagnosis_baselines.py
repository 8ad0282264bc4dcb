"""What few-shot diagnosis has to beat: a neighbour by volumes alone, and logistic regression on all measurements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from napari_medmeta.core.diagnosis import Feature, KnownCase, MeasuredCase, Quantity

__all__ = ["logistic_regression", "nearest_volumes"]

ITERATIONS = 2000
"""Enough to converge on more measurements than cases."""

Matrix = npt.NDArray[np.float64]


def nearest_volumes(known: Sequence[KnownCase], asked: Sequence[MeasuredCase]) -> list[str]:
    """Return the finding of the known case whose structures' volumes (logarithms) are nearest."""
    features = [f for f in _shared(known) if f.quantity is Quantity.VOLUME and not f.is_ratio]
    table, queries = _matrices(known, asked, features)
    gaps = ((queries[:, None] - table[None]) ** 2).sum(axis=2)
    return [known[int(i)].finding for i in gaps.argmin(axis=1)]


def logistic_regression(known: Sequence[KnownCase], asked: Sequence[MeasuredCase]) -> list[str]:
    """Return the findings by scikit-learn's logistic regression on all measurements, standardised."""
    table, queries = _matrices(known, asked, _shared(known))
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=ITERATIONS))
    return [str(f) for f in model.fit(table, [c.finding for c in known]).predict(queries)]


def _shared(known: Sequence[KnownCase]) -> list[Feature]:
    return sorted(set.intersection(*(set(c.measured.values) for c in known)))


def _matrices(
    known: Sequence[KnownCase], asked: Sequence[MeasuredCase], features: Sequence[Feature]
) -> tuple[Matrix, Matrix]:
    """Return (n, p) known and (m, p) asked values; what an asked case lacks is the known cases' mean."""
    table = np.array([[c.measured.values[f] for f in features] for c in known])
    queries = np.array([[c.values.get(f, np.nan) for f in features] for c in asked])
    return table, np.where(np.isnan(queries), table.mean(axis=0), queries)
