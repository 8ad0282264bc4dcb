"""Which example voxels the answer at one voxel goes back to.

Each source gives its posterior of the answer to the support voxels it rests on: attention is shared out as
it is paid (Vinyals et al. 2016), prototypes among their members, trees among the samples in the same
leaves (the forest as an adaptive neighbourhood; Lin and Jeon, "Random forests and adaptive nearest
neighbors", JASA 2006), heads that adapted to the support voxels by nearness before their last layer (the
idea of Yeh et al., "Representer point selection for explaining deep neural networks", NeurIPS 2018), the
shape and labels carried along the stack between the contours they start from, and the walker, whose
exact shares would need a solution for every seed, by nearness.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_medmeta.core import BACKGROUND, SliceExample, SliceRef, Support, Triple
from napari_medmeta.core.explanation import ExampleShare, ExampleVoxel
from napari_medmeta.engine.learners.base import Fitted, Scene
from napari_medmeta.engine.learners.head import Adapted
from napari_medmeta.engine.learners.matching import FittedLearntMatching, FittedMatching
from napari_medmeta.engine.learners.prototypical import FittedLearntPrototypes, FittedPrototypes
from napari_medmeta.engine.learners.trees import FittedTrees
from napari_medmeta.engine.learners.walk import FittedWalk
from napari_medmeta.engine.region import Region

__all__ = ["Answer", "Origins", "label_of"]

LEAST_WEIGHT = 0.005
"""Examples that contribute less are not worth a look."""

VOXELS_SHOWN = 5
"""Voxels named for each example slice: the points of one cluster tell no more than a few of them."""


@dataclass(frozen=True, eq=False)
class Answer:
    """One answer in classes: 0 background, 1 to S; ``against`` is the structure it was weighed against."""

    chosen: int
    probability: float
    against: int


def label_of(support: Support, c: int) -> int:
    """Return the structure that is class ``c`` of a task on ``support``, or background."""
    return support.structures[c - 1] if c else BACKGROUND


class Origins:
    """The examples of one support set, as one voxel sees them.

    Parameters
    ----------
    support, region, scene
        The support set, the part of the scan that it speaks for, and what the sources were fitted to there.
    voxel
        (i, j, k), inside of ``region``.
    """

    def __init__(self, support: Support, region: Region, scene: Scene, voxel: Triple) -> None:
        self._support, self._region, self._scene, self._voxel = support, region, scene, voxel
        self._task = scene.task
        start = region.box.start
        normal, rows, columns = region.order
        step, factor, _ = region.pooling
        self._place: Triple = (
            (voxel[normal] - start[normal]) // step,
            (voxel[rows] - start[rows]) // factor,
            (voxel[columns] - start[columns]) // factor,
        )

    @property
    def place(self) -> Triple:
        """Depth, row and column of the voxel in the region."""
        return self._place

    def shares(
        self, fitted: Mapping[str, Fitted], masses: Mapping[str, float], answer: Answer
    ) -> tuple[ExampleShare, ...]:
        """Return what each example contributed, heaviest first.

        Parameters
        ----------
        fitted, masses
            The sources by name, and how much of ``answer`` comes from each.
        """
        samples = torch.zeros(len(self._scene.sample_index), device=self._task.device)
        slices: dict[SliceRef, float] = {}
        for name, mass in masses.items():
            attention = self._attention(fitted[name], answer)
            if attention is not None:
                samples += mass * attention
                continue
            for ref, share in self._contours(answer.chosen).items():
                slices[ref] = slices.get(ref, 0.0) + mass * share
        found = [self._share(e, samples, slices.get(e.ref, 0.0), answer.chosen) for e in self._support.examples]
        heavy = [share for share in found if share is not None and share.weight >= LEAST_WEIGHT]
        return tuple(sorted(heavy, key=lambda share: (-share.weight, share.ref)))

    def _attention(self, fitted: Fitted, answer: Answer) -> Tensor | None:
        """Return (n,) weights of the support voxels of the class chosen, summing to 1; None where shape decides."""
        chosen = answer.chosen
        of_class = self._scene.sample_class == chosen
        if not bool(of_class.any()):
            return None
        if isinstance(fitted, FittedWalk):
            return _normalised(self._nearness() * of_class)
        if isinstance(fitted, FittedLearntMatching | FittedLearntPrototypes):
            return self._learnt_attention(fitted, of_class, chosen)
        if isinstance(fitted, Adapted):
            return self._adapted_attention(fitted, of_class, answer.against)
        if not isinstance(fitted, FittedMatching | FittedPrototypes | FittedTrees):
            return None
        with_position = isinstance(fitted, FittedTrees) or fitted.with_position
        query = self._query(with_position=with_position)
        if query is None:
            return None
        samples = self._scene.samples(with_position=with_position)
        if isinstance(fitted, FittedTrees):
            return _normalised(_shared_leaves(fitted, query, samples, of_class))
        if isinstance(fitted, FittedPrototypes):
            return _normalised(_memberships(fitted.classes[chosen], query, samples, of_class))
        return _softmax(samples, query, of_class)

    def _learnt_attention(
        self, fitted: FittedLearntMatching | FittedLearntPrototypes, of_class: Tensor, chosen: int
    ) -> Tensor | None:
        mask, embedded, places = self._scene.learnt_queries([self._place[0]])
        row = self._row(mask)
        if row is None:
            return None
        query = fitted.compared(embedded[row : row + 1], places[row : row + 1])[0]
        samples = fitted.compared(self._scene.learnt_samples(), self._scene.sample_places())
        if isinstance(fitted, FittedLearntPrototypes):
            return _normalised(_memberships(fitted.classes[chosen], query, samples, of_class))
        return _softmax(samples, query, of_class)

    def _adapted_attention(self, fitted: Adapted, of_class: Tensor, structure: int) -> Tensor | None:
        mask, embedded, places = self._scene.learnt_queries([self._place[0]])
        row = self._row(mask)
        if row is None:
            return None
        query = _hidden(fitted, embedded[row : row + 1], places[row : row + 1], structure)[0]
        samples = _hidden(fitted, self._scene.learnt_samples(), self._scene.sample_places(), structure)
        return _softmax(samples, query, of_class)

    def _query(self, *, with_position: bool) -> Tensor | None:
        """Return the voxel's (E,) embedding, None where the shape prior alone decides."""
        mask, queries = self._scene.queries([self._place[0]], with_position=with_position)
        row = self._row(mask)
        return None if row is None else queries[row]

    def _row(self, mask: Tensor) -> int | None:
        """Return the voxel's row among the undecided voxels of its slice."""
        _, row, column = self._place
        if not bool(mask[0, row, column]):
            return None
        return int(mask.reshape(-1)[: row * mask.shape[2] + column].sum())

    def _nearness(self) -> Tensor:
        places = self._sample_places().float()
        spacing = torch.tensor(self._task.spacing_mm, device=self._task.device)
        away = (places - torch.tensor(self._place, device=self._task.device)) * spacing
        return 1.0 / (1.0 + (away**2).sum(1))

    def _sample_places(self) -> Tensor:
        """Return (n, 3) int64: depth, row and column of the drawn support voxels."""
        index = self._scene.sample_index
        _, rows, columns = self._task.shape
        return torch.stack([index // (rows * columns), index // columns % rows, index % columns], dim=1)

    def _contours(self, chosen: int) -> dict[SliceRef, float]:
        """Return how the shape at the voxel is made of the painted contours around it; sums to at most 1."""
        if not self._scene.shape.known:
            return {}
        wanted = [p for p in self._task.painted if not chosen or bool((p.classes == chosen).any())]
        nearest: dict[SliceRef, float] = {}
        for axis in {p.axis for p in wanted}:
            weights = {p.index: p.weight for p in wanted if p.axis == axis}
            places = sorted(weights)
            here = self._place[axis]
            below = [i for i in places if i <= here]
            above = [i for i in places if i >= here]
            for index in {*below[-1:], *above[:1]}:
                gap = abs(index - here) * self._task.spacing_mm[axis]
                nearest[self._ref(axis, index)] = weights[index] / (0.5 + gap)
        total = sum(nearest.values())
        return {ref: value / total for ref, value in nearest.items()}

    def _ref(self, axis: int, index: int) -> SliceRef:
        own = self._region.order[axis]
        finer = self._region.pooling[axis]
        exact = self._region.box.start[own] + index * finer
        # Pooled, a slice is known to a few voxels only: take the painted one.
        candidates = [e.ref.index for e in self._support.examples if e.ref.axis == own]
        return SliceRef(own, min(candidates, key=lambda i: abs(i - exact), default=exact))

    def _share(self, example: SliceExample, samples: Tensor, extra: float, chosen: int) -> ExampleShare | None:
        mine = self._on(example)
        weights = samples * mine
        weight = float(weights.sum()) + extra
        if weight < LEAST_WEIGHT:
            return None
        label = label_of(self._support, chosen)
        count = min(VOXELS_SHOWN, int((weights > 0).sum()))
        top = torch.topk(weights, count) if count else None
        voxels: dict[Triple, float] = {}
        for value, number in zip(*(top if top is not None else ((), ())), strict=True):
            found = _nearest(example, self._voxel_of(self._sample_places()[int(number)].tolist()), label)
            if found is not None:
                voxels[found] = voxels.get(found, 0.0) + float(value)
        if not voxels:
            # Named by its contour alone.
            found = _nearest(example, self._voxel, label)
            if found is None:
                return None
            voxels = {found: weight}
        heaviest = sorted(voxels.items(), key=lambda pair: -pair[1])
        return ExampleShare(example.ref, weight, tuple(ExampleVoxel(v, w) for v, w in heaviest))

    def _on(self, example: SliceExample) -> Tensor:
        """Return (n,) bool: which support voxels were drawn from ``example``."""
        axis = self._region.order.index(example.ref.axis)
        index = example.ref.index - self._region.box.start[example.ref.axis]
        places = self._sample_places()
        here = places[:, axis] == index // self._region.pooling[axis]
        if axis:
            # Where slices of two axes cross, the voxel is counted once, for the region's own axis.
            own = {self._region.depth_of(e.ref.index) for e in self._along_normal()}
            taken = torch.isin(places[:, 0], torch.tensor(sorted(own), device=places.device, dtype=places.dtype))
            here &= ~taken
        return here

    def _along_normal(self) -> list[SliceExample]:
        return [e for e in self._support.examples if e.ref.axis == self._region.order[0]]

    def _voxel_of(self, place: list[int]) -> Triple:
        box = self._region.box
        out = [0, 0, 0]
        for axis, (own, index) in enumerate(zip(self._region.order, place, strict=True)):
            exact = index * self._region.pooling[axis] + self._region.pooling[axis] // 2
            out[own] = min(box.start[own] + exact, box.stop[own] - 1)
        return out[0], out[1], out[2]


def _normalised(weights: Tensor) -> Tensor | None:
    total = float(weights.sum())
    return weights / total if total > 0 else None


def _shared_leaves(fitted: FittedTrees, query: Tensor, samples: Tensor, of_class: Tensor) -> Tensor:
    leaf = fitted.model.apply(query[None].cpu().numpy())
    leaves = fitted.model.apply(samples.cpu().numpy())
    together = torch.from_numpy((leaves == leaf).astype(np.float32)).to(samples.device) * of_class[:, None]
    return (together / together.sum(0).clamp_min(1.0)).sum(1)


def _hidden(fitted: Adapted, embedded: Tensor, places: Tensor, structure: int) -> Tensor:
    """Return (m, hidden): the voxels as the head of class ``structure`` (1 to S) sees them before its last layer."""
    seen = fitted.frame.inputs(embedded, places)[structure - 1]
    for layer in ("first", "second"):
        weight, bias = (fitted.weights[f"{layer}.{part}"][structure - 1] for part in ("weight", "bias"))
        seen = F.silu(F.linear(seen, weight, bias))
    return seen


def _softmax(samples: Tensor, query: Tensor, of_class: Tensor) -> Tensor:
    affinity = samples @ query - 0.5 * (samples**2).sum(1)
    return torch.softmax(affinity.masked_fill(~of_class, -torch.inf), dim=0)


def _memberships(mixture: tuple[Tensor, Tensor] | None, query: Tensor, samples: Tensor, of_class: Tensor) -> Tensor:
    weights = torch.zeros(len(samples), device=samples.device)
    if mixture is None:
        return weights
    prototypes, log_share = mixture
    duty = torch.softmax(log_share - 0.5 * ((prototypes - query) ** 2).sum(1), dim=0)
    nearest = torch.cdist(samples[of_class], prototypes).argmin(1)
    members = torch.bincount(nearest, minlength=len(prototypes)).clamp_min(1)
    weights[of_class] = (duty / members)[nearest]
    return weights


def _nearest(example: SliceExample, voxel: Triple, label: int) -> Triple | None:
    """Return the voxel of ``example`` nearest to ``voxel`` that was painted as ``label``."""
    said = np.argwhere(example.known & (example.labels == label))
    if not len(said):
        return None
    others = [a for a in range(3) if a != example.ref.axis]
    here = np.array([voxel[a] for a in others])
    row, column = (int(n) for n in said[np.argmin(((said - here) ** 2).sum(1))])
    out = [0, 0, 0]
    out[example.ref.axis], out[others[0]], out[others[1]] = example.ref.index, row, column
    return out[0], out[1], out[2]
