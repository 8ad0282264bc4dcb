"""``napari-medmeta evaluate``: the applications and recall from the library, judged on scans with known truth.

    napari-medmeta evaluate registration --data DIR --out DIR [--cases A,B] [--seed N] [--report PAGE.md]

Each application is judged by ``bench/<name>.py``: ``add_options(parser)`` adds what only it can be told, and
``evaluate(cases, options, progress) -> Evaluation`` measures (see ``bench/applications.py``). Every measurement goes
into OUT/<name>.csv, the tables into OUT/<name>.md, and with ``--report`` into a page of yours as well, between the
lines ``<!-- <name>: begin ... -->`` and ``<!-- <name>: end -->``; all text around them is kept.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medmeta.cli.options import names, progress_bar, without_folders

if TYPE_CHECKING:
    from napari_medmeta.bench.applications import Evaluation, Judge
    from napari_medmeta.bench.document import Block
    from napari_medmeta.cli.options import Subparsers

__all__ = ["add_parser", "run"]

APPLICATIONS = ("detection", "diagnosis", "registration", "recall")


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "evaluate",
        help="judge lesion detection, diagnosis, registration or recall from the library on scans with known truth",
        description="Judge one application beside plain baselines on scans with known truth.",
        epilog="napari-medmeta evaluate APPLICATION --help tells the options of each.",
    )
    parser.add_argument("application", choices=APPLICATIONS, help="what to judge")
    # Parsed by `run`: an application's own options come from its module, which is heavy to import.
    parser.add_argument("options", nargs=argparse.REMAINDER, help="--data DIR --out DIR and others")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, write every figure, and set the tables into the page."""
    from napari_medmeta.bench.applications import judge_of, write_rows
    from napari_medmeta.bench.cases import find_cases
    from napari_medmeta.bench.document import Section
    from napari_medmeta.bench.markdown import set_section

    judge = judge_of(args.application)
    options = _options(args.application, judge, args.options)
    cases = find_cases(options.data, only=options.cases)
    options.out.mkdir(parents=True, exist_ok=True)
    with progress_bar(args.application) as progress:
        evaluation = judge.evaluate(cases, options, progress)
    section = Section(evaluation.title, _blocks(args, evaluation))
    written = [write_rows(options.out / f"{args.application}.csv", evaluation.rows)]
    for page in (options.out / f"{args.application}.md", options.report):
        if page is not None:
            written.append(set_section(page, args.application, section))
    for path in written:
        print(f"Wrote {path}")
    return 0


def _options(application: str, judge: Judge, words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"napari-medmeta evaluate {application}")
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="folder with one sub-folder a case (image.*, label.*), or a CSV or JSON list of image and label files",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for every figure and the tables")
    parser.add_argument("--cases", type=names, default=(), metavar="A,B", help="which cases (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all that is drawn at random (%(default)s)")
    parser.add_argument("--report", type=Path, metavar="PAGE.md", help="page to set the tables into as well")
    judge.add_options(parser)
    return parser.parse_args(words)


def _blocks(args: argparse.Namespace, evaluation: Evaluation) -> tuple[Block, ...]:
    from napari_medmeta.bench.document import Code, Text

    words = ["napari-medmeta", "evaluate", args.application, *map(without_folders, args.options)]
    return (*evaluation.blocks, Text("Measured by:"), Code(" ".join(words)))
