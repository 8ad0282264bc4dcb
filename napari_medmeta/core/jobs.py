"""Progress and cancelling, as plain values that any layer can pass down."""

from __future__ import annotations

import threading
from typing import Protocol

from napari_medmeta.core.errors import Cancelled

__all__ = ["CancelToken", "Progress", "silent"]


class Progress(Protocol):
    """Called with the share of work done, in [0, 1], and a short word on the stage."""

    def __call__(self, fraction: float, stage: str, /) -> None:
        """Tell that ``fraction`` of the work is done and what is being worked on."""


def silent(fraction: float, stage: str, /) -> None:
    """Report progress to nobody."""


class CancelToken:
    """A flag that one thread sets and another looks at between two steps of its work.

    Examples
    --------
    >>> token = CancelToken()
    >>> token.raise_if_cancelled()
    >>> token.cancel()
    >>> token.cancelled
    True
    """

    def __init__(self) -> None:
        self._event = threading.Event()

    @property
    def cancelled(self) -> bool:
        """Whether the work should stop."""
        return self._event.is_set()

    def cancel(self) -> None:
        """Ask the work to stop at its next check."""
        self._event.set()

    def raise_if_cancelled(self) -> None:
        """Raise `Cancelled` once the work has been asked to stop."""
        if self._event.is_set():
            raise Cancelled
