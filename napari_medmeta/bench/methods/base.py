"""What the judge asks of a method: the scan and the painted slices in, labels out."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from napari_medmeta.core import LabelArray, Proposal, Support, Volume

__all__ = ["Method", "Proposing"]


@runtime_checkable
class Method(Protocol):
    """A way to turn a few painted slices into a whole segmentation.

    It is handed the scan, which names no file, and the painted voxels; never the truth.
    """

    @property
    def name(self) -> str:
        """Name in tables and on the command line."""
        ...

    @property
    def version(self) -> str:
        """Changes whenever the answers may change; finished runs of other versions are not reused."""
        ...

    def segment(self, volume: Volume, support: Support) -> LabelArray:
        """Return (I, J, K) uint8 labels for the whole scan."""
        ...


@runtime_checkable
class Proposing(Method, Protocol):
    """A method that also tells how sure it is; its expected Dice is judged beside its labels."""

    def propose(self, volume: Volume, support: Support) -> Proposal:
        """Return the proposal for the whole scan."""
        ...
