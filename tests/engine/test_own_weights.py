"""The engine with a folder of own weights: what changes, what stays, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_medmeta.core import MedmetaError, StorageError, Support, WeightsError
from napari_medmeta.core.phantoms import Phantom
from napari_medmeta.core.weights import ENCODER, FAMILY_NAMES, FUSED_FAMILIES
from napari_medmeta.engine import EngineConfig, Segmenter, segmenter
from napari_medmeta.engine.choices import engine_config, joined_config
from napari_medmeta.engine.embedding import Encoder
from napari_medmeta.engine.learners import registry
from napari_medmeta.engine.learners.registry import (
    DEFAULT_SOURCES,
    FAMILIES,
    TRAINED,
    built,
    save_modules,
    shipped_encoder,
)
from napari_medmeta.engine.network import FusionNetwork, NetworkConfig
from napari_medmeta.engine.weights import save_weights

SHIPPED = Path(segmenter.__file__).parent / "weights_data"


def _own_network(folder: Path, *, bias: float) -> FusionNetwork:
    """Save a network that moves every slice's log-odds by ``bias``."""
    network = FusionNetwork(NetworkConfig(DEFAULT_SOURCES))
    torch.nn.init.constant_(network.presence[-1].bias, bias)
    save_weights(folder, network, training={})
    return network.eval()


def _own_encoder(folder: Path) -> str:
    torch.manual_seed(0)
    save_modules(folder, ENCODER, {ENCODER: Encoder()}, training={})
    return str(json.loads((folder / "encoder.json").read_text())["sha256"])


def _own_family(folder: Path, name: str, encoder: str) -> None:
    torch.manual_seed(0)
    save_modules(folder, name, built(name), training={"stands_on": {"encoder": encoder}})


def _labels(config: EngineConfig, phantom: Phantom, support: Support) -> np.ndarray:
    engine = Segmenter(device="cpu", config=config)
    engine.set_volume(phantom.volume)
    return engine.segment(support).labels


def test_the_families_with_weights_are_those_of_the_engine() -> None:
    assert set(FAMILY_NAMES) == set(FAMILIES)
    assert {family for family, _ in TRAINED.values()} == set(FUSED_FAMILIES)


def test_a_copy_of_the_shipped_weights_answers_to_the_bit_as_they_do(
    tmp_path: Path, ready: Segmenter, phantom: Phantom, paint: Callable[..., Support]
) -> None:
    folder = shutil.copytree(SHIPPED, tmp_path / "copy")
    engine = Segmenter(device="cpu", config=engine_config(weights=folder))
    engine.set_volume(phantom.volume)
    own, shipped = engine.segment(paint(9, 15)), ready.segment(paint(9, 15))
    assert np.array_equal(own.labels, shipped.labels)
    assert np.array_equal(own.confidence, shipped.confidence)


def test_an_own_network_replaces_the_shipped_one_alone(
    tmp_path: Path, phantom: Phantom, paint: Callable[..., Support]
) -> None:
    own = _own_network(tmp_path, bias=-3.0)
    engine = Segmenter(device="cpu", config=engine_config(weights=tmp_path))
    assert engine._network is not None
    assert torch.equal(engine._network.presence[-1].bias, own.presence[-1].bias)
    assert engine._encoder is not None
    assert engine._encoder.name == shipped_encoder().name
    assert tuple(x.name for x in engine._config.learners) == DEFAULT_SOURCES


def test_an_own_family_replaces_the_shipped_one(tmp_path: Path) -> None:
    _own_family(tmp_path, "maml", _own_encoder(tmp_path))
    (own,) = engine_config("maml", weights=tmp_path).learners
    torch.manual_seed(0)
    untrained = built("maml")["maml"]
    assert all(torch.equal(a, b) for a, b in zip(own.parameters(), untrained.parameters(), strict=True))  # type: ignore[attr-defined]


def test_another_encoder_embeds_the_open_scan_anew(
    tmp_path: Path, phantom: Phantom, paint: Callable[..., Support]
) -> None:
    _own_family(tmp_path, "maml", _own_encoder(tmp_path))
    own = engine_config("maml", weights=tmp_path)
    changed = Segmenter(device="cpu", config=engine_config("maml"))
    changed.set_volume(phantom.volume)
    before = changed.segment(paint(9, 15)).labels
    changed.reconfigure(own)
    assert np.array_equal(changed.segment(paint(9, 15)).labels, _labels(own, phantom, paint(9, 15)))
    changed.reconfigure(engine_config("maml"))
    assert np.array_equal(changed.segment(paint(9, 15)).labels, before)


def test_a_family_beside_the_others_comes_from_the_folder_too(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED, tmp_path / "copy")
    joined = joined_config("maml", weights=tmp_path / "copy")
    assert joined.weights == tmp_path / "copy"
    assert len(joined.learners) == len(DEFAULT_SOURCES) + 1


def test_own_weights_of_one_part_need_not_hold_the_others_but_must_go_with_them(tmp_path: Path) -> None:
    _own_encoder(tmp_path)
    with pytest.raises(WeightsError, match="not trained with the encoder in"):
        engine_config(weights=tmp_path)
    with pytest.raises(WeightsError, match="not trained with the encoder in"):
        joined_config("siamese", weights=tmp_path)


def test_an_own_network_for_other_sources_is_refused_and_nothing_takes_its_place(tmp_path: Path) -> None:
    save_weights(tmp_path, FusionNetwork(NetworkConfig(("shape",), (4, 4, 4, 4, 4, 4))), training={})
    with pytest.raises(StorageError, match="other sources of evidence"):
        Segmenter(device="cpu", config=engine_config(weights=tmp_path))


def test_own_weights_of_another_build_are_refused_in_one_sentence(tmp_path: Path) -> None:
    save_modules(tmp_path, "maml", built("reptile"), training={})
    with pytest.raises(StorageError, match="another build") as refused:
        engine_config("maml", weights=tmp_path)
    assert "size mismatch" not in refused.value.message


def test_a_refused_folder_leaves_the_engine_as_it_was(tmp_path: Path, ready: Segmenter) -> None:
    config, network = ready._config, ready._network
    save_weights(tmp_path, FusionNetwork(NetworkConfig(("shape",), (4, 4, 4, 4, 4, 4))), training={})
    with pytest.raises(MedmetaError):
        ready.reconfigure(engine_config(weights=tmp_path))
    assert ready._config is config
    assert ready._network is network


def test_broken_shipped_weights_are_not_passed_over_where_own_ones_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise StorageError("The trained weights cannot be used")

    _own_network(tmp_path, bias=0.0)
    monkeypatch.setattr(registry, "shipped_encoder", broken)
    with pytest.raises(StorageError):
        engine_config(weights=tmp_path)
