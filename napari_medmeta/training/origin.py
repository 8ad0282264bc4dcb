"""Where a training run comes from: the weights it starts from, and those it stands on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

from torch import nn

from napari_medmeta.core import InputError, StorageError, WeightsError
from napari_medmeta.core.weights import FUSION, STANDS_ON, own_parts, shipped_parts
from napari_medmeta.engine.learners.registry import load_modules
from napari_medmeta.engine.network import FusionNetwork
from napari_medmeta.engine.weights import load_weights

__all__ = ["STARTED_SHARE", "Origin", "Start"]

STARTED_FROM = "started_from"
"""In a record's account of the training: the SHA-256 of the weights that it went on from."""

STARTED_SHARE = 0.1
"""Of the rate of learning, where training goes on from trained weights. A tenth is the custom in fine-tuning, as the
full rate is made for weights drawn at random; which share is best on own scans was not measured."""


@dataclass(frozen=True)
class Start:
    """Trained weights to go on from.

    Parameters
    ----------
    folder
        Where they lie; None: those that come with the package.
    """

    folder: Path | None = None

    def load_modules(self, name: str, modules: Mapping[str, nn.Module]) -> str:
        """Put the weights of a family, or of the encoder, into ``modules``; return their SHA-256.

        Raises
        ------
        WeightsError
            When they are not there, damaged, or of another architecture.
        """
        sha256 = self._digest(name)
        with self._refusing(name), self._place() as folder:
            load_modules(folder, name, modules)
        for module in modules.values():
            # What was loaded for use is frozen.
            module.train().requires_grad_(True)
        return sha256

    def load_network(self, network: FusionNetwork) -> str:
        """Put the weights of the fusion network into ``network``; return their SHA-256.

        Raises
        ------
        WeightsError
            As `load_modules`.
        """
        sha256 = self._digest(FUSION)
        with self._refusing(FUSION), self._place() as folder:
            trained, record = load_weights(folder, sources=network.config.sources)
            if record.network != network.config:
                raise StorageError(f"{FUSION}.json tells of a network of another build")
        network.load_state_dict(trained.state_dict())
        return sha256

    def _digest(self, name: str) -> str:
        parts = shipped_parts() if self.folder is None else own_parts(self.folder)
        if name not in parts:
            raise WeightsError(
                f"There are no weights of {name} {self._where}",
                expected=f"{name}.safetensors and {name}.json",
                next_step="Choose other weights to start from, or train from nothing",
            )
        return parts[name].sha256

    @contextmanager
    def _refusing(self, name: str) -> Iterator[None]:
        try:
            yield
        except StorageError as error:
            raise WeightsError(
                f"Training cannot go on from the weights of {name} {self._where}: {error.found}",
                expected="weights of the same build as those that are trained",
                next_step="Choose other weights to start from, or train from nothing",
            ) from error

    @property
    def _where(self) -> str:
        return "in the package" if self.folder is None else f"in {self.folder.name}"

    @contextmanager
    def _place(self) -> Iterator[Path]:
        if self.folder is not None:
            yield self.folder
            return
        with resources.as_file(resources.files("napari_medmeta.engine") / "weights_data") as shipped:
            yield shipped


@dataclass(frozen=True)
class Origin:
    """What a run trains, and where it comes from; kept in its checkpoint.

    Parameters
    ----------
    what
        The family, "embedding" or "fusion".
    stands_on
        SHA-256 of the other weights that take part and stay as they are, by name.
    started_from
        SHA-256 of the weights that it went on from, by name; empty where it began with weights drawn at random.
    """

    what: str
    stands_on: Mapping[str, str] = field(default_factory=dict)
    started_from: Mapping[str, str] = field(default_factory=dict)

    def rate(self, highest: float) -> float:
        """Return the highest rate of learning of this run, given that of a run from nothing."""
        return highest * STARTED_SHARE if self.started_from else highest

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for the checkpoint."""
        return {"what": self.what, STANDS_ON: dict(self.stands_on), STARTED_FROM: dict(self.started_from)}

    def resumed(self, kept: Mapping[str, Any] | None) -> Origin:
        """Return the origin of the run whose checkpoint kept ``kept``; None: of a version that kept none.

        Raises
        ------
        InputError
            When that run trained something else, or stood on other weights.
        """
        if kept is None:
            return self
        if kept["what"] != self.what:
            raise InputError(
                f"The run to go on with trained {kept['what']}, not {self.what}",
                next_step="Name what it trained by --learner, or another folder",
            )
        if dict(kept[STANDS_ON]) != dict(self.stands_on):
            raise InputError(
                "The run to go on with stood on other weights than those in use now",
                next_step="Give the same --weights as when it was begun",
            )
        return replace(self, started_from=dict(kept[STARTED_FROM]))

    def record(self, name: str, *, rate: float) -> dict[str, Any]:
        """Return what the record of the weights ``name`` says of their origin.

        Parameters
        ----------
        rate
            Highest rate of learning of a run from nothing.
        """
        record: dict[str, Any] = {"rate": self.rate(rate)}
        if self.stands_on:
            record[STANDS_ON] = dict(self.stands_on)
        if name in self.started_from:
            record[STARTED_FROM] = self.started_from[name]
        return record
