"""Our engine as a method: whole, one source alone, and with a part left out."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from napari_medmeta.bench.methods import ablation_methods, build_methods, is_slow, ours, source_methods
from napari_medmeta.bench.methods.ours import source_names
from napari_medmeta.bench.protocol import make_task
from napari_medmeta.core import InputError, WeightsError
from napari_medmeta.core.phantoms import simple_blobs
from napari_medmeta.core.weights import shipped_parts
from napari_medmeta.engine.fusion import HAND_MADE_WEIGHTS
from napari_medmeta.engine.learners.registry import DEFAULT_SOURCES
from napari_medmeta.engine.network import FusionNetwork, NetworkConfig
from napari_medmeta.engine.weights import save_weights


@pytest.fixture(scope="module")
def scene() -> SimpleNamespace:
    phantom = simple_blobs(shape=(12, 32, 32))
    task = make_task(phantom.labels, phantom.volume.geometry, k=3)
    return SimpleNamespace(volume=phantom.volume, support=task.support)


def sources_of(scene: SimpleNamespace, name: str) -> set[str]:
    (method,) = build_methods([name])
    proposal = method.propose(scene.volume, scene.support)
    return {source.replace(" ", "-") for trust in proposal.trust.values() for source in trust}


def test_every_source_of_the_engine_is_a_method_of_its_own():
    assert source_methods() == tuple(f"medmeta-{name}" for name in source_names())


def test_one_source_alone_leaves_the_others_out(scene):
    assert sources_of(scene, "medmeta-shape") == {"shape"}


def test_the_engine_can_do_without_one_source(scene):
    assert sources_of(scene, "medmeta-without-shape") == set(source_names()) - {"shape"}


def test_every_source_can_be_left_out_and_so_can_the_left_out_check():
    left_out = {f"medmeta-without-{name}" for name in source_names()}
    assert set(ablation_methods()) == left_out | {
        "medmeta-fixed-trust",
        "medmeta-without-network",
        "medmeta-without-adaptation",
        "medmeta-without-meta-training",
    }


def test_without_adaptation_the_network_keeps_its_last_layer(scene):
    whole, plain = (
        method.propose(scene.volume, scene.support)
        for method in build_methods(["medmeta", "medmeta-without-adaptation"])
    )
    assert whole.recipe.last
    assert not plain.recipe.last
    assert plain.network.keys() == whole.network.keys()


def test_without_meta_training_nothing_that_was_learnt_beforehand_takes_part(scene):
    assert sources_of(scene, "medmeta-without-meta-training") == {name.replace(" ", "-") for name in HAND_MADE_WEIGHTS}
    (method,) = build_methods(["medmeta-without-meta-training"])
    assert method._weights() == ()


def test_a_variant_is_named_as_it_was_asked_for():
    names = [*source_methods(), *ablation_methods()]
    assert [m.name for m in build_methods(names)] == names


def test_fixed_trust_gives_every_structure_the_same_shares(scene):
    (fixed,) = build_methods(["medmeta-fixed-trust"])
    first, *others = fixed.propose(scene.volume, scene.support).trust.values()
    assert all(shares == pytest.approx(first) for shares in others)


def test_the_whole_engine_weighs_structures_by_the_left_out_check(scene):
    (whole,) = build_methods(["medmeta"])
    first, *others = whole.propose(scene.volume, scene.support).trust.values()
    assert any(shares != pytest.approx(first) for shares in others)


def test_leaving_out_a_source_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match=r"no source 'magic'.*without-shape"):
        build_methods(["medmeta-without-magic"])


def test_variants_are_slow_and_the_engine_itself_is_not():
    assert all(is_slow(name) for name in (*source_methods(), *ablation_methods()))
    assert not is_slow("medmeta")


def test_an_answer_is_not_reused_when_a_file_that_it_depends_on_changed(monkeypatch):
    (before,) = build_methods(["medmeta-shape"])
    version = before.version
    real = ours._source
    monkeypatch.setattr(ours, "_source", lambda module: real(module) + b"LATER = 1" * module.endswith("region"))
    (after,) = build_methods(["medmeta-shape"])
    assert after.version != version


def test_an_answer_is_reused_when_only_files_changed_that_it_does_not_depend_on(monkeypatch):
    (before,) = build_methods(["medmeta-shape"])
    version = before.version
    real = ours._source
    monkeypatch.setattr(
        ours, "_source", lambda module: real(module) + b"LATER = 1" * module.endswith(("suggest", "recall"))
    )
    (after,) = build_methods(["medmeta-shape"])
    assert after.version == version


def test_an_answer_is_reused_when_only_comments_and_docstrings_changed(monkeypatch):
    (before,) = build_methods(["medmeta-shape"])
    version = before.version
    real = ours._source

    def other_words(module):
        return re.sub(rb'"""(?=[A-Z])', b'"""Now: ', real(module)) + b"# A remark.\n"

    monkeypatch.setattr(ours, "_source", other_words)
    (after,) = build_methods(["medmeta-shape"])
    assert after.version == version


def test_the_trained_weights_count_only_where_they_take_part(monkeypatch):
    names = ("medmeta", "medmeta-without-network", "medmeta-shape")
    before = [build_methods([name])[0].version for name in names]
    monkeypatch.setattr(ours.Engine, "_weights", lambda engine: ())
    whole, sources, shape = (build_methods([name])[0].version for name in names)
    assert whole != before[0]
    # Without the network some sources are meta-trained still.
    assert sources != before[1]
    assert shape == before[2]


@pytest.fixture
def own(tmp_path):
    network = FusionNetwork(NetworkConfig(DEFAULT_SOURCES))
    save_weights(tmp_path, network, training={})
    return tmp_path


def test_own_weights_count_for_the_engine_and_its_variants(own):
    names = ("medmeta", "medmeta-fixed-trust", "medmeta-without-network", "learner-maml", "medmeta-shape")
    shipped = [method.version for method in build_methods(names)]
    mine = [method.version for method in build_methods(names, weights={"medmeta": own})]
    # The folder holds a network only: what does without it answers as before, and its runs need not be repeated.
    assert [a != b for a, b in zip(shipped, mine, strict=True)] == [True, True, False, False, False]


def test_other_own_weights_are_another_version_and_a_copy_of_the_shipped_ones_is_none(own):
    first = build_methods(["medmeta"], weights={"medmeta": own})[0].version
    network = FusionNetwork(NetworkConfig(DEFAULT_SOURCES))
    save_weights(own, network, training={})
    assert build_methods(["medmeta"], weights={"medmeta": own})[0].version != first
    for ending in ("safetensors", "json"):
        shipped = Path(str(shipped_parts()["fusion"].file)).with_suffix(f".{ending}")
        shutil.copy(shipped, own / f"fusion.{ending}")
    (here,) = build_methods(["medmeta"])
    assert build_methods(["medmeta"], weights={"medmeta": own})[0].version == here.version


def test_the_engine_answers_with_the_own_weights(own, scene):
    network = FusionNetwork(NetworkConfig(DEFAULT_SOURCES))
    # A network that believes in no structure anywhere.
    torch.nn.init.constant_(network.presence[-1].bias, -30.0)
    save_weights(own, network, training={})
    shipped, mine = (
        build_methods(["medmeta-fixed-trust"], weights=weights)[0].segment(scene.volume, scene.support)
        for weights in ({}, {"medmeta": own})
    )
    assert np.count_nonzero(mine) < np.count_nonzero(shipped)


def test_own_weights_that_cannot_be_used_are_refused_before_anything_runs(own):
    (own / "fusion.json").unlink()
    with pytest.raises(WeightsError, match=r"fusion\.json is missing"):
        build_methods(["medmeta"], weights={"medmeta": own})
    with pytest.raises(WeightsError, match=r"fusion\.json is missing"):
        build_methods(["learner-maml"], weights={"medmeta": own})
