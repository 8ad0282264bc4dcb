"""The report: tables in Markdown, set into a page whose own text is kept, and every figure as CSV."""

from __future__ import annotations

import csv
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from napari_medmeta import __version__
from napari_medmeta.bench.cases import Case, source_of
from napari_medmeta.bench.run import Plan, Skipped
from napari_medmeta.bench.scores import mean_of
from napari_medmeta.bench.store import Run
from napari_medmeta.bench.results import GROUPS, OURS, Results
from napari_medmeta.bench.statistics import Interval, paired

__all__ = ["Setting", "write_csv", "write_page"]

BEGIN, END = "<!-- tables: begin (written by `napari-medmeta bench`, not by hand) -->", "<!-- tables: end -->"
VOTE = "vote"
PACKAGES = ("numpy", "scipy", "scikit-image", "scikit-learn", "torch", "monai", "SimpleITK", "itk-growcut")


@dataclass(frozen=True)
class Setting:
    """What a table must say of its own making.

    Parameters
    ----------
    command
        The exact command line.
    skipped
        Cases that could not be judged, each with the reason.
    missing
        Methods that could not run, each with the reason.
    """

    plan: Plan
    command: str
    skipped: tuple[Skipped, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def case_by_id(self) -> dict[str, Case]:
        """The cases by id."""
        return {c.id: c for c in self.plan.cases}


def write_page(path: Path, runs: Sequence[Run], setting: Setting) -> Path:
    """Write the tables into ``path`` between the two markers; text outside of them is kept."""
    body = f"{BEGIN}\n\n{_tables(runs, setting)}\n\n{END}"
    old = path.read_text(encoding="utf-8") if path.exists() else f"# Benchmarks\n\n{BEGIN}\n{END}\n"
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    page = f"{before}{body}{after}" if begin and end else f"{old.rstrip()}\n\n{body}\n"
    path.write_text(page, encoding="utf-8")
    return path


def write_csv(path: Path, runs: Iterable[Run], setting: Setting) -> Path:
    """Write one row for each run and structure."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_CSV_COLUMNS)
        for run in runs:
            names = dict(setting.case_by_id[run.key.case].structure_names)
            writer.writerows(_csv_row(run, s, names.get(s, "")) for s in run.dice)
    return path


_CSV_COLUMNS = (
    "case",
    "source",
    "development",
    "method",
    "version",
    "k",
    "placement",
    "seed",
    "axis",
    "painted",
    "structure",
    "name",
    "dice",
    "between",
    "beyond",
    "surface_dice",
    "hausdorff_mm",
    "expected_dice",
    "seconds",
    "cpu_seconds",
    "peak_mb",
    "added_mb",
    "failure",
)


def _csv_row(run: Run, structure: int, name: str) -> list[object]:
    key = run.key
    scores = (run.dice, run.between, run.beyond, run.surface_dice, run.hausdorff_mm, run.expected_dice)
    return [
        key.case,
        source_of(key.case),
        GROUPS["development"](key.case),
        key.method,
        key.version,
        key.k,
        key.placement,
        key.seed,
        run.axis,
        " ".join(str(i) for i in run.painted),
        structure,
        name,
        *(score.get(structure) for score in scores),
        run.seconds,
        run.cpu_seconds,
        run.peak_mb,
        run.added_mb,
        run.failure,
    ]


def _tables(runs: Sequence[Run], setting: Setting) -> str:
    results = Results(runs, order=setting.plan.methods)
    sections = [_made_by(setting), _means(results)]
    if any(r.surface_dice for r in runs):
        sections.append(_boundaries(results))
    sections.append(_calibration(results))
    if OURS in results.methods and len(results.methods) > 1:
        sections.append(_against_each(results))
        if VOTE in results.methods:
            sections.append(_losses(results))
    sections += [_by_source(results, k) for k in results.ks]
    sections += [_by_case(results), _left_out(runs, setting)]
    return "\n\n".join(s for s in sections if s)


def _made_by(setting: Setting) -> str:
    plan = setting.plan
    versions = ", ".join(f"{name} {_version(name)}" for name in PACKAGES if _version(name))
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return "\n".join(
        [
            f"Made by `{setting.command}` with napari-medmeta {__version__} ({versions}) on {machine}; device "
            f"{plan.device}, seed {plan.seed}, placement {plan.placement.value}, {len(plan.cases)} cases.",
        ]
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _means(results: Results) -> str:
    lines = ["## Mean Dice on the slices that were not painted"]
    for group in GROUPS:
        counts = ", ".join(f"{len(results.cases(k, group=group))} at k={k}" for k in results.ks)
        rows = [[m, *(_interval(results.dice(m, k, group=group)) for k in results.ks)] for m in results.methods]
        best = [_interval([results.best_peer(k, c)[1] for c in results.cases(k, group=group)]) for k in results.ks]
        rows.append(["*best peer of each case (chosen with the truth)*", *best])
        lines += [f"### {group.capitalize()} ({counts})", _table(["method", *(f"k={k}" for k in results.ks)], rows)]
    lines += ["### Parts of the scan, time and memory (all cases)", _table(*_parts(results))]
    return "\n\n".join(lines)


def _parts(results: Results) -> tuple[list[str], list[list[str]]]:
    middle = 3 if 3 in results.ks else results.ks[-1]
    figures: dict[str, tuple[int, Callable[[Run], float | None]]] = {
        f"between painted slices, k={middle}": (middle, lambda r: mean_of(r.between)),
        f"beyond them, k={middle}": (middle, lambda r: mean_of(r.beyond)),
    }
    header = ["method", *figures, "seconds (median)", "CPU seconds (median)", "memory added, MB (median)"]
    rows = []
    for method in results.methods:
        scores = [_number(results.mean(method, k, of)) for k, of in figures.values()]
        seconds, cpu = results.typical(method, lambda r: r.seconds), results.typical(method, lambda r: r.cpu_seconds)
        memory = results.typical(method, lambda r: r.added_mb)
        rows.append([method, *scores, _number(seconds, 2), _number(cpu, 2), _number(memory, 0)])
    return header, rows


def _boundaries(results: Results) -> str:
    header = ["method", *(f"{name}, k={k}" for k in results.ks for name in ("surface Dice 2 mm", "HD95 mm"))]
    rows = []
    for method in results.methods:
        row = [method]
        for k in results.ks:
            row.append(_number(results.mean(method, k, lambda r: mean_of(r.surface_dice))))
            row.append(_number(results.mean(method, k, lambda r: mean_of(r.hausdorff_mm)), 1))
        rows.append(row)
    note = "HD95 leaves out structures of which nothing was proposed, so it must be read beside the Dice."
    return "\n\n".join(["## Surfaces", note, _table(header, rows)])


def _calibration(results: Results) -> str:
    rows = []
    for method in results.methods:
        for k in results.ks:
            pairs = results.expected_and_true(method, k)
            if len(pairs) > 1:
                expected, true = np.array(pairs).T
                error = float(np.mean(np.abs(expected - true)))
                bias = float(np.mean(expected - true))
                varies = np.ptp(expected) > 0 and np.ptp(true) > 0
                rank = f"{spearmanr(expected, true).statistic:.2f}" if varies else ""
                rows.append([method, str(k), str(len(pairs)), f"{error:.3f}", f"{bias:+.3f}", rank])
    if not rows:
        return ""
    header = ["method", "k", "structures", "mean error", "bias", "rank correlation"]
    return "\n\n".join(["## Expected Dice against the true one, by structure", _table(header, rows)])


def _against_each(results: Results) -> str:
    header = ["against", *(f"k={k}: difference [95 %], cases won" for k in results.ks)]
    rows = []
    for method in (m for m in results.methods if m != OURS):
        row = [method]
        for k in results.ks:
            found = paired(results.dice(OURS, k), results.dice(method, k))
            gap, won = found.gap, found.won
            row.append(f"{gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}], {won:.0%}")
        rows.append(row)
    return "\n\n".join([f"## {OURS} against each other method, paired by case", _table(header, rows)])


def _losses(results: Results) -> str:
    losses = results.losses(VOTE)
    total = sum(len(results.cases(k)) for k in results.ks)
    intro = (
        f"The vote is better by more than 0.005 on {len(losses)} of {total} pairs of case and k. "
        "Where the difference arises is told as ours to theirs."
    )
    rows = [[x.case, str(x.k), f"{x.ours:.3f}", f"{x.best_dice:.3f}", x.where] for x in losses]
    table = _table(["case", "k", OURS, VOTE, "where"], rows) if rows else ""
    return "\n\n".join(part for part in (f"## Where {OURS} loses to the vote", intro, table) if part)


def _by_source(results: Results, k: int) -> str:
    rows = []
    for source in results.sources(k):
        values = {m: results.dice(m, k, source=source) for m in results.methods}
        means = {m: sum(v) / len(v) for m, v in values.items()}
        top = max(means.values())
        cells = [f"**{v:.3f}**" if v == top else f"{v:.3f}" for v in means.values()]
        rows.append([f"{source} ({len(next(iter(values.values())))})", *cells])
    return f"## By source, k={k} (cases)\n\n" + _table(["source", *results.methods], rows)


def _by_case(results: Results) -> str:
    lines = ["## By case"]
    for k in results.ks:
        rows = [
            [case, *(f"{results.run(m, k, case).mean_dice or 0:.3f}" for m in results.methods)]
            for case in results.cases(k)
        ]
        table = _table(["case", *results.methods], rows)
        lines.append(f"<details><summary>k={k}</summary>\n\n{table}\n\n</details>")
    return "\n\n".join(lines)


def _left_out(runs: Sequence[Run], setting: Setting) -> str:
    lines = [f"- {s.case}: {s.reason}" for s in setting.skipped]
    lines += [f"- {name}: {why}" for name, why in setting.missing.items()]
    lines += [f"- {r.key.case}, {r.key.method}, k={r.key.k}: {r.failure} (counted as 0)" for r in runs if r.failure]
    lines += [
        f"- {r.key.case}, k={r.key.k}: no structure has a voxel off the painted slices"
        for r in runs
        if r.mean_dice is None and r.key.method == runs[0].key.method
    ]
    return "\n\n".join(["## Left out or failed", "\n".join(lines) or "Nothing."])


def _interval(values: Sequence[float]) -> str:
    if not values:
        return ""
    interval = Interval.of(values)
    return f"{interval.mean:.3f} [{interval.low:.2f}, {interval.high:.2f}]"


def _number(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)
