"""Render what each family of learners proposes alone on the synthetic torso, from the same three painted slices.

Usage: python examples/learners_picture.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from napari_medmeta.core import LabelArray, support_from_labels
from napari_medmeta.core.phantoms import Phantom, torso_ct
from napari_medmeta.engine import Segmenter
from napari_medmeta.engine.choices import engine_config, learner_names

UNPAINTED = 255
PAINTED = (16, 30, 44)
SHOWN = 37
"""Half-way between two painted slices, where nobody has it easy."""
COLUMNS = 4


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    phantom = torso_ct(seed=0)
    painted = np.full_like(phantom.labels, UNPAINTED)
    painted[list(PAINTED)] = phantom.labels[list(PAINTED)]
    support = support_from_labels(painted, axis=0)
    names = learner_names()
    rows = -(-(len(names) + 1) // COLUMNS)
    figure = Figure(figsize=(2.6 * COLUMNS, 2.8 * rows), layout="constrained")
    axes = list(figure.subplots(rows, COLUMNS).flat)
    draw(axes[0], phantom, phantom.labels, "truth")
    for place, name in zip(axes[1:], names, strict=False):
        segmenter = Segmenter(device="cpu", config=engine_config(name))
        segmenter.set_volume(phantom.volume)
        proposed = segmenter.segment(support).volume(phantom.labels.shape)
        draw(place, phantom, proposed, f"{name.replace('_', '-')}, Dice {mean_dice(proposed, phantom.labels):.2f}")
    for place in axes[len(names) + 1 :]:
        place.axis("off")
    path = folder / "learners.png"
    figure.savefig(path, dpi=80, metadata={"Software": None})
    print(f"Wrote {path}")


def mean_dice(proposed: LabelArray, truth: LabelArray) -> float:
    free = [n for n in range(len(truth)) if n not in PAINTED]
    scores = []
    for structure in np.unique(truth[free])[1:]:
        here, there = proposed[free] == structure, truth[free] == structure
        scores.append(2 * np.count_nonzero(here & there) / (np.count_nonzero(here) + np.count_nonzero(there)))
    return float(np.mean(scores))


def draw(axes: Axes, phantom: Phantom, labels: LabelArray, title: str) -> None:
    axes.imshow(phantom.volume.array[SHOWN], cmap="gray", vmin=-160, vmax=240)
    for structure in np.unique(phantom.labels)[1:]:
        mask = labels[SHOWN] == structure
        if mask.any():
            axes.contour(mask, levels=[0.5], colors=[to_hex(f"C{int(structure) % 10}")], linewidths=1.0)
    axes.set_title(title, fontsize=9)
    axes.axis("off")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "images")
