"""Every figure of a benchmark as CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path

from napari_medmeta.bench.cases import DEVELOPMENT_CASES, Case, source_of
from napari_medmeta.bench.interactive_store import SessionRun
from napari_medmeta.bench.store import Run

__all__ = ["write_runs", "write_sessions"]

_SCORES = ("dice", "between", "beyond", "surface_dice", "hausdorff_mm", "leak", "short", "expected_dice")
_USAGE = ("seconds", "cpu_seconds", "visible_seconds", "peak_mb", "added_mb")
_RUN_COLUMNS = (
    *("case", "source", "development", "method", "version", "k", "placement", "painting", "seed", "axis", "painted"),
    *("structure", "name"),
    *_SCORES,
    *_USAGE,
    "failure",
)
_SESSION_COLUMNS = (
    *("case", "source", "development", "method", "version", "policy", "seed", "axis"),
    *("round", "slice", "action", "structures_corrected", "dice", "dice_by_structure"),
    *("human_seconds", "machine_seconds", "seconds_so_far", "failure"),
)


def write_runs(path: Path, runs: Iterable[Run], cases: Mapping[str, Case]) -> Path:
    """Write one row for each run and structure; a failed run without scores gets one row."""
    rows = (row for run in runs for row in _run_rows(run, cases.get(run.key.case)))
    return _write(path, _RUN_COLUMNS, rows)


def write_sessions(path: Path, sessions: Iterable[SessionRun], cases: Mapping[str, Case]) -> Path:
    """Write one row for each round; a session that failed at once gets one row."""
    return _write(path, _SESSION_COLUMNS, (row for s in sessions for row in _session_rows(s, cases.get(s.key.case))))


def _run_rows(run: Run, case: Case | None) -> list[list[object]]:
    key = run.key
    names = dict(case.structure_names) if case else {}
    known = [*_about(key.case, case), key.method, key.version]
    known += [key.k, key.placement, key.painting, key.seed, run.axis, " ".join(map(str, run.painted))]
    usage = [getattr(run, name) for name in _USAGE]
    return [
        [*known, s, names.get(s, ""), *(getattr(run, name).get(s) for name in _SCORES), *usage, run.failure]
        for s in run.dice
    ] or [[*known, *[""] * (2 + len(_SCORES)), *usage, run.failure]]


def _session_rows(session: SessionRun, case: Case | None) -> list[list[object]]:
    key = session.key
    known = [*_about(key.case, case), key.method, key.version]
    known += [key.policy, key.seed, session.axis]
    passed = accumulate(r.human_seconds + r.machine_seconds for r in session.rounds)
    rows: list[list[object]] = [
        [
            *known,
            *(r.number, r.slice, str(r.action), r.structures_corrected, round(r.mean_dice, 5)),
            " ".join(f"{s}:{d}" for s, d in r.dice.items()),
            *(r.human_seconds, r.machine_seconds, round(so_far, 3), session.failure),
        ]
        for r, so_far in zip(session.rounds, passed, strict=True)
    ]
    return rows or [[*known, *[""] * (len(_SESSION_COLUMNS) - len(known) - 1), session.failure]]


def _about(name: str, case: Case | None) -> list[object]:
    return [name, case.source if case else source_of(name), name in DEVELOPMENT_CASES]


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
    return path
