"""Which learners answer, and what happens when their trained weights cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from napari_medmeta.core import InputError, StorageError, Support
from napari_medmeta.core.phantoms import Phantom
from napari_medmeta.engine import EngineConfig, Segmenter, segmenter
from napari_medmeta.engine.choices import engine_config, joined_config, learner_names
from napari_medmeta.engine.learners import registry
from napari_medmeta.engine.learners.registry import (
    DEFAULT_SOURCES,
    FAMILIES,
    TRAINED,
    built,
    parameters_of,
    shipped_learners,
)


def _broken(*_: object) -> None:
    raise StorageError("The trained weights cannot be used")


def test_the_default_engine_fuses_hand_made_and_meta_trained_sources() -> None:
    learners = EngineConfig().learners
    assert tuple(learner.name for learner in learners) == DEFAULT_SOURCES
    assert [learner.name for learner in learners if isinstance(learner, nn.Module)] == list(TRAINED)


def test_without_trained_weights_the_hand_made_sources_answer_with_a_notice(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    phantom: Phantom,
    paint: Callable[..., Support],
) -> None:
    monkeypatch.setattr(registry, "shipped_encoder", _broken)
    engine = Segmenter(device="cpu")
    assert "without its learnt sources" in caplog.text
    assert not engine.uses_network
    engine.set_volume(phantom.volume)
    assert engine.segment(paint(8, 16)).labels.any()


def test_a_learner_alone_cannot_go_on_without_the_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmenter, "shipped_encoder", _broken)
    with pytest.raises(StorageError):
        Segmenter(device="cpu", config=engine_config("prototypical"))


@pytest.mark.parametrize("family", list(FAMILIES))
def test_every_family_comes_trained_and_small(family: str) -> None:
    members = shipped_learners(family)
    assert members
    assert all(parameters_of(m) < 100_000 and not m.training for m in members if isinstance(m, nn.Module))


@pytest.mark.parametrize("family", list(FAMILIES))
def test_training_changed_every_family(family: str) -> None:
    untrained, trained = built(family), shipped_learners(family)
    for before, after in zip(untrained.values(), trained, strict=True):
        assert isinstance(after, nn.Module)
        pairs = zip(before.parameters(), after.parameters(), strict=True)
        assert any(bool((a != b).any()) for a, b in pairs)


def test_a_learner_alone_and_one_more_beside_the_others() -> None:
    assert {m.name for m in engine_config("matching").learners} == {"learnt matching"}
    assert len(joined_config("maml").learners) == len(EngineConfig().learners) + 1


def test_a_member_that_is_among_the_sources_already_is_not_joined_twice() -> None:
    names = [member.name for member in joined_config("siamese").learners]
    assert sorted(names) == sorted({*DEFAULT_SOURCES, "siamese"})


def test_an_unknown_learner_is_refused_with_the_names() -> None:
    with pytest.raises(InputError, match="prototypical"):
        engine_config("magic")
    assert learner_names()[0] == "fused"


def test_all_weights_together_are_under_ten_megabytes() -> None:
    folder = Path(segmenter.__file__).parent / "weights_data"
    assert sum(f.stat().st_size for f in folder.iterdir()) < 10_000_000
