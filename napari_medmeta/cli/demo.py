"""``napari-medmeta demo``: the main job on a synthetic scan, measured, and then in a window where there is one."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medmeta.cli.options import add_device

if TYPE_CHECKING:
    from napari_medmeta.cli.loop import Loop, Round
    from napari_medmeta.cli.options import Subparsers

__all__ = ["OPEN_DEMO", "add_parser", "has_display", "qt_starts", "run", "show_in_napari"]

OPEN_DEMO = "napari-medmeta.demo"
"""The manifest's command that opens the scan with painted slices in a viewer."""
SYSTEM_PACKAGES = "sudo apt-get install libegl1 libgl1 libxcb-cursor0 libxkbcommon-x11-0 libdbus-1-3"
FEWEST_SLICES = 2
"""A slice half-way between two painted ones is shown."""


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "demo",
        help="run the main job on a synthetic scan",
        description="Paint a few slices of a synthetic torso, propose the volume, correct one slice, save. Where there "
        "is a display, napari then opens with the same scan.",
    )
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="folder to write into (%(default)s)")
    parser.add_argument(
        "--slices", type=_slice_count, default=4, metavar="N", help="how many slices are painted (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed gives another patient (%(default)s)")
    parser.add_argument("--headless", action="store_true", help="open no window, even where there is a display")
    add_device(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the loop without a window, print what was measured, then open napari where there is a display."""
    from napari_medmeta.cli.loop import ask, begin, correct_worst, finish
    from napari_medmeta.cli.story import story
    from napari_medmeta.core.phantoms import torso_ct
    from napari_medmeta.engine import Segmenter

    args.output.mkdir(parents=True, exist_ok=True)
    engine = Segmenter(device=args.device, seed=args.seed)
    phantom = torso_ct(seed=args.seed)
    start = time.perf_counter()
    loop = begin(phantom, engine, slices=args.slices)
    visible = sum(loop.task.painted[:2]) // 2
    size = " x ".join(str(n) for n in phantom.volume.array.shape)
    print(f"A synthetic torso of {size} voxels, {len(loop.task.painted)} slices painted.")
    print(f"The scan was prepared in {time.perf_counter() - start:.1f} s on {engine.device}.")
    first = ask(loop, visible=visible)
    _tell("First proposal", first, loop)
    corrected = correct_worst(loop, first)
    last = ask(corrected, visible=visible)
    _tell(f"After slice {corrected.task.painted[-1]} was corrected", last, corrected)
    picture = args.output / "demo.png"
    story(corrected, first, last).save(picture)
    for path in (*finish(corrected, args.output), picture):
        print(f"Written: {path.resolve()}")
    return 0 if args.headless else show_in_napari()


def _tell(title: str, round_: Round, loop: Loop) -> None:
    print(f"\n{title}: one slice after {round_.first_slice_s:.2f} s, the volume after {round_.whole_volume_s:.2f} s.")
    print(f"  {'structure':<14} {'Dice':>6} {'expected':>9}")
    for structure, dice in round_.dice.items():
        expected = round_.proposal.expected_dice.get(structure)
        print(f"  {loop.phantom.names[structure]:<14} {_number(dice):>6} {_number(expected):>9}")
    print(f"  {'mean':<14} {round_.mean_dice:6.3f}   (on the slices that were not painted)")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _slice_count(text: str) -> int:
    count = int(text) if text.isdigit() else 0
    if count < FEWEST_SLICES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of slices, at least {FEWEST_SLICES}")
    return count


def show_in_napari() -> int:
    """Open the scan with painted slices in napari until the window is closed; say so where that cannot be."""
    if not has_display():
        print("\nThere is no display, so no window was opened.")
        return 0
    if not qt_starts():
        print(
            "\nThere is a display, but the window toolkit does not start on it. On Debian and Ubuntu this may help:\n"
            f"    {SYSTEM_PACKAGES}",
            file=sys.stderr,
        )
        return 0
    import napari
    from npe2 import PluginManager

    print("\nOpening napari with the same torso: correct a slice with the brush, accept others with A.", flush=True)
    # Through the manifest, as every window of ours is opened: the command line imports no GUI code of ours.
    PluginManager.instance().commands.execute(OPEN_DEMO, args=(napari.Viewer(),))
    napari.run()
    return 0


def has_display() -> bool:
    """Return whether a window could be opened."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def qt_starts() -> bool:
    """Return whether a window toolkit is installed and starts on this display."""
    # Qt ends the whole process when a system library is missing, so it is tried in another one.
    code = "from qtpy.QtWidgets import QApplication; QApplication([])"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
