"""What a session's owner needs of an engine, so that panels and tests can do with any other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from napari_medmeta.core import CancelToken, Progress, Proposal, SliceRef, Support, Volume
from napari_medmeta.core.jobs import silent

__all__ = ["Segmenting"]


class Segmenting(Protocol):
    """Learns from a `Support` and proposes the rest of the volume; a session never calls it itself."""

    @property
    def device(self) -> str:
        """Where it computes, such as "cpu" or "cuda"."""
        ...

    @property
    def has_volume(self) -> bool:
        """Whether a volume has been set."""
        ...

    def set_volume(self, volume: Volume, *, progress: Progress = silent, cancel: CancelToken | None = None) -> None:
        """Prepare everything that depends on the scan alone."""
        ...

    def propose(
        self,
        support: Support,
        *,
        focus: SliceRef | None = None,
        progress: Progress = silent,
        cancel: CancelToken | None = None,
    ) -> Iterator[Proposal]:
        """Yield the proposal for the slice ``focus`` first, then for the whole volume.

        Raises
        ------
        MissingExamplesError
            When something must be painted first.
        Cancelled
            When ``cancel`` was set.
        """
        ...
