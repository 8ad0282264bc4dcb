"""Our own engine as one of the methods, whole or with one of its sources of evidence alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from importlib.resources.abc import Traversable

from napari_medmeta import __version__
from napari_medmeta.core import InputError, LabelArray, Proposal, Support, Volume

__all__ = ["Engine", "source_names"]


@dataclass(frozen=True)
class Engine:
    """The engine of this project, without a window and as a user gets it.

    Parameters
    ----------
    source
        Only this source of evidence; empty for all of them.
    """

    device: str = "cpu"
    seed: int = 0
    source: str = ""

    @property
    def name(self) -> str:
        """Name in tables."""
        return f"medmeta-{self.source}" if self.source else "medmeta"

    @cached_property
    def version(self) -> str:
        """The package's version and a digest of the engine's files, so that no older answer is reused."""
        digest = hashlib.blake2b(digest_size=4)
        for file in _files(resources.files("napari_medmeta.engine")):
            digest.update(file.read_bytes())
        return f"{__version__}+{digest.hexdigest()}"

    def propose(self, volume: Volume, support: Support) -> Proposal:
        """Return the engine's proposal for the whole scan."""
        from napari_medmeta.engine import EngineConfig, Segmenter

        chosen = [x for x in EngineConfig().learners if self.source in ("", _slug(x.name))]
        if not chosen:
            raise InputError(f"The engine has no source {self.source!r}", expected=", ".join(source_names()))
        segmenter = Segmenter(device=self.device, seed=self.seed, config=EngineConfig(learners=tuple(chosen)))
        segmenter.set_volume(volume)
        return segmenter.segment(support)

    def segment(self, volume: Volume, support: Support) -> LabelArray:
        """Return (I, J, K) labels of the engine's proposal."""
        return self.propose(volume, support).volume(support.shape)


def source_names() -> tuple[str, ...]:
    """Return the names of the engine's sources of evidence."""
    from napari_medmeta.engine import EngineConfig

    return tuple(_slug(learner.name) for learner in EngineConfig().learners)


def _slug(name: str) -> str:
    return name.replace(" ", "-")


def _files(folder: Traversable) -> Sequence[Traversable]:
    found: list[Traversable] = []
    for item in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if item.is_dir():
            found += _files(item)
        elif item.name.endswith((".py", ".safetensors", ".json")):
            found.append(item)
    return found
