"""Siamese networks: two voxels pass the same small projection, and their distance says whether they are the same.

The projection f maps the learnt embedding to the unit sphere. Three published ideas share it:

- Hadsell, Chopra and LeCun, "Dimensionality Reduction by Learning an Invariant Mapping", CVPR 2006, eq. 4: of a pair
  of voxels at the distance D = |f(a) - f(b)| the contrastive loss is D^2 / 2 when they are the same and
  max(0, margin - D)^2 / 2 when they are not (`contrastive_loss`).
- Koch, Zemel and Salakhutdinov, "Siamese Neural Networks for One-shot Image Recognition", 2015, section 3.1: a
  logistic of the distance verifies whether two voxels are the same, and a voxel takes the class whose examples it is
  verified to be the same as (`SiameseLearner`).
- Jabri, Owens and Efros, "Space-Time Correspondence as a Contrastive Random Walk", NeurIPS 2020, eq. 1 and 2: a step
  from one frame to the next is a softmax of likeness over the places nearby, and labels are carried along by a chain
  of such steps. Here the frames are slices (`CorrespondenceLearner`). What is new is that a voxel may correspond to
  nothing, so that a structure can end; it then takes what the shape prior says of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_medmeta.engine.learners.base import Scene
from napari_medmeta.engine.learners.thinning import balanced, thinned
from napari_medmeta.engine.learners.walk import walled_slab
from napari_medmeta.engine.task import Task

__all__ = ["CorrespondenceLearner", "SiameseLearner", "SiameseProjection", "contrastive_loss"]

CHUNK = 4_096
"""Queries compared with all support voxels at once: small enough to stay in the processor's cache."""

LEAST_SHARE = 1e-4
"""Shares and probabilities below this count as this: their logarithm would drown everything else."""

PAIRED = 1_024
"""Query voxels drawn for the contrastive loss; each makes a pair with every support voxel."""

VERIFIED = 4_096
"""Query voxels drawn for the loss of the posteriors."""

SMALL_DRAW = 20.0
"""Drawn voxels of a small structure: what a draw without any is measured against."""

NO_START = 1e4
"""Slices to the start of a chain that has none: it plays no part beside one that has."""

MOST_DILATION = 3
"""Window places are at most this many voxels apart: further apart they would step over thin structures."""


class SiameseProjection(nn.Module):
    """The twins: one small network that both voxels of a pair pass.

    Parameters
    ----------
    embedding
        E, dimensions of the learnt embedding.
    hidden, projected
        Width of the hidden layer, and P, dimensions of the space of comparison.
    """

    def __init__(self, embedding: int = 16, *, hidden: int = 32, projected: int = 16) -> None:
        super().__init__()
        self.straight = nn.Linear(embedding, projected, bias=False)
        last = nn.Linear(hidden, projected)
        self.layers = nn.Sequential(nn.Linear(embedding, hidden), nn.ReLU(), last)
        # Before anything is learnt, voxels are compared as the embedding has them.
        nn.init.eye_(self.straight.weight)
        nn.init.normal_(last.weight, std=1e-2)
        nn.init.zeros_(last.bias)

    def forward(self, embedded: Tensor) -> Tensor:
        """Return (n, P) unit vectors of (n, E) embeddings."""
        return F.normalize(self.straight(embedded) + self.layers(embedded), dim=-1)

    def maps(self, embedding: Tensor) -> Tensor:
        """Return (P, D, H, W) unit vectors of (E, D, H, W) embeddings."""
        flat: Tensor = self(embedding.flatten(1).T)
        return flat.T.reshape(-1, *embedding.shape[1:])


def contrastive_loss(distance: Tensor, same: Tensor, *, margin: float) -> Tensor:
    """Return the contrastive loss with margin (Hadsell et al. 2006, eq. 4), same and other pairs counting alike.

    Parameters
    ----------
    distance
        (n,) distances of the pairs.
    same
        (n,) bool: which pairs belong together.
    margin
        Pairs that do not belong together are pushed apart up to this distance.
    """
    together, apart = distance[same], distance[~same]
    parts = [0.5 * together**2, 0.5 * (margin - apart).clamp_min(0) ** 2]
    return sum((part.mean() for part in parts if part.numel()), start=distance.new_zeros(()))


class SiameseLearner(nn.Module):
    """Verify of each open voxel whether it is the same as drawn support voxels.

    With u = (sqrt(b) f(embedding), sqrt(w) place), P(same | q, s) = sigmoid(a - |u_q - u_s|^2), and the posterior
    of a class grows with the mean of P(same) over the support voxels of that class, to a learnt power.

    Parameters
    ----------
    projection
        The twins; a new pair unless it is shared with another learner.
    keys
        Support voxels that are compared with, over all classes.
    margin
        Margin of the contrastive loss; distances on the unit sphere reach 2.
    """

    name = "siamese"

    def __init__(self, projection: SiameseProjection | None = None, *, keys: int = 512, margin: float = 1.0) -> None:
        super().__init__()
        self.projection = projection if projection is not None else SiameseProjection()
        self.keys, self.margin = keys, margin
        # Before anything is learnt two voxels are as likely the same as not at 0.7 of the margin, voxels three
        # position scales apart still count, and shares are sharpened: verification alone is cautious.
        self.threshold = nn.Parameter(torch.tensor(2.0 * margin**2))
        self.log_steepness = nn.Parameter(torch.tensor(math.log(4.0)))
        self.log_nearness = nn.Parameter(torch.full((3,), math.log(0.1)))
        self.log_power = nn.Parameter(torch.tensor(math.log(3.0)))

    def fit(self, scene: Scene) -> FittedSiamese:
        """Project the support voxels."""
        kept = thinned(scene.sample_class, self.keys)
        projected = self.projection(scene.learnt_samples()[kept])
        return FittedSiamese(self, scene, projected, scene.sample_places()[kept], scene.sample_class[kept])

    def joined(self, projected: Tensor, places: Tensor) -> Tensor:
        """Return (n, P+3): the vectors u whose squared distance the verification looks at."""
        steepness, nearness = torch.exp(0.5 * self.log_steepness), torch.exp(0.5 * self.log_nearness)
        return torch.cat([projected * steepness, places * nearness], dim=1)

    def own_loss(self, scene: Scene, truth: Tensor, depths: Sequence[int]) -> Tensor:
        """Return the contrastive loss of query-support pairs, plus cross-entropy and soft Dice of posteriors.

        Parameters
        ----------
        truth
            (D, H, W) int64 classes; below 0 where the truth is not asked.
        depths
            The slices whose voxels are queries.
        """
        fitted = self.fit(scene)
        mask, embedded, places = scene.learnt_queries(depths)
        classes = truth[list(depths)][mask]
        asked = (classes >= 0).nonzero()[:, 0]
        if not len(asked):
            return fitted.projected.sum() * 0.0
        generator = torch.Generator().manual_seed(len(asked))
        order = asked[torch.randperm(len(asked), generator=generator).to(asked.device)]
        verified, paired = order[:VERIFIED], order[balanced(classes[order], PAIRED)]
        logits = fitted.verify(self.projection(embedded[verified]), places[verified])
        posterior_loss = F.cross_entropy(logits.T, classes[verified]) + _overlap_loss(logits, classes[verified])
        return posterior_loss + self._contrast(fitted, self.projection(embedded[paired]), classes[paired])

    def _contrast(self, fitted: FittedSiamese, projected: Tensor, classes: Tensor) -> Tensor:
        # The root has no gradient at 0, where a pair of the same voxels lies.
        distance = (_squared_distances(projected, fitted.projected) + 1e-6).sqrt()
        same = classes[:, None] == fitted.classes[None]
        # Background is whatever is no structure: two voxels of it need not be alike.
        counts = (classes[:, None] > 0) | (fitted.classes[None] > 0)
        return contrastive_loss(distance[counts], same[counts], margin=self.margin)


@dataclass(frozen=True, eq=False)
class FittedSiamese:
    """The support voxels of one scene: (m, P) ``projected``, (m, 3) ``places``, (m,) ``classes``."""

    learner: SiameseLearner
    scene: Scene
    projected: Tensor
    places: Tensor
    classes: Tensor

    def evidence(self, depths: Sequence[int]) -> Tensor:
        """Return (S+1, n, H, W) log-posteriors."""
        mask, embedded, places = self.scene.learnt_queries(depths)
        parts = [
            self.verify(self.learner.projection(e), p)
            for e, p in zip(embedded.split(CHUNK), places.split(CHUNK), strict=True)
        ]
        return self.scene.spread(mask, torch.cat(parts, dim=1), depths)

    def verify(self, projected: Tensor, places: Tensor) -> Tensor:
        """Return (S+1, n): per class the logarithm of its share of verified support voxels, to the learnt power."""
        distance = _squared_distances(self.learner.joined(projected, places), self._keys)
        share = torch.sigmoid(self.learner.threshold - distance) @ self._votes
        return torch.exp(self.learner.log_power) * torch.log(share + LEAST_SHARE).T

    @cached_property
    def _keys(self) -> Tensor:
        return self.learner.joined(self.projected, self.places)

    @cached_property
    def _votes(self) -> Tensor:
        # Per class the mean, not the sum: how many voxels were drawn says nothing of the class.
        one_hot = F.one_hot(self.classes, self.scene.task.structures + 1).float()
        return one_hot / one_hot.sum(0).clamp_min(1.0)


class CorrespondenceLearner(nn.Module):
    """Carry the painted labels from slice to slice, each voxel looking for its like on the slice before.

    For a voxel x and the places y of a window around x on the slice before,
    A(x, y) = softmax_y(b f(x).f(y) - w slope(x, y)^2), where the slope is the sideways step over the distance of the
    slices and one more place, "nowhere", has a learnt logit. The labels are L(x) = sum_y A(x, y) L(y) +
    A(x, nowhere) prior(x), sharpened by a learnt power. Chains start at the painted slices, in both directions;
    between two of them the answers are mixed in the logarithm by nearness.

    Parameters
    ----------
    projection
        The twins; a new pair unless it is shared with another learner.
    radius
        The window has 2 radius + 1 places a side.
    """

    name = "correspondence"

    def __init__(self, projection: SiameseProjection | None = None, *, radius: int = 2) -> None:
        super().__init__()
        self.projection = projection if projection is not None else SiameseProjection()
        self.radius = radius
        # Where meta-training starts: found by search on synthetic tasks and on the development cases, because from
        # a milder start (10, 5, 1.1, 1) it had not come here in 400 steps (Dice of the latter cases, one painted
        # slice: 0.72 and 0.71 instead of 0.70 and 0.70).
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(18.0)))
        self.log_stiffness = nn.Parameter(torch.tensor(math.log(0.5)))
        # Likeness is at most `sharpness`: a voxel whose best like is at more than a right angle's half goes nowhere.
        self.nowhere = nn.Parameter(torch.tensor(11.0))
        self.log_power = nn.Parameter(torch.zeros(()))
        self.log_nearness = nn.Parameter(torch.tensor(math.log(1.6)))
        self.log_trust = nn.Parameter(torch.zeros(()))

    def fit(self, scene: Scene) -> FittedCorrespondence:
        """Take the painted slices as the starts of the chains."""
        return FittedCorrespondence(self, scene)


@dataclass(frozen=True, eq=False)
class FittedCorrespondence:
    """The painted slices of one scene."""

    learner: CorrespondenceLearner
    scene: Scene

    def evidence(self, depths: Sequence[int]) -> Tensor:
        """Return (S+1, n, H, W) log-posteriors; slices beyond the nearest walls play no part."""
        first, stop = walled_slab(self.scene.task, depths)
        chains = _Chains(self.learner, self.scene, first, stop)
        mixed = torch.exp(self.learner.log_trust) * chains.mixed([z - first for z in depths])
        return self._pasted(mixed, depths, chains.window)

    def _pasted(self, inside: Tensor, depths: Sequence[int], window: tuple[slice, slice]) -> Tensor:
        """Put (S+1, n, h, w) values of the window into the whole plane."""
        whole = self.scene.shape.log_posterior(depths).clone()
        whole[(..., *window)] = inside
        mask = self.scene.undecided[torch.as_tensor(list(depths), device=whole.device)]
        return self.scene.spread(mask, whole[:, mask], depths)


class _Chains:
    """Label chains through one slab, inside the part of the plane where something is undecided."""

    def __init__(self, learner: CorrespondenceLearner, scene: Scene, first: int, stop: int) -> None:
        self._learner, self._task = learner, scene.task
        self._depths = range(first, stop)
        self._dilation = _dilation(self._task, learner.radius)
        self.window = _window(scene.undecided.any(0), learner.radius * self._dilation)
        inside = (slice(first, stop), *self.window)
        if self._task.embedding is None:
            raise ValueError("A learnt learner was given a task without an embedding")
        # Planes that lie together are three times as fast to compare as the vectors that the projection leaves.
        self._vectors = learner.projection.maps(self._task.embedding[(slice(None), *inside)]).contiguous()
        prior = scene.shape.log_posterior(self._depths)[(..., *self.window)].exp()
        self._prior = prior / prior.sum(0)
        self._known = self._task.classes[inside] >= 0
        self._starts = _starts(self._task, self._depths, self._prior, self.window)

    def mixed(self, rows: Sequence[int]) -> Tensor:
        """Return (S+1, n, h, w) log-posteriors of n rows: both directions, the nearer start counting more."""
        below, above = (self._gaps(up)[list(rows)] ** torch.exp(self._learner.log_nearness) for up in (True, False))
        share = (above / (below + above))[:, None, None]
        return share * self._carried(rows, up=True).log() + (1 - share) * self._carried(rows, up=False).log()

    def _gaps(self, up: bool) -> Tensor:
        """Return (n,) distance in slices to the last painted slice in this direction; far where there is none."""
        painted = [z for z in self._depths if z in self._task.depths]
        behind = [[abs(z - p) for p in painted if (p <= z if up else p >= z)] for z in self._depths]
        return torch.tensor([min(b, default=NO_START) + 1e-3 for b in behind], device=self._prior.device)

    def _carried(self, rows: Sequence[int], *, up: bool) -> Tensor:
        """Return (S+1, n, h, w) probabilities of n rows after the chain that runs up, or down, as far as they lie."""
        first, stop = (0, max(rows) + 1) if up else (min(rows), len(self._depths))
        carried: dict[int, Tensor] = {}
        state: Tensor | None = None
        for row in range(first, stop) if up else range(stop - 1, first - 1, -1):
            start = self._starts[:, row]
            if state is None or self._depths[row] in self._task.walls:
                state = start
            else:
                moved = self._stepped(self._step(row, row - 1 if up else row + 1), state, self._prior[:, row])
                state = torch.where(self._known[row], start, moved)
            carried[row] = state
        return torch.stack([carried[row] for row in rows], dim=1)

    def _step(self, row: int, before: int) -> Tensor:
        """Return (offsets + 1, h, w): A of one row and the row before; the last place is nowhere."""
        # Row by row the vectors stay in the processor's cache: twice as fast as all rows at once.
        here = torch.exp(self._learner.log_sharpness) * self._vectors[:, row]
        stiffness = torch.exp(self._learner.log_stiffness)
        logits = [
            (here * moved).sum(0) - stiffness * slope**2
            for moved, slope in zip(self._shifted(self._vectors[:, before]), self._slopes, strict=True)
        ]
        return torch.softmax(torch.stack([*logits, self._learner.nowhere.expand_as(logits[0])]), dim=0)

    def _stepped(self, step: Tensor, state: Tensor, prior: Tensor) -> Tensor:
        """Return (S+1, h, w) probabilities after one step."""
        moved = step[-1] * prior
        for share, shifted in zip(step, self._shifted(state), strict=False):
            moved = torch.addcmul(moved, share, shifted)
        sharp = moved.clamp_min(LEAST_SHARE) ** torch.exp(self._learner.log_power)
        return (sharp / sharp.sum(0)).clamp_min(LEAST_SHARE)

    def _shifted(self, maps: Tensor) -> Iterable[Tensor]:
        """Yield ``maps`` (C, ..., h, w) seen from each place of the window, the edge repeated beyond it."""
        reach = self._learner.radius * self._dilation
        height, width = maps.shape[-2:]
        padded = F.pad(maps.reshape(-1, 1, height, width), (reach,) * 4, mode="replicate")
        padded = padded.reshape(*maps.shape[:-2], height + 2 * reach, width + 2 * reach)
        for row, column in self._offsets():
            yield padded[..., reach + row : reach + row + height, reach + column : reach + column + width]

    def _offsets(self) -> list[tuple[int, int]]:
        steps = [n * self._dilation for n in range(-self._learner.radius, self._learner.radius + 1)]
        return [(row, column) for row in steps for column in steps]

    @cached_property
    def _slopes(self) -> list[float]:
        between, row_mm, column_mm = self._task.spacing_mm
        return [math.hypot(row * row_mm, column * column_mm) / between for row, column in self._offsets()]


def _starts(task: Task, depths: range, prior: Tensor, window: tuple[slice, slice]) -> Tensor:
    """Return (S+1, n, h, w) probabilities: what is painted, and the prior where nothing is said."""
    classes = task.classes[(slice(depths.start, depths.stop), *window)]
    one_hot = F.one_hot(classes.clamp_min(0), task.structures + 1).permute(3, 0, 1, 2).to(prior)
    starts = torch.where(classes >= 0, one_hot, prior)
    for painted in task.painted:
        if painted.axis != 0 or painted.index not in depths:
            continue
        row = painted.index - depths.start
        open_to = [c for c in range(1, task.structures + 1) if c not in painted.asked]
        if open_to:
            # Background of a slice on which a structure was not looked for may be that structure.
            left = prior[:, row].clone()
            left[[c for c in range(1, task.structures + 1) if c in painted.asked]] = 0.0
            left = left / left.sum(0)
            starts[:, row] = torch.where(classes[row] == 0, left, starts[:, row])
        starts[:, row] = torch.lerp(prior[:, row], starts[:, row], painted.weight)
    return starts.clamp_min(LEAST_SHARE)


def _dilation(task: Task, radius: int) -> int:
    """Return how far apart the window's places are: it reaches as far sideways as the next slice is away."""
    pixel = math.sqrt(task.spacing_mm[1] * task.spacing_mm[2])
    return min(MOST_DILATION, max(1, round(task.spacing_mm[0] / pixel / radius)))


def _window(wanted: Tensor, margin: int) -> tuple[slice, slice]:
    """Return the box around the (H, W) voxels that are asked for, with a margin."""
    if not bool(wanted.any()):
        return slice(0, 1), slice(0, 1)
    bounds = []
    for axis, size in enumerate(wanted.shape):
        held = wanted.any(1 - axis).nonzero()[:, 0]
        bounds.append(slice(max(0, int(held[0]) - margin), min(size, int(held[-1]) + 1 + margin)))
    return bounds[0], bounds[1]


def _overlap_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Return 1 less the soft Dice (Milletari et al., "V-Net", 3DV 2016) of (S+1, n) logits, mean over structures."""
    probability = logits.softmax(0)[1:]
    true = F.one_hot(classes, len(logits)).T[1:]
    overlap = 2 * (probability * true).sum(1) + SMALL_DRAW
    return (1 - overlap / (probability.sum(1) + true.sum(1) + SMALL_DRAW)).mean()


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Return (n, m) squared distances of (n, C) and (m, C): one product, where cdist takes a root as well."""
    return torch.addmm((b**2).sum(1), a, b.T, alpha=-2.0).add((a**2).sum(1, keepdim=True)).clamp_min(0.0)
