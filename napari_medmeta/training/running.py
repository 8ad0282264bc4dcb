"""What every training run needs: a device, a falling rate of learning, a log."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from lightning_fabric import Fabric
from torch.optim import Optimizer
from torch.utils.data import DataLoader, IterableDataset

__all__ = ["append_row", "feed", "launched", "record_of", "set_rate", "taken"]

_Item = TypeVar("_Item")

WARM_STEPS = 100
"""Steps over which the rate of learning rises: Adam's moments are unreliable before."""


def launched(*, device: str, devices: int, precision: str) -> Fabric:
    """Return a running Fabric; precision "auto" is bfloat16 with float32 weights on CUDA and float32 elsewhere."""
    half = precision == "bf16" or (precision == "auto" and device == "cuda")
    fabric = Fabric(accelerator=device, devices=devices, precision="bf16-mixed" if half else "32-true")
    fabric.launch()
    return fabric


def set_rate(optimizer: Optimizer, highest: float, *, step: int, done: float) -> None:
    """Set the rate of learning: a short rise, then a cosine to zero when ``done`` is 1."""
    warm = min(1.0, (step + 1) / WARM_STEPS)
    for group in optimizer.param_groups:
        group["lr"] = highest * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def feed(dataset: IterableDataset[_Item], *, workers: int) -> DataLoader[_Item]:
    """Return a loader of single items made in ``workers`` processes; 0 makes them in this one."""
    context: Any = "spawn" if workers else None
    return DataLoader(
        dataset,
        batch_size=None,
        num_workers=workers,
        multiprocessing_context=context,
        prefetch_factor=4 if workers else None,
    )


def taken(loader: DataLoader[_Item], count: int) -> Iterator[_Item]:
    """Return the first ``count`` items; the loader's processes end with it."""
    return islice(iter(loader), count)


def append_row(path: Path, row: dict[str, float]) -> None:
    """Add a row to a CSV file, with a header when it is new."""
    fresh = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(row))
        if fresh:
            writer.writeheader()
        writer.writerow(row)


def record_of(config: object) -> dict[str, int | float | str]:
    """Return the settings of ``config`` that a capability record keeps of how weights were made."""
    return {name: value for name, value in vars(config).items() if isinstance(value, int | float | str)}
