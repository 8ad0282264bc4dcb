"""Render a gallery of the synthetic anatomies that the engine is trained on.

Usage: python examples/anatomies_picture.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure

from napari_medmeta.training.anatomies import Dice, random_anatomy
from napari_medmeta.training.appearance import random_image

ROWS, COLUMNS = 3, 5


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(2.4 * COLUMNS, 2.6 * ROWS), layout="constrained")
    for seed, axes in enumerate(figure.subplots(ROWS, COLUMNS).flat):
        dice = Dice(torch.Generator().manual_seed(seed))
        anatomy = random_anatomy(dice)
        image = random_image(dice, anatomy)
        middle = anatomy.labels.shape[0] // 2
        axes.imshow(image[middle], cmap="gray")
        for structure in anatomy.structures:
            mask = anatomy.labels[middle] == structure
            if bool(mask.any()):
                axes.contour(mask, levels=[0.5], colors=[f"C{structure % 10}"], linewidths=0.9)
        thickness, pixel, _ = anatomy.spacing_mm
        axes.set_title(f"{len(anatomy.labels)} slices of {thickness:.1f} mm, pixel {pixel:.1f} mm", fontsize=7)
        axes.axis("off")
    path = folder / "anatomies.png"
    figure.savefig(path, dpi=80, metadata={"Software": None})
    print(f"Wrote {path}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "images")
