"""What the benchmarks of the applications share: their names, and the answer that each gives.

Each application is judged by its own module ``bench/<name>.py`` with two functions::

    def add_options(parser: argparse.ArgumentParser) -> None: ...
    def evaluate(cases: Sequence[Case], options: argparse.Namespace, progress: Progress) -> Evaluation: ...

``options`` holds what every application is given (``data``, ``out``, ``cases``, ``seed``; ``out`` exists and may
keep what a stopped run has measured) and what ``add_options`` added.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from napari_medmeta.bench.cases import Case
from napari_medmeta.bench.document import Block
from napari_medmeta.core.jobs import Progress

__all__ = ["Evaluation", "Judge", "add_weights", "judge_of", "write_rows"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured, for a page and for whoever wants to compute further.

    Parameters
    ----------
    title
        A few words, such as "Follow-up by registration".
    blocks
        Sentences and tables for the page; figures of development cases and of held-out cases apart.
    rows
        Every single measurement behind them, one mapping a row of the CSV; columns may differ from row to row.
    """

    title: str
    blocks: tuple[Block, ...]
    rows: tuple[Mapping[str, object], ...]


class Judge(Protocol):
    """The two functions of a module that judges one application."""

    def add_options(self, parser: argparse.ArgumentParser, /) -> None:
        """Add what only this application can be told."""
        ...

    def evaluate(self, cases: Sequence[Case], options: argparse.Namespace, progress: Progress, /) -> Evaluation:
        """Measure on ``cases``; reports its progress, and keeps unfinished work in ``options.out`` if it can."""
        ...


def judge_of(application: str) -> Judge:
    """Return the module that judges ``application``."""
    return cast(Judge, import_module(f"napari_medmeta.bench.{application}"))


def add_weights(parser: argparse.ArgumentParser, whose: str) -> None:
    """Add ``--weights`` to the options of an application in which trained weights take part; ``whose`` they are."""
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="DIR",
        help=f"own weights of {whose}: the files that napari-medmeta train wrote into DIR replace those of the "
        "package, the others stay",
    )


def write_rows(path: Path, rows: Iterable[Mapping[str, object]]) -> Path:
    """Write ``rows`` as CSV; the columns are all that occur, in the order of their first row."""
    kept = list(rows)
    columns = list(dict.fromkeys(name for row in kept for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(kept)
    return path
