"""Prototypical network head: a voxel belongs to the class whose prototypes are near.

Snell, Swersky and Zemel, "Prototypical Networks for Few-shot Learning", NeurIPS 2017, eq. 2, with several
prototypes a class (Allen et al., "Infinite Mixture Prototypes", ICML 2019): posteriors are a softmax over
the classes' mixtures of unit Gaussians around their prototypes. `PrototypicalLearner` measures in the space of
`Scene.metric`, made from the features of this scan alone; `LearntPrototypes` in the meta-learnt embedding, where
a place in the scan is two further things that are learnt: how much it counts, and how far apart is far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor, nn

from napari_medmeta.engine.learners.base import Scene

__all__ = ["LearntPrototypes", "PrototypicalLearner"]

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


class LearntPrototypes(nn.Module):
    """Distances to clustered class prototypes in the learnt embedding; a few numbers are meta-learnt.

    Parameters
    ----------
    prototypes
        Prototypes per structure, each with its place: near an example its own prototypes speak.
    """

    name = "learnt prototypes"

    def __init__(self, *, prototypes: int = 6) -> None:
        super().__init__()
        self.prototypes = prototypes
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.log_locality = nn.Parameter(torch.tensor(-0.7))
        self.background = nn.Parameter(torch.zeros(()))

    def fit(self, scene: Scene) -> FittedLearntPrototypes:
        """Cluster the embedded support samples of every class; prototypes are means, through which gradients flow."""
        samples = self.scaled(scene.learnt_samples(), scene.sample_places())
        classes = []
        for c in range(scene.task.structures + 1):
            members = samples[scene.sample_class == c]
            classes.append(_means(members, self.prototypes * (BACKGROUND_FACTOR if c == 0 else 1)))
        return FittedLearntPrototypes(self, scene, tuple(classes))

    def scaled(self, embedded: Tensor, places: Tensor) -> Tensor:
        """Return (m, E+3): embedding and place in units in which a prototype's Gaussian has unit width."""
        return torch.cat([embedded * self.log_scale.exp(), places * self.log_locality.exp()], dim=1)


@dataclass(frozen=True, eq=False)
class FittedLearntPrototypes:
    """Learnt prototypes of one support set."""

    learner: LearntPrototypes
    scene: Scene
    classes: tuple[tuple[Tensor, Tensor] | None, ...]

    def compared(self, embedded: Tensor, places: Tensor) -> Tensor:
        """Return (m, E+3): the voxels in the space in which they are compared."""
        return self.learner.scaled(embedded, places)

    def evidence(self, depths: Sequence[int]) -> Tensor:
        """Return (S+1, n, H, W) log-posteriors."""
        mask, embedded, places = self.scene.learnt_queries(depths)
        queries = self.compared(embedded, places)
        rows = []
        for mixture in self.classes:
            if mixture is None:
                rows.append(queries.new_full((len(queries),), NO_PROTOTYPE))
            else:
                prototypes, log_share = mixture
                rows.append(torch.logsumexp(log_share - 0.5 * _squared_distance(queries, prototypes), dim=1))
        rows[0] = rows[0] + self.learner.background
        return self.scene.spread(mask, torch.stack(rows), depths)


def _squared_distance(queries: Tensor, prototypes: Tensor) -> Tensor:
    # Written out, because the gradient of a root at 0 is infinite.
    return (queries.square().sum(1, keepdim=True) - 2 * queries @ prototypes.T + prototypes.square().sum(1)).clamp_min(
        0.0
    )


def _means(members: Tensor, count: int) -> tuple[Tensor, Tensor] | None:
    if len(members) == 0:
        return None
    count = min(count, len(members))
    points = members.detach().cpu().numpy().astype(np.float64)
    _, which = kmeans2(points, count, iter=LLOYD_ITERATIONS, minit="++", rng=np.random.default_rng(0))
    chosen = torch.from_numpy(which).long().to(members.device)
    used = torch.bincount(chosen, minlength=count).float()
    sums = torch.zeros(count, members.shape[1], device=members.device).index_add(0, chosen, members)
    kept = used > 0
    return sums[kept] / used[kept, None], torch.log(used[kept] / used.sum())


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
