"""Cross-patient recall: another patient's structures before anything is painted on the scan.

After the protocol of few-shot segmentation across patients (Roy et al., "'Squeeze & excite' guided few-shot
segmentation of volumetric images", Medical Image Analysis 2020; Ouyang et al., "Self-supervision with superpixels:
training few-shot medical image segmentation without annotation", ECCV 2020): structures known from labelled patients
of a collection are proposed on another one. There the slices between which a structure lies are given for the new
patient too, and three slices of one labelled patient are known. Here whole labelled patients are known, one, two or
three; nothing is told of the new patient, and the whole scan is judged. For comparison the Dice within the structure's
own slices is told as well, which is what those papers report.

Beside the library stand nothing at all, which is where a scan begins otherwise, the nearest known patient's labels
carried over by affine registration, and the memory-augmented network, which reads what the same entries wrote into its
memory.
"""

from __future__ import annotations

import argparse
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from napari_medmeta.bench.applications import Evaluation, add_weights
from napari_medmeta.bench.cases import Case
from napari_medmeta.bench.document import Block, Table, Text
from napari_medmeta.bench.recall_runs import MEMORY, Found, groups_of, measure, tasks_of
from napari_medmeta.bench.statistics import Calibration, Interval, paired
from napari_medmeta.core import InputError, Progress
from napari_medmeta.core.weights import own_parts, require_fitting

__all__ = ["add_options", "evaluate"]

MOST_TARGETS = 6
MOST_KNOWN = 3
REVISION = 3
"""Raised when recalling, copying or what is told of them changes, so that nothing older is taken for today's."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add how many patients are segmented, and from how many others."""
    parser.add_argument(
        "--targets", type=int, default=MOST_TARGETS, help="patients to segment in each collection (%(default)s)"
    )
    parser.add_argument(
        "--library", type=int, default=MOST_KNOWN, help="patients known at most, one after the other (%(default)s)"
    )
    add_weights(parser, "the memory-augmented network and its encoder; the library's trees have none")


def evaluate(cases: Sequence[Case], options: argparse.Namespace, progress: Progress) -> Evaluation:
    """Measure on all collections with at least two patients; finished patients are kept in ``options.out``.

    Raises
    ------
    InputError
        When no collection has two patients.
    WeightsError
        When the folder of own weights cannot be used.
    """
    own = _digest(options.weights)
    groups = groups_of(cases)
    if not groups:
        raise InputError(
            "No two cases are of the same kind of scan and the same structures",
            expected="at least two patients of one collection",
        )
    tasks = [
        t
        for group in groups
        for t in tasks_of(group, most_targets=options.targets, most_known=options.library, seed=options.seed)
    ]
    begun = iter(range(len(tasks)))
    found = measure(
        tasks,
        options.out / f"recall-runs-{REVISION}-{options.seed}{own}.jsonl",
        seed=options.seed,
        weights=options.weights,
        tick=lambda task: progress(next(begun) / len(tasks), task.target.id),
    )
    return Evaluation("Recall from the library", _blocks(found), tuple(_row(f) for f in found))


def _digest(weights: Path | None) -> str:
    """Return what tells apart what was measured with own weights; empty for those of the package."""
    if weights is None:
        return ""
    require_fitting(weights, (MEMORY,))
    together = " ".join(f"{name} {part.sha256}" for name, part in sorted(own_parts(weights).items()))
    return f"-{hashlib.blake2b(together.encode(), digest_size=4).hexdigest()}"


def _row(found: Found) -> dict[str, object]:
    return {name: getattr(found, name) for name in found.__dataclass_fields__}


def _blocks(found: Sequence[Found]) -> tuple[Block, ...]:
    blocks: list[Block] = []
    for development, words in ((False, "Held-out patients"), (True, "Patients of the development cases")):
        mine = [f for f in found if f.development is development]
        if mine:
            blocks += [Text(f"{words}:"), _scores(mine), _expectations(mine)]
    return (*blocks, Text(_HOW))


_HOW = (
    "Dice over the whole scan, mean over the structures of a patient, then over patients, with 95 % bootstrap "
    "intervals over patients. “Nothing” is where a scan begins without a library, a Dice of 0 by definition. “Copied” "
    "carries the labels of the known patient whose scan is most alike (Mattes mutual information) over by affine "
    "registration. “Memory” draws by the memory-augmented network instead of the library's trees. “Won” is the share "
    "of patients on which the library was better than copying. “Own slices”: only the slices from the structure's "
    "first to its last are judged, as in papers on few-shot segmentation across patients."
)


def _scores(found: Sequence[Found]) -> Table:
    rows = []
    for (group, library), part in sorted(_grouped(found).items()):
        ours, theirs = _by_patient(part, "recalled"), _by_patient(part, "copied")
        compared = paired(ours, theirs)
        gap = compared.gap
        rows.append(
            (
                group,
                str(library),
                str(len(ours)),
                "0.00",
                f"{np.mean(theirs):.2f}",
                f"{np.mean(_by_patient(part, 'remembered')):.2f}",
                _interval(Interval.of(ours)),
                f"{gap.mean:+.2f} ({gap.low:+.2f} to {gap.high:+.2f})",
                f"{compared.won:.0%}",
                *(f"{np.mean(_by_patient(part, name)):.2f}" for name in ("copied_within", "recalled_within")),
            )
        )
    header = (
        "collection", "known", "patients", "nothing", "copied", "memory", "library", "library minus copied", "won",
        "copied, own slices", "library, own slices",
    )  # fmt: skip
    return Table(header, tuple(rows))


def _expectations(found: Sequence[Found]) -> Table:
    rows = []
    for library in sorted({f.library for f in found}):
        pairs = [(f.expected, f.recalled) for f in found if f.library == library and f.expected is not None]
        read = Calibration.of(pairs)
        if read is not None:
            expected, true = np.mean(pairs, axis=0)
            rank = "–" if read.rank is None else f"{read.rank:.2f}"
            rows.append((str(library), str(read.count), f"{expected:.2f}", f"{true:.2f}", f"{read.error:.2f}", rank))
    header = ("known", "structures", "expected Dice", "found", "mean absolute error", "rank correlation")
    return Table(header, tuple(rows))


def _grouped(found: Iterable[Found]) -> dict[tuple[str, int], list[Found]]:
    by: dict[tuple[str, int], list[Found]] = defaultdict(list)
    for item in found:
        by[item.group, item.library].append(item)
    return by


def _by_patient(found: Iterable[Found], what: str) -> list[float]:
    """Return each patient's mean over its structures, by the patient's name."""
    by: dict[str, list[float]] = defaultdict(list)
    for item in found:
        by[item.case].append(float(getattr(item, what)))
    return [float(np.mean(by[case])) for case in sorted(by)]


def _interval(interval: Interval) -> str:
    return f"{interval.mean:.2f} ({interval.low:.2f} to {interval.high:.2f})"
