"""The small head that adapts to a scan, one copy a structure, and what it sees of the support voxels.

The encoder of the learnt embedding stays frozen and only this head moves: Raghu et al., "Rapid Learning or Feature
Reuse? Towards Understanding the Effectiveness of MAML", ICLR 2020, find that adapting the last layers is what meta-
learnt adaptation amounts to. The head is agnostic of classes: each structure gets its own adapted copy of one start,
so that any number of structures works, and the copies then compete in a softmax against the background.

A voxel comes as its learnt embedding and its place, both counted from the mean of the structure's own examples:
"near zero means inside" holds for every structure, and that is what a common start can know.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap

from napari_medmeta.engine.learners.base import Scene

__all__ = ["Adapted", "Examples", "Readout", "VoxelHead", "Weights", "examples_of", "logits_of", "query_loss"]

Weights: TypeAlias = dict[str, Tensor]
"""Parameters of one head per structure: each tensor has a leading axis S."""

PLACE = 3
"""A voxel's place along D, H, W."""

FARTHEST = 8.0
"""Inputs are cut here: so many standard deviations or structure sizes away, more tells nothing."""

LEAST_SPREAD = 1e-3
"""Standard deviations below this count as this, so that a constant dimension does not become noise."""

CHUNK = 65_536
"""Voxels that pass the head together: bounds the memory for the inner layers."""

SMALL_AREA = 20.0
"""Voxels of a small structure on one slice: what an empty truth is measured against."""


class VoxelHead(nn.Module):
    """Two hidden layers from (m, E+3) inputs to (m,) logits of "inside the structure".

    Parameters
    ----------
    embedding
        E, dimensions of the learnt embedding.
    hidden
        Width of the hidden layers.
    """

    def __init__(self, *, embedding: int = 16, hidden: int = 32) -> None:
        super().__init__()
        self.first = nn.Linear(embedding + PLACE, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (m,) logits."""
        # A smooth activation: second-order steps differentiate it twice.
        inside = F.silu(self.second(F.silu(self.first(inputs))))
        logits: Tensor = self.last(inside)[..., 0]
        return logits

    def copies(self, structures: int) -> Weights:
        """Return the start of every structure's own head, through which gradients flow back here."""
        return {name: p.expand(structures, *p.shape) for name, p in self.named_parameters()}


@dataclass(frozen=True, eq=False)
class Frame:
    """From where each structure's inputs are counted: ``centre`` is (S, E+3), ``scale`` (E+3,)."""

    centre: Tensor
    scale: Tensor

    def inputs(self, embedded: Tensor, places: Tensor) -> Tensor:
        """Return (S, m, E+3) from (m, E) embeddings and (m, 3) places."""
        joined = torch.cat([embedded, places.to(embedded)], dim=1)
        return ((joined[None] - self.centre[:, None]) / self.scale).clamp(-FARTHEST, FARTHEST)


@dataclass(frozen=True, eq=False)
class Examples:
    """Labelled voxels as each structure's head sees them.

    Parameters
    ----------
    inputs
        (S, m, E+3).
    target
        (S, m): 1 inside of the structure, 0 elsewhere.
    weight
        (S, m), 1 in sum for each structure: inside and outside count alike, whatever their number.
    frame
        From where the inputs are counted.
    """

    inputs: Tensor
    target: Tensor
    weight: Tensor
    frame: Frame

    def part(self, index: Tensor) -> Examples:
        """Return the voxels at ``index``, weighed anew."""
        target = self.target[:, index]
        return Examples(self.inputs[:, index], target, _balanced(target), self.frame)

    def joined(self, embedded: Tensor, places: Tensor, classes: Tensor) -> Examples:
        """Return these and further voxels: (q, E) embeddings, (q, 3) places and (q,) classes, in the same frame."""
        inputs = torch.cat([self.inputs, self.frame.inputs(embedded, places)], dim=1)
        target = torch.cat([self.target, _targets(classes, len(self.target)).to(inputs)], dim=1)
        return Examples(inputs, target, _balanced(target), self.frame)

    def loss(self, logits: Tensor) -> Tensor:
        """Return (S,) weighted binary cross-entropies of (S, m) logits."""
        entropy = F.binary_cross_entropy_with_logits(logits, self.target, reduction="none")
        return (self.weight * entropy).sum(1)


class Readout(nn.Module):
    """How the adapted heads' logits and the interpolated shape make up the answer: two meta-learnt factors."""

    def __init__(self) -> None:
        super().__init__()
        self.log_head = nn.Parameter(torch.zeros(()))
        self.log_shape = nn.Parameter(torch.zeros(()))

    def forward(self, head: Tensor, shape: Tensor) -> Tensor:
        """Return (S+1, m) logits from (S, m) of the heads and (S+1, m) log-posteriors of the shape."""
        odds = self.log_head.exp() * head + self.log_shape.exp() * (shape[1:] - shape[:1])
        return torch.cat([torch.zeros_like(odds[:1]), odds])


@dataclass(frozen=True, eq=False)
class Adapted:
    """Heads that have adapted to one support set.

    Parameters
    ----------
    scene
        The task.
    head, weights
        The architecture, and its weights for each structure.
    frame
        From where the inputs are counted.
    readout
        How the shape joins in.
    """

    scene: Scene
    head: VoxelHead
    weights: Weights
    frame: Frame
    readout: Readout

    def evidence(self, depths: Sequence[int]) -> Tensor:
        """Return (S+1, n, H, W) log-posteriors."""
        mask, logits = self.logits(depths)
        return self.scene.spread(mask, logits, depths)

    def logits(self, depths: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the undecided voxels on ``depths``, (n, H, W) bool, and their (S+1, m) logits."""
        mask, embedded, places = self.scene.learnt_queries(depths)
        parts = [
            logits_of(self.head, self.weights, self.frame.inputs(e, p))
            for e, p in zip(embedded.split(CHUNK), places.split(CHUNK), strict=True)
        ]
        # The shape is exact on painted slices, so steps on these would learn to trust nothing else: it joins here.
        return mask, self.readout(torch.cat(parts, dim=1), self.scene.shape.log_posterior(depths)[:, mask])


def examples_of(scene: Scene) -> Examples:
    """Return the drawn support voxels of ``scene``."""
    embedded, places, classes = scene.learnt_samples(), scene.sample_places(), scene.sample_class
    structures = scene.task.structures
    target = _targets(classes, structures).to(embedded)
    joined = torch.cat([embedded, places.to(embedded)], dim=1)
    # A structure that is on no slice now has no mean of its own: that of all voxels stands in.
    share = torch.where(target.any(1, keepdim=True), target, torch.ones_like(target))
    centre = (share @ joined) / share.sum(1, keepdim=True)
    spread = torch.cat([embedded.std(0, correction=0).clamp_min(LEAST_SPREAD), joined.new_ones(PLACE)])
    frame = Frame(centre, spread)
    return Examples(frame.inputs(embedded, places), target, _balanced(target), frame)


def logits_of(head: VoxelHead, weights: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
    """Return (S, m) logits of (S, m, E+3) inputs, each structure by its own weights."""
    # functional_call puts the weights into the module for the time of the call, and other threads may be calling too.
    frame = copy.deepcopy(head)

    def one(own: Weights, seen: Tensor) -> Tensor:
        out: Tensor = functional_call(frame, own, (seen,))
        return out

    mapped: Callable[[Weights, Tensor], Tensor] = vmap(one)
    return mapped(dict(weights), inputs)


def query_loss(adapted: Adapted, truth: Tensor, depths: Sequence[int]) -> Tensor:
    """Return the loss of the outer loop: how well the adapted heads do on slices that they did not adapt to.

    Cross-entropy over the voxels that the shape leaves open plus soft Dice (Milletari et al., "V-Net", 3DV 2016)
    over structures. It is taken from the logits, because log-posteriors are cut and pass no gradient there.

    Parameters
    ----------
    truth
        (D, H, W) int64 classes; negative where not known.
    """
    rows = torch.as_tensor(list(depths), device=truth.device)
    mask, logits = adapted.logits(depths)
    target = truth[rows][mask]
    known = target >= 0
    if not bool(known.any()):
        return logits.sum() * 0.0
    logits, target = logits[:, known], target[known]
    entropy = F.cross_entropy(logits.T, target)
    probability, hit = logits.softmax(0)[1:], _targets(target, len(logits) - 1)
    overlap = 2 * (probability * hit).sum(1) + SMALL_AREA
    size = probability.sum(1) + hit.sum(1) + SMALL_AREA
    return entropy + (1 - overlap / size).mean()


def _targets(classes: Tensor, structures: int) -> Tensor:
    numbers = torch.arange(1, structures + 1, device=classes.device)
    return (classes[None] == numbers[:, None]).float()


def _balanced(target: Tensor) -> Tensor:
    inside = target.sum(1, keepdim=True)
    outside = target.shape[1] - inside
    weight = target / inside.clamp_min(1) + (1 - target) / outside.clamp_min(1)
    return weight / weight.sum(1, keepdim=True).clamp_min(LEAST_SPREAD)
