"""Which example voxels caused the answer at one voxel, and what every source of evidence said.

Each source gives its posterior of the answer to the support voxels it rests on: attention is shared out as
it is paid (Vinyals et al. 2016), prototypes among their members, trees among the samples in the same
leaves (the forest as an adaptive neighbourhood; Lin and Jeon, "Random forests and adaptive nearest
neighbors", JASA 2006), heads that adapted to the support voxels by nearness before their last layer (the
idea of Yeh et al., "Representer point selection for explaining deep neural networks", NeurIPS 2018), the
shape and labels carried along the stack between the contours they start from, and the walker, whose
exact shares would need a solution for every seed, by nearness. The trained network's share is how far it
moves the pooled log-odds at the voxel, by the very last layer that made the proposal: as adapted to this
scan, or as it was learnt beforehand. Only the voxel's own slice is computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_medmeta.core import (
    BACKGROUND,
    AnnotationError,
    Box,
    MissingExamplesError,
    Origin,
    Proposal,
    SliceExample,
    SliceRef,
    Support,
    Triple,
)
from napari_medmeta.core.explanation import (
    NETWORK,
    ExampleShare,
    ExampleVoxel,
    Explanation,
    SourceShare,
    summary_of,
)
from napari_medmeta.engine.clicks import answer_clicks, split_support
from napari_medmeta.engine.correction import corrected_log_odds, untested
from napari_medmeta.engine.explain_clicks import explain_clicks
from napari_medmeta.engine.features import FeatureMaps
from napari_medmeta.engine.fusion import Trust, as_log_posterior, fit_trust, log_odds
from napari_medmeta.engine.learners import hand_made_learners
from napari_medmeta.engine.learners.base import Fitted, Scene
from napari_medmeta.engine.learners.head import Adapted
from napari_medmeta.engine.learners.matching import FittedLearntMatching, FittedMatching
from napari_medmeta.engine.learners.prototypical import FittedLearntPrototypes, FittedPrototypes
from napari_medmeta.engine.learners.trees import FittedTrees
from napari_medmeta.engine.learners.walk import FittedWalk
from napari_medmeta.engine.network import FusionNetwork
from napari_medmeta.engine.outlining import Outlines
from napari_medmeta.engine.recipe import trust_behind
from napari_medmeta.engine.region import Region, find_region, make_task
from napari_medmeta.engine.request import EngineConfig
from napari_medmeta.engine.segmenter import Segmenter
from napari_medmeta.engine.task import Task

__all__ = ["explain"]

LEAST_WEIGHT = 0.005
"""Examples that contribute less are not worth a look."""

VOXELS_SHOWN = 5
"""Voxels named for each example slice: the points of one cluster tell no more than a few of them."""


def explain(
    engine: Segmenter | FeatureMaps,
    support: Support,
    voxel: Triple,
    *,
    names: Mapping[int, str] | None = None,
    proposal: Proposal | None = None,
    config: EngineConfig | None = None,
    seed: int | None = None,
) -> Explanation:
    """Explain the answer at ``voxel`` (i, j, k).

    Parameters
    ----------
    engine
        The engine with its volume, or the features of one, which know of no trained network.
    names
        The structures' names, for the summary.
    config, seed
        The engine's own without.
    proposal
        The answer on show: where it answers this very support, its label and its trust in the sources are
        explained; else the fused answer with the fixed trust.

    Raises
    ------
    AnnotationError
        When the voxel lies outside of the scan.
    MissingExamplesError
        When no structure has an example, or the engine no volume.
    """
    names = names or {}
    _require_voxel(voxel, support.shape)
    said = _said_by_user(support, voxel, names)
    if said is not None:
        return said
    maps, settings = _maps_of(engine), _settings(engine, config, seed)
    shown = proposal if proposal is not None and _answers(proposal, support, voxel) else None
    asked, marked = split_support(support)
    if marked is not None:
        answer = answer_clicks(maps, marked, settings.config.clicks, settings.config.region)
        outlines = Outlines(support, marked, answer)
        if asked is None or int((shown or answer).labels_in(_one(voxel))[0, 0, 0]) in marked.structures:
            if outlines.decide(voxel):
                return explain_clicks(marked, voxel, shown or answer, spacing_mm=maps.spacing_mm, names=names)
            asked = outlines.painted
    work = _Question(maps, asked or support, voxel, settings)
    if not work.inside:
        return _far_away(support, voxel)
    return work.answer(names, shown)


@dataclass(frozen=True, eq=False)
class _Settings:
    """What the engine answers with."""

    config: EngineConfig
    network: FusionNetwork | None
    seed: int


def _settings(engine: Segmenter | FeatureMaps, config: EngineConfig | None, seed: int | None) -> _Settings:
    if isinstance(engine, FeatureMaps):
        if config is None:
            # Learnt sources cannot speak of features that hold no learnt embedding.
            config = EngineConfig() if engine.embedding is not None else EngineConfig(learners=hand_made_learners())
        return _Settings(config, None, seed or 0)
    seed = engine._seed if seed is None else seed
    # The network was trained for the engine's own sources.
    return _Settings(engine._config, engine._network, seed) if config is None else _Settings(config, None, seed)


def _maps_of(engine: Segmenter | FeatureMaps) -> FeatureMaps:
    maps = engine if isinstance(engine, FeatureMaps) else engine._maps
    if maps is None:
        raise MissingExamplesError("The scan is still being read", next_step="Wait a moment and ask again")
    return maps


def _require_voxel(voxel: Triple, shape: Triple) -> None:
    if len(voxel) != 3 or not all(0 <= v < n for v, n in zip(voxel, shape, strict=True)):
        raise AnnotationError(f"The voxel {tuple(voxel)} lies outside of the scan", expected=f"indices below {shape}")


def _answers(proposal: Proposal, support: Support, voxel: Triple) -> bool:
    one = _one(voxel)
    return proposal.generation == support.generation and proposal.covered.intersection(one) == one


def _one(voxel: Triple) -> Box:
    i, j, k = voxel
    return Box(voxel, (i + 1, j + 1, k + 1))


def _said_by_user(support: Support, voxel: Triple, names: Mapping[int, str]) -> Explanation | None:
    for example in support.examples:
        if voxel[example.ref.axis] != example.ref.index:
            continue
        place = tuple(v for a, v in enumerate(voxel) if a != example.ref.axis)
        label = int(example.labels[place])
        asked = example.complete_for is None or example.complete_for.issuperset(support.painted_structures())
        if not example.known[place] or (label == BACKGROUND and not asked):
            continue
        did = "accepted" if example.origin is Origin.ACCEPTED else "painted"
        what = "background" if label == BACKGROUND else names.get(label, f"structure {label}")
        share = ExampleShare(example.ref, 1.0, (ExampleVoxel(voxel, 1.0),))
        summary = f"You {did} this voxel as {what} on slice {example.ref.index}."
        return Explanation(voxel, label, 1.0, True, (share,), (), summary, support.generation)
    return None


def _far_away(support: Support, voxel: Triple) -> Explanation:
    summary = "Background, because it lies farther from everything painted than the structures are expected to reach."
    return Explanation(voxel, BACKGROUND, 1.0, False, (), (), summary, support.generation)


@dataclass(frozen=True, eq=False)
class _Answer:
    """One answer in classes: 0 background, 1 to S; ``against`` is the structure it was weighed against."""

    chosen: int
    probability: float
    against: int


class _Question:
    """One voxel of one support set, with every source's evidence on its slice."""

    def __init__(self, maps: FeatureMaps, support: Support, voxel: Triple, settings: _Settings) -> None:
        self._support = replace(support, structures=support.painted_structures())
        config = settings.config
        self._voxel, self._config, self._network = voxel, config, settings.network
        self._region: Region = find_region(self._support, maps.spacing_mm, config.region)
        start, stop = self._region.box.start, self._region.box.stop
        self.inside = all(a <= v < b for a, v, b in zip(start, voxel, stop, strict=True))
        if not self.inside:
            return
        self._task: Task = make_task(maps, self._support, self._region)
        self._scene = Scene(self._task, config.scene, seed=settings.seed)
        normal, rows, columns = self._region.order
        step, factor, _ = self._region.pooling
        self._place: Triple = (
            (voxel[normal] - start[normal]) // step,
            (voxel[rows] - start[rows]) // factor,
            (voxel[columns] - start[columns]) // factor,
        )
        self._fitted = {learner.name: learner.fit(self._scene) for learner in config.learners}

    def answer(self, names: Mapping[int, str], proposal: Proposal | None) -> Explanation:
        """Return the explanation; ``proposal`` is the answer on show, or None."""
        depth, row, column = self._place
        slices = {n: f.evidence([depth]) for n, f in self._fitted.items()}
        evidence = {n: e[:, 0, row, column] for n, e in slices.items()}
        trust = self._trust(proposal)
        odds = corrected_log_odds(self._network, self._scene, slices, trust, [depth])[:, 0, row, column]
        answer = self._chosen(as_log_posterior(odds).exp(), proposal)
        sources = self._sources(evidence, trust, odds, answer)
        examples = self._examples(evidence, trust, answer)
        label = self._id(answer.chosen)
        summary = summary_of(label, examples, sources, names=names)
        return Explanation(
            self._voxel, label, answer.probability, False, examples, sources, summary, self._support.generation
        )

    def _id(self, c: int) -> int:
        return self._support.structures[c - 1] if c else BACKGROUND

    def _trust(self, proposal: Proposal | None) -> Trust:
        names, structures = tuple(self._fitted), self._support.structures
        kept = [self._support.trust.get(s, {}) for s in structures]
        trust = fit_trust(names, len(structures), (), self._config.pool, self._task.device, kept=kept)
        if self._network is not None:
            trust = untested(trust)
        if proposal is None:
            return trust
        return trust_behind(proposal, trust, structures)

    def _chosen(self, posterior: Tensor, proposal: Proposal | None) -> _Answer:
        if proposal is None:
            chosen = int(posterior.argmax())
            probability = float(posterior[chosen])
        else:
            box = _one(self._voxel)
            label = int(proposal.labels_in(box)[0, 0, 0])
            # Smoothing comes after the sources, and has the last word.
            chosen = self._support.structures.index(label) + 1 if label in self._support.structures else 0
            probability = float(proposal.confidence_in(box)[0, 0, 0])
        return _Answer(chosen, probability, chosen or int(posterior[1:].argmax()) + 1)

    def _sources(
        self, evidence: Mapping[str, Tensor], trust: Trust, odds: Tensor, answer: _Answer
    ) -> tuple[SourceShare, ...]:
        """Return what everyone added to ``odds``, the (S,) log-odds that came of it."""
        weights = self._weights(trust, answer)
        said = {name: evidence[name] for name in trust.names}
        sign = 1.0 if answer.chosen else -1.0
        parts = {
            name: float(w * log_odds(e)[answer.against - 1]) for (name, e), w in zip(said.items(), weights, strict=True)
        }
        if trust.network is not None:
            said[NETWORK] = as_log_posterior(odds)
            parts[NETWORK] = float(odds[answer.against - 1]) - sum(parts.values())
        total = sum(abs(part) for part in parts.values()) or 1.0
        return tuple(
            SourceShare(name, self._id(int(e.argmax())), float(e[answer.chosen].exp()), sign * parts[name] / total)
            for name, e in said.items()
        )

    def _weights(self, trust: Trust, answer: _Answer) -> Tensor:
        """Return (sources,): how much each source counts on the voxel's slice for the structure in question."""
        return trust.at(self._task.distance_mm([self._place[0]]))[answer.against - 1, :, 0]

    # -- the examples ---------------------------------------------------------------------------

    def _examples(self, evidence: Mapping[str, Tensor], trust: Trust, answer: _Answer) -> tuple[ExampleShare, ...]:
        weights = self._weights(trust, answer)
        total = float(weights.sum()) or 1.0
        samples = torch.zeros(len(self._scene.sample_index), device=self._task.device)
        slices: dict[SliceRef, float] = {}
        for name, weight in zip(trust.names, weights, strict=True):
            mass = float(weight) / total * float(evidence[name][answer.chosen].exp())
            attention = self._attention(self._fitted[name], answer)
            if attention is not None:
                samples += mass * attention
                continue
            for ref, share in self._contours(answer.chosen).items():
                slices[ref] = slices.get(ref, 0.0) + mass * share
        found = [self._share(e, samples, slices.get(e.ref, 0.0), answer.chosen) for e in self._support.examples]
        heavy = [share for share in found if share is not None and share.weight >= LEAST_WEIGHT]
        return tuple(sorted(heavy, key=lambda share: (-share.weight, share.ref)))

    def _attention(self, fitted: Fitted, answer: _Answer) -> Tensor | None:
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
        label = self._id(chosen)
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
