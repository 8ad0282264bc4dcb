"""How useful the library's entries are, found out in the background, one entry after the other."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from qtpy.QtCore import QObject, Qt, Signal

from napari_medmeta.core import Cancelled, CancelToken, MedmetaError
from napari_medmeta.core.library import Expected, LibraryEntry, same_name

__all__ = ["Judged", "Judging", "JudgingEnded", "Usefulness"]

LOGGER = logging.getLogger(__name__)

Usefulness = Callable[[LibraryEntry, tuple[LibraryEntry, ...]], Expected]
"""An entry and those of its name in, how well these would have predicted it out; called in the background."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One entry was judged, as ``number`` of ``count``."""

    entry: str
    expected: Expected
    number: int
    count: int


@dataclass(frozen=True, slots=True)
class JudgingEnded:
    """All entries were judged, or judging was stopped, or it failed for a reason in words."""

    stopped: bool = False
    error: MedmetaError | None = None


class Judging(QObject):
    """Judge entries in one background thread; what an earlier start still sends is dropped."""

    told = Signal(object)
    """A `Judged` or a `JudgingEnded`, on the window's thread."""
    _news = Signal()

    def __init__(self, usefulness: Usefulness | None = None, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._usefulness = usefulness or _by_the_engine
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="napari-medmeta library")
        self._token = CancelToken()
        self._queue: deque[tuple[CancelToken, Judged | JudgingEnded]] = deque()
        self._running = False
        self._news.connect(self._deliver, Qt.ConnectionType.QueuedConnection)

    @property
    def running(self) -> bool:
        """Whether entries are being judged."""
        return self._running

    def start(self, entries: Sequence[LibraryEntry]) -> None:
        """Judge ``entries`` in their order; stops what is running."""
        self.stop()
        self._token, self._running = CancelToken(), True
        self._pool.submit(self._work, tuple(entries), self._token)

    def stop(self) -> None:
        """Stop after the entry that is being judged now; it is not told any more."""
        self._token.cancel()
        if self._running:
            self._running = False
            self.told.emit(JudgingEnded(stopped=True))

    def close(self) -> None:
        """Stop for good, without waiting."""
        self._token.cancel()
        self._running = False
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _work(self, entries: tuple[LibraryEntry, ...], token: CancelToken) -> None:
        try:
            for number, entry in enumerate(entries, start=1):
                token.raise_if_cancelled()
                others = tuple(e for e in entries if same_name(e.structure, entry.structure))
                self._send(token, Judged(entry.id, self._usefulness(entry, others), number, len(entries)))
            self._send(token, JudgingEnded())
        except Cancelled:
            return
        except MedmetaError as error:
            self._send(token, JudgingEnded(error=error))
        # The edge of the thread: what no one foresaw must reach the user as a sentence and the log as a trace.
        except Exception as error:
            LOGGER.exception("Judging the library failed")
            self._send(token, JudgingEnded(error=_unforeseen(error)))

    def _send(self, token: CancelToken, event: Judged | JudgingEnded) -> None:
        self._queue.append((token, event))
        if not token.cancelled:
            self._news.emit()

    def _deliver(self) -> None:
        while self._queue:
            token, event = self._queue.popleft()
            if token is not self._token or token.cancelled:
                continue
            if isinstance(event, JudgingEnded):
                self._running = False
            self.told.emit(event)


def _by_the_engine(entry: LibraryEntry, others: tuple[LibraryEntry, ...]) -> Expected:
    # Imported in the background: the libraries behind it take seconds to load.
    from napari_medmeta.engine.recall import usefulness

    return usefulness(entry, others)


def _unforeseen(error: Exception) -> MedmetaError:
    return MedmetaError(
        f"The entries could not be judged ({type(error).__name__}); nothing was changed",
        next_step="Try again, and report it with the log if it comes back",
    )
