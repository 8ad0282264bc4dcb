"""Matching network head: a voxel takes the labels of the support voxels it attends to.

Vinyals et al., "Matching Networks for One Shot Learning", NeurIPS 2016, eq. 1, with a Gaussian kernel as
attention and, with position, a locality term: then it is non-local label fusion (Coupe et al.,
"Patch-based segmentation using expert priors", NeuroImage 2011) on features instead of patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_medmeta.engine.learners.base import Scene

__all__ = ["MatchingLearner"]

CHUNK = 4_096
"""Queries compared with all support voxels at once: small enough to stay in the processor's cache."""

LEAST_ATTENTION = 1e-9
"""Attention below this is rounding error of the softmax."""


@dataclass(frozen=True)
class MatchingLearner:
    """Attention over the support voxels.

    Parameters
    ----------
    with_position
        Whether nearness in the scan counts beside likeness.
    keys
        Support voxels attended to, over all classes.
    """

    with_position: bool = False
    keys: int = 800

    @property
    def name(self) -> str:
        """The source of evidence it stands for."""
        return "matching and place" if self.with_position else "matching"

    def fit(self, scene: Scene) -> FittedMatching:
        """Embed the support samples."""
        samples = scene.samples(with_position=self.with_position)
        # Samples are drawn in random order within each class, so every n-th is a fair, balanced thinning.
        step = max(1, round(len(samples) / self.keys))
        return FittedMatching(scene, self.with_position, samples[::step], scene.sample_class[::step])


@dataclass(frozen=True, eq=False)
class FittedMatching:
    """Support voxels to attend to: ``keys`` is (m, E) float32, ``classes`` (m,) int64."""

    scene: Scene
    with_position: bool
    keys: Tensor
    classes: Tensor

    def evidence(self, depths: Sequence[int]) -> Tensor:
        """Return (S+1, n, H, W) log-posteriors."""
        mask, queries = self.scene.queries(depths, with_position=self.with_position)
        votes = self._votes()
        parts = [self._attend(part, votes) for part in queries.split(CHUNK)]
        logits = torch.cat(parts, dim=1) if parts else votes.new_zeros((votes.shape[1], 0))
        return self.scene.spread(mask, logits, depths)

    def _votes(self) -> Tensor:
        # Per class the mean, not the sum: how many voxels were drawn says nothing of the class.
        one_hot = F.one_hot(self.classes, self.scene.task.structures + 1).float()
        return one_hot / one_hot.sum(0).clamp_min(1.0)

    def _attend(self, queries: Tensor, votes: Tensor) -> Tensor:
        # |q - k|^2 without |q|^2, which is the same for every key and cancels in the softmax.
        affinity = torch.addmm(-0.5 * (self.keys**2).sum(1), queries, self.keys.T)
        attended = torch.softmax(affinity, dim=1) @ votes
        return torch.log(attended.clamp_min(LEAST_ATTENTION)).T
