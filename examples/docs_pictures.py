"""Render the pictures of README and docs/ from the synthetic torso, and print the figures they show.

Usage: python examples/docs_pictures.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

from napari_medmeta.cli.loop import ask, begin, correct_worst
from napari_medmeta.cli.story import story
from napari_medmeta.core.phantoms import torso_ct
from napari_medmeta.engine import Segmenter


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    loop = begin(torso_ct(seed=0), Segmenter(device="cpu"), slices=4)
    visible = sum(loop.task.painted[1:3]) // 2
    first = ask(loop, visible=visible)
    corrected = correct_worst(loop, first)
    last = ask(corrected, visible=visible)
    story(corrected, first, last).save(folder / "story.png", optimize=True)
    print(f"mean Dice {first.mean_dice:.3f} from {len(first.task.painted)} slices,", end=" ")
    print(f"{last.mean_dice:.3f} after one more: {folder / 'story.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "images")
