"""What a finished scan teaches about the sources, and what a new scan makes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_medmeta.core import Cancelled, CancelToken, Support
from napari_medmeta.core.phantoms import Phantom
from napari_medmeta.engine import EngineConfig, Segmenter
from napari_medmeta.engine.adapted import AdaptConfig, adapted_trust
from napari_medmeta.engine.fusion import FusionConfig, fit_trust, starting_weights
from napari_medmeta.engine.keeping import learn
from napari_medmeta.engine.learners import ShapePriorLearner, TreesLearner, WalkLearner
from napari_medmeta.engine.learners.base import Fitted, Scene

CPU = torch.device("cpu")
CONFIG = FusionConfig(weights={"shape": 0.4, "trees": 0.8}, kept_share=0.5)
NAMES = ("shape", "trees")


@dataclass(frozen=True)
class _Contrary:
    """A source that finds the structure everywhere but where it is likely."""

    name: str = "contrary"

    def fit(self, scene: Scene) -> Fitted:
        return _Upside(ShapePriorLearner().fit(scene))


@dataclass(frozen=True)
class _Upside:
    inner: Fitted

    def evidence(self, depths: Sequence[int]) -> Tensor:
        return self.inner.evidence(depths).flip(0)


@pytest.fixture(scope="module")
def engine(phantom: Phantom) -> Segmenter:
    learners = (ShapePriorLearner(), TreesLearner(), WalkLearner(), _Contrary())
    weights = {learner.name: 0.5 for learner in learners}
    made = Segmenter(
        device="cpu", config=EngineConfig(learners=learners, network=False, fusion=FusionConfig(weights=weights))
    )
    made.set_volume(phantom.volume)
    return made


def test_a_source_that_is_wrong_on_a_finished_scan_is_trusted_less(engine: Segmenter, phantom: Phantom) -> None:
    found = adapted_trust(engine, phantom.labels, 1, axis=0)
    assert set(found) == {"shape", "trees", "propagation", "contrary"}
    assert found["contrary"] < 1.0
    assert min(found, key=lambda name: found[name]) == "contrary"
    assert all(0.0 <= factor <= 5.0 for factor in found.values())


def test_a_structure_on_one_slice_tells_as_much_as_can_be_tested(engine: Segmenter, phantom: Phantom) -> None:
    thin = np.zeros_like(phantom.labels)
    assert adapted_trust(engine, thin, 1, axis=0, config=AdaptConfig(painted=(3,))) == {}
    thin[12] = phantom.labels[12]
    assert adapted_trust(engine, thin, 1, axis=0, config=AdaptConfig(painted=(3,))) == {}


def test_it_can_be_stopped(engine: Segmenter, phantom: Phantom) -> None:
    stop = CancelToken()
    stop.cancel()
    with pytest.raises(Cancelled):
        adapted_trust(engine, phantom.labels, 1, axis=0, cancel=stop)


def test_what_is_learnt_from_an_engine_holds_its_trust_and_from_features_none(
    engine: Segmenter, phantom: Phantom
) -> None:
    kept = learn(engine, phantom.volume, phantom.labels, structure=1, name="blob")
    assert kept.trust == adapted_trust(engine, phantom.labels, 1, axis=phantom.volume.geometry.through_plane_axis)
    assert engine._maps is not None
    assert learn(engine._maps, phantom.volume, phantom.labels, structure=1, name="blob").trust == {}


def test_the_start_lies_half_way_to_what_was_kept() -> None:
    found = starting_weights(NAMES, [{"shape": 2.0}, {}], CONFIG, CPU)
    assert torch.allclose(found, torch.tensor([[0.6, 0.8], [0.4, 0.8]]))


def test_unknown_sources_are_passed_over_and_new_ones_keep_their_weight() -> None:
    found = starting_weights(NAMES, [{"gone": 4.0, "trees": 0.0}], CONFIG, CPU)
    assert torch.allclose(found, torch.tensor([[0.4, 0.4]]))


def test_where_nothing_was_tested_the_start_holds() -> None:
    trust = fit_trust(NAMES, 1, (), CONFIG, CPU, kept=[{"shape": 3.0}])
    assert torch.allclose(trust.weights, torch.tensor([[0.8, 0.8]]))
    assert torch.allclose(fit_trust(NAMES, 1, (), CONFIG, CPU).weights, torch.tensor([[0.4, 0.8]]))


def test_a_new_scan_begins_with_what_was_kept(
    engine: Segmenter, phantom: Phantom, paint: Callable[..., Support]
) -> None:
    support = paint(12)
    plain = engine.segment(support)
    taught = engine.segment(replace(support, trust={1: {"contrary": 0.0, "gone": 3.0}}))
    assert taught.trust[1]["contrary"] == pytest.approx(0.25 / 1.75)
    assert taught.trust[2] == plain.trust[2]
    assert engine.segment(replace(support, trust={1: {"gone": 3.0}})).trust == plain.trust
    again = engine.segment(replace(support, trust={1: {"contrary": 0.0, "gone": 3.0}}))
    assert np.array_equal(again.confidence, taught.confidence)
