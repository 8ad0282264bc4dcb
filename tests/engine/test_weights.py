from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from napari_medmeta.core import StorageError
from napari_medmeta.engine.network import FusionNetwork, NetworkConfig
from napari_medmeta.engine.weights import load_weights, save_weights, shipped_weights

SOURCES = ("shape", "propagation")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    network = FusionNetwork(NetworkConfig(SOURCES, (4, 4, 4, 4, 4, 4)))
    torch.nn.init.normal_(network.unet.final_conv.weight)
    save_weights(tmp_path, network, training={"steps": 3})
    return tmp_path


def test_weights_come_back_as_they_were_saved(folder: Path) -> None:
    network, record = load_weights(folder, sources=SOURCES)
    again, _ = load_weights(folder, sources=SOURCES)
    torch.testing.assert_close(network.unet.final_conv.weight, again.unet.final_conv.weight)
    assert record.training == {"steps": 3}
    assert not network.training


def test_weights_for_other_sources_are_refused(folder: Path) -> None:
    with pytest.raises(StorageError, match="other sources"):
        load_weights(folder, sources=("shape",))


@pytest.mark.parametrize("damage", ["torn", "swapped byte", "missing", "no record", "other format"])
def test_damaged_weights_are_refused(folder: Path, damage: str) -> None:
    weights, record = folder / "fusion.safetensors", folder / "fusion.json"
    data = weights.read_bytes()
    if damage == "torn":
        weights.write_bytes(data[: len(data) // 2])
    elif damage == "swapped byte":
        weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "missing":
        weights.unlink()
    elif damage == "no record":
        record.unlink()
    else:
        record.write_text(json.dumps({**json.loads(record.read_text()), "format": 99}))
    with pytest.raises(StorageError, match="cannot be used") as refused:
        load_weights(folder, sources=SOURCES)
    assert refused.value.message.count("cannot be used") == 1


def test_an_engine_without_fitting_weights_goes_on_without_them(caplog: pytest.LogCaptureFixture) -> None:
    assert shipped_weights(("no", "such", "sources"), torch.device("cpu")) is None
    assert "without its trained network" in caplog.text
