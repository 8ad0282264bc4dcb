"""Training that goes on from trained weights, and what the records say of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from napari_medmeta.core import Cancelled, CancelToken, InputError, WeightsError
from napari_medmeta.core.weights import ENCODER, FUSION, own_parts, require_fitting, shipped_parts
from napari_medmeta.engine.learners.registry import DEFAULT_SOURCES, built, save_modules
from napari_medmeta.engine.network import FusionNetwork, NetworkConfig
from napari_medmeta.engine.weights import load_weights, save_weights
from napari_medmeta.training.episodes import EpisodeConfig
from napari_medmeta.training.families import EMBEDDING, train_family
from napari_medmeta.training.fusion import train_fusion
from napari_medmeta.training.learners import LearnerTrainConfig
from napari_medmeta.training.meta import TrainConfig
from napari_medmeta.training.origin import STARTED_SHARE, Origin, Start
from napari_medmeta.training.sources import Synthetic

FEW = TrainConfig(
    steps=1, batch=2, pool=3, workers=0, validation=1, check_every=2, episodes=EpisodeConfig(queries=3, crop=32)
)
LEARNER = LearnerTrainConfig(
    steps=1, batch=1, per_volume=2, pool=4, workers=0, validation=1, check_every=2, episodes=EpisodeConfig(queries=3)
)


def _record(folder: Path, name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads((folder / f"{name}.json").read_text())["training"]
    return found


def _apart(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> float:
    """Return the largest difference of any weight; buffers of the normalisation aside."""
    return max(float((a[name] - b[name]).abs().max()) for name in a if "running" not in name and "num" not in name)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with a fusion network that nobody trained, but that is not as one begins from nothing."""
    torch.manual_seed(5)
    network = FusionNetwork(NetworkConfig(DEFAULT_SOURCES))
    nn.init.normal_(network.unet.final_conv.weight, std=0.1)
    save_weights(tmp_path / "own", network, training={})
    return tmp_path / "own"


def test_after_one_step_the_network_is_nearly_the_one_it_started_from(
    source: Synthetic, own: Path, tmp_path: Path
) -> None:
    written = train_fusion(source, tmp_path / "out", FEW, start=Start(own))
    assert 0 < _apart(load_file(written), load_file(own / "fusion.safetensors")) < 1e-4
    record = _record(tmp_path / "out", FUSION)
    assert record["started_from"] == own_parts(own)[FUSION].sha256
    assert record["rate"] == pytest.approx(STARTED_SHARE * FEW.rate)
    network, _ = load_weights(tmp_path / "out", sources=DEFAULT_SOURCES)
    assert not network.training


def test_from_nothing_the_network_is_another_one_and_the_record_names_no_start(
    source: Synthetic, own: Path, tmp_path: Path
) -> None:
    written = train_fusion(source, tmp_path / "out", FEW)
    assert _apart(load_file(written), load_file(own / "fusion.safetensors")) > 0.01
    record = _record(tmp_path / "out", FUSION)
    assert "started_from" not in record
    assert record["rate"] == FEW.rate


def test_the_record_of_the_network_tells_on_which_sources_it_stands(source: Synthetic, tmp_path: Path) -> None:
    train_fusion(source, tmp_path, FEW, start=Start())
    shipped = shipped_parts()
    record = _record(tmp_path, FUSION)
    assert record["started_from"] == shipped[FUSION].sha256
    assert record["stands_on"] == {n: shipped[n].sha256 for n in (ENCODER, "prototypical", "siamese", "reptile")}
    assert record["corrections"] == 0


def test_the_record_of_the_network_tells_how_many_tasks_were_corrected(source: Synthetic, tmp_path: Path) -> None:
    train_fusion(source, tmp_path, replace(FEW, corrections=1.0), start=Start())
    assert _record(tmp_path, FUSION)["corrections"] == 1


def test_a_stopped_run_that_was_started_from_weights_resumes_to_the_same(
    source: Synthetic, own: Path, tmp_path: Path, stop_after: Callable[[int], CancelToken]
) -> None:
    config = replace(FEW, steps=4)
    straight = train_fusion(source, tmp_path / "straight", config, start=Start(own))
    with pytest.raises(Cancelled):
        train_fusion(source, tmp_path / "stopped", config, start=Start(own), cancel=stop_after(3))
    resumed = train_fusion(source, tmp_path / "stopped", config, resume=True)
    assert _apart(load_file(straight), load_file(resumed)) == 0
    assert _record(tmp_path / "stopped", FUSION) == _record(tmp_path / "straight", FUSION)


def test_a_family_goes_on_from_its_own_weights(source: Synthetic, tmp_path: Path) -> None:
    (written,) = train_family("maml", source, tmp_path, LEARNER, start=Start())
    shipped = shipped_parts()
    assert 0 < _apart(load_file(written), load_file(str(shipped["maml"].file))) < 1e-2
    record = _record(tmp_path, "maml")
    assert record["started_from"] == shipped["maml"].sha256
    assert record["stands_on"] == {ENCODER: shipped[ENCODER].sha256}
    require_fitting(tmp_path, ("maml",))


def test_a_stopped_run_of_a_family_that_was_started_resumes_to_the_same(
    source: Synthetic, tmp_path: Path, stop_after: Callable[[int], CancelToken]
) -> None:
    config = replace(LEARNER, steps=4)
    (straight,) = train_family("maml", source, tmp_path / "straight", config, start=Start())
    with pytest.raises(Cancelled):
        train_family("maml", source, tmp_path / "stopped", config, start=Start(), cancel=stop_after(3))
    (resumed,) = train_family("maml", source, tmp_path / "stopped", config, resume=True)
    assert _apart(load_file(straight), load_file(resumed)) == 0
    assert _record(tmp_path / "stopped", "maml") == _record(tmp_path / "straight", "maml")


def test_the_embedding_goes_on_from_all_its_weights_and_families_stand_on_the_new_encoder(
    source: Synthetic, tmp_path: Path
) -> None:
    written = train_family(EMBEDDING, source, tmp_path, LEARNER, start=Start())
    shipped, own = shipped_parts(), own_parts(tmp_path)
    assert {f.name for f in written} == {f"{n}.safetensors" for n in own}
    assert all(_apart(load_file(tmp_path / f"{n}.safetensors"), load_file(str(shipped[n].file))) > 0 for n in own)
    assert {n: _record(tmp_path, n)["started_from"] for n in own} == {n: shipped[n].sha256 for n in own}
    assert own["matching"].encoder == own[ENCODER].sha256 != shipped[ENCODER].sha256
    require_fitting(tmp_path, ("prototypical", "matching"))
    with pytest.raises(WeightsError, match="reptile of the package"):
        require_fitting(tmp_path, ("reptile",))


def test_a_family_is_trained_on_the_own_encoder_and_then_goes_with_it(source: Synthetic, tmp_path: Path) -> None:
    train_family(EMBEDDING, source, tmp_path, LEARNER)
    train_family("reptile", source, tmp_path, LEARNER, weights=tmp_path, start=Start())
    assert own_parts(tmp_path)["reptile"].encoder == own_parts(tmp_path)[ENCODER].sha256
    require_fitting(tmp_path, ("prototypical", "reptile"))


def test_a_start_that_is_not_there_is_refused(source: Synthetic, own: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no weights of maml in own.*train from nothing"):
        train_family("maml", source, tmp_path / "out", LEARNER, start=Start(own))
    with pytest.raises(WeightsError, match="no folder"):
        train_fusion(source, tmp_path / "out", FEW, start=Start(tmp_path / "nowhere"))


def test_a_start_of_another_architecture_is_refused(source: Synthetic, tmp_path: Path) -> None:
    save_modules(tmp_path / "other", "maml", built("reptile"), training={})
    with pytest.raises(WeightsError, match="another build"):
        train_family("maml", source, tmp_path / "out", LEARNER, start=Start(tmp_path / "other"))
    small = FusionNetwork(NetworkConfig(DEFAULT_SOURCES, (4, 4, 4, 4, 4, 4)))
    save_weights(tmp_path / "other", small, training={})
    with pytest.raises(WeightsError, match="another build"):
        train_fusion(source, tmp_path / "out", FEW, start=Start(tmp_path / "other"))
    save_weights(tmp_path / "other", FusionNetwork(NetworkConfig(("shape",))), training={})
    with pytest.raises(WeightsError, match="other sources of evidence"):
        train_fusion(source, tmp_path / "out", FEW, start=Start(tmp_path / "other"))


def test_a_run_goes_on_only_with_what_it_trained_and_stood_on() -> None:
    origin = Origin("maml", {ENCODER: "a"}, {"maml": "s"})
    kept = origin.as_dict()
    assert Origin("maml", {ENCODER: "a"}).resumed(kept) == origin
    with pytest.raises(InputError, match="trained maml, not reptile"):
        Origin("reptile", {ENCODER: "a"}).resumed(kept)
    with pytest.raises(InputError, match="same --weights"):
        Origin("maml", {ENCODER: "b"}).resumed(kept)
    assert origin.resumed(None) is origin


def test_a_new_run_in_the_folder_of_another_begins_its_own_log(source: Synthetic, tmp_path: Path) -> None:
    train_family("maml", source, tmp_path, LEARNER)
    train_fusion(source, tmp_path, FEW)
    rows = (tmp_path / "log.csv").read_text().splitlines()
    assert rows[0].startswith("step,minutes,loss,validation_dice_before")
    assert len(rows) == 2
