"""Finished runs of the protocol ``slices``, kept by their keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from napari_medmeta.bench.lines import LineStore

__all__ = ["EXACT", "Run", "RunKey", "RunStore"]

EXACT = "exact"
"""The examples are painted as the truth has them."""


@dataclass(frozen=True, slots=True, order=True)
class RunKey:
    """What makes a run this run: finished ones with the same key are not repeated.

    ``painting`` is the slug of the way in which the examples were painted, such as "exact" or "jitter-1".
    """

    case: str
    method: str
    k: int
    placement: str
    seed: int
    version: str
    painting: str = EXACT


@dataclass(frozen=True)
class Run:
    """One method's answer to one task, scored; or the reason why there is none.

    Parameters
    ----------
    painted
        Example slices along ``axis``.
    dice, between, beyond
        Dice by structure over all slices not painted, those between the outermost painted slices, and those
        beyond them; None where the truth has nothing there.
    surface_dice, hausdorff_mm
        Normalised surface Dice at 2 mm and the 95th percentile of surface distances; empty where not asked for.
    leak, short
        Slices by which the proposal goes beyond the true ends of a structure, and by which it stops short of
        them, each the mean over both ends.
    expected_dice
        What the method itself expected, where it says so.
    seconds, cpu_seconds
        Wall-clock and processor time of the whole answer.
    visible_seconds
        Seconds until the slice on screen was answered, where the method answers it first.
    peak_mb, added_mb
        Most memory the process held meanwhile, and how much of it came on top of what it held before.
    failure
        Why there is no answer, empty when there is one.
    """

    key: RunKey
    axis: int
    painted: tuple[int, ...]
    dice: Mapping[int, float | None]
    between: Mapping[int, float | None] = field(default_factory=dict)
    beyond: Mapping[int, float | None] = field(default_factory=dict)
    surface_dice: Mapping[int, float | None] = field(default_factory=dict)
    hausdorff_mm: Mapping[int, float | None] = field(default_factory=dict)
    leak: Mapping[int, float | None] = field(default_factory=dict)
    short: Mapping[int, float | None] = field(default_factory=dict)
    expected_dice: Mapping[int, float] = field(default_factory=dict)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    visible_seconds: float | None = None
    peak_mb: float = 0.0
    added_mb: float = 0.0
    failure: str = ""

    @property
    def mean_dice(self) -> float | None:
        """Mean over the scored structures; None when there is none. A failed run counts as 0."""
        known = [v for v in self.dice.values() if v is not None]
        return sum(known) / len(known) if known else None


_BY_STRUCTURE = ("dice", "between", "beyond", "surface_dice", "hausdorff_mm", "leak", "short", "expected_dice")
_NUMBERS = ("seconds", "cpu_seconds", "visible_seconds", "peak_mb", "added_mb")


class RunStore(LineStore[RunKey, Run]):
    """The file of runs; lines of earlier versions, which lack the newer fields, can be read."""

    @staticmethod
    def key_of(value: Run) -> RunKey:
        """Return the run's key."""
        return value.key

    @staticmethod
    def to_json(value: Run) -> dict[str, Any]:
        """Return the run as one flat line, scores to five digits."""
        fields = {name: getattr(value, name) for name in value.__dataclass_fields__ if name != "key"}
        for name in _BY_STRUCTURE:
            fields[name] = {str(s): None if v is None else round(v, 5) for s, v in fields[name].items()}
        for name in _NUMBERS:
            fields[name] = None if fields[name] is None else round(fields[name], 4)
        return {**asdict(value.key), **fields, "painted": list(value.painted)}

    @staticmethod
    def from_json(fields: dict[str, Any]) -> Run:
        """Return the run of one line."""
        fields = {"painting": EXACT, **fields}
        key = RunKey(**{name: fields.pop(name) for name in RunKey.__dataclass_fields__})
        by_structure = {n: {int(s): v for s, v in fields[n].items()} for n in _BY_STRUCTURE if n in fields}
        return Run(key, **{**fields, **by_structure, "painted": tuple(fields["painted"])})
