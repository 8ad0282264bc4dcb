"""The learning curves of a training run, as a picture."""

from __future__ import annotations

import csv
from pathlib import Path

__all__ = ["draw_curves"]


def draw_curves(log: Path, out: Path) -> Path | None:
    """Draw ``log`` (as `napari_medmeta.training.meta.train` writes it) to ``out``; None without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    with log.open(newline="", encoding="utf-8") as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    steps = [row["step"] for row in rows]
    figure = Figure(figsize=(7.0, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(steps, [row["loss"] for row in rows])
    left.set(xlabel="step", ylabel="loss (running mean)")
    right.plot(steps, [row["validation_dice"] for row in rows], label="with the network")
    right.plot(steps, [row["validation_dice_before"] for row in rows], "--", label="sources alone")
    right.set(xlabel="step", ylabel="Dice on held-out synthetic tasks")
    right.legend()
    figure.savefig(out, metadata={"Date": None})
    return out
