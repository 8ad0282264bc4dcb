"""``napari-medmeta bench``: every method on every case, side by side, in one resumable run."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medmeta.cli.options import add_device, integers, names, without_folders

if TYPE_CHECKING:
    from napari_medmeta.bench.cases import Case
    from napari_medmeta.bench.interactive import SessionPlan
    from napari_medmeta.bench.interactive_store import SessionRun
    from napari_medmeta.bench.plan import Plan, Skipped
    from napari_medmeta.bench.store import Run
    from napari_medmeta.cli.options import Subparsers
    from napari_medmeta.core.jobs import Progress

__all__ = ["add_parser", "run"]

PROTOCOLS = ("slices", "interactive")
ALL, COVERING = "all", "covering"
WEIGHTS = "public weights of methods; medmeta=DIR: own weights of our engine, with all its variants"
GROUPS = ("sources", "ablations", "learners", "joined")
"""Words that stand for many methods: each of our sources alone, our engine without each of its parts, each
meta-trained family of learners alone, and our sources with each of them as one more."""


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "bench",
        help="judge the engine beside other methods on scans with known truth",
        description="Judge methods on scans with known truth. Protocol slices: k slices are taken from the truth as "
        "examples, the others are compared. Protocol interactive: a simulated radiologist looks at one slice after "
        "another, accepts or corrects it. A run that was stopped goes on where it was.",
    )
    _add_cases(parser)
    _add_questions(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs and the report")
    add_device(parser, default="cpu")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes")
    parser.add_argument("--seed", type=int, default=0, help="seed of all that is drawn at random")
    parser.add_argument(
        "--report",
        type=Path,
        metavar="PAGE.md",
        help="page to set the tables into, its own text is kept (OUT/report.md)",
    )
    parser.add_argument("--no-pictures", action="store_true", help="a report without pictures of the worst cases")
    parser.set_defaults(run=run)


def _add_cases(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="folder with one sub-folder a case (image.*, label.*), or a CSV or JSON list of image and label files",
    )
    parser.add_argument("--cases", type=names, default=(), metavar="A,B", help="which cases (default: all)")
    for option, default, what in (
        ("--subset", ALL, "which of them: all, or covering: one case of every source"),
        ("--slow-subset", COVERING, "the same for methods that are slow"),
        ("--interactive-subset", COVERING, "the same for the protocol interactive"),
    ):
        parser.add_argument(option, choices=(ALL, COVERING), default=default, help=f"{what} ({default})")


def _add_questions(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--methods",
        type=names,
        default=(),
        metavar="A,B",
        help="which methods (default: all; in protocol interactive the quick ones); sources: each of our engine's "
        "sources alone; ablations: our engine without each of its parts; learners: each meta-trained learner alone; "
        "joined: our sources with each of those as one more",
    )
    parser.add_argument("--weights", type=names, default=(), metavar="METHOD=PATH", help=WEIGHTS)
    parser.add_argument(
        "--interactive-methods",
        type=names,
        default=(),
        metavar="A,B",
        help="the same for the protocol interactive alone",
    )
    parser.add_argument("--protocol", type=names, default=PROTOCOLS[:1], metavar="A,B", help="slices, interactive")
    parser.add_argument("--k", type=integers, default=(), metavar="1,3,5,9", help="numbers of example slices")
    parser.add_argument(
        "--placement", type=names, default=("even", "random"), metavar="A,B", help="where the slices lie: even, random"
    )
    parser.add_argument(
        "--painting",
        type=names,
        default=("exact",),
        metavar="A,B",
        help="how they are painted: exact, jitter-N, shift-N (mm), missed, wrong-slice, scribbles, axis-N; drawn: the "
        "strokes of a person, where a case has a file scribble.*",
    )
    parser.add_argument(
        "--policies",
        type=names,
        default=(),
        metavar="A,B",
        help="how the simulated radiologist chooses the next slice: suggestion, worst, random, equal (all)",
    )
    parser.add_argument("--no-boundaries", action="store_true", help="no surface Dice and Hausdorff distance")


def run(args: argparse.Namespace) -> int:
    """Run what is missing, then write the report."""
    from napari_medmeta.bench.methods import missing_methods
    from napari_medmeta.bench.report import Setting, write_report

    started = time.perf_counter()
    _check(args)
    cases = _cases(args)
    plan = _plan(args, cases)
    args.out.mkdir(parents=True, exist_ok=True)
    runs, skipped = _run_slices(args, plan) if "slices" in args.protocol else ((), ())
    sessions, left = _run_interactive(args, cases) if "interactive" in args.protocol else ((), ())
    setting = Setting(
        plan,
        " ".join(["napari-medmeta", *map(without_folders, sys.argv[1:])]),
        tuple(sorted({*skipped, *left}, key=lambda s: s.case)),
        {} if args.methods else missing_methods(weights=plan.weights),
        time.perf_counter() - started,
    )
    with _stages() as progress:
        files = write_report(
            args.out, runs, sessions, setting, page=args.report, pictures=not args.no_pictures, progress=progress
        )
    for path in files:
        print(f"Wrote {path}")
    return 0


def _run_slices(args: argparse.Namespace, plan: Plan) -> tuple[tuple[Run, ...], tuple[Skipped, ...]]:
    from napari_medmeta.bench.run import keys_of_plan, run_plan
    from napari_medmeta.bench.store import RunStore

    store, keys = RunStore(args.out / "runs.jsonl"), keys_of_plan(plan)
    with _bar(len(keys), "run", "slices") as tick:
        skipped = run_plan(plan, store, jobs=args.jobs, tick=tick)
    return store.wanted(keys), skipped


def _run_interactive(
    args: argparse.Namespace, cases: tuple[Case, ...]
) -> tuple[tuple[SessionRun, ...], tuple[Skipped, ...]]:
    from napari_medmeta.bench.interactive import run_sessions, session_keys
    from napari_medmeta.bench.interactive_store import SessionStore

    plan = _session_plan(args, cases)
    store, keys = SessionStore(args.out / "sessions.jsonl"), session_keys(plan)
    with _bar(len(keys), "session", "interactive") as tick:
        skipped = run_sessions(plan, store, jobs=args.jobs, tick=tick)
    return store.wanted(keys), skipped


@contextmanager
def _bar(total: int, unit: str, name: str) -> Iterator[Any]:
    from tqdm import tqdm

    with tqdm(total=total, unit=unit, desc=name, disable=None) as bar:
        yield lambda: bar.update() and None


@contextmanager
def _stages() -> Iterator[Progress]:
    from tqdm import tqdm

    # The report is written at once; only its pictures take long enough to wait for.
    with tqdm(total=100, unit="%", desc="report", disable=None, leave=False) as bar:

        def tell(fraction: float, stage: str, /) -> None:
            bar.set_description(stage, refresh=False)
            bar.update(round(100 * fraction) - bar.n)

        yield tell


def _check(args: argparse.Namespace) -> None:
    """Refuse options that make no sense, before anything is read."""
    from napari_medmeta.bench.interactive_store import Policy
    from napari_medmeta.bench.protocol import Placement
    from napari_medmeta.core import InputError

    words = {"protocol": PROTOCOLS, "placement": tuple(Placement), "policies": tuple(Policy)}
    for option, known in words.items():
        unknown = [word for word in getattr(args, option) if word not in known]
        if unknown:
            raise InputError(f"--{option} {unknown[0]} does not exist", expected=" or ".join(known))
    if args.k and min(args.k) < 1:
        raise InputError("The numbers of example slices cannot be used", expected="such as --k 1,3,5,9")
    if args.jobs < 1:
        raise InputError(f"--jobs {args.jobs} is no number of processes", expected="1 or more")


def _cases(args: argparse.Namespace) -> tuple[Case, ...]:
    from napari_medmeta.bench.cases import covering_subset, find_cases

    cases = find_cases(args.data, only=args.cases)
    return covering_subset(cases) if args.subset == COVERING else cases


def _plan(args: argparse.Namespace, cases: tuple[Case, ...]) -> Plan:
    from napari_medmeta.bench.cases import covering_subset
    from napari_medmeta.bench.methods import available_methods, is_slow
    from napari_medmeta.bench.painting import parse_painting
    from napari_medmeta.bench.plan import KS, Plan
    from napari_medmeta.bench.protocol import Placement

    weights = _weights(args)
    methods = _expanded(args.methods) or available_methods(weights=weights)
    some = args.slow_subset == COVERING and any(is_slow(m) for m in methods)
    return Plan(
        cases,
        methods,
        ks=tuple(sorted(set(args.k))) or KS,
        placements=tuple(dict.fromkeys(Placement(p) for p in args.placement)),
        paintings=tuple(dict.fromkeys(parse_painting(p) for p in args.painting)),
        seed=args.seed,
        device=args.device,
        boundaries=not args.no_boundaries,
        subset=frozenset(c.id for c in covering_subset(cases)) if some else None,
        weights=weights,
    )


def _session_plan(args: argparse.Namespace, cases: tuple[Case, ...]) -> SessionPlan:
    from napari_medmeta.bench.cases import covering_subset
    from napari_medmeta.bench.interactive import INTERACTIVE_METHODS, SessionPlan
    from napari_medmeta.bench.interactive_store import Policy
    from napari_medmeta.bench.methods import available_methods

    weights = _weights(args)
    quick = tuple(m for m in INTERACTIVE_METHODS if m in available_methods(weights=weights))
    return SessionPlan(
        covering_subset(cases) if args.interactive_subset == COVERING else cases,
        _expanded(args.interactive_methods or args.methods) or quick,
        policies=tuple(p for p in Policy if not args.policies or p in args.policies),
        seed=args.seed,
        device=args.device,
        weights=weights,
    )


def _expanded(methods: tuple[str, ...]) -> tuple[str, ...]:
    from napari_medmeta.bench.methods import ablation_methods, joined_methods, learner_methods, source_methods

    groups = dict(zip(GROUPS, (source_methods, ablation_methods, learner_methods, joined_methods), strict=True))
    return tuple(dict.fromkeys(m for name in methods for m in (groups[name]() if name in groups else (name,))))


def _weights(args: argparse.Namespace) -> dict[str, Path]:
    from napari_medmeta.bench.methods import weighted_methods
    from napari_medmeta.core import InputError

    pairs = [word.partition("=") for word in args.weights]
    wrong = [name for name, equals, path in pairs if not (equals and path)]
    if wrong:
        raise InputError(f"--weights {wrong[0]} names no file", expected="such as --weights labelprop=FILE")
    unknown = [name for name, _, _ in pairs if name not in weighted_methods()]
    if unknown:
        raise InputError(
            f"--weights {unknown[0]} names no method that takes weights",
            expected="one of " + ", ".join(weighted_methods()),
        )
    return {name: Path(path) for name, _, path in pairs}
