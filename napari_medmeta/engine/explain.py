"""Which example voxels caused the answer at one voxel, and what every source of evidence said.

Each source's share is its part of the pooled log-odds at the voxel; `explain_examples` tells to which voxels
its answer goes back. The trained network's share is how far it moves these log-odds, by the very last layer
that made the proposal: as adapted to this scan, or as it was learnt beforehand. Only the voxel's own slice is
computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from napari_medmeta.core import (
    BACKGROUND,
    AnnotationError,
    Box,
    MissingExamplesError,
    Origin,
    Proposal,
    Support,
    Triple,
    silent,
)
from napari_medmeta.core.explanation import NETWORK, ExampleShare, ExampleVoxel, Explanation, SourceShare, summary_of
from napari_medmeta.engine.clicks import answer_clicks, split_support
from napari_medmeta.engine.correction import corrected_log_odds, untested
from napari_medmeta.engine.cutting import make_task
from napari_medmeta.engine.deciding import chosen, leaning
from napari_medmeta.engine.explain_clicks import explain_clicks
from napari_medmeta.engine.explain_examples import Answer, Origins, label_of
from napari_medmeta.engine.features import FeatureMaps
from napari_medmeta.engine.fusion import Trust, as_log_posterior, fit_trust, log_odds
from napari_medmeta.engine.learners import hand_made_learners
from napari_medmeta.engine.learners.base import Scene
from napari_medmeta.engine.network import FusionNetwork
from napari_medmeta.engine.outlining import Outlines
from napari_medmeta.engine.recipe import trust_behind
from napari_medmeta.engine.region import find_region
from napari_medmeta.engine.request import EngineConfig, Request
from napari_medmeta.engine.segmenter import Segmenter
from napari_medmeta.engine.task import Task

__all__ = ["explain"]


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
    for learner in settings.config.learnt:
        learner.to(maps.device)
    shown = proposal if proposal is not None and _answers(proposal, support, voxel) else None
    asked, marked = split_support(support)
    if marked is not None:
        answer = answer_clicks(maps, marked, settings.config.clicks, settings.config.region)
        outlines = Outlines(support, marked, answer)
        if asked is None or int((shown or answer).labels_in(Box.of_voxel(voxel))[0, 0, 0]) in marked.structures:
            if outlines.decide(voxel):
                return explain_clicks(marked, voxel, shown or answer, spacing_mm=maps.spacing_mm, names=names)
            asked = outlines.painted
    asked = asked or support
    if not asked.complete:
        request = Request(maps, asked, settings.config, settings.network, settings.seed, silent, None)
        *_, answer = request.outward(None)
        boxes = Outlines.of_boxes(asked, answer)
        asked = asked if boxes.decide(voxel) else boxes.painted
    work = _Question(maps, asked, voxel, settings)
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
    one = Box.of_voxel(voxel)
    return proposal.generation == support.generation and proposal.covered.intersection(one) == one


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


class _Question:
    """One voxel of one support set, with every source's evidence on its slice."""

    def __init__(self, maps: FeatureMaps, support: Support, voxel: Triple, settings: _Settings) -> None:
        self._support = replace(support, structures=support.painted_structures())
        config = settings.config
        self._voxel, self._config, self._network = voxel, config, settings.network
        region = find_region(self._support, maps.spacing_mm, config.region)
        start, stop = region.box.start, region.box.stop
        self.inside = all(a <= v < b for a, v, b in zip(start, voxel, stop, strict=True))
        if not self.inside:
            return
        self._task: Task = make_task(maps, self._support, region)
        self._scene = Scene(self._task, config.scene, seed=settings.seed)
        self._origins = Origins(self._support, region, self._scene, voxel)
        self._fitted = {learner.name: learner.fit(self._scene) for learner in config.learners}

    def answer(self, names: Mapping[int, str], proposal: Proposal | None) -> Explanation:
        """Return the explanation; ``proposal`` is the answer on show, or None."""
        depth, row, column = self._origins.place
        slices = {n: f.evidence([depth]) for n, f in self._fitted.items()}
        evidence = {n: e[:, 0, row, column] for n, e in slices.items()}
        trust = self._trust(proposal)
        odds = corrected_log_odds(self._network, self._scene, slices, trust, [depth])[:, 0, row, column]
        answer = self._chosen(as_log_posterior(odds).exp(), proposal)
        sources = self._sources(evidence, trust, odds, answer)
        examples = self._origins.shares(self._fitted, self._masses(evidence, trust, answer), answer)
        label = label_of(self._support, answer.chosen)
        summary = summary_of(label, examples, sources, names=names)
        return Explanation(
            self._voxel, label, answer.probability, False, examples, sources, summary, self._support.generation
        )

    def _trust(self, proposal: Proposal | None) -> Trust:
        names, structures = tuple(self._fitted), self._support.structures
        kept = [self._support.trust.get(s, {}) for s in structures]
        trust = fit_trust(names, len(structures), (), self._config.pool, self._task.device, kept=kept)
        if self._network is not None:
            trust = untested(trust)
        if proposal is None:
            return trust
        return trust_behind(proposal, trust, structures)

    def _chosen(self, posterior: Tensor, proposal: Proposal | None) -> Answer:
        if proposal is None:
            preferred = int(chosen(posterior, leaning(self._task)))
            probability = float(posterior[preferred])
        else:
            box = Box.of_voxel(self._voxel)
            label = int(proposal.labels_in(box)[0, 0, 0])
            # Smoothing comes after the sources, and has the last word.
            preferred = self._support.structures.index(label) + 1 if label in self._support.structures else 0
            probability = float(proposal.confidence_in(box)[0, 0, 0])
        return Answer(preferred, probability, preferred or int(posterior[1:].argmax()) + 1)

    def _sources(
        self, evidence: Mapping[str, Tensor], trust: Trust, odds: Tensor, answer: Answer
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
            SourceShare(
                name,
                label_of(self._support, int(e.argmax())),
                float(e[answer.chosen].exp()),
                sign * parts[name] / total,
            )
            for name, e in said.items()
        )

    def _weights(self, trust: Trust, answer: Answer) -> Tensor:
        """Return (sources,): how much each source counts on the voxel's slice for the structure in question."""
        return trust.at(self._task.distance_mm([self._origins.place[0]]))[answer.against - 1, :, 0]

    def _masses(self, evidence: Mapping[str, Tensor], trust: Trust, answer: Answer) -> dict[str, float]:
        """Return how much of the answer comes from each source."""
        weights = self._weights(trust, answer)
        total = float(weights.sum()) or 1.0
        return {
            name: float(weight) / total * float(evidence[name][answer.chosen].exp())
            for name, weight in zip(trust.names, weights, strict=True)
        }
