"""``napari-medmeta train``: meta-train the fusion network on synthetic anatomies and, if wanted, own scans."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medmeta.cli.options import add_device

if TYPE_CHECKING:
    from napari_medmeta.cli.options import Subparsers

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "train",
        help="train the network that fuses the evidence, on synthetic anatomies and on your own labelled scans",
        description="Meta-train the fusion network: each step is a small few-shot task with a known answer. Without "
        "--data all tasks are synthetic. OUT gets the weights, a checkpoint, log.csv and curves.svg.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for weights, checkpoint and log")
    parser.add_argument(
        "--data",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="labelled scans (one sub-folder a case with image.* and label.*), or label maps; may be repeated",
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, default=5000, help="number of steps (default: 5000)")
    length.add_argument("--minutes", type=float, default=0.0, help="train for so long instead")
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

    from tqdm import tqdm

    from napari_medmeta.core import InputError

    if find_spec("lightning_fabric") is None:
        raise InputError(
            "Training needs a package that is not installed", next_step="Run: pip install 'napari-medmeta[train]'"
        )
    from napari_medmeta.engine.weights import save_weights
    from napari_medmeta.training.curves import draw_curves
    from napari_medmeta.training.meta import TrainConfig, record_of, train
    from napari_medmeta.training.sources import find_sources

    if args.steps < 1 or args.minutes < 0:
        raise InputError("There is nothing to train", expected="--steps above 0, or --minutes above 0")
    if args.resume and not (args.out / "checkpoint.ckpt").exists():
        raise InputError(
            f"There is no checkpoint in {args.out}", next_step="Leave out --resume, or name the folder of the first run"
        )
    config = TrainConfig(
        steps=args.steps,
        minutes=args.minutes,
        workers=args.workers,
        seed=args.seed,
        device=args.device,
        devices=args.devices,
        precision=args.precision,
    )
    source = find_sources(args.data)
    with tqdm(total=1000, unit="‰", desc="train", disable=None) as bar:

        def show(fraction: float, stage: str) -> None:
            bar.update(int(1000 * fraction) - bar.n)
            bar.set_postfix_str(stage)

        network = train(source, args.out, config, resume=args.resume, progress=show)
    print(f"Wrote {save_weights(args.out, network, training=record_of(config))}")
    if drawn := draw_curves(args.out / "log.csv", args.out / "curves.svg"):
        print(f"Wrote {drawn}")
    return 0
