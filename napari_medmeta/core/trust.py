"""How far sources of evidence were trusted on earlier scans: a factor by the source's name, 1 for as far as usual.

Factors, not weights: a later version may weigh its sources anew, add some and drop others, and what was learnt of
those that stay still holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from napari_medmeta.core.errors import InputError

__all__ = ["MOST_SOURCES", "MOST_TRUST", "mean_trust", "require_trust"]

MOST_TRUST = 5.0
"""No source earns more than this many times its usual weight on a few scans."""

MOST_SOURCES = 100
"""More sources than this in one entry are none of ours."""

MAX_NAME = 100
"""Letters in the name of a source."""


def require_trust(trust: Mapping[str, float]) -> None:
    """Raise `InputError` unless every source has a name and a factor in [0, 5]."""
    named = all(isinstance(name, str) and 0 < len(name) <= MAX_NAME for name in trust)
    numbers = all(math.isfinite(factor) and 0.0 <= factor <= MOST_TRUST for factor in trust.values())
    if not named or not numbers or len(trust) > MOST_SOURCES:
        raise InputError(
            "What is kept of the sources of evidence cannot be",
            expected=f"at most {MOST_SOURCES} names, each with a number from 0 to {MOST_TRUST:g}",
        )


def mean_trust(kept: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return each source's mean factor over those of ``kept`` that name it.

    Examples
    --------
    >>> mean_trust([{"shape": 0.5, "trees": 2.0}, {"shape": 1.5}, {}])
    {'shape': 1.0, 'trees': 2.0}
    """
    rows: Sequence[Mapping[str, float]] = tuple(kept)
    names = dict.fromkeys(name for row in rows for name in row)
    found = {name: [row[name] for row in rows if name in row] for name in names}
    return {name: sum(factors) / len(factors) for name, factors in found.items()}
