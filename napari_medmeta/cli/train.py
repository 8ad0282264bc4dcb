"""``napari-medmeta train``: meta-train the networks on synthetic anatomies and, if wanted, own scans."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medmeta.cli.options import add_device, add_weights
from napari_medmeta.core.weights import FUSION

if TYPE_CHECKING:
    from napari_medmeta.cli.options import Subparsers
    from napari_medmeta.core.jobs import Progress

__all__ = ["add_parser", "run"]

SHIPPED = "shipped"
"""With --start: the weights that come with the package."""


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "train",
        help="train the networks, on synthetic anatomies and on your own labelled scans",
        description="Meta-train the fusion network, the learnt embedding or a learner: each step is a small few-shot "
        "task with a known answer. Without --data all tasks are synthetic. OUT gets the weights, a checkpoint, log.csv "
        "and curves.svg.",
    )
    parser.add_argument(
        "--learner",
        default=FUSION,
        help="what to train: fusion (default), embedding (the encoder with the prototypical and the matching network), "
        "or one of the other learners, such as siamese or maml, in that embedding",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for weights, checkpoint and log")
    add_weights(parser, "that take part but are not trained: the encoder below a learner, the sources below fusion")
    parser.add_argument(
        "--start",
        metavar="shipped|DIR",
        help="go on from trained weights: those of the package, or those in DIR (default: from nothing)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="labelled scans (one sub-folder a case with image.* and label.*), or label maps; may be repeated",
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, help="number of steps (default: as the shipped weights were trained)")
    length.add_argument("--minutes", type=float, default=0.0, help="train for so long instead")
    parser.add_argument(
        "--corrections",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of the fusion network's tasks, 0 to 1, in which the worst of the proposed slices has already been "
        "corrected (0, as the shipped weights were trained); costs time",
    )
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in OUT")
    add_device(parser, default="cpu")
    parser.add_argument("--devices", type=int, default=1, metavar="N", help="how many graphics cards")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="number format")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes that make tasks")
    parser.add_argument("--seed", type=int, default=0, help="seed of every draw")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, and write weights with their record."""
    from importlib.util import find_spec

    from napari_medmeta.core import InputError
    from napari_medmeta.training.curves import draw_curves

    if find_spec("lightning_fabric") is None:
        raise InputError(
            "Training needs a package that is not installed", next_step="Run: pip install 'napari-medmeta[train]'"
        )
    if (args.steps is not None and args.steps < 1) or args.minutes < 0:
        raise InputError("There is nothing to train", expected="--steps above 0, or --minutes above 0")
    if not 0 <= args.corrections <= 1 or (args.corrections and args.learner != FUSION):
        raise InputError(
            f"--corrections was {args.corrections:g} for {args.learner}",
            expected="0 to 1, for the fusion network alone",
        )
    if args.resume and args.start is not None:
        raise InputError(
            "--resume and --start were both given",
            expected="one of them: --resume goes on with the run in OUT, --start begins a new one from trained weights",
        )
    if args.resume and not (args.out / "checkpoint.ckpt").exists():
        raise InputError(
            f"There is no checkpoint in {args.out}", next_step="Leave out --resume, or name the folder of the first run"
        )
    with _bar() as show:
        files = _fusion(args, show) if args.learner == FUSION else _family(args, show)
    for path in files:
        print(f"Wrote {path}")
    if drawn := draw_curves(args.out / "log.csv", args.out / "curves.svg"):
        print(f"Wrote {drawn}")
    return 0


def _fusion(args: argparse.Namespace, show: Progress) -> tuple[Path, ...]:
    from napari_medmeta.training.fusion import train_fusion
    from napari_medmeta.training.meta import TrainConfig
    from napari_medmeta.training.sources import find_sources

    config = replace(TrainConfig(corrections=args.corrections), **_settings(args))
    source = find_sources(args.data)
    return (train_fusion(source, args.out, config, **_origin(args), progress=show),)


def _family(args: argparse.Namespace, show: Progress) -> tuple[Path, ...]:
    from napari_medmeta.core import InputError
    from napari_medmeta.training.families import train_family, trainable, usual_steps
    from napari_medmeta.training.learners import LearnerTrainConfig
    from napari_medmeta.training.sources import find_sources

    if args.learner not in trainable():
        raise InputError(
            f"There is no learner {args.learner!r}", expected="one of " + ", ".join((FUSION, *trainable()))
        )
    config = replace(LearnerTrainConfig(steps=usual_steps(args.learner)), **_settings(args))
    source = find_sources(args.data)
    return train_family(args.learner, source, args.out, config, **_origin(args), progress=show)


def _origin(args: argparse.Namespace) -> dict[str, Any]:
    from napari_medmeta.training.origin import Start

    start: Start | None = None
    if args.start is not None:
        start = Start(None if args.start == SHIPPED else Path(args.start))
    return {"weights": args.weights, "start": start, "resume": args.resume}


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    names = ("minutes", "workers", "seed", "device", "devices", "precision")
    chosen = {name: getattr(args, name) for name in names}
    return chosen if args.steps is None else {**chosen, "steps": args.steps}


@contextmanager
def _bar() -> Iterator[Progress]:
    from tqdm import tqdm

    with tqdm(total=1000, unit="‰", desc="train", disable=None) as bar:

        def show(fraction: float, stage: str, /) -> None:
            bar.update(int(1000 * fraction) - bar.n)
            bar.set_postfix_str(stage)

        yield show
