"""What the judge asks of a method: the scan and the painted slices in, labels out."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from napari_medmeta.core import LabelArray, Support, Volume

__all__ = ["Method"]


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
