"""Meta-training of the learnt embedding and of every learner in it, on the same few-shot tasks.

First the encoder is trained together with the prototypical and the matching network, whose losses shape the
embedding; then every other learner is trained in that embedding, which stays as it is. So the families differ in
how they learn from the examples and in nothing else, and a scan is embedded once for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from time import monotonic

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from napari_medmeta.core import CancelToken, Progress, silent
from napari_medmeta.engine.embedding import Encoder, encode_slices
from napari_medmeta.engine.learners.base import Learner, Scene, SceneConfig
from napari_medmeta.training.anatomies import Dice
from napari_medmeta.training.episodes import EpisodeConfig, Posed, pose
from napari_medmeta.training.origin import Origin
from napari_medmeta.training.running import (
    CHECKPOINT,
    LOG,
    Numbered,
    Pool,
    adamw,
    append_row,
    feed,
    launched,
    resumed_origin,
    set_rate,
    start_anew,
    taken,
)
from napari_medmeta.training.sources import Source

__all__ = ["LearnerTrainConfig", "embedded", "task_loss", "tasks", "train_learners", "validated"]

VALIDATION_SEED = 2_000_003
"""Added to the seed for validation tasks: far from any number of training tasks."""

SMALL_AREA = 20.0
"""Voxels of a small structure on one slice: what an empty truth is measured against."""


@dataclass(frozen=True)
class LearnerTrainConfig:
    """How to train.

    Parameters
    ----------
    steps
        Optimiser steps; the learning rate falls to zero over them.
    minutes
        If above 0, the time after which the learning rate has fallen to zero instead.
    batch
        Tasks a step.
    per_volume
        Tasks posed on one volume: drawing a volume costs more than posing a task on it.
    pool
        Tasks kept to draw from, so that the tasks of one step stem from different volumes.
    fresh_every
        The tasks of a new volume join the pool each so many steps.
    rate
        Highest learning rate of AdamW.
    keep_slices
        Query slices of a task that are asked in one step.
    dense
        Whether all slices of a task are embedded, as learners need that walk along the stack.
    """

    steps: int = 3600
    minutes: float = 0.0
    batch: int = 2
    per_volume: int = 3
    pool: int = 96
    fresh_every: int = 2
    rate: float = 2e-3
    decay: float = 1e-4
    keep_slices: int = 5
    dense: bool = False
    workers: int = 1
    validation: int = 16
    check_every: int = 250
    seed: int = 0
    device: str = "cpu"
    devices: int = 1
    precision: str = "auto"
    episodes: EpisodeConfig = field(default_factory=EpisodeConfig)
    scene: SceneConfig = field(default_factory=SceneConfig)


def tasks(
    source: Source, config: EpisodeConfig, *, per_volume: int, seed: int, start: int = 0, stride: int = 1
) -> Numbered[tuple[Posed, ...]]:
    """Return the tasks of volumes number ``start``, ``start + stride``, ... of a seed."""
    return Numbered(partial(_drawn_tasks, source, config, per_volume), seed=seed, start=start, stride=stride)


def _drawn_tasks(source: Source, config: EpisodeConfig, count: int, dice: Dice) -> tuple[Posed, ...] | None:
    volume = source.draw(dice)
    posed = [pose(volume, dice, config, features=False) for _ in range(count)]
    return tuple(p for p in posed if p is not None) or None


def embedded(encoder: Encoder, posed: Posed, depths: Sequence[int], *, config: SceneConfig) -> Scene:
    """Return the task's scene with the slices at ``depths`` embedded, the others left at 0."""
    task = posed.task
    maps = encode_slices(encoder, task.intensity, task.spacing_mm, depths).float()
    rows = torch.as_tensor(list(depths), device=maps.device)
    whole = maps.new_zeros((maps.shape[0], *task.shape)).index_copy(1, rows, maps)
    return Scene(replace(task, embedding=whole), config)


def task_loss(learner: Learner, scene: Scene, truth: Tensor, depths: Sequence[int]) -> Tensor:
    """Return a learner's loss on one task.

    A learner with a loss of its own (``own_loss``) brings it; for the others it is cross-entropy over the voxels
    that the shape leaves open, plus soft Dice (Milletari et al., "V-Net", 3DV 2016) over structures and slices.

    Parameters
    ----------
    truth
        (D, H, W) int64 classes.
    """
    own = getattr(learner, "own_loss", None)
    if own is not None:
        loss: Tensor = own(scene, truth, depths)
        return loss
    rows = torch.as_tensor(list(depths), device=truth.device)
    evidence, target = learner.fit(scene).evidence(depths), truth[rows]
    open_voxels = scene.undecided[rows]
    if not bool(open_voxels.any()):
        return evidence.sum() * 0.0
    entropy = F.nll_loss(evidence[:, open_voxels].T, target[open_voxels])
    probability = evidence[1:].exp()
    hit = torch.stack([target == s for s in range(1, len(evidence))]).float()
    overlap = 2 * (probability * hit).sum((2, 3)) + SMALL_AREA
    size = probability.sum((2, 3)) + hit.sum((2, 3)) + SMALL_AREA
    return entropy + (1 - overlap / size).mean()


class _Question:
    """One task and the slices asked; no dataclass, because Fabric would take such apart to move it."""

    def __init__(self, posed: Posed, depths: Sequence[int]) -> None:
        self.posed, self.depths = posed, depths


class _Model(nn.Module):
    """Encoder and learners as one module, whose forward pass is the loss on one task."""

    def __init__(self, encoder: Encoder, learners: Mapping[str, nn.Module], config: LearnerTrainConfig) -> None:
        super().__init__()
        self.encoder, self.learners, self._config = encoder, nn.ModuleDict(dict(learners)), config

    @property
    def frozen(self) -> bool:
        """Whether the encoder stays as it is."""
        return not any(p.requires_grad for p in self.encoder.parameters())

    def forward(self, question: _Question) -> Tensor:
        """Return the sum of the learners' losses."""
        posed, depths = question.posed, question.depths
        scene = self.scene(posed, depths)
        # Distances between embeddings lose their meaning in half precision.
        with torch.autocast(posed.truth.device.type, enabled=False):
            losses = [task_loss(_as_learner(m), scene, posed.truth, depths) for m in self.learners.values()]
        return torch.stack(losses).sum()

    def scene(self, posed: Posed, depths: Sequence[int]) -> Scene:
        """Return the scene with what is needed of it embedded."""
        wanted = range(posed.task.shape[0]) if self._config.dense else sorted({*depths, *posed.task.depths})
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return embedded(self.encoder, posed, wanted, config=self._config.scene)


def _as_learner(module: nn.Module) -> Learner:
    learner: Learner = module  # type: ignore[assignment]
    return learner


def train_learners(
    source: Source,
    out: Path,
    config: LearnerTrainConfig,
    *,
    encoder: Encoder,
    learners: Mapping[str, nn.Module],
    origin: Origin | None = None,
    resume: bool = False,
    progress: Progress = silent,
    cancel: CancelToken | None = None,
) -> Origin:
    """Train ``learners``, and ``encoder`` unless its parameters are frozen, in place; log and checkpoint go to ``out``.

    Parameters
    ----------
    encoder
        Frozen (no parameter requires a gradient) to train learners in its embedding as it is.
    origin
        What is trained, and from where the weights in ``learners`` and ``encoder`` come.

    Returns
    -------
    Origin
        Of the run, also where it was resumed.
    """
    fabric = launched(device=config.device, devices=config.devices, precision=config.precision)
    torch.manual_seed(config.seed)
    origin = origin if origin is not None else Origin(" ".join(learners))
    run = _Run(fabric, source, out, config, _Model(encoder, learners, config), origin)
    if resume:
        run.load()
    else:
        start_anew(fabric, out)
    run.to_the_end(progress, cancel)
    return run.origin


class _Run:
    def __init__(
        self,
        fabric: Fabric,
        source: Source,
        out: Path,
        config: LearnerTrainConfig,
        model: _Model,
        origin: Origin,
    ) -> None:
        self._fabric, self._source, self._out, self._config = fabric, source, out, config
        self.origin = origin
        optimizer = adamw(model.parameters(), config.rate, decay=config.decay)
        self._plain = model
        self._model, self._optimizer = fabric.setup(model, optimizer)
        self._step, self._seconds = 0, 0.0
        self._draws = torch.Generator().manual_seed(config.seed + fabric.global_rank)

    def load(self) -> None:
        """Go on from the last checkpoint."""
        self.origin = resumed_origin(self._fabric, self._out, self.origin)
        state = {"model": self._model, "optimizer": self._optimizer}
        rest = self._fabric.load(self._out / CHECKPOINT, state, strict=False)
        self._step, self._seconds = int(rest["step"]), float(rest["seconds"])
        self._draws.set_state(rest["draws"])

    def to_the_end(self, progress: Progress, cancel: CancelToken | None) -> None:
        """Train until the steps or minutes are over."""
        started = monotonic() - self._seconds
        checks = [self._moved(some[0]) for some in taken(self._tasks(VALIDATION_SEED, 0), self._config.validation)]
        config, size = self._config, self._config.pool // self._config.per_volume
        pool = Pool(partial(self._tasks, config.seed), size, fresh_every=config.fresh_every, step=self._step)
        running = 0.0
        while self._done() < 1.0:
            if cancel is not None:
                cancel.raise_if_cancelled()
            pool.refresh(self._step)
            loss = self._one_step([self._moved(self._drawn(pool)) for _ in range(self._config.batch)])
            running = loss if running == 0.0 else 0.98 * running + 0.02 * loss
            self._step += 1
            self._seconds = monotonic() - started
            progress(min(1.0, self._done()), f"step {self._step}, loss {running:.3f}")
            if self._step % self._config.check_every == 0:
                self._keep(running, checks)
        self._keep(running, checks)
        self._plain.eval()

    def _done(self) -> float:
        if self._config.minutes > 0:
            return self._seconds / (60 * self._config.minutes)
        return self._step / self._config.steps

    def _drawn(self, pool: Pool[tuple[Posed, ...]]) -> Posed:
        of_volume = pool.drawn(self._draws)
        return of_volume[int(torch.randint(len(of_volume), (), generator=self._draws))]

    def _tasks(self, seed: int, start: int) -> DataLoader[tuple[Posed, ...]]:
        world, rank = self._fabric.world_size, self._fabric.global_rank
        dataset = tasks(
            self._source,
            self._config.episodes,
            per_volume=self._config.per_volume,
            seed=seed,
            start=start * world + rank,
            stride=world,
        )
        return feed(dataset, workers=self._config.workers)

    def _moved(self, posed: Posed) -> Posed:
        task, device = posed.task, self._fabric.device
        painted = tuple(replace(p, classes=p.classes.to(device)) for p in task.painted)
        moved = replace(
            task,
            features=task.features.to(device),
            intensity=task.intensity.to(device),
            classes=task.classes.to(device),
            painted=painted,
        )
        return Posed(moved, posed.truth.to(device), posed.depths)

    def _one_step(self, batch: Sequence[Posed]) -> float:
        self._model.train()
        set_rate(self._optimizer, self.origin.rate(self._config.rate), step=self._step, done=self._done())
        own_step = [m for m in self._plain.learners.values() if hasattr(m, "meta_step")]
        if own_step:
            return self._own_steps(own_step, batch)
        self._optimizer.zero_grad()
        total = 0.0
        for posed in batch:
            loss = self._model(_Question(posed, self._asked(posed))) / len(batch)
            self._fabric.backward(loss)
            total += float(loss.detach())
        self._fabric.clip_gradients(self._model, self._optimizer, max_norm=1.0, error_if_nonfinite=False)
        if all(p.grad is None or bool(torch.isfinite(p.grad).all()) for p in self._model.parameters()):
            self._optimizer.step()
        return total

    def _own_steps(self, learners: Sequence[nn.Module], batch: Sequence[Posed]) -> float:
        """Let learners whose update is no gradient of a loss make their own step."""
        optimizer: Optimizer = self._optimizer.optimizer
        total = 0.0
        for posed in batch:
            depths = self._asked(posed)
            scene = self._plain.scene(posed, depths)
            for learner in learners:
                total += float(learner.meta_step(scene, posed.truth, depths, optimizer)) / len(batch)  # type: ignore[operator]
        return total

    def _asked(self, posed: Posed) -> list[int]:
        """Return some of the query slices: every n-th, beginning elsewhere each time."""
        step = max(1, -(-len(posed.depths) // self._config.keep_slices))
        return list(posed.depths[self._step % step :: step]) or list(posed.depths[:1])

    def _keep(self, loss: float, checks: Sequence[Posed]) -> None:
        if self._fabric.is_global_zero:
            row = {"step": float(self._step), "minutes": round(self._seconds / 60, 2), "loss": round(loss, 4)}
            scores = validated(self._plain, checks)
            append_row(self._out / LOG, row | {name: round(value, 4) for name, value in scores.items()})
        state = {
            "origin": self.origin.as_dict(),
            "model": self._model,
            "optimizer": self._optimizer,
            "step": self._step,
            "seconds": self._seconds,
            "draws": self._draws.get_state(),
        }
        self._fabric.save(self._out / CHECKPOINT, state)


def validated(model: _Model, checks: Sequence[Posed]) -> dict[str, float]:
    """Return the mean Dice over validation tasks of the interpolated shape and of each learner."""
    # The encoder stays in training mode: a task's own slices normalise it.
    model.train()
    model.learners.eval()
    found: dict[str, list[float]] = {"shape": [], **{name: [] for name in model.learners}}
    for posed in checks:
        depths = list(posed.depths)
        with torch.no_grad():
            scene = model.scene(posed, depths)
        found["shape"] += _dice(scene.shape.log_posterior(depths), posed.truth[depths])
        for name, module in model.learners.items():
            # Not under no_grad: learners that adapt by gradient steps need gradients to answer at all.
            found[name] += _dice(_as_learner(module).fit(scene).evidence(depths).detach(), posed.truth[depths])
    return {name: sum(scores) / len(scores) for name, scores in found.items()}


def _dice(evidence: Tensor, truth: Tensor) -> list[float]:
    proposed = evidence.argmax(0)
    scores = []
    for s in range(1, len(evidence)):
        here, there = proposed == s, truth == s
        if bool(there.any()):
            scores.append(float(2 * (here & there).sum() / (here.sum() + there.sum())))
    return scores
