"""Finished runs as one JSON line each, so that a killed benchmark goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Run", "RunKey", "RunStore"]


@dataclass(frozen=True, slots=True, order=True)
class RunKey:
    """What makes a run this run: finished ones with the same key are not repeated."""

    case: str
    method: str
    k: int
    placement: str
    seed: int
    version: str


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
        Normalised surface Dice at 2 mm and the 95th percentile of surface distances; empty unless asked for.
    expected_dice
        What the method itself expected, where it says so.
    seconds, cpu_seconds
        Wall-clock and processor time of the whole answer.
    peak_mb
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
    expected_dice: Mapping[int, float] = field(default_factory=dict)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_mb: float = 0.0
    added_mb: float = 0.0
    failure: str = ""

    @property
    def mean_dice(self) -> float | None:
        """Mean over the scored structures; None when there is none. A failed run counts as 0."""
        known = [v for v in self.dice.values() if v is not None]
        return sum(known) / len(known) if known else None


_BY_STRUCTURE = ("dice", "between", "beyond", "surface_dice", "hausdorff_mm", "expected_dice")


class RunStore:
    """An append-only file of runs.

    A line that a kill cut off is skipped when reading, and the next run starts on a fresh line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._runs: dict[RunKey, Run] = {run.key: run for run in _read(path)}

    def __contains__(self, key: object) -> bool:
        return key in self._runs

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(sorted(self._runs.values(), key=lambda run: run.key))

    def add(self, run: Run) -> None:
        """Write a finished run; it is in the file when this returns."""
        line = json.dumps(_to_json(run), ensure_ascii=False)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(("" if _ends_with_newline(self.path) else "\n") + line + "\n")
        # As it reads back, rounded: a resumed benchmark must not differ from one that never stopped.
        self._runs[run.key] = _from_json(json.loads(line))

    def wanted(self, keys: Iterable[RunKey]) -> tuple[Run, ...]:
        """Return the runs with these keys that are finished, in the order of their keys."""
        return tuple(self._runs[key] for key in sorted(set(keys)) if key in self._runs)


def _ends_with_newline(path: Path) -> bool:
    if not path.exists() or path.stat().st_size == 0:
        return True
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"


def _read(path: Path) -> Iterator[Run]:
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield _from_json(json.loads(line))
        except (json.JSONDecodeError, KeyError, TypeError):
            continue


def _to_json(run: Run) -> dict[str, Any]:
    values = {name: getattr(run, name) for name in run.__dataclass_fields__ if name != "key"}
    for name in _BY_STRUCTURE:
        values[name] = {str(s): None if v is None else round(v, 5) for s, v in values[name].items()}
    for name in ("seconds", "cpu_seconds", "peak_mb", "added_mb"):
        values[name] = round(values[name], 4)
    return {**asdict(run.key), **values, "painted": list(run.painted)}


def _from_json(values: dict[str, Any]) -> Run:
    key = RunKey(**{name: values.pop(name) for name in RunKey.__dataclass_fields__})
    for name in _BY_STRUCTURE:
        values[name] = {int(s): v for s, v in values[name].items()}
    return Run(key, **{**values, "painted": tuple(values["painted"])})
