"""Meta recurrent networks: recurrence as the rule by which to learn, and as the way along the stack.

`MetaLSTMLearner`. Ravi and Larochelle, "Optimization as a Model for Few-Shot Learning", ICLR 2017: a gradient step
theta_t = theta_(t-1) - alpha * grad L has the form of an LSTM's cell update, so let an LSTM be the optimizer. For every
single parameter, with weights that all parameters share (their eq. 2 to 4 and section 3.1),

    h_t = LSTM([grad L, L], h_(t-1))                           what the gradients have been like so far
    f_t = sigmoid(W_F [h_t, theta_(t-1), f_(t-1)] + b_F)       how much of the parameter is kept
    i_t = sigmoid(W_I [h_t, theta_(t-1), i_(t-1)] + b_I)       how large a step is made
    theta_t = f_t * theta_(t-1) - i_t * grad L,

from a meta-learnt start theta_0. Gradients and losses enter on a logarithmic scale with their sign (Andrychowicz et
al., "Learning to learn by gradient descent by gradient descent", NeurIPS 2016, appendix A). The gradients are taken
as constants of the meta-learner, as theirs are (section 3.3).

`RecurrentPropagation`. A convolutional GRU (Ballas et al., "Delving Deeper into Convolutional Networks for Learning
Video Representations", ICLR 2016, eq. 7 to 10) takes the slices for the frames of a film:

    z = sigmoid(W_z * [x, h])    r = sigmoid(W_r * [x, h])    c = tanh(W_c * [x, r h])    h <- (1 - z) h + z c.

Its state starts at a painted slice, from the mask and the embedding there, and walks outward slice by slice. At each
it is shown the embedding, how like the structure's examples each voxel is, the interpolated shape, its own last
answer and the way gone so far; it answers with a change of the shape's log-odds. What comes from the painted slice
below and from the one above is blended by nearness. One pass a structure, whatever the structure is; a walk ends at
the next painted slice, which speaks for itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
from napari_medmeta.engine.learners.model_agnostic import support_gradient
from napari_medmeta.engine.task import PaintedSlice

__all__ = ["MetaLSTMLearner", "RecurrentPropagation", "UpdateRule", "log_scaled"]

MAGNITUDE = 10.0
"""p of the preprocessing: magnitudes below exp(-p) are no longer told apart by their logarithm."""

FORGET_BIAS = 5.0
"""b_F to begin with: 0.7 % of a parameter decays a step (the paper: "initialise the forget gate close to 1")."""

INPUT_BIAS = 0.0
"""b_I to begin with: a step size of one half. The paper starts near 0, for networks of many layers; the head here is
stable at this, and from 0 the gates take long to open."""

ODDS_SCALE = 4.0
"""Log-odds are divided by this, so that the network's inputs have about unit variance."""

MOST_ODDS = 12.0
"""Log-odds are cut here: more certain than the least log-posterior can say."""

WAY = 4.0
"""Distances walked are divided by this many radii of the structure, and cut at 1."""


class UpdateRule(nn.Module):
    """The learnt rule by which one parameter changes; all parameters share it.

    Parameters
    ----------
    hidden
        Width of the LSTM that remembers the gradients.
    """

    def __init__(self, *, hidden: int = 20) -> None:
        super().__init__()
        self.memory = nn.LSTMCell(4, hidden)
        self.forget = nn.Linear(hidden + 2, 1)
        self.input = nn.Linear(hidden + 2, 1)
        for gate, bias in ((self.forget, FORGET_BIAS), (self.input, INPUT_BIAS)):
            # Nearly nothing but the bias speaks at first: the rule starts as plain gradient descent.
            nn.init.uniform_(gate.weight, -0.01, 0.01)
            nn.init.constant_(gate.bias, bias)

    def start(self, count: int) -> RuleState:
        """Return the state before the first step of ``count`` parameters."""
        memory = self.forget.weight.new_zeros((count, self.memory.hidden_size))
        gates = memory.new_zeros((count, 1))
        return RuleState(memory, memory, gates, gates)

    def forward(self, parameter: Tensor, gradient: Tensor, loss: Tensor, state: RuleState) -> tuple[Tensor, RuleState]:
        """Return (n,) parameters after one step, from (n,) gradients and (n,) losses, and the new state."""
        seen = torch.cat([log_scaled(gradient), log_scaled(loss)], dim=1)
        hidden, cell = self.memory(seen, (state.hidden, state.cell))
        forget = torch.sigmoid(self.forget(torch.cat([hidden, parameter[:, None], state.forget], dim=1)))
        step = torch.sigmoid(self.input(torch.cat([hidden, parameter[:, None], state.step], dim=1)))
        changed = forget[:, 0] * parameter - step[:, 0] * gradient
        return changed, RuleState(hidden, cell, forget, step)


@dataclass(frozen=True, eq=False)
class RuleState:
    """What the rule remembers of n parameters: (n, hidden) LSTM state and (n, 1) gates of the last step."""

    hidden: Tensor
    cell: Tensor
    forget: Tensor
    step: Tensor


class MetaLSTMLearner(nn.Module):
    """Adapt the head to the support voxels by a learnt update rule.

    Parameters
    ----------
    embedding
        E, dimensions of the learnt embedding.
    hidden
        Width of the head's layers.
    steps
        Steps of the rule, in training and in use.
    """

    name = "meta lstm"

    def __init__(self, *, embedding: int = 16, hidden: int = 32, steps: int = 8) -> None:
        super().__init__()
        self.steps = steps
        self.head = VoxelHead(embedding=embedding, hidden=hidden)
        self.rule = UpdateRule()
        self.readout = Readout()

    def fit(self, scene: Scene) -> Adapted:
        """Adapt to the support voxels of ``scene``."""
        examples = examples_of(scene)
        return Adapted(scene, self.head, self.adapted(examples), examples.frame, self.readout)

    def adapted(self, examples: Examples) -> Weights:
        """Return the weights after all steps, one set a structure."""
        weights = self.head.copies(len(examples.inputs))
        flat = _flattened(weights)
        state = self.rule.start(flat.numel())
        for _ in range(self.steps):
            current = _unflattened(flat, weights)
            constant = {name: w.detach() for name, w in current.items()}
            gradient = _flattened(support_gradient(self.head, constant, examples, differentiable=False))
            loss = examples.loss(logits_of(self.head, constant, examples.inputs)).detach()
            each = loss[:, None].expand(-1, flat.shape[1])
            changed, state = self.rule(flat.reshape(-1), gradient.reshape(-1), each.reshape(-1), state)
            flat = changed.reshape(flat.shape)
        return _unflattened(flat, weights)

    def own_loss(self, scene: Scene, truth: Tensor, depths: Sequence[int]) -> Tensor:
        """Return the loss of the adapted heads on the query slices; ``truth`` is (D, H, W) int64 classes."""
        return query_loss(self.fit(scene), truth, depths)


def log_scaled(values: Tensor) -> Tensor:
    """Return (n, 2) of (n,) values: (log|x| / p, sign x) where |x| >= exp(-p), and (-1, exp(p) x) below.

    With p of 10, magnitudes from exp(-10) to 1 come to lie between -1 and 0.
    """
    large = values.abs() >= math.exp(-MAGNITUDE)
    size = torch.where(large, values.abs().clamp_min(math.exp(-MAGNITUDE)).log() / MAGNITUDE, -torch.ones_like(values))
    sign = torch.where(large, values.sign(), math.exp(MAGNITUDE) * values)
    return torch.stack([size, sign], dim=1)


def _flattened(weights: Weights) -> Tensor:
    return torch.cat([w.flatten(1) for w in weights.values()], dim=1)


def _unflattened(flat: Tensor, like: Weights) -> Weights:
    parts = flat.split([w[0].numel() for w in like.values()], dim=1)
    return {name: part.reshape(w.shape) for (name, w), part in zip(like.items(), parts, strict=True)}


class _ConvGRU(nn.Module):
    """One step of the convolutional GRU."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.gates = nn.Conv2d(inputs + hidden, 2 * hidden, 3, padding=1)
        self.candidate = nn.Conv2d(inputs + hidden, hidden, 3, padding=1)

    def forward(self, seen: Tensor, state: Tensor) -> Tensor:
        """Return the new (B, hidden, H, W) state."""
        update, reset = torch.sigmoid(self.gates(torch.cat([seen, state], dim=1))).chunk(2, dim=1)
        candidate = torch.tanh(self.candidate(torch.cat([seen, reset * state], dim=1)))
        return torch.lerp(state, candidate, update)


class RecurrentPropagation(nn.Module):
    """Carry every painted mask along the stack in the state of a convolutional GRU.

    Parameters
    ----------
    embedding
        E, dimensions of the learnt embedding.
    projected
        Dimensions of the embedding that the recurrence sees.
    hidden
        Channels of the state.
    full_pixels
        Slices of more pixels are walked at half their resolution; the shape keeps the full one.
    """

    name = "recurrent propagation"

    def __init__(self, *, embedding: int = 16, projected: int = 8, hidden: int = 12, full_pixels: int = 8_000) -> None:
        super().__init__()
        self.full_pixels = full_pixels
        self.projection = nn.Conv2d(embedding, projected, 1)
        # Likeness to inside and outside, the shape, and the mask or the last answer.
        looks = projected + 4
        self.opening = nn.Conv2d(looks, hidden, 3, padding=1)
        self.cell = _ConvGRU(looks + 2, hidden)
        self.answer = nn.Conv2d(hidden, 1, 1)
        # Untrained, the walk changes nothing of the shape.
        for parameter in self.answer.parameters():
            nn.init.zeros_(parameter)

    def fit(self, scene: Scene) -> FittedPropagation:
        """Take the painted slices as places to start from."""
        return FittedPropagation(self, scene)


@dataclass(frozen=True, eq=False)
class _Walk:
    """One walk: structure (from 1), painted slice it starts at, direction, and steps to go."""

    structure: int
    painted: PaintedSlice
    direction: int
    steps: int

    def at(self, step: int) -> int:
        """Return the depth after ``step`` steps."""
        return self.painted.index + self.direction * step


@dataclass(frozen=True, eq=False)
class FittedPropagation:
    """Starts and directions that one support set gives."""

    learner: RecurrentPropagation
    scene: Scene

    def evidence(self, depths: Sequence[int]) -> Tensor:
        """Return (S+1, n, H, W) log-posteriors."""
        scene, wanted = self.scene, list(depths)
        shape = scene.shape.log_posterior(wanted)
        odds = shape[1:] - shape[:1]
        walks = self._walks(wanted)
        if walks:
            odds = (odds + self._changes(walks, wanted)).clamp(-MOST_ODDS, MOST_ODDS)
        mask = scene.undecided[wanted]
        logits = torch.cat([torch.zeros_like(odds[:1]), odds])
        return scene.spread(mask, logits[:, mask], wanted)

    def _walks(self, wanted: Sequence[int]) -> list[_Walk]:
        """Return the walks that reach the wanted slices, longest first."""
        walks = []
        for s in range(1, self.scene.task.structures + 1):
            marked = self._painted(s)
            places = [-1, *(p.index for p in marked), self.scene.task.shape[0]]
            for painted, low, high in zip(marked, places, places[2:], strict=False):
                below = [z for z in wanted if low < z < painted.index]
                above = [z for z in wanted if painted.index < z < high]
                if below:
                    walks.append(_Walk(s, painted, -1, painted.index - min(below)))
                if above:
                    walks.append(_Walk(s, painted, 1, max(above) - painted.index))
        return sorted(walks, key=lambda walk: -walk.steps)

    def _painted(self, structure: int) -> list[PaintedSlice]:
        marked = [p for p in self.scene.task.painted if p.axis == 0 and structure in p.asked]
        return sorted(marked, key=lambda p: p.index)

    def _changes(self, walks: Sequence[_Walk], wanted: Sequence[int]) -> Tensor:
        """Return (S, n, H, W): how the walks change the log-odds of the shape, blended by nearness."""
        task = self.scene.task
        view = _View(self.learner, self.scene, walks)
        index = {z: n for n, z in enumerate(wanted)}
        said: dict[tuple[int, int], list[tuple[float, Tensor]]] = {}
        state, last = view.opened()
        for step in range(1, walks[0].steps + 1):
            going = [w for w in walks if w.steps >= step]
            state = self.learner.cell(view.seen(going, step, last[: len(going)]), state[: len(going)])
            change = self.learner.answer(state)
            last = view.shape_at(going, step) + change
            for n, walk in enumerate(going):
                if walk.at(step) in index:
                    key = walk.structure - 1, index[walk.at(step)]
                    said.setdefault(key, []).append((walk.painted.weight / step, change[n, 0]))
        still = state.new_zeros(view.size)
        everywhere = [(s, n) for s in range(task.structures) for n in range(len(wanted))]
        blended = torch.stack([_blend(said.get(key, []), still) for key in everywhere])
        return view.at_full_size(blended.reshape(task.structures, len(wanted), *view.size))


class _View:
    """What the walks see, at the resolution at which they walk."""

    def __init__(self, learner: RecurrentPropagation, scene: Scene, walks: Sequence[_Walk]) -> None:
        task = scene.task
        if task.embedding is None:
            raise ValueError("A learnt learner was given a task without an embedding")
        self._learner, self._walks, self._task = learner, walks, task
        h, w = task.shape[1:]
        self._factor = 2 if h * w > learner.full_pixels else 1
        ends = [walk.at(step) for walk in walks for step in (0, walk.steps)]
        self._first = min(ends)
        rows = range(self._first, max(ends) + 1)
        embedded = self._pooled(task.embedding[:, rows.start : rows.stop].transpose(0, 1))
        self._projected = learner.projection(embedded)
        self._likeness = _likeness(scene, embedded)
        shape = scene.shape.log_posterior(rows)
        self._shape = self._pooled(shape[1:] - shape[:1]) / ODDS_SCALE
        self._radius_mm = scene.position_scale_mm[1]
        self.size = self._projected.shape[-2:]

    def opened(self) -> tuple[Tensor, Tensor]:
        """Return the state and the log-odds with which every walk sets out: (B, hidden, H, W) and (B, 1, H, W)."""
        masks = torch.stack([(w.painted.classes == w.structure).float()[None] for w in self._walks])
        known = self._pooled(2 * masks - 1)
        state = torch.tanh(self._learner.opening(torch.cat([self._looks(self._walks, 0), known], dim=1)))
        return state, MOST_ODDS * known

    def seen(self, walks: Sequence[_Walk], step: int, last: Tensor) -> Tensor:
        """Return (B, inputs, H, W) of the slice that each walk has come to; ``last`` is its answer before."""
        thickness = self._task.spacing_mm[0] / self._radius_mm
        way = (torch.stack([thickness, step * thickness]) / WAY).clamp(max=1.0)
        constant = way[None, :, None, None].expand(len(walks), 2, *self.size)
        answered = (last / ODDS_SCALE).clamp(-MOST_ODDS / ODDS_SCALE, MOST_ODDS / ODDS_SCALE)
        return torch.cat([self._looks(walks, step), answered, constant], dim=1)

    def shape_at(self, walks: Sequence[_Walk], step: int) -> Tensor:
        """Return (B, 1, H, W) log-odds of the shape where each walk has come to."""
        return self._shape[self._structures(walks), self._rows(walks, step)][:, None] * ODDS_SCALE

    def at_full_size(self, changes: Tensor) -> Tensor:
        """Return (S, n, H, W) at the region's own resolution."""
        if self._factor == 1:
            return changes
        h, w = self._task.shape[1:]
        doubled = F.interpolate(changes, scale_factor=self._factor, mode="bilinear", align_corners=False)
        return doubled[..., :h, :w]

    def _looks(self, walks: Sequence[_Walk], step: int) -> Tensor:
        rows, structures = self._rows(walks, step), self._structures(walks)
        shape = self._shape[structures, rows][:, None]
        return torch.cat([self._projected[rows], self._likeness[structures, rows], shape], dim=1)

    def _rows(self, walks: Sequence[_Walk], step: int) -> Tensor:
        rows = [walk.at(step) - self._first for walk in walks]
        return torch.tensor(rows, device=self._projected.device)

    def _structures(self, walks: Sequence[_Walk]) -> Tensor:
        return torch.tensor([walk.structure - 1 for walk in walks], device=self._projected.device)

    def _pooled(self, maps: Tensor) -> Tensor:
        return maps if self._factor == 1 else F.avg_pool2d(maps, self._factor, ceil_mode=True)


def _likeness(scene: Scene, embedded: Tensor) -> Tensor:
    """Return (S, n, 2, H, W): distance of (n, E, H, W) embeddings to the mean of the inside, and of the outside.

    In standard deviations of the support voxels, per dimension of the embedding.
    """
    samples, classes = scene.learnt_samples(), scene.sample_class
    flat = embedded.transpose(0, 1).flatten(1)
    spread = samples.std(0, correction=0).clamp_min(1e-3)
    rows = []
    for s in range(1, scene.task.structures + 1):
        inside = classes == s
        for members in (inside, ~inside):
            chosen = samples[members] if bool(members.any()) else samples
            away = (flat - chosen.mean(0)[:, None]) / spread[:, None]
            rows.append(away.square().mean(0))
    distance = torch.stack(rows).clamp(max=ODDS_SCALE)
    n, _, h, w = embedded.shape
    return distance.reshape(scene.task.structures, 2, n, h, w).transpose(1, 2)


def _blend(said: Sequence[tuple[float, Tensor]], still: Tensor) -> Tensor:
    if not said:
        return still
    total = sum(weight for weight, _ in said)
    return torch.stack([weight / total * change for weight, change in said]).sum(0)
