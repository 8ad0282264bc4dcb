"""Judge few-shot diagnosis: repeated draws of one, two or three patients a finding, all others to be recognised.

Every method gets the same draws. Balanced accuracy is the mean over findings of the share of patients recognised,
averaged over draws; its interval comes from drawing patients (within their finding) with replacement, as 200
draws of twenty patients are not 200 experiments. In each draw one finding in turn is also left out of the known
cases, to see whether its patients are told to be none of these. Nothing is tuned on these patients.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from napari_medmeta.bench.applications import Evaluation, add_weights
from napari_medmeta.bench.cases import Case
from napari_medmeta.bench.diagnosis_baselines import logistic_regression, nearest_volumes
from napari_medmeta.bench.diagnosis_patients import Patient, Proposals, find_patients, measure_patients
from napari_medmeta.bench.document import Block, Bullets, Table, Text
from napari_medmeta.bench.methods.ours import Engine
from napari_medmeta.bench.statistics import RESAMPLES, Interval
from napari_medmeta.core import InputError, Progress
from napari_medmeta.core.diagnosis import KnownCase, MeasuredCase
from napari_medmeta.core.weights import FUSED_FAMILIES, require_fitting
from napari_medmeta.tasks.diagnosis import Diagnoser

__all__ = ["Tally", "add_options", "balanced", "draws", "evaluate"]

OURS = "few-shot diagnosis"
METHODS: Mapping[str, Callable[[Sequence[KnownCase], Sequence[MeasuredCase]], list[str]]] = {
    "nearest neighbour on volumes": nearest_volumes,
    "logistic regression": logistic_regression,
}

Right: TypeAlias = npt.NDArray[np.float64]
"""(draws, patients): 1 where recognised, 0 where not, NaN where the patient was among the known ones."""

MEASURING_SHARE = 0.6
"""About the share of the time that measuring takes."""


@dataclass(frozen=True, eq=False)
class Tally:
    """What the draws of one setting gave.

    Parameters
    ----------
    right
        By method.
    confidence
        (draws, patients): the probability of our first finding, NaN where not asked.
    strange
        (draws, patients): 1 where a patient of a known finding was told to be none of these.
    strangers
        (draws, patients): the same for the patients of the finding that was left out.
    """

    source: str
    shots: int
    right: Mapping[str, Right]
    confidence: Right
    strange: Right
    strangers: Right


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what only diagnosis can be told."""
    parser.add_argument("--draws", type=int, default=200, metavar="N", help="draws for each setting (%(default)s)")
    parser.add_argument(
        "--shots", type=_numbers, default=(1, 2, 3), metavar="1,2,3", help="known patients a finding (1,2,3)"
    )
    parser.add_argument(
        "--painted", type=int, default=3, metavar="K", help="painted slices for the proposed masks (%(default)s)"
    )
    parser.add_argument("--device", default="auto", help="where the engine computes (%(default)s)")
    add_weights(parser, "the engine that proposes the masks")


def evaluate(cases: Sequence[Case], options: argparse.Namespace, progress: Progress) -> Evaluation:
    """Measure on all patients of ``cases`` that have a finding; proposed masks are kept in ``options.out``.

    Raises
    ------
    InputError
        When the list of cases names no two findings, or too few patients for the shots wanted.
    WeightsError
        When the folder of own weights cannot be used.
    """
    if options.weights is not None:
        # Before minutes are spent on the painted masks.
        require_fitting(options.weights, FUSED_FAMILIES)
    patients = find_patients(cases, options.data)
    _require_enough(patients, options)
    engine = Engine(device=options.device, seed=options.seed, weights=options.weights)
    proposals = Proposals(options.out / "diagnosis-proposals", options.painted, engine)
    sources = {"painted masks": None, f"proposed masks (k = {options.painted})": proposals}
    measured = {}
    for n, (source, masks) in enumerate(sources.items()):
        measured[source] = measure_patients(
            patients, proposals=masks, progress=_part(progress, n / len(sources) * MEASURING_SHARE)
        )
    settings = [(source, shots) for source in sources for shots in options.shots]
    tallies = []
    for n, (source, shots) in enumerate(settings):
        progress(MEASURING_SHARE + (1 - MEASURING_SHARE) * n / len(settings), f"{shots} a finding, {source}")
        chosen = draws(patients, shots, options.draws, np.random.default_rng([options.seed, shots]))
        tallies.append(_tally(source, shots, patients, measured[source], chosen))
    findings = np.array([p.finding for p in patients])
    rows = tuple(row for tally in tallies for row in _rows(tally, patients))
    return Evaluation("Few-shot diagnosis", tuple(_blocks(tallies, patients, findings, options)), rows)


def draws(
    patients: Sequence[Patient], shots: int, count: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], ...]:
    """Return ``count`` draws of the known patients: ``shots`` of each finding, as sorted indices."""
    findings = np.array([p.finding for p in patients])
    groups = [np.flatnonzero(findings == f) for f in np.unique(findings)]
    return tuple(np.sort(np.concatenate([rng.choice(g, shots, replace=False) for g in groups])) for _ in range(count))


def balanced(right: Right, findings: npt.NDArray[np.str_]) -> Interval:
    """Return the balanced accuracy over all draws, with an interval over patients.

    ``right`` is (draws, patients), ``findings`` (patients,). Draws are averaged for each patient first, then
    patients within a finding, then findings; patients never asked drop out.
    """
    asked = ~np.isnan(right).all(axis=0)
    each = np.nanmean(right[:, asked], axis=0)
    groups = [each[findings[asked] == f] for f in np.unique(findings[asked])]
    rng = np.random.default_rng(0)
    means = np.mean([g[rng.integers(0, len(g), (RESAMPLES, len(g)))].mean(axis=1) for g in groups], axis=0)
    low, high = np.percentile(means, (2.5, 97.5))
    return Interval(float(np.mean([g.mean() for g in groups])), float(low), float(high))


def _tally(
    source: str,
    shots: int,
    patients: Sequence[Patient],
    cases: Sequence[MeasuredCase],
    chosen: Sequence[npt.NDArray[np.int64]],
) -> Tally:
    empty = partial(np.full, (len(chosen), len(patients)), np.nan)
    tally = Tally(source, shots, {name: empty() for name in (OURS, *METHODS)}, empty(), empty(), empty())
    findings = sorted({p.finding for p in patients})
    for draw, known in enumerate(chosen):
        support = [KnownCase(patients[i].id, patients[i].finding, "", cases[i]) for i in known]
        asked = [i for i in range(len(patients)) if i not in set(known.tolist())]
        for name, method in METHODS.items():
            for i, finding in zip(asked, method(support, [cases[i] for i in asked]), strict=True):
                tally.right[name][draw, i] = finding == patients[i].finding
        diagnoser = Diagnoser(support)
        for i in asked:
            answer = diagnoser.classify(cases[i])
            tally.right[OURS][draw, i] = answer.likely[0].finding == patients[i].finding
            tally.confidence[draw, i] = answer.likely[0].probability
            tally.strange[draw, i] = answer.none_of_these
        if len(findings) < 3:
            continue
        # Without it, two findings are still there to compare with.
        left_out = findings[draw % len(findings)]
        others = Diagnoser(c for c in support if c.finding != left_out)
        for i in (i for i in asked if patients[i].finding == left_out):
            tally.strangers[draw, i] = others.classify(cases[i]).none_of_these
    return tally


def _blocks(
    tallies: Sequence[Tally],
    patients: Sequence[Patient],
    findings: npt.NDArray[np.str_],
    options: argparse.Namespace,
) -> Iterator[Block]:
    counts = {f: int((findings == f).sum()) for f in np.unique(findings)}
    who = "; ".join(f"{name} {count}" for name, count in counts.items())
    yield Text(
        f"{len(patients)} patients ({who}). Known patients are drawn {options.draws} times for each row, all others "
        f"are to be recognised. Balanced accuracy; chance is {1 / len(counts):.2f}. In brackets: the range of 95 % of "
        "samples of the patients. Few patients: gaps within the brackets mean little."
    )
    yield _accuracy_table(tallies, findings)
    yield Text("How sure it was, and what it made of a finding that none of the known patients has:")
    yield _doubt_table(tallies, findings)
    yield Bullets(
        (
            "Nothing was tuned on these patients: the constants come from reasoning and from synthetic hearts, so no "
            "case counts as a development case of the comparison. The engine that proposed the masks was developed "
            "on one scan each of two of the patients.",
            "Logistic regression: the same measurements, standardised, scikit-learn's default penalty. Nearest "
            "neighbour: logarithms of the volumes of all structures in all phases.",
            "Figures of a collection that assumes one spacing for all patients, as cases.csv may say, understate what "
            "sizes tell.",
        )
    )


def _accuracy_table(tallies: Sequence[Tally], findings: npt.NDArray[np.str_]) -> Table:
    names = (OURS, *METHODS)
    rows, bold = [], set()
    for n, tally in enumerate(tallies):
        values = [balanced(tally.right[name], findings) for name in names]
        gap = balanced(tally.right[OURS] - tally.right["logistic regression"], findings)
        bold.add((n, 2 + int(np.argmax([v.mean for v in values]))))
        rows.append((tally.source, str(tally.shots), *map(_interval, values), _interval(gap, sign=True)))
    header = ("Masks", "Known a finding", *names, "ours minus logistic")
    return Table(header, tuple(rows), bold=frozenset(bold))


def _doubt_table(tallies: Sequence[Tally], findings: npt.NDArray[np.str_]) -> Table:
    rows = []
    for tally in tallies:
        asked = ~np.isnan(tally.confidence)
        rows.append(
            (
                tally.source,
                str(tally.shots),
                f"{tally.confidence[asked].mean():.2f}",
                f"{tally.right[OURS][asked].mean():.2f}",
                _interval(balanced(tally.strange, findings)),
                "–" if np.isnan(tally.strangers).all() else _interval(balanced(tally.strangers, findings)),
            )
        )
    header = (
        "Masks", "Known a finding", "mean probability given", "share right",
        "“none of these” for a known finding", "“none of these” for a finding left out",
    )  # fmt: skip
    return Table(header, tuple(rows))


def _rows(tally: Tally, patients: Sequence[Patient]) -> Iterator[Mapping[str, object]]:
    """Yield one row for each patient and method: on how many draws asked, and recognised."""
    for name, right in tally.right.items():
        for i, patient in enumerate(patients):
            column = right[:, i]
            asked = ~np.isnan(column)
            yield {
                "masks": tally.source,
                "shots": tally.shots,
                "method": name,
                "patient": patient.id,
                "finding": patient.finding,
                "asked": int(asked.sum()),
                "right": int(column[asked].sum()),
                "none_of_these": int(np.nansum(tally.strange[:, i])) if name == OURS else "",
            }


def _require_enough(patients: Sequence[Patient], options: argparse.Namespace) -> None:
    findings = [p.finding for p in patients]
    fewest = min(findings.count(f) for f in findings)
    if not options.shots or not 0 < min(options.shots) <= max(options.shots) < fewest:
        raise InputError(
            f"With {fewest} patients in the smallest group, {options.shots} of each cannot be known",
            expected=f"--shots from 1 to {fewest - 1}, so that somebody is left to be recognised",
        )
    if options.draws < 1 or options.painted < 1:
        raise InputError("--draws and --painted cannot be used", expected="1 or more")


def _part(progress: Progress, start: float) -> Progress:
    def tell(fraction: float, stage: str, /) -> None:
        progress(start + fraction * MEASURING_SHARE / 2, stage)

    return tell


def _interval(value: Interval, *, sign: bool = False) -> str:
    form = "+.2f" if sign else ".2f"
    return f"{value.mean:{form}} ({value.low:{form}} to {value.high:{form}})"


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 1,2,3") from None
