"""The protocol that every learner follows, and what they share on one task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from napari_medmeta.engine.learners.interpolation import LEAST_LOG_POSTERIOR, ShapeField, shape_field
from napari_medmeta.engine.task import Task

__all__ = ["Fitted", "Learner", "Scene", "SceneConfig", "normalise"]

FEW = 50
"""With fewer undecided voxels than this a class is drawn from all of its voxels."""


class Fitted(Protocol):
    """A learner that has seen its support set."""

    def evidence(self, depths: Sequence[int]) -> Tensor:
        """Return (S+1, n, H, W) float32 log-posteriors for the n slices at ``depths``; class 0 is background."""
        ...


class Learner(Protocol):
    """A few-shot learner: support set in, per-voxel class posteriors out."""

    @property
    def name(self) -> str:
        """The source of evidence it stands for, as shown to the user."""
        ...

    def fit(self, scene: Scene) -> Fitted:
        """Adapt to the support set of ``scene``."""
        ...


@dataclass(frozen=True)
class SceneConfig:
    """How the voxels are chosen that the appearance learners look at.

    Parameters
    ----------
    band_mm, band_per_mm
        Voxels nearer to the shape prior's contour than this are undecided; the band widens with the
        distance to the nearest painted slice.
    samples, background_samples
        Support voxels drawn per structure, and of the background.
    shrinkage
        Share of the diagonal in the within-class covariance (Ledoit and Wolf, "Honey, I shrunk the
        sample covariance matrix", 2004, give the principle; a constant is enough at these counts).
    total_samples
        Upper bound over all classes: attention costs samples times voxels.
    """

    band_mm: float = 8.0
    band_per_mm: float = 0.6
    samples: int = 400
    background_samples: int = 1200
    shrinkage: float = 0.1
    total_samples: int = 3600


class Scene:
    """One task with what several learners need: shape, undecided voxels, support samples, metric.

    Everything is derived from the task alone, with a fixed seed: the same examples give the same scene.
    """

    def __init__(self, task: Task, config: SceneConfig, *, seed: int = 0) -> None:
        self.task = task
        self.config = config
        self._seed = seed

    @cached_property
    def shape(self) -> ShapeField:
        """The interpolated shape at every depth."""
        return shape_field(self.task)

    @cached_property
    def undecided(self) -> Tensor:
        """(D, H, W) bool: voxels that the shape prior leaves open; all of them while it knows nothing."""
        if not self.shape.known:
            return torch.ones(self.task.shape, dtype=torch.bool, device=self.task.device)
        depths = range(self.task.shape[0])
        width = self.config.band_mm + self.config.band_per_mm * self.task.distance_mm(depths)
        near = self.shape.distance_mm > -width[None, :, None, None]
        deep = self.shape.distance_mm > width[None, :, None, None]
        return near.any(0) & ~deep.any(0)

    @property
    def sample_index(self) -> Tensor:
        """(n,) int64: flat indices of the drawn support voxels."""
        return self._drawn[0]

    @property
    def sample_class(self) -> Tensor:
        """(n,) int64: classes of the drawn voxels."""
        return self._drawn[1]

    @cached_property
    def _drawn(self) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(self._seed)
        structures = self.task.structures
        per_class = min(self.config.samples, self.config.total_samples // max(1, structures))
        drawn, classes = [], []
        for c in range(structures + 1):
            found = self._thinned(self._members(c), generator)
            order = torch.randperm(found.numel(), generator=generator)[
                : per_class if c else self.config.background_samples
            ]
            drawn.append(found[order.to(found.device)])
            classes.append(torch.full_like(drawn[-1], c))
        return torch.cat(drawn), torch.cat(classes)

    def _thinned(self, found: Tensor, generator: torch.Generator) -> Tensor:
        """Keep of the voxels on slices that count less only so large a share, at random."""
        light = [p for p in self.task.painted if p.weight < 1.0]
        if not light:
            return found
        share = torch.ones(self.task.shape)
        for painted in light:
            share.select(painted.axis, painted.index).fill_(painted.weight)
        kept = found[
            torch.rand(found.numel(), generator=generator).to(found.device) < share.to(found.device).reshape(-1)[found]
        ]
        return kept if kept.numel() else found

    def _members(self, c: int) -> Tensor:
        """Return flat indices of the support voxels that may speak for class ``c``."""
        classes = self.task.classes.reshape(-1)
        found = ((classes == c) & self.undecided.reshape(-1)).nonzero()[:, 0]
        if found.numel() < FEW:
            found = (classes == c).nonzero()[:, 0]
        if c == 0 and found.numel() == 0:
            # Only structures were marked: the rim of the region, far from every mark, stands for the rest.
            rim = torch.ones(self.task.shape, dtype=torch.bool, device=self.task.device)
            rim[:, 1:-1, 1:-1] = False
            found = (rim.reshape(-1) & (classes < 0)).nonzero()[:, 0]
        return found

    @cached_property
    def metric(self) -> Tensor:
        """(C, C) float32: maps features to a space where each class has unit covariance."""
        features = self._flat_features[:, self.sample_index].T.double()
        scatter = torch.zeros((features.shape[1],) * 2, dtype=torch.float64, device=features.device)
        present = self.sample_class.unique()
        for c in present:
            of_class = features[self.sample_class == c]
            centred = of_class - of_class.mean(0)
            scatter += centred.T @ centred / len(of_class) / len(present)
        scatter += self.config.shrinkage * torch.diag(torch.diag(scatter))
        # The floor keeps a feature that is constant over the samples from becoming infinitely important.
        scatter += 1e-3 * torch.eye(len(scatter), dtype=torch.float64, device=scatter.device)
        whitening: Tensor = torch.linalg.cholesky(torch.linalg.inv(scatter))
        return whitening.float()

    @cached_property
    def position_scale_mm(self) -> Tensor:
        """(3,) float32: how far along D, H, W a position means something, from the structures' own size."""
        d, h, w = self.task.spacing_mm
        areas = [
            float((p.classes == s).sum()) * h * w
            for p in self.task.painted
            if p.axis == 0
            for s in range(1, self.task.structures + 1)
            if bool((p.classes == s).any())
        ]
        if not areas:
            # Clicks only: the extent of the region is all that is known.
            extent = 0.25 * max(n * s for n, s in zip(self.task.shape, self.task.spacing_mm, strict=True))
            return torch.full((3,), extent, device=self.task.device)
        radius = (sorted(areas)[len(areas) // 2] / torch.pi) ** 0.5
        depths = self.task.depths
        gap = (depths[-1] - depths[0]) / (len(depths) - 1) * d if len(depths) > 1 else 2 * radius
        return torch.tensor([max(gap, radius), 0.7 * radius, 0.7 * radius], device=self.task.device)

    def samples(self, *, with_position: bool) -> Tensor:
        """Return (n, E) float32 embeddings of the drawn support voxels."""
        return self._embed(self.sample_index, with_position=with_position)

    def queries(self, depths: Sequence[int], *, with_position: bool) -> tuple[Tensor, Tensor]:
        """Return the undecided voxels on ``depths``: (n, H, W) bool, and their (m, E) embeddings."""
        mask, index = self._undecided_on(depths)
        return mask, self._embed(index, with_position=with_position)

    def learnt_samples(self) -> Tensor:
        """Return (n, E) float32: the learnt embedding of the drawn support voxels."""
        return self._flat_embedding[:, self.sample_index].T

    def sample_places(self) -> Tensor:
        """Return (n, 3) float32: where the drawn support voxels lie, in units of `position_scale_mm`."""
        return self._flat_positions[:, self.sample_index].T / self.position_scale_mm

    def learnt_queries(self, depths: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Return the undecided voxels on ``depths``: (n, H, W) bool, their (m, E) learnt embedding, (m, 3) places."""
        mask, index = self._undecided_on(depths)
        return mask, self._flat_embedding[:, index].T, self._flat_positions[:, index].T / self.position_scale_mm

    def spread(self, mask: Tensor, logits: Tensor, depths: Sequence[int]) -> Tensor:
        """Put (S+1, m) values of undecided voxels into (S+1, n, H, W); the shape prior speaks for the rest."""
        out = self.shape.log_posterior(depths).clone()
        out[:, mask] = normalise(logits)
        return out

    def _undecided_on(self, depths: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return (n, H, W) bool and the flat indices of the same voxels in the region."""
        rows = torch.as_tensor(list(depths), device=self.task.device)
        mask = self.undecided[rows]
        plane = self.task.shape[1] * self.task.shape[2]
        local = mask.reshape(-1).nonzero()[:, 0]
        return mask, rows[local // plane] * plane + local % plane

    def _embed(self, index: Tensor, *, with_position: bool) -> Tensor:
        embedded = self._flat_features[:, index].T @ self.metric
        if not with_position:
            return embedded
        places = self._flat_positions[:, index].T / self.position_scale_mm
        return torch.cat([embedded, places], dim=1)

    @cached_property
    def _flat_features(self) -> Tensor:
        return self.task.features.reshape(self.task.features.shape[0], -1)

    @cached_property
    def _flat_embedding(self) -> Tensor:
        if self.task.embedding is None:
            raise ValueError("A learnt learner was given a task without an embedding")
        return self.task.embedding.reshape(self.task.embedding.shape[0], -1)

    @cached_property
    def _flat_positions(self) -> Tensor:
        return self.task.positions_mm().reshape(3, -1)


def normalise(logits: Tensor) -> Tensor:
    """Return log-posteriors over the first axis, cut at `LEAST_LOG_POSTERIOR`."""
    return torch.log_softmax(logits, dim=0).clamp_min(LEAST_LOG_POSTERIOR)
