"""``napari-medmeta bench``: every method on every case, side by side, in one resumable run."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medmeta.cli.options import add_device, integers, names

if TYPE_CHECKING:
    from napari_medmeta.bench.run import Plan
    from napari_medmeta.cli.options import Subparsers

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "bench",
        help="judge the engine beside other methods on scans with known truth",
        description="Judge methods on scans with known truth: k slices are taken from the truth as examples, the "
        "others are compared. A run that was stopped goes on where it was.",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with one sub-folder a case (image.*, label.*)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs and the report")
    parser.add_argument(
        "--methods",
        type=names,
        default=(),
        metavar="A,B",
        help="which methods (default: all); medmeta-NAME is our engine with its source NAME alone",
    )
    parser.add_argument("--cases", type=names, default=(), metavar="A,B", help="which cases (default: all)")
    parser.add_argument("--k", type=integers, default=(1, 3, 5), metavar="1,3,5", help="numbers of example slices")
    parser.add_argument("--placement", choices=("even", "random"), default="even", help="where the example slices lie")
    parser.add_argument("--boundaries", action="store_true", help="also surface Dice at 2 mm and Hausdorff distance")
    add_device(parser, default="cpu")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes")
    parser.add_argument("--seed", type=int, default=0, help="seed of random placement and of methods that draw")
    parser.add_argument(
        "--report",
        type=Path,
        metavar="PAGE.md",
        help="page to set the tables into, its own text is kept (OUT/report.md)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run what is missing, then write the tables and ``runs.csv``."""
    from tqdm import tqdm

    from napari_medmeta.bench.methods import missing_methods
    from napari_medmeta.bench.report import Setting, write_csv, write_page
    from napari_medmeta.bench.run import keys_of, run_plan
    from napari_medmeta.bench.store import RunStore

    plan = _plan(args)
    args.out.mkdir(parents=True, exist_ok=True)
    store = RunStore(args.out / "runs.jsonl")
    keys = [key for case in plan.cases for key in keys_of(plan, case)]
    with tqdm(total=len(keys), unit="run", desc="bench", disable=None) as bar:
        skipped = run_plan(plan, store, jobs=args.jobs, tick=lambda: bar.update() and None)
    command = " ".join(["napari-medmeta", *map(_without_folders, sys.argv[1:])])
    setting = Setting(plan, command, skipped, {} if args.methods else missing_methods())
    runs = store.wanted(keys)
    print(f"Wrote {write_csv(args.out / 'runs.csv', runs, setting)}")
    print(f"Wrote {write_page(args.report or args.out / 'report.md', runs, setting)}")
    return 0


def _without_folders(word: str) -> str:
    # Where somebody keeps their scans is nobody else's business.
    return Path(word).name if os.sep in word else word


def _plan(args: argparse.Namespace) -> Plan:
    from napari_medmeta.bench.cases import find_cases
    from napari_medmeta.bench.methods import available_methods
    from napari_medmeta.bench.protocol import Placement
    from napari_medmeta.bench.run import Plan
    from napari_medmeta.core import InputError

    if not args.k or min(args.k) < 1:
        raise InputError("The numbers of example slices cannot be used", expected="such as --k 1,3,5")
    return Plan(
        find_cases(args.data, only=args.cases),
        args.methods or available_methods(),
        tuple(sorted(set(args.k))),
        Placement(args.placement),
        args.seed,
        args.device,
        args.boundaries,
    )
