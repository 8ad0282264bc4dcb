"""Judge the follow-up: Dice of carried labels and target error, beside no registration and SimpleITK's own methods."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_medmeta.bench.applications import Evaluation
from napari_medmeta.bench.cases import Case
from napari_medmeta.bench.document import Block, Table, Text
from napari_medmeta.bench.registration_methods import METHODS, Method
from napari_medmeta.bench.registration_trials import LoadedTrial, Question, Trial, error_mm, load_trial, trials_of
from napari_medmeta.bench.statistics import Calibration, Interval
from napari_medmeta.bench.usage import measured
from napari_medmeta.core import InputError, LabelArray, MedmetaError
from napari_medmeta.core.jobs import Progress
from napari_medmeta.tasks.registration_expectation import DEVELOPMENT, Evidence, Expected
from napari_medmeta.tasks.registration_expectation import Calibration as FromEvidence
from napari_medmeta.tasks.registration_map import Alignment, carry_labels

__all__ = ["add_options", "evaluate"]

RUNS = "registration-runs.jsonl"
FEWEST_TO_FIT = 4
"""Structures from which three constants can be fitted at all."""
REVISION = 1
"""Of the methods: raised when one of them changes, so that what an older one measured is measured anew."""

Row = dict[str, Any]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what only this application can be told."""
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=tuple(METHODS), help="which (all)")


def evaluate(cases: Sequence[Case], options: argparse.Namespace, progress: Progress) -> Evaluation:
    """Run every method on every trial that ``cases`` allow; what an earlier run measured is not repeated.

    Raises
    ------
    InputError
        When ``cases`` allow no trial.
    """
    trials = trials_of(cases)
    if not trials:
        raise InputError("There is nothing to register", expected="at least one case")
    store = options.out / RUNS
    done = _read(store)
    work = [(trial, name) for trial in trials for name in options.methods]
    rows: list[Row] = []
    for number, (trial, name) in enumerate(work):
        progress(number / len(work), f"{trial.today.id}, {name}")
        key = f"{trial.name} | {name} | {options.seed} | {REVISION}"
        if key not in done:
            done[key] = _measured(trial, METHODS[name], options.seed)
            with store.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"key": key, "rows": done[key]}) + "\n")
        rows += done[key]
    return Evaluation("Follow-up by registration", tuple(_blocks(rows)), tuple(rows))


def _read(store: Path) -> dict[str, list[Row]]:
    lines = store.read_text(encoding="utf-8").splitlines() if store.exists() else []
    found = [json.loads(line) for line in lines]
    return {line["key"]: line["rows"] for line in found}


def _measured(trial: Trial, method: Method, seed: int) -> list[Row]:
    """Return one row for each map that a method gives; a method that fails gets one row that says why."""
    loaded = load_trial(trial, seed=seed)
    about: Row = {"question": str(trial.question), "case": trial.today.id, "development": trial.is_development}
    try:
        with measured() as usage:
            answer = method(loaded, seed)
    except (MedmetaError, RuntimeError) as error:
        return [{**about, "failure": " ".join(str(error).split())[:200]}]
    cost = {"seconds": round(usage.seconds, 2), "cpu_seconds": round(usage.cpu_seconds, 2)}
    return [{**about, "method": name, **_scores(loaded, m, e), **cost} for name, (m, e) in answer.items()]


def _scores(trial: LoadedTrial, alignment: Alignment, expected: Expected) -> Row:
    carried = carry_labels(trial.labels, trial.prior.geometry, trial.today.geometry, alignment)
    labels = np.zeros(trial.today.geometry.shape, dtype=np.uint8)
    labels[carried.box.slices] = carried.labels()
    dice = _dice(labels, trial.truth, carried.structures)
    row: Row = {"dice": round(float(np.mean(list(dice.values()))), 4)}
    row |= {"dice_by_structure": {str(s): round(d, 4) for s, d in dice.items()}}
    row |= {"expected_by_structure": {str(s): round(d, 4) for s, d in expected.of_structure.items()}}
    row |= {"evidence": {str(s): [round(e.agreement, 4), round(e.thickness, 4)] for s, e in expected.evidence.items()}}
    if trial.places is not None:
        errors = error_mm(alignment, trial.places)
        row |= {"error_mm": round(float(errors.mean()), 3), "worst_error_mm": round(float(errors.max()), 3)}
    return row


def _dice(labels: LabelArray, truth: LabelArray, structures: Iterable[int]) -> dict[int, float]:
    both = {
        s: (int(((labels == s) & (truth == s)).sum()), int((labels == s).sum() + (truth == s).sum()))
        for s in structures
    }
    return {s: 2 * common / total for s, (common, total) in both.items() if total}


def _blocks(rows: Sequence[Row]) -> Iterable[Block]:
    for development in (False, True):
        some = [r for r in rows if r["development"] is development and "method" in r]
        if some:
            which = "development" if development else "held-out"
            yield Text(f"**Pairs of {which} cases.** Mean and 95 % bootstrap interval over the pairs.")
            yield Table(_HEADER, tuple(_lines(some)))
    held_out = [(DEVELOPMENT.dice(e), d) for e, d in _with_evidence(rows, development=False)]
    calibration = Calibration.of(held_out)
    if calibration is not None:
        yield Text(
            f"Expected Dice of our deformable step on the held-out pairs ({calibration.count} structures): off by "
            f"{calibration.error:.3f} on average, {calibration.bias:+.3f} too high or too low."
        )
    pairs = _with_evidence(rows, development=True)
    if len(pairs) >= FEWEST_TO_FIT:
        fit = FromEvidence.fitted(pairs)
        yield Text(
            f"Constants of the expected Dice that fit the development pairs best ({len(pairs)} structures): "
            f"{fit.constant:.2f}, {fit.agreement:.2f} for agreement, {fit.thickness:.2f} for thickness."
        )
    failed = [r for r in rows if "failure" in r]
    if failed:
        yield Text("Failed: " + "; ".join(f"{r['case']} ({r['failure']})" for r in failed))


_HEADER = ("question", "method", "pairs", "Dice", "target error (mm)", "processor seconds")


def _with_evidence(rows: Iterable[Row], *, development: bool) -> list[tuple[Evidence, float]]:
    """Return what was known of each structure without truth, and its true Dice."""
    some = (r for r in rows if r["development"] is development and r.get("evidence"))
    return [
        (Evidence(*r["evidence"][s]), d) for r in some for s, d in r["dice_by_structure"].items() if s in r["evidence"]
    ]


def _lines(rows: Sequence[Row]) -> Iterable[tuple[str, ...]]:
    for question in Question:
        for method in dict.fromkeys(r["method"] for r in rows):
            some = [r for r in rows if (r["question"], r["method"]) == (str(question), method)]
            if some:
                seconds = f"{np.mean([r['cpu_seconds'] for r in some]):.1f}"
                cells = (_cell(some, "dice", "{:.3f}"), _cell(some, "error_mm", "{:.2f}"))
                yield (str(question), method, str(len(some)), *cells, seconds)


def _cell(rows: Sequence[Row], column: str, form: str) -> str:
    values = [float(r[column]) for r in rows if column in r]
    if not values:
        return ""
    interval = Interval.of(values)
    told: Callable[[float], str] = form.format
    return f"{told(interval.mean)} ({told(interval.low)} to {told(interval.high)})"
