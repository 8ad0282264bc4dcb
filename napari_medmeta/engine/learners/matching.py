"""Matching network head: a voxel takes the labels of the support voxels it attends to.

Vinyals et al., "Matching Networks for One Shot Learning", NeurIPS 2016, eq. 1, with a Gaussian kernel as
attention and, with position, a locality term: then it is non-local label fusion (Coupe et al.,
"Patch-based segmentation using expert priors", NeuroImage 2011) on features instead of patches.

`MatchingLearner` compares features of this scan as they are. `LearntMatching` compares meta-learnt embeddings in the
light of the whole support set (full-context embeddings, section 2.1.1 of the paper: both what is asked and what
is known is embedded knowing all examples). Where the paper runs an LSTM over the examples it uses attention,
whose answer does not depend on their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_medmeta.engine.learners.base import Scene

__all__ = ["LearntMatching", "MatchingLearner"]

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
        votes = _votes(self.classes, self.scene.task.structures)
        parts = [_attended(part, self.keys, votes) for part in queries.split(CHUNK)]
        logits = torch.cat(parts, dim=1) if parts else votes.new_zeros((votes.shape[1], 0))
        return self.scene.spread(mask, logits, depths)


class LearntMatching(nn.Module):
    """Attention over the support voxels in the learnt embedding, with context and a learnt locality.

    Parameters
    ----------
    embedding
        E, the dimensions of the learnt embedding.
    keys
        Support voxels attended to, over all classes.
    context
        Support voxels that make up the context in which others are embedded.
    """

    name = "learnt matching"

    def __init__(self, *, embedding: int = 16, keys: int = 600, context: int = 128) -> None:
        super().__init__()
        self.keys, self.context = keys, context
        self.attention = nn.MultiheadAttention(embedding, 2, batch_first=True)
        self.norm = nn.LayerNorm(embedding)
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.log_locality = nn.Parameter(torch.tensor(-0.7))
        self.background = nn.Parameter(torch.zeros(()))
        # Context starts by changing nothing.
        nn.init.zeros_(self.attention.out_proj.weight)

    def fit(self, scene: Scene) -> FittedLearntMatching:
        """Embed the support voxels in the context of each other."""
        samples, places = scene.learnt_samples(), scene.sample_places()
        step = max(1, round(len(samples) / self.keys))
        known = samples[::step]
        context = known[:: max(1, round(len(known) / self.context))]
        keys = self.placed(self.in_context(known, context), places[::step])
        return FittedLearntMatching(self, scene, context, keys, scene.sample_class[::step])

    def in_context(self, embedded: Tensor, context: Tensor) -> Tensor:
        """Return (m, E) embeddings that know the (c, E) context."""
        around = self.norm(context)[None]
        change, _ = self.attention(self.norm(embedded)[None], around, around, need_weights=False)
        changed: Tensor = embedded + change[0]
        return changed

    def placed(self, embedded: Tensor, places: Tensor) -> Tensor:
        """Return (m, E+3): embedding and place in units of the attention's width."""
        return torch.cat([embedded * self.log_scale.exp(), places * self.log_locality.exp()], dim=1)


@dataclass(frozen=True, eq=False)
class FittedLearntMatching:
    """Support voxels in context: ``keys`` is (m, E+3), ``classes`` (m,) int64."""

    learner: LearntMatching
    scene: Scene
    context: Tensor
    keys: Tensor
    classes: Tensor

    def evidence(self, depths: Sequence[int]) -> Tensor:
        """Return (S+1, n, H, W) log-posteriors."""
        mask, embedded, places = self.scene.learnt_queries(depths)
        votes = _votes(self.classes, self.scene.task.structures)
        parts = [self._attend(e, p, votes) for e, p in zip(embedded.split(CHUNK), places.split(CHUNK), strict=True)]
        logits = torch.cat(parts, dim=1) if parts else votes.new_zeros((votes.shape[1], 0))
        bias = F.one_hot(torch.zeros((), dtype=torch.int64), len(logits)).to(logits)
        return self.scene.spread(mask, logits + (bias * self.learner.background)[:, None], depths)

    def compared(self, embedded: Tensor, places: Tensor) -> Tensor:
        """Return (m, E+3): the voxels in the space in which they are compared, in the context of this support set."""
        return self.learner.placed(self.learner.in_context(embedded, self.context), places)

    def _attend(self, embedded: Tensor, places: Tensor, votes: Tensor) -> Tensor:
        return _attended(self.compared(embedded, places), self.keys, votes)


def _votes(classes: Tensor, structures: int) -> Tensor:
    # Per class the mean, not the sum: how many voxels were drawn says nothing of the class.
    one_hot = F.one_hot(classes, structures + 1).float()
    return one_hot / one_hot.sum(0).clamp_min(1.0)


def _attended(queries: Tensor, keys: Tensor, votes: Tensor) -> Tensor:
    # |q - k|^2 without |q|^2, which is the same for every key and cancels in the softmax.
    affinity = torch.addmm(-0.5 * (keys**2).sum(1), queries, keys.T)
    attended = torch.softmax(affinity, dim=1) @ votes
    return torch.log(attended.clamp_min(LEAST_ATTENTION)).T
