"""Tests of changing the engine's settings on an open scan."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from napari_medmeta.core import Cancelled, CancelToken, Support
from napari_medmeta.core.phantoms import Phantom
from napari_medmeta.engine import EngineConfig, Segmenter
from napari_medmeta.engine.embedding import Encoder
from napari_medmeta.engine.fusion import FusionConfig
from napari_medmeta.engine.learners import PrototypicalLearner, ShapePriorLearner
from napari_medmeta.engine.learners.siamese import SiameseLearner

SHAPE_ALONE = EngineConfig(learners=(ShapePriorLearner(),), network=False)
PROTOTYPES = EngineConfig(learners=(PrototypicalLearner(),), network=False)


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> EngineConfig:
    """An encoder and a learner with random weights."""
    torch.manual_seed(0)
    monkeypatch.setattr("napari_medmeta.engine.segmenter.shipped_encoder", lambda *_: Encoder().eval())
    learner = SiameseLearner().eval().requires_grad_(False)
    return EngineConfig(learners=(learner,), fusion=FusionConfig(weights={"siamese": 1.0}), network=False)


def test_changed_settings_answer_as_if_they_had_been_there_from_the_start(
    phantom: Phantom, paint: Callable[..., Support]
) -> None:
    fresh, changed = Segmenter(device="cpu", config=SHAPE_ALONE), Segmenter(device="cpu", config=PROTOTYPES)
    for segmenter in (fresh, changed):
        segmenter.set_volume(phantom.volume)
    before = changed.segment(paint(9, 15)).labels
    changed.reconfigure(SHAPE_ALONE)
    after = changed.segment(paint(9, 15))
    assert np.array_equal(after.labels, fresh.segment(paint(9, 15)).labels)
    assert not np.array_equal(after.labels, before)
    assert set(after.trust[1]) == {"shape"}


def test_the_scan_is_embedded_when_a_learner_first_asks_for_it(
    phantom: Phantom, paint: Callable[..., Support], untrained: EngineConfig
) -> None:
    segmenter = Segmenter(device="cpu", config=SHAPE_ALONE)
    segmenter.set_volume(phantom.volume)
    stages: list[str] = []
    segmenter.reconfigure(untrained, progress=lambda fraction, stage: stages.append(stage))
    assert set(stages) == {"learnt features"}
    assert set(segmenter.segment(paint(9, 15)).trust[1]) == {"siamese"}
    stages.clear()
    segmenter.reconfigure(SHAPE_ALONE)
    segmenter.reconfigure(untrained, progress=lambda fraction, stage: stages.append(stage))
    assert stages == []


def test_examples_stay_when_settings_change(phantom: Phantom, paint: Callable[..., Support]) -> None:
    segmenter = Segmenter(device="cpu", config=PROTOTYPES)
    segmenter.set_volume(phantom.volume)
    segmenter.add_support(paint(9).examples[0])
    segmenter.reconfigure(SHAPE_ALONE)
    assert segmenter.support is not None
    assert len(segmenter.support.examples) == 1


def test_a_stopped_change_leaves_the_settings_before(
    phantom: Phantom, paint: Callable[..., Support], untrained: EngineConfig
) -> None:
    segmenter = Segmenter(device="cpu", config=SHAPE_ALONE)
    segmenter.set_volume(phantom.volume)
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        segmenter.reconfigure(untrained, cancel=cancel)
    assert set(segmenter.segment(paint(9, 15)).trust[1]) == {"shape"}
