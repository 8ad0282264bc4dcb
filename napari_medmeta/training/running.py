"""What every training run needs: a device, numbered tasks, a falling rate of learning, a log."""

from __future__ import annotations

import csv
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.optim import AdamW, Optimizer
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from napari_medmeta.training.anatomies import Dice
from napari_medmeta.training.origin import Origin

__all__ = [
    "CHECKPOINT",
    "LOG",
    "Numbered",
    "Pool",
    "adamw",
    "append_row",
    "feed",
    "launched",
    "record_of",
    "resumed_origin",
    "set_rate",
    "start_anew",
    "taken",
]

_Item = TypeVar("_Item")

CHECKPOINT, LOG = "checkpoint.ckpt", "log.csv"

FACTOR = "factor"
"""Of a group of parameters: by how much its rate of learning differs from the others'."""

SCALAR_FACTOR = 10.0
"""At the usual rate of 2e-3 a temperature would move by a fifth in a hundred steps."""

WARM_STEPS = 100
"""Steps over which the rate of learning rises: Adam's moments are unreliable before."""


def launched(*, device: str, devices: int, precision: str) -> Fabric:
    """Return a running Fabric; precision "auto" is bfloat16 with float32 weights on CUDA and float32 elsewhere."""
    half = precision == "bf16" or (precision == "auto" and device == "cuda")
    fabric = Fabric(accelerator=device, devices=devices, precision="bf16-mixed" if half else "32-true")
    fabric.launch()
    return fabric


def start_anew(fabric: Fabric, out: Path) -> None:
    """Make the folder of a run, and remove the log of another one that lies there: it may have other columns."""
    out.mkdir(parents=True, exist_ok=True)
    if fabric.is_global_zero:
        (out / LOG).unlink(missing_ok=True)


def resumed_origin(fabric: Fabric, out: Path, origin: Origin) -> Origin:
    """Return the origin of the run whose checkpoint lies in ``out``, which must be one like ``origin``.

    Raises
    ------
    InputError
        When that run trained something else, or stood on other weights.
    """
    return origin.resumed(fabric.load(out / CHECKPOINT, {}, strict=False).get("origin"))


def adamw(parameters: Iterable[nn.Parameter], rate: float, *, decay: float) -> AdamW:
    """Return AdamW (Loshchilov and Hutter, ICLR 2019) over ``parameters``; those that learn at all.

    Single numbers, such as a temperature or a power, learn `SCALAR_FACTOR` times as fast and do not decay: Adam
    moves each number by about the rate a step, and no other one can make up for theirs.
    """
    trained = [p for p in parameters if p.requires_grad]
    single = [p for p in trained if p.ndim == 0]
    others = [p for p in trained if p.ndim > 0]
    groups = [{"params": others, FACTOR: 1.0}, {"params": single, FACTOR: SCALAR_FACTOR, "weight_decay": 0.0}]
    return AdamW([g for g in groups if g["params"]], lr=rate, weight_decay=decay)


def set_rate(optimizer: Optimizer, highest: float, *, step: int, done: float) -> None:
    """Set the rate of learning: a short rise, then a cosine to zero when ``done`` is 1."""
    warm = min(1.0, (step + 1) / WARM_STEPS)
    for group in optimizer.param_groups:
        group["lr"] = highest * group.get(FACTOR, 1.0) * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


class Numbered(IterableDataset[_Item]):
    """Tasks number ``start``, ``start + stride``, ... of a seed, shared out evenly among workers.

    Parameters
    ----------
    make
        Makes one from its own draws; None where these led to nothing, and the next draws belong to the same number.
    """

    def __init__(self, make: Callable[[Dice], _Item | None], *, seed: int, start: int = 0, stride: int = 1) -> None:
        super().__init__()
        self._make, self._seed, self._start, self._stride = make, seed, start, stride

    def __iter__(self) -> Iterator[_Item]:
        worker = get_worker_info()
        first, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        number = self._start + first * self._stride
        while True:
            yield self._made(number)
            number += workers * self._stride

    def _made(self, number: int) -> _Item:
        attempt = 0
        while True:
            generator = torch.Generator().manual_seed((self._seed * 1_000_003 + number) * 101 + attempt)
            made = self._make(Dice(generator))
            if made is not None:
                return made
            attempt += 1


class Pool(Generic[_Item]):
    """The latest tasks, from which steps draw: making one costs more than a step.

    Parameters
    ----------
    items
        Returns the tasks from a number on.
    size
        So many are kept.
    fresh_every
        A new one joins each so many steps.
    step
        Of a resumed run: what lay in its pool is first made again, so that it goes on exactly as it would have.
    """

    def __init__(self, items: Callable[[int], Iterable[_Item]], size: int, *, fresh_every: int, step: int) -> None:
        self._fresh_every = fresh_every
        seen = -(-step // fresh_every)
        known = min(seen, size)
        self._source = iter(items(seen - known))
        self._kept = deque((next(self._source) for _ in range(known)), maxlen=size)

    def refresh(self, step: int) -> None:
        """Take a new task in, where it is time."""
        if step % self._fresh_every == 0:
            self._kept.append(next(self._source))

    def drawn(self, draws: torch.Generator) -> _Item:
        """Return one of the kept tasks."""
        return self._kept[int(torch.randint(len(self._kept), (), generator=draws))]


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


def record_of(config: object) -> dict[str, Any]:
    """Return the settings of ``config`` that a capability record keeps of how weights were made."""
    return {name: value for name, value in vars(config).items() if isinstance(value, int | float | str)}
