"""Our own engine as one of the methods."""

from __future__ import annotations

from dataclasses import dataclass

from napari_medmeta.core import LabelArray, Proposal, Support, Volume

__all__ = ["Engine"]


@dataclass(frozen=True)
class Engine:
    """The engine of this project, without a window and as a user gets it."""

    device: str = "cpu"
    seed: int = 0
    name: str = "medmeta"

    @property
    def version(self) -> str:
        """The package's version."""
        from napari_medmeta import __version__

        return __version__

    def propose(self, volume: Volume, support: Support) -> Proposal:
        """Return the engine's proposal for the whole scan."""
        from napari_medmeta.engine import Segmenter

        segmenter = Segmenter(device=self.device, seed=self.seed)
        segmenter.set_volume(volume)
        return segmenter.segment(support)

    def segment(self, volume: Volume, support: Support) -> LabelArray:
        """Return (I, J, K) labels of the engine's proposal."""
        return self.propose(volume, support).volume(support.shape)
