"""The learning curves of a training run, as a picture."""

from __future__ import annotations

import csv
from pathlib import Path

__all__ = ["draw_curves"]

NO_DICE = ("step", "minutes", "loss")

BASELINES = {"validation_dice_before": "sources alone", "shape": "interpolated shape"}
"""What training does not change, by column."""

LABELS = {**BASELINES, "validation_dice": "with the network"}


def draw_curves(log: Path, out: Path) -> Path | None:
    """Draw ``log`` to ``out``: the loss, and the Dice of every column besides; None without matplotlib."""
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
    for name in rows[0]:
        if name not in NO_DICE:
            line = "--" if name in BASELINES else "-"
            right.plot(steps, [row[name] for row in rows], line, label=LABELS.get(name, name.replace("_", " ")))
    right.set(xlabel="step", ylabel="Dice on held-out synthetic tasks")
    right.legend()
    figure.savefig(out, metadata={"Date": None})
    return out
