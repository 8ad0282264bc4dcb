"""What the curves of a report show: from results and sessions to drawings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from napari_medmeta.bench.attention import Sessions, dice_after_looks, dice_after_seconds, seconds_of
from napari_medmeta.bench.document import Picture
from napari_medmeta.bench.figures import Line, curves, reliability_chart
from napari_medmeta.bench.interactive_store import SessionRun
from napari_medmeta.bench.results import OURS, Results, is_variant
from napari_medmeta.bench.statistics import Interval, reliability

__all__ = ["over_looks", "over_painted", "over_seconds", "policies", "trust"]

TIME_STEPS = 120
"""Points along the axis of seconds: finer than a pixel is of no use."""
SHOWN_SHARE = 90
"""Per cent of the sessions that have ended where the axis of seconds ends; a few very long ones would squeeze it."""
TICKS = 10
BELOW = 0.04
"""Dice left free below the lowest curve; curves that start from 0 come in from below."""
DICE = "mean Dice"


def over_painted(results: Results) -> Picture | None:
    """Draw the Dice of the slices not painted over the number of painted slices; None with a single number."""
    if len(results.ks) < 2:
        return None
    lines = [line for m in results.methods if not is_variant(m) and (line := _painted(results, m))]
    svg = curves(lines, x="painted slices", y=DICE, ticks=results.ks, bottom=_bottom(lines))
    caption = f"Mean Dice on the slices that were not painted, over how many were ({results.placement} placement)"
    return Picture(f"benchmark-slices-{results.placement}", svg, caption)


def over_looks(sessions: Sessions) -> Picture:
    """Draw the Dice of the whole scan over the slices looked at."""
    every = {pair: sessions.of(*pair) for pair in sessions.shown}
    count = max(2, *(len(s.rounds) for found in every.values() for s in found))
    x = np.arange(1, count + 1)
    lines = [
        _line(sessions, pair, x, np.array([dice_after_looks(s, count) for s in found])) for pair, found in every.items()
    ]
    caption = "Mean Dice of the whole scan over the slices looked at, one a round"
    svg = curves(lines, x="slices looked at", y=DICE, ticks=_ticks(count), bottom=_bottom(lines))
    return Picture("benchmark-looks", svg, caption)


def over_seconds(sessions: Sessions) -> Picture:
    """Draw the Dice of the whole scan over seconds of attention."""
    every = {pair: sessions.of(*pair) for pair in sessions.shown}
    totals = [seconds_of(s)[-1] for found in every.values() for s in found if s.rounds]
    times = np.linspace(0, float(np.percentile(totals or [1.0], SHOWN_SHARE)), TIME_STEPS)
    lines = [
        _line(sessions, pair, times, np.array([dice_after_seconds(s, times) for s in found]), steps=True)
        for pair, found in every.items()
    ]
    caption = "Mean Dice of the whole scan over seconds of attention, human and machine together"
    return Picture("benchmark-seconds", curves(lines, x="seconds of attention", y=DICE), caption)


def policies(sessions: Sessions) -> Picture | None:
    """Draw our Dice over the slices looked at, one curve a policy; None when there is only one."""
    every = {policy: sessions.of(m, policy) for m, policy in sessions.pairs if m == OURS}
    if len(every) < 2:
        return None
    count = max(2, *(len(s.rounds) for found in every.values() for s in found))
    x = tuple(float(i) for i in range(1, count + 1))
    lines = [
        Line(policy, x, _mean_curve(found, count), style=i, strong=i == 0)
        for i, (policy, found) in enumerate(every.items())
    ]
    caption = "Mean Dice of our engine over the slices looked at, by who chooses the next slice"
    svg = curves(lines, x="slices looked at", y=DICE, ticks=_ticks(count), bottom=_bottom(lines))
    return Picture("benchmark-policies", svg, caption)


def trust(results: Results) -> Picture | None:
    """Draw the expected Dice of our engine against the true one, one series for each k; None when it tells none."""
    series = [(f"k={k}", found) for k in results.ks if (found := reliability(results.expected_and_true(OURS, k)))]
    if not series:
        return None
    caption = "Expected against true Dice of our engine's structures; a larger point stands for more of them"
    return Picture("benchmark-reliability", reliability_chart(series), caption)


def _painted(results: Results, method: str) -> Line | None:
    values = {k: dice for k in results.ks if (dice := results.dice(method, k))}
    if not values:
        return None
    means = [Interval.of(v) for v in values.values()]
    strong = method == OURS
    return Line(
        method,
        tuple(float(k) for k in values),
        tuple(i.mean for i in means),
        tuple(i.low for i in means) if strong else (),
        tuple(i.high for i in means) if strong else (),
        style=_style(results.order, method),
        strong=strong,
    )


def _line(
    sessions: Sessions,
    pair: tuple[str, str],
    x: npt.NDArray[np.number],
    dice: npt.NDArray[np.float64],
    *,
    steps: bool = False,
) -> Line:
    method, policy = pair
    strong = method == OURS and pair == next(p for p in sessions.shown if p[0] == OURS)
    band = [Interval.of(column) for column in dice.T.tolist()] if strong else []
    return Line(
        f"{method}, {policy}",
        tuple(x.tolist()),
        tuple(dice.mean(axis=0).tolist()),
        tuple(i.low for i in band),
        tuple(i.high for i in band),
        style=_style(sessions.order, method),
        strong=strong,
        steps=steps,
    )


def _mean_curve(sessions: Sequence[SessionRun], count: int) -> tuple[float, ...]:
    return tuple(np.mean([dice_after_looks(s, count) for s in sessions], axis=0).tolist())


def _bottom(lines: Sequence[Line]) -> float:
    lowest = min((y for line in lines for y in line.y if y > 0), default=0.0)
    return max(lowest - BELOW, 0.0)


def _ticks(count: int) -> tuple[int, ...]:
    step = max(1, round(count / TICKS))
    return tuple(range(1, count + 1, step))


def _style(order: Sequence[str], method: str) -> int:
    # From what was asked for, not from what was found: a method looks the same in every figure.
    others = [m for m in order if m != OURS]
    return others.index(method) if method in others else len(others)
