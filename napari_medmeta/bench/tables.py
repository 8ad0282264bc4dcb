"""Tables of the protocol ``slices``, as values: what stands in which cell, not how it looks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from napari_medmeta.bench.document import Table
from napari_medmeta.bench.results import OURS, Results
from napari_medmeta.bench.scores import mean_of
from napari_medmeta.bench.statistics import Calibration, Interval, paired
from napari_medmeta.bench.store import EXACT, Run

__all__ = [
    "MARGIN",
    "against_each",
    "boundaries",
    "by_case",
    "by_source",
    "by_structure",
    "calibrations",
    "costs",
    "ends",
    "losses",
    "means",
    "number",
    "paintings",
]

ORACLE = "best peer of each case (chosen with the truth)"
MARGIN = 0.005
"""Below this a difference is not worth a look."""
Figure = Callable[[Run], float | None]


def means(results: Results, *, group: str = "all cases", oracle: bool = True) -> Table:
    """Return the mean Dice by method and k with intervals over the cases; the best of each column is set off."""
    values = [[results.dice(m, k, group=group) for k in results.ks] for m in results.methods]
    rows = [[m, *map(interval, row)] for m, row in zip(results.methods, values, strict=True)]
    bold = _best([[sum(v) / len(v) if v else None for v in row] for row in values])
    if oracle and results.peers:
        best = [[results.best_peer(k, c)[1] for c in results.cases(k, group=group)] for k in results.ks]
        rows.append([ORACLE, *map(interval, best)])
    header = ["method", *(f"k={k} ({len(results.cases(k, group=group))} cases)" for k in results.ks)]
    return _table(header, rows, bold)


def ends(results: Results, k: int) -> Table:
    """Return Dice between and beyond the outermost painted slices, and how far proposals miss a structure's ends."""
    figures: dict[str, tuple[Figure, int]] = {
        "Dice between painted slices": (lambda r: mean_of(r.between), 3),
        "Dice beyond them": (lambda r: mean_of(r.beyond), 3),
        "leak beyond the ends, slices": (lambda r: mean_of(r.leak), 2),
        "short of the ends, slices": (lambda r: mean_of(r.short), 2),
    }
    rows = [
        [method, *(number(results.mean(method, k, of), digits) for of, digits in figures.values())]
        for method in results.methods
    ]
    return _table(["method", *figures], rows)


def costs(results: Results) -> Table:
    """Return medians of time and memory over all cases and k."""
    figures: dict[str, tuple[Figure, int]] = {
        "seconds, visible slice": (lambda r: r.visible_seconds, 2),
        "seconds, whole scan": (lambda r: r.seconds, 2),
        "CPU seconds": (lambda r: r.cpu_seconds, 2),
        "peak memory, MB": (lambda r: r.peak_mb, 0),
        "memory added, MB": (lambda r: r.added_mb, 0),
    }
    rows = [[m, *(number(results.typical(m, of), digits) for of, digits in figures.values())] for m in results.methods]
    return _table(["method", *figures], rows)


def boundaries(results: Results) -> Table | None:
    """Return surface Dice and Hausdorff distances; None where they were not measured."""
    if not any(r.surface_dice for m in results.methods for k in results.ks for r in results.runs(m, k)):
        return None
    rows = []
    for method in results.methods:
        row = [method]
        for k in results.ks:
            row.append(number(results.mean(method, k, lambda r: mean_of(r.surface_dice))))
            row.append(number(results.mean(method, k, lambda r: mean_of(r.hausdorff_mm)), 1))
        rows.append(row)
    return _table(
        ["method", *(f"{name}, k={k}" for k in results.ks for name in ("surface Dice 2 mm", "HD95 mm"))], rows
    )


def calibrations(results: Results) -> Table | None:
    """Return how well methods foretell their own Dice; None where none does."""
    rows = []
    for method in results.methods:
        for k in results.ks:
            found = Calibration.of(results.expected_and_true(method, k))
            if found is not None:
                figures = (str(found.count), number(found.error), f"{found.bias:+.3f}", number(found.rank, 2))
                rows.append([method, str(k), *figures])
    return _table(["method", "k", "structures", "mean error", "bias", "rank correlation"], rows) if rows else None


def against_each(results: Results) -> Table:
    """Return the paired differences of ours against each other method: mean, interval, share of cases won."""
    rows = []
    for method in (m for m in results.methods if m != OURS):
        cells = [_difference(results.dice(OURS, k), results.dice(method, k)) for k in results.ks]
        rows.append([method, *cells])
    best = [[results.best_peer(k, c)[1] for c in results.cases(k)] for k in results.ks] if results.peers else []
    if best:
        rows.append([ORACLE, *(_difference(results.dice(OURS, k), b) for k, b in zip(results.ks, best, strict=True))])
    return _table(["against", *(f"k={k}" for k in results.ks)], rows)


def losses(results: Results, against: str) -> Table | None:
    """Return the cases on which ``against`` did better than ours; None when there are none."""
    found = results.losses(against, margin=MARGIN)
    rows = [[x.case, str(x.k), number(x.ours), number(x.best_dice), x.where] for x in found]
    return _table(["case", "k", OURS, against, "where (ours to theirs)"], rows) if rows else None


def by_source(results: Results, k: int, *, folded: str = "") -> Table:
    """Return the mean Dice by collection; the best of each row is set off."""
    values = {
        f"{source} ({_count(results.dice(m, k, source=source) for m in results.methods)})": [
            results.dice(m, k, source=source) for m in results.methods
        ]
        for source in results.sources(k)
    }
    return _by_row("source (cases)", results.methods, values, folded=folded)


def by_structure(results: Results, k: int, names: Callable[[str, int], str], *, folded: str = "") -> Table:
    """Return the mean Dice of each structure by its name; the best of each row is set off."""
    per_method = [results.by_structure(m, k, names) for m in results.methods]
    every = sorted({name for found in per_method for name in found})
    values = {}
    for name in every:
        row = [found.get(name, []) for found in per_method]
        values[f"{name} ({_count(row)})"] = row
    return _by_row("structure (cases)", results.methods, values, folded=folded)


def by_case(results: Results, k: int, *, folded: str) -> Table:
    """Return the Dice of each case."""
    dice = {m: dict(zip(results.cases(k), results.dice(m, k), strict=False)) for m in results.methods}
    values = {c: [[dice[m][c]] if c in dice[m] else [] for m in results.methods] for c in results.cases(k)}
    return _by_row("case", results.methods, values, folded=folded)


def paintings(dice: Mapping[str, Mapping[str, Sequence[float]]], *, order: Sequence[str]) -> Table:
    """Return the mean Dice by method and way of painting, exact painting first."""
    ways = sorted({way for found in dice.values() for way in found}, key=lambda way: (way != EXACT, way))
    methods = sorted(dice, key=lambda m: (order.index(m) if m in order else len(order), m))
    rows = []
    for method in methods:
        found = dice[method]
        exact = found.get(EXACT)
        cells = [_with_change(found.get(way), exact if way != EXACT else None) for way in ways]
        rows.append([method, str(_count(found.values())), *cells])
    return _table(["method", "cases", *ways], rows)


def interval(values: Sequence[float]) -> str:
    """Return a mean with its interval; nothing for no values."""
    if not values:
        return ""
    found = Interval.of(values)
    return f"{found.mean:.3f} [{found.low:.2f}, {found.high:.2f}]"


def number(value: float | None, digits: int = 3) -> str:
    """Return a figure; nothing for None."""
    return "" if value is None else f"{value:.{digits}f}"


def _difference(ours: Sequence[float], theirs: Sequence[float]) -> str:
    if not ours or not theirs:
        return ""
    found = paired(ours, theirs)
    gap = found.gap
    return f"{gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}], {found.won:.0%}"


def _with_change(values: Sequence[float] | None, exact: Sequence[float] | None) -> str:
    if not values:
        return ""
    mean = sum(values) / len(values)
    return f"{mean:.3f}" if not exact else f"{mean:.3f} ({mean - sum(exact) / len(exact):+.3f})"


def _by_row(
    first: str, methods: Sequence[str], values: Mapping[str, Sequence[Sequence[float]]], *, folded: str
) -> Table:
    found = [[sum(v) / len(v) if v else None for v in row] for row in values.values()]
    rows = [[name, *map(number, row)] for name, row in zip(values, found, strict=True)]
    bold = {(i, j + 1) for i, row in enumerate(found) for j, v in enumerate(row) if v is not None and v == _max(row)}
    return _table([first, *methods], rows, bold if len(methods) > 1 else (), folded=folded)


def _best(values: Sequence[Sequence[float | None]]) -> set[tuple[int, int]]:
    tops = [_max(column) for column in zip(*values, strict=True)]
    return {
        (i, j + 1)
        for i, row in enumerate(values)
        for j, v in enumerate(row)
        if v is not None and v == tops[j] and len(values) > 1
    }


def _max(values: Iterable[float | None]) -> float | None:
    return max((v for v in values if v is not None), default=None)


def _count(values: Iterable[Sequence[float]]) -> int:
    return max(map(len, values), default=0)


def _table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    bold: Iterable[tuple[int, int]] = (),
    *,
    folded: str = "",
) -> Table:
    cells = [list(row) for row in rows]
    # What was not measured gets no column.
    kept = [j for j in range(len(header)) if j == 0 or any(row[j] for row in cells)]
    moved = {(i, kept.index(j)) for i, j in bold if j in kept}
    return Table(
        tuple(header[j] for j in kept), tuple(tuple(row[j] for j in kept) for row in cells), frozenset(moved), folded
    )
