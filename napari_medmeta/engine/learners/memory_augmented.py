"""Memory-augmented network: what was painted is written into a memory, and every voxel reads from it.

After Santoro, Bartunov, Botvinick, Wierstra and Lillicrap, "Meta-Learning with Memory-Augmented Neural Networks",
ICML 2016, and for the walk along the stack after Oh, Lee, Xu and Kim, "Video Object Segmentation using Space-Time
Memory Networks", ICCV 2019:

- a row of the memory is a key (what a voxel looks like, on the unit sphere, and its place) and a value (its class,
  and a learnt part);
- reading weights are a softmax over the rows of K(q, i) = b(q) cos(k_q, k_i) - |w (x_q - x_i)|^2, where the sharpness
  b(q) is given out by the network (Santoro et al., eq. 2 and 3, with a place beside it);
- each write adds the weights that were read and written to a decaying usage u <- g u + w_r + w_w, and goes to the
  rows of least usage (eq. 5 to 8, "least recently used access").

What differs: rows of confirmed voxels are permanent, and only predicted rows give way (Cheng et al., "Putting the
Object Back into Video Object Segmentation", CVPR 2024, keep the user's frames so); nothing is written over a row in
part. The order of writing is that of the slices, and the memory is written anew for every support set, so that a
removed example leaves no trace.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_medmeta.engine.learners.base import Scene
from napari_medmeta.engine.learners.siamese import SiameseProjection
from napari_medmeta.engine.learners.thinning import thinned

__all__ = ["ExternalMemory", "MemoryAugmentedLearner", "MemoryConfig", "Rows"]

CHUNK = 4_096
"""Queries that read together: small enough to stay in the processor's cache."""

LEAST_READ = 1e-5
"""What is read of a class below this counts as this."""

DECAY = 0.95
"""Share of its usage that a row keeps from one write to the next (gamma of Santoro et al.)."""


@dataclass(frozen=True)
class MemoryConfig:
    """Sizes of the memory and how it is used.

    Parameters
    ----------
    confirmed
        About how many rows are written of what was painted, over all classes.
    predicted
        Rows that may be taken by predictions of slices on the way.
    per_slice
        Predicted rows written a slice.
    confidence
        Least posterior of a prediction that is written.
    candidates
        Voxels of a slice that are looked at for writing.
    projected, learnt
        Dimensions of the key, and of the learnt part of the value.
    """

    confirmed: int = 512
    predicted: int = 128
    per_slice: int = 64
    confidence: float = 0.9
    candidates: int = 512
    projected: int = 16
    learnt: int = 6


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of a memory.

    Parameters
    ----------
    keys
        (m, P) unit vectors.
    places
        (m, 3) in units of the scene's position scale.
    classes
        (m, S+1) shares of the classes.
    learnt
        (m, L) the learnt part of the value.
    """

    keys: Tensor
    places: Tensor
    classes: Tensor
    learnt: Tensor

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.keys)

    def at(self, which: Tensor) -> Rows:
        """Return the rows ``which``, by index or by mask."""
        return Rows(self.keys[which], self.places[which], self.classes[which], self.learnt[which])

    def with_rows(self, more: Rows) -> Rows:
        """Return these rows followed by ``more``."""
        pairs = zip(self._parts, more._parts, strict=True)
        return Rows(*(torch.cat(pair) for pair in pairs))

    @property
    def _parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.keys, self.places, self.classes, self.learnt


@dataclass(frozen=True, eq=False)
class ExternalMemory:
    """A bounded memory: permanent confirmed rows, and predicted rows of which the least used give way.

    A value: writing and reading give a new memory.

    Parameters
    ----------
    rows
        What is remembered.
    permanent
        (m,) bool: rows that are never evicted.
    usage
        (m,) float32: how much each row was read and written lately; a row that is read as often as others keeps
        1 / (1 - `DECAY`).
    evictable
        Most rows that are not permanent.
    """

    rows: Rows
    permanent: Tensor
    usage: Tensor
    evictable: int

    @classmethod
    def of(cls, rows: Rows, *, evictable: int) -> ExternalMemory:
        """Return a memory of confirmed rows."""
        usage = torch.ones(len(rows), device=rows.keys.device)
        return cls(rows, torch.ones_like(usage, dtype=torch.bool), usage, evictable)

    def used(self, weights: Tensor) -> ExternalMemory:
        """Return the memory after a read with the mean (m,) ``weights``, which sum to 1."""
        # Times the number of rows: an average row is used by 1, as much as by being written.
        usage = DECAY * self.usage + weights.detach() * len(self.rows)
        return ExternalMemory(self.rows, self.permanent, usage, self.evictable)

    def confirmed(self, rows: Rows) -> ExternalMemory:
        """Return the memory with permanent rows added."""
        return self._with(self.rows, self.permanent, self.usage, rows, permanent=True)

    def predicted(self, rows: Rows) -> ExternalMemory:
        """Return the memory with predicted rows added; the least used predicted ones make room."""
        rows = rows.at(torch.arange(min(len(rows), self.evictable), device=rows.keys.device))
        surplus = int((~self.permanent).sum()) + len(rows) - self.evictable
        if surplus <= 0:
            return self._with(self.rows, self.permanent, self.usage, rows, permanent=False)
        # Of rows used alike the oldest goes: they are kept in the order of writing.
        order = torch.where(self.permanent, torch.inf, self.usage).sort(stable=True).indices
        kept = order[surplus:].sort().values
        return self._with(self.rows.at(kept), self.permanent[kept], self.usage[kept], rows, permanent=False)

    def _with(self, old: Rows, fixed: Tensor, usage: Tensor, new: Rows, *, permanent: bool) -> ExternalMemory:
        fresh = torch.ones(len(new), device=usage.device)
        return ExternalMemory(
            old.with_rows(new),
            torch.cat([fixed, torch.full_like(fresh, permanent, dtype=torch.bool)]),
            torch.cat([usage, fresh]),
            self.evictable,
        )


class MemoryAugmentedLearner(nn.Module):
    """Write what is confirmed, walk outward along the stack, read and remember.

    The posterior of a class grows with what is read of it, summed over its rows by weight, and with a learnt
    comparison of the query and the learnt part of the values read of that class.

    Parameters
    ----------
    embedding
        E, dimensions of the learnt embedding.
    config
        Sizes.
    """

    name = "memory"

    def __init__(self, embedding: int = 16, config: MemoryConfig | None = None) -> None:
        super().__init__()
        self.config = config if config is not None else MemoryConfig()
        projected, learnt = self.config.projected, self.config.learnt
        self.key = SiameseProjection(embedding, projected=projected)
        self.value = nn.Linear(embedding, learnt)
        self.sharpness = nn.Linear(projected, 1)
        self.comparison = nn.Sequential(nn.Linear(2 * learnt, 16), nn.ReLU(), nn.Linear(16, 1))
        self.log_nearness = nn.Parameter(torch.zeros(3))
        # A prediction counts less than what was confirmed, before anything is learnt.
        self.doubt = nn.Parameter(torch.tensor(1.0))
        self.log_power = nn.Parameter(torch.zeros(()))
        # softplus(10) is about 10: a likeness of 0.5 more counts e^5 as much.
        nn.init.constant_(self.sharpness.bias, 10.0)

    def fit(self, scene: Scene) -> FittedMemory:
        """Write the support voxels, slice after slice."""
        kept = thinned(scene.sample_class, self.config.confirmed)
        plane = scene.task.shape[1] * scene.task.shape[2]
        depth = scene.sample_index[kept] // plane
        classes = F.one_hot(scene.sample_class[kept], scene.task.structures + 1).float()
        rows = self.rows(scene.learnt_samples()[kept], scene.sample_places()[kept], classes)
        return FittedMemory(self, scene, self._written(rows, depth))

    def rows(self, embedded: Tensor, places: Tensor, classes: Tensor) -> Rows:
        """Return the rows of (n, E) embeddings at (n, 3) places with (n, S+1) classes."""
        return Rows(self.key(embedded), places, classes, torch.tanh(self.value(embedded)))

    def read(self, memory: ExternalMemory, embedded: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Return (S+1, n) logits of the queries, and (m,) mean weights with which the rows were read."""
        query = self.key(embedded)
        weights = torch.softmax(self._scores(memory, query, places), dim=1)
        classes = memory.rows.classes
        per_class = weights @ classes
        # (n, S+1, L): the mean learnt value of the rows read of each class.
        valued = (classes[:, :, None] * memory.rows.learnt[:, None, :]).flatten(1)
        learnt = (weights @ valued).unflatten(1, (classes.shape[1], -1)) / (per_class[..., None] + LEAST_READ)
        own = torch.tanh(self.value(embedded))[:, None, :].expand_as(learnt)
        compared = self.comparison(torch.cat([own * learnt, (own - learnt) ** 2], dim=2))[..., 0]
        logits = torch.exp(self.log_power) * torch.log(per_class + LEAST_READ) + compared
        return logits.T, weights.detach().mean(0)

    def _scores(self, memory: ExternalMemory, query: Tensor, places: Tensor) -> Tensor:
        """Return (n, m): K(q, i), less the doubt about predictions and less the logarithm of the class's rows."""
        rows = memory.rows
        nearness = torch.exp(0.5 * self.log_nearness)
        near, far = places * nearness, rows.places * nearness
        # |q - k|^2 without |q|^2, which is the same for every row and cancels in the softmax.
        left = torch.cat([query * F.softplus(self.sharpness(query)), near], dim=1)
        right = torch.cat([rows.keys, 2.0 * far], dim=1)
        count = rows.classes[memory.permanent].sum(0).clamp_min(1.0)
        offset = -(far**2).sum(1) - rows.classes @ torch.log(count)
        offset = offset - F.softplus(self.doubt) * (~memory.permanent).float()
        return torch.addmm(offset, left, right.T)

    def _written(self, rows: Rows, depth: Tensor) -> ExternalMemory:
        memory = ExternalMemory.of(rows.at(depth < 0), evictable=self.config.predicted)
        for z in depth.unique().tolist():
            memory = memory.confirmed(rows.at(depth == z))
        return memory


@dataclass(frozen=True, eq=False)
class FittedMemory:
    """The memory after everything confirmed was written."""

    learner: MemoryAugmentedLearner
    scene: Scene
    memory: ExternalMemory

    def evidence(self, depths: Sequence[int]) -> Tensor:
        """Return (S+1, n, H, W) log-posteriors; each slice reads what was remembered on the way to it."""
        found: dict[int, Tensor] = {}
        for arm in self._arms(depths):
            memory = self.memory
            for z in arm:
                if z in depths and z not in found:
                    found[z] = self._read(memory, z)
                if z != arm[-1]:
                    memory = self._remembering(memory, z)
        return torch.cat([found[z] for z in depths], dim=1)

    def _arms(self, depths: Sequence[int]) -> Iterator[list[int]]:
        """Yield the slices from each painted one outward, as far as they are asked for.

        A slice belongs to the nearest painted one, the lower of two: what it reads does not depend on
        which others are asked for.
        """
        painted = self.scene.task.depths
        if not painted:
            yield from ([z] for z in depths)
            return
        farthest: dict[tuple[int, bool], int] = {}
        for z in depths:
            start = min(painted, key=lambda p: (abs(p - z), p))
            arm = (start, z >= start)
            farthest[arm] = max(farthest.get(arm, 0), abs(z - start))
        for (start, up), far in sorted(farthest.items()):
            yield [start + n if up else start - n for n in range(far + 1)]

    def _read(self, memory: ExternalMemory, depth: int) -> Tensor:
        mask, embedded, places = self.scene.learnt_queries([depth])
        parts = [
            self.learner.read(memory, e, p)[0] for e, p in zip(embedded.split(CHUNK), places.split(CHUNK), strict=True)
        ]
        return self.scene.spread(mask, torch.cat(parts, dim=1), [depth])

    def _remembering(self, memory: ExternalMemory, depth: int) -> ExternalMemory:
        """Return the memory after reading for some voxels of the slice and writing what is certain of them."""
        if depth in self._confirmed_depths:
            return memory
        config = self.learner.config
        _, embedded, places = self.scene.learnt_queries([depth])
        step = max(1, math.ceil(len(embedded) / config.candidates))
        embedded, places = embedded[::step], places[::step]
        if not len(embedded):
            return memory
        logits, weights = self.learner.read(memory, embedded, places)
        # A prediction is an example from here on: it is not bent so that later slices come out right.
        posterior = logits.detach().softmax(0).T
        written = _certain(posterior, config.confidence, config.per_slice)
        rows = self.learner.rows(embedded[written], places[written], posterior[written])
        return memory.used(weights).predicted(rows)

    @cached_property
    def _confirmed_depths(self) -> frozenset[int]:
        return frozenset(self.scene.task.depths)


def _certain(posterior: Tensor, confidence: float, most: int) -> Tensor:
    """Return indices of at most ``most`` rows of (n, S+1) above ``confidence``, evenly over classes and over each."""
    best, winner = posterior.max(1)
    certain = best >= confidence
    present = winner[certain].unique()
    each = most // max(1, len(present))
    chosen = [_every(((winner == c) & certain).nonzero()[:, 0], each) for c in present]
    return torch.cat(chosen) if chosen else winner.new_zeros(0)


def _every(found: Tensor, most: int) -> Tensor:
    return found[:: max(1, math.ceil(len(found) / max(1, most)))]
