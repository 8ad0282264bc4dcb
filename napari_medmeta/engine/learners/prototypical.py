"""Prototypical network head: a voxel belongs to the class whose prototypes are near.

Snell, Swersky and Zemel, "Prototypical Networks for Few-shot Learning", NeurIPS 2017, eq. 2, with several
prototypes a class (Allen et al., "Infinite Mixture Prototypes", ICML 2019): posteriors are a softmax over
the classes' mixtures of unit Gaussians around their prototypes, in the space of `Scene.metric`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor

from napari_medmeta.engine.learners.base import Scene

__all__ = ["PrototypicalLearner"]

NO_PROTOTYPE = -1e4
"""Log-likelihood of a class without a sample: no distance is as bad."""

LLOYD_ITERATIONS = 10
"""Prototypes of a few hundred samples settle within this many rounds."""

BACKGROUND_FACTOR = 3
"""Background is everything else: it gets this many times the prototypes of a structure."""


@dataclass(frozen=True)
class PrototypicalLearner:
    """Distances to clustered class prototypes.

    Parameters
    ----------
    with_position
        Whether a voxel's place is part of its embedding.
    prototypes
        Prototypes per structure.
    """

    with_position: bool = False
    prototypes: int = 6

    @property
    def name(self) -> str:
        """The source of evidence it stands for."""
        return "prototypes and place" if self.with_position else "prototypes"

    def fit(self, scene: Scene) -> FittedPrototypes:
        """Cluster the support samples of every class."""
        samples = scene.samples(with_position=self.with_position)
        classes = []
        for c in range(scene.task.structures + 1):
            members = samples[scene.sample_class == c]
            count = self.prototypes * (BACKGROUND_FACTOR if c == 0 else 1)
            classes.append(_cluster(members, count))
        return FittedPrototypes(scene, self.with_position, tuple(classes))


@dataclass(frozen=True, eq=False)
class FittedPrototypes:
    """Prototypes of one support set.

    Parameters
    ----------
    classes
        For each class (K, E) prototypes and (K,) log-shares of the samples, or None without a sample.
    """

    scene: Scene
    with_position: bool
    classes: tuple[tuple[Tensor, Tensor] | None, ...]

    def evidence(self, depths: Sequence[int]) -> Tensor:
        """Return (S+1, n, H, W) log-posteriors."""
        mask, queries = self.scene.queries(depths, with_position=self.with_position)
        logits = torch.full((len(self.classes), len(queries)), NO_PROTOTYPE, device=queries.device)
        for c, mixture in enumerate(self.classes):
            if mixture is not None:
                prototypes, log_share = mixture
                distance = torch.cdist(queries, prototypes)
                logits[c] = torch.logsumexp(log_share - 0.5 * distance**2, dim=1)
        return self.scene.spread(mask, logits, depths)


def _cluster(members: Tensor, count: int) -> tuple[Tensor, Tensor] | None:
    if len(members) == 0:
        return None
    count = min(count, len(members))
    points = members.cpu().numpy().astype(np.float64)
    # Empty clusters keep their random start ("warn" is the quiet choice of the library's two).
    centres, which = kmeans2(points, count, iter=LLOYD_ITERATIONS, minit="++", rng=np.random.default_rng(0))
    used = np.bincount(which, minlength=count)
    centres, used = centres[used > 0], used[used > 0]
    log_share = np.log(used / used.sum())
    device = members.device
    return torch.from_numpy(centres).float().to(device), torch.from_numpy(log_share).float().to(device)
