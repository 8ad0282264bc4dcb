"""The training loop of the fusion network: episodes in, weights out."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from napari_medmeta.core import CancelToken, Progress, silent
from napari_medmeta.core.weights import FUSION
from napari_medmeta.engine.network import FusionNetwork, NetworkConfig, mirrored
from napari_medmeta.training.anatomies import Dice
from napari_medmeta.training.episodes import IGNORED, Episode, EpisodeConfig, make_episode
from napari_medmeta.training.origin import Origin, Start
from napari_medmeta.training.running import (
    CHECKPOINT,
    LOG,
    Numbered,
    Pool,
    append_row,
    feed,
    launched,
    resumed_origin,
    set_rate,
    start_anew,
    taken,
)
from napari_medmeta.training.sources import Source

__all__ = ["Batch", "TrainConfig", "Trained", "collate", "corrected", "episode_loss", "episodes", "flipped", "train"]

VALIDATION_SEED = 1_000_003
"""Added to the seed for validation episodes: far from any number of training episodes."""


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Parameters
    ----------
    steps
        Optimiser steps; the learning rate falls to zero over them.
    minutes
        If above 0, the time after which the learning rate has fallen to zero instead.
    batch
        Slices a step, each with all its structures.
    pool
        Episodes kept to draw slices from.
    fresh_every
        A new episode joins the pool each so many steps: making one costs as much as a few steps.
    rate
        Highest learning rate of AdamW.
    workers
        Processes that make episodes; the result does not depend on their number.
    corrections
        Share of the episodes in which somebody has already corrected what was proposed worst.
    precision
        "auto" is bfloat16 with float32 weights on CUDA and float32 elsewhere; "bf16" and "fp32" choose it.
    """

    steps: int = 4000
    minutes: float = 0.0
    batch: int = 16
    fresh_every: int = 3
    pool: int = 160
    rate: float = 3e-3
    decay: float = 1e-4
    average: float = 0.995
    workers: int = 1
    corrections: float = 0.0
    validation: int = 24
    check_every: int = 250
    seed: int = 0
    device: str = "cpu"
    devices: int = 1
    precision: str = "auto"
    episodes: EpisodeConfig = field(default_factory=EpisodeConfig)


def episodes(source: Source, config: EpisodeConfig, *, seed: int, start: int = 0, stride: int = 1) -> Numbered[Episode]:
    """Return the episodes number ``start``, ``start + stride``, ... of a seed."""
    return Numbered(partial(_drawn_episode, source, config), seed=seed, start=start, stride=stride)


def _drawn_episode(source: Source, config: EpisodeConfig, dice: Dice) -> Episode | None:
    return make_episode(source.draw(dice), dice, config)


@dataclass(frozen=True, eq=False)
class Batch:
    """Slices of several episodes, padded to the same number of structures.

    Parameters
    ----------
    views
        (B, S, C, H, W).
    log_odds
        (B, S, H, W); minus infinity for structures that are only padding.
    truth
        (B, H, W) classes, `IGNORED` where not asked.
    """

    views: Tensor
    log_odds: Tensor
    truth: Tensor

    @property
    def real(self) -> Tensor:
        """(B, S) bool: which structures are no padding."""
        return torch.isfinite(self.log_odds[:, :, 0, 0])


def collate(slices: list[tuple[Tensor, Tensor, Tensor]]) -> Batch:
    """Stack (S, C, H, W), (S, H, W), (H, W) of several slices."""
    most = max(v.shape[0] for v, _, _ in slices)
    views = [F.pad(v.float(), (0, 0, 0, 0, 0, 0, 0, most - v.shape[0])) for v, _, _ in slices]
    odds = [F.pad(o.float(), (0, 0, 0, 0, 0, most - o.shape[0]), value=-math.inf) for _, o, _ in slices]
    return Batch(torch.stack(views), torch.stack(odds), torch.stack([t.long() for _, _, t in slices]))


def flipped(batch: Batch, generator: torch.Generator, config: NetworkConfig) -> Batch:
    """Mirror the whole batch along H, W and D at random: anatomy has no preferred side here."""
    views, odds, truth = batch.views, batch.log_odds, batch.truth
    for axis in (-1, -2):
        if bool(torch.rand((), generator=generator) < 0.5):
            views, odds, truth = views.flip(axis), odds.flip(axis), truth.flip(axis)
    if bool(torch.rand((), generator=generator) < 0.5):
        views = views[:, :, mirrored(config)]
    return Batch(views, odds, truth)


def corrected(network: nn.Module, batch: Batch) -> Tensor:
    """Return (B, S+1, H, W) logits after the network's correction."""
    real = batch.real
    odds = batch.log_odds.clone()
    odds[real] = network(batch.views[real], batch.log_odds[real]).to(odds.dtype)
    return torch.cat([torch.zeros_like(odds[:, :1]), odds], dim=1)


def episode_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Return cross-entropy plus soft Dice (Milletari et al., "V-Net", 3DV 2016) of each slice and structure.

    An empty truth counts too: what is proposed there is measured against the area of a small structure.
    """
    asked = batch.truth != IGNORED
    entropy = F.cross_entropy(logits, batch.truth, ignore_index=IGNORED)
    probability = logits.softmax(1)[:, 1:]
    real = batch.real
    structures = torch.arange(1, logits.shape[1], device=logits.device)[None, :, None, None]
    target = ((batch.truth[:, None] == structures) & asked[:, None]).float()
    inside = probability * asked[:, None]
    overlap = 2 * (inside * target).sum((2, 3)) + SMALL_AREA
    size = inside.sum((2, 3)) + target.sum((2, 3)) + SMALL_AREA
    return ENTROPY_WEIGHT * entropy + (1 - overlap / size)[real].mean()


SMALL_AREA = 20.0
"""Voxels of a small structure on one slice."""

ENTROPY_WEIGHT = 1.0
"""Keeps far voxels honest, where the Dice term has no gradient left."""


@dataclass(frozen=True, eq=False)
class Trained:
    """What came of a run.

    Parameters
    ----------
    network
        The running average of the weights (Polyak averaging), which is what gets shipped.
    origin
        Where the run came from, also where it was resumed.
    """

    network: FusionNetwork
    origin: Origin


def train(
    source: Source,
    out: Path,
    config: TrainConfig,
    *,
    origin: Origin | None = None,
    start: Start | None = None,
    resume: bool = False,
    progress: Progress = silent,
    cancel: CancelToken | None = None,
) -> Trained:
    """Train a network and write checkpoints and the log into ``out``.

    Parameters
    ----------
    origin
        What the run stands on.
    start
        Weights to go on from; None: from nothing. A resumed run goes on from its checkpoint, whatever it began with.
    """
    fabric = launched(device=config.device, devices=config.devices, precision=config.precision)
    trainer = _Trainer(fabric, source, out, config, origin if origin is not None else Origin(FUSION))
    if resume:
        trainer.load()
    else:
        trainer.begin(start)
    trainer.run(progress, cancel)
    return Trained(trainer.shipped, trainer.origin)


class _Trainer:
    def __init__(self, fabric: Fabric, source: Source, out: Path, config: TrainConfig, origin: Origin) -> None:
        self._fabric, self._source, self._out, self._config = fabric, source, out, config
        self.origin = origin
        torch.manual_seed(config.seed)
        names = tuple(learner.name for learner in config.episodes.learners)
        self._shape = NetworkConfig(names)
        network = FusionNetwork(self._shape)
        optimizer = torch.optim.AdamW(network.parameters(), lr=config.rate, weight_decay=config.decay)
        self._average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.average), use_buffers=True).to(
            fabric.device
        )
        self._network, self._optimizer = fabric.setup(network, optimizer)
        self._step, self._seconds = 0, 0.0
        self._draws = torch.Generator().manual_seed(config.seed + fabric.global_rank)

    @property
    def shipped(self) -> FusionNetwork:
        """The averaged network."""
        return cast(FusionNetwork, self._average.module).eval()

    def begin(self, start: Start | None) -> None:
        """Begin anew, or from trained weights."""
        start_anew(self._fabric, self._out)
        if start is not None:
            self.origin = replace(self.origin, started_from={FUSION: start.load_network(self._network.module)})
            self._average.module.load_state_dict(self._network.module.state_dict())

    def load(self) -> None:
        """Go on from the last checkpoint."""
        self.origin = resumed_origin(self._fabric, self._out, self.origin)
        state = {"network": self._network, "optimizer": self._optimizer, "average": self._average.state_dict()}
        rest = self._fabric.load(self._out / CHECKPOINT, state, strict=False)
        self._average.load_state_dict(state["average"])
        self._step, self._seconds = int(rest["step"]), float(rest["seconds"])
        self._draws.set_state(rest["draws"])

    def run(self, progress: Progress, cancel: CancelToken | None) -> None:
        """Train to the end."""
        started = time.monotonic() - self._seconds
        checks = list(taken(self._episodes(VALIDATION_SEED, 0), self._config.validation))
        config = self._config
        pool = Pool(partial(self._episodes, config.seed), config.pool, fresh_every=config.fresh_every, step=self._step)
        running = 0.0
        while self._done() < 1.0:
            if cancel is not None:
                cancel.raise_if_cancelled()
            pool.refresh(self._step)
            loss = self._one_step(pool)
            running = loss if self._step == 0 else 0.98 * running + 0.02 * loss
            self._step += 1
            self._seconds = time.monotonic() - started
            progress(min(1.0, self._done()), f"step {self._step}, loss {running:.3f}")
            if self._step % self._config.check_every == 0:
                self._keep(running, checks)
        self._keep(running, checks)

    def _done(self) -> float:
        if self._config.minutes > 0:
            return self._seconds / (60 * self._config.minutes)
        return self._step / self._config.steps

    def _episodes(self, seed: int, start: int) -> DataLoader[Episode]:
        fabric = self._fabric
        dataset = episodes(
            self._source,
            self._config.episodes,
            seed=seed,
            start=start * fabric.world_size + fabric.global_rank,
            stride=fabric.world_size,
        )
        return feed(dataset, workers=self._config.workers)

    def _one_step(self, pool: Pool[Episode]) -> float:
        set_rate(self._optimizer, self.origin.rate(self._config.rate), step=self._step, done=self._done())
        batch = flipped(self._drawn(pool), self._draws, self._shape)
        self._network.train()
        loss = episode_loss(corrected(self._network, self._to_device(batch)), self._to_device(batch))
        self._optimizer.zero_grad()
        self._fabric.backward(loss)
        self._fabric.clip_gradients(self._network, self._optimizer, max_norm=1.0)
        self._optimizer.step()
        self._average.update_parameters(self._network.module)
        return float(loss.detach())

    def _drawn(self, pool: Pool[Episode]) -> Batch:
        slices = []
        for _ in range(self._config.batch):
            episode = pool.drawn(self._draws)
            n = int(torch.randint(len(episode.truth), (), generator=self._draws))
            slices.append((episode.views[n], episode.log_odds[n], episode.truth[n]))
        return collate(slices)

    def _to_device(self, batch: Batch) -> Batch:
        device = self._fabric.device
        return Batch(batch.views.to(device), batch.log_odds.to(device), batch.truth.to(device))

    def _keep(self, loss: float, checks: list[Episode]) -> None:
        if self._fabric.is_global_zero:
            before, after = self._validated(checks)
            row = {
                "step": self._step,
                "minutes": round(self._seconds / 60, 2),
                "loss": round(loss, 4),
                "validation_dice_before": round(before, 4),
                "validation_dice": round(after, 4),
            }
            append_row(self._out / LOG, row)
        self._fabric.save(
            self._out / CHECKPOINT,
            {
                "origin": self.origin.as_dict(),
                "network": self._network,
                "optimizer": self._optimizer,
                "average": self._average.state_dict(),
                "step": self._step,
                "seconds": self._seconds,
                "draws": self._draws.get_state(),
            },
        )

    @torch.inference_mode()
    def _validated(self, checks: list[Episode]) -> tuple[float, float]:
        """Return mean Dice over validation episodes before and after the network's correction."""
        network = self.shipped
        scores: list[tuple[float, float]] = []
        for episode in checks:
            batch = self._to_device(collate([*zip(episode.views, episode.log_odds, episode.truth, strict=True)]))
            plain = torch.cat([torch.zeros_like(batch.log_odds[:, :1]), batch.log_odds], dim=1)
            after = corrected(network, batch)
            for s in range(1, plain.shape[1]):
                true = batch.truth == s
                if bool(true.any()):
                    asked = batch.truth != IGNORED
                    scores.append((_dice(plain, s, true, asked), _dice(after, s, true, asked)))
        return sum(b for b, _ in scores) / len(scores), sum(a for _, a in scores) / len(scores)


def _dice(logits: Tensor, structure: int, true: Tensor, asked: Tensor) -> float:
    found = (logits.argmax(1) == structure) & asked
    return float(2 * (found & true).sum() / (found.sum() + true.sum()))
