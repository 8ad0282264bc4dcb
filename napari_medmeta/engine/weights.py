"""The shipped weights of the fusion network, with a record of what they can do and how they were made."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from napari_medmeta.core import StorageError
from napari_medmeta.core.weights import FUSION, has_part
from napari_medmeta.engine.network import FusionNetwork, NetworkConfig

__all__ = ["FORMAT", "WeightsRecord", "load_weights", "network_in_use", "save_weights", "shipped_weights"]

logger = logging.getLogger(__name__)

FORMAT = 1
"""Raised when the inputs of the network change their meaning: older weights are then refused."""

WEIGHTS, RECORD = f"{FUSION}.safetensors", f"{FUSION}.json"


@dataclass(frozen=True)
class WeightsRecord:
    """What stands beside the weights.

    Parameters
    ----------
    network
        The architecture.
    training
        Settings of the training run: steps, seed and the like.
    sha256
        Digest of the weights file, so that a torn or swapped file is noticed.
    """

    network: NetworkConfig
    training: Mapping[str, Any]
    sha256: str


def save_weights(folder: Path, network: FusionNetwork, *, training: Mapping[str, Any]) -> Path:
    """Write weights and record into ``folder`` and return the weights file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / WEIGHTS
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    path.write_bytes(save(tensors))
    record = {
        "format": FORMAT,
        "network": network.config.as_dict(),
        "training": dict(training),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return path


def load_weights(folder: Path, *, sources: Sequence[str]) -> tuple[FusionNetwork, WeightsRecord]:
    """Return the network in ``folder``, ready to use.

    Parameters
    ----------
    sources
        Names of the engine's sources of evidence: weights for others do not fit.

    Raises
    ------
    StorageError
        When the files are missing or damaged, or belong to another version of the engine.
    """
    record = _record(folder)
    if record.network.sources != tuple(sources):
        raise StorageError(
            f"The weights in {folder.name} were trained for other sources of evidence",
            expected=", ".join(sources),
            next_step="Train them again with napari-medmeta train",
        )
    network = FusionNetwork(record.network)
    try:
        data = (folder / WEIGHTS).read_bytes()
        if hashlib.sha256(data).hexdigest() != record.sha256:
            raise _damaged(folder, "it differs from the file that its record describes")
        network.load_state_dict(load_file(folder / WEIGHTS))
    except StorageError:
        raise
    except RuntimeError as error:
        raise _damaged(folder, "they belong to a network of another build") from error
    except (OSError, SafetensorError) as error:
        raise _damaged(folder, str(error)) from error
    return network.eval(), record


def shipped_weights(sources: Sequence[str], device: torch.device) -> FusionNetwork | None:
    """Return the network that comes with the package; None, with a notice in the log, when it cannot be used."""
    try:
        with resources.as_file(resources.files("napari_medmeta.engine") / "weights_data") as folder:
            network, _ = load_weights(folder, sources=sources)
        return network.to(device)
    except StorageError as error:
        logger.warning("The engine works without its trained network: %s", error.message)
        return None


def network_in_use(sources: Sequence[str], device: torch.device, *, folder: Path | None = None) -> FusionNetwork | None:
    """Return the network in the folder of own weights where it holds one, else `shipped_weights`.

    Raises
    ------
    StorageError
        When the folder's own network cannot be used: who asked for it must not get another one silently.
    """
    if folder is None or not has_part(folder, FUSION):
        return shipped_weights(sources, device)
    network, _ = load_weights(folder, sources=sources)
    return network.to(device)


def _record(folder: Path) -> WeightsRecord:
    try:
        values = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if values["format"] != FORMAT:
            raise _damaged(folder, f"format {values['format']} instead of {FORMAT}")
        network = values["network"]
        config = NetworkConfig(tuple(network["sources"]), tuple(network["features"]))
        return WeightsRecord(config, values["training"], values["sha256"])
    except StorageError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, str(error)) from error


def _damaged(folder: Path, why: str) -> StorageError:
    return StorageError(
        f"The trained weights in {folder.name} cannot be used ({why})",
        expected=f"{WEIGHTS} and {RECORD} as napari-medmeta train writes them",
        next_step="Install the package again, or train them again where they are your own",
    )
