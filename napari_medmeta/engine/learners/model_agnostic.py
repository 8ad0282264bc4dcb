"""MAML and Reptile: a meta-learnt start from which a few gradient steps on the painted slices suffice.

With theta the start, L_s the loss on a task's support voxels and L_q that on its query voxels, adaptation is

    theta_0 = theta,   theta_(t+1) = theta_t - alpha * grad L_s(theta_t),   t = 0 ... T-1.

- MAML (Finn, Abbeel and Levine, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", ICML 2017,
  eq. 1) makes gradient descent steps on L_q(theta_T) with respect to theta. Second order differentiates through the
  inner gradients; first order takes them as constants (their section 5.2): cheaper, and nearly as good there.
  The step sizes alpha are learnt too, one a parameter tensor and step: Li et al., "Meta-SGD", 2017, and
  Antoniou, Edwards and Storkey, "How to train your MAML", ICLR 2019, section 4.
- Reptile (Nichol, Achiam and Schulman, "On First-Order Meta-Learning Algorithms", 2018, algorithm 2) needs no L_q:
  it adapts to all known voxels of a task in minibatches and moves the start a share of the way to where that led,

    theta <- theta + epsilon * (theta_T - theta),

  which, as they note, is a step of any optimizer on the gradient theta - theta_T.

At use both adapt to the support voxels of this very scan, in a fraction of a second and from the start every time:
what follows depends on the examples alone, and an example taken away is gone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from napari_medmeta.engine.learners.base import Scene
from napari_medmeta.engine.learners.head import (
    Adapted,
    Examples,
    Readout,
    VoxelHead,
    Weights,
    examples_of,
    logits_of,
    query_loss,
)

__all__ = ["MAMLLearner", "Order", "ReptileLearner", "support_gradient"]

FIRST_RATE = 0.5
"""Step size to begin with: inputs have unit variance and the loss weights sum to 1, so that steps of this size are
stable; MAML learns better ones."""

QUERY_VOXELS = 1_200
"""Query voxels that Reptile draws a task: about as many as support voxels."""


class Order(Enum):
    """How far MAML's outer gradient sees through the inner steps."""

    FIRST = "first"
    SECOND = "second"


class MAMLLearner(nn.Module):
    """Gradient steps on the support voxels from a start and with step sizes learnt for just that.

    Parameters
    ----------
    embedding
        E, dimensions of the learnt embedding.
    hidden
        Width of the head's layers.
    steps
        T, inner steps, in training and in use.
    order
        Whether training differentiates through the inner gradients; it does not matter in use.
    """

    name = "maml"

    def __init__(self, *, embedding: int = 16, hidden: int = 32, steps: int = 8, order: Order = Order.SECOND) -> None:
        super().__init__()
        self.steps, self.order = steps, order
        self.head = VoxelHead(embedding=embedding, hidden=hidden)
        self.readout = Readout()
        tensors = len(list(self.head.parameters()))
        self.log_rates = nn.Parameter(torch.full((steps, tensors), math.log(FIRST_RATE)))

    def fit(self, scene: Scene) -> Adapted:
        """Adapt to the support voxels of ``scene``."""
        examples = examples_of(scene)
        return Adapted(scene, self.head, self.adapted(examples), examples.frame, self.readout)

    def adapted(self, examples: Examples) -> Weights:
        """Return the weights after all steps, one set a structure."""
        weights = self.head.copies(len(examples.inputs))
        through = self.order is Order.SECOND and torch.is_grad_enabled()
        for rates in self.log_rates.exp():
            gradient = support_gradient(self.head, weights, examples, differentiable=through)
            weights = {name: w - rate * gradient[name] for (name, w), rate in zip(weights.items(), rates, strict=True)}
        return weights

    def own_loss(self, scene: Scene, truth: Tensor, depths: Sequence[int]) -> Tensor:
        """Return L_q(theta_T): the loss of the adapted heads on the query slices.

        Parameters
        ----------
        truth
            (D, H, W) int64 classes; negative where not known.
        """
        return query_loss(self.fit(scene), truth, depths)


class ReptileLearner(nn.Module):
    """Gradient steps on the support voxels from a start that lies near where such steps lead on every task.

    Parameters
    ----------
    embedding
        E, dimensions of the learnt embedding.
    hidden
        Width of the head's layers.
    steps
        T, inner steps in training, each on a minibatch, and in use, each on all support voxels.
    rate
        alpha; Reptile has no gradient by which to learn it.
    minibatch
        Voxels of one inner step in training. Different ones each step: what their gradients have in common is
        what generalises, and that is what Reptile maximises (their section 5.1).
    """

    name = "reptile"

    def __init__(
        self,
        *,
        embedding: int = 16,
        hidden: int = 32,
        steps: int = 12,
        rate: float = FIRST_RATE,
        minibatch: int = 400,
    ) -> None:
        super().__init__()
        self.steps, self.rate, self.minibatch = steps, rate, minibatch
        self.head = VoxelHead(embedding=embedding, hidden=hidden)
        self.readout = Readout()

    def fit(self, scene: Scene) -> Adapted:
        """Adapt to the support voxels of ``scene``."""
        examples = examples_of(scene)
        weights = self.adapted([examples] * self.steps)
        return Adapted(scene, self.head, weights, examples.frame, self.readout)

    def adapted(self, batches: Sequence[Examples]) -> Weights:
        """Return the weights after one step on each of ``batches``; no gradient flows back to the start."""
        weights = {name: w.detach() for name, w in self.head.copies(len(batches[0].inputs)).items()}
        for batch in batches:
            gradient = support_gradient(self.head, weights, batch, differentiable=False)
            weights = {name: w - self.rate * gradient[name] for name, w in weights.items()}
        return weights

    def meta_step(self, scene: Scene, truth: Tensor, depths: Sequence[int], optimizer: Optimizer) -> float:
        """Move the start towards the weights adapted to this task and return the query loss before.

        The optimizer is given theta - theta_T as gradient: plain gradient descent at the rate epsilon then moves by
        exactly that share. The two factors of the readout, which Reptile says nothing of, follow the query loss.

        Parameters
        ----------
        truth
            (D, H, W) int64 classes; negative where not known.
        """
        optimizer.zero_grad()
        loss = query_loss(self.fit(scene), truth, depths)
        loss.backward()  # reaches the readout alone
        reached = self.adapted(self._minibatches(self._known(scene, truth, depths)))
        for name, parameter in self.head.named_parameters():
            # Structures are so many tasks: the batched version of the algorithm takes their mean.
            parameter.grad = (parameter - reached[name].mean(0)).detach()
        optimizer.step()
        return float(loss.detach())

    def _known(self, scene: Scene, truth: Tensor, depths: Sequence[int]) -> Examples:
        """Return all labelled voxels of a training task: the support's, and as many of the query slices."""
        mask, embedded, places = scene.learnt_queries(depths)
        classes = truth[torch.as_tensor(list(depths), device=truth.device)][mask]
        found = (classes >= 0).nonzero()[:, 0]
        order = torch.randperm(len(found), generator=_draws())[:QUERY_VOXELS]
        chosen = found[order.to(found.device)]
        return examples_of(scene).joined(embedded[chosen], places[chosen], classes[chosen])

    def _minibatches(self, known: Examples) -> list[Examples]:
        count = known.inputs.shape[1]
        draws, device = _draws(), known.inputs.device
        # Every voxel has its turn before any has a second one.
        rounds = -(-self.steps * self.minibatch // count)
        order = torch.cat([torch.randperm(count, generator=draws) for _ in range(rounds)]).to(device)
        return [known.part(order[n * self.minibatch :][: self.minibatch]) for n in range(self.steps)]


def support_gradient(head: VoxelHead, weights: Weights, examples: Examples, *, differentiable: bool) -> Weights:
    """Return the gradient of each structure's support loss with respect to its own weights.

    Parameters
    ----------
    differentiable
        Whether further gradients flow through it, as second order asks for.
    """
    # torch.func.grad would do as well, but loads torch's compiler first: two seconds for whoever waits.
    with torch.enable_grad():
        # A start that is frozen, as in use, has no graph that could go on.
        through = differentiable and all(w.requires_grad for w in weights.values())
        own = weights if through else {name: w.detach().requires_grad_() for name, w in weights.items()}
        # The sum over structures: the weights of one play no part in the loss of another.
        loss = examples.loss(logits_of(head, own, examples.inputs)).sum()
        gradient = torch.autograd.grad(loss, list(own.values()), create_graph=through)
    return dict(zip(own, gradient, strict=True))


def _draws() -> torch.Generator:
    return torch.Generator().manual_seed(0)
