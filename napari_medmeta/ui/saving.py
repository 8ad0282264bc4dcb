"""Writing results in the background: files are written one after the other, in the order in which they were wanted.

The engine's thread would be the wrong place: there a newer request replaces an older one, and a file that the
radiologist asked for must never be dropped.
"""

from __future__ import annotations

import logging
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from qtpy.QtCore import QObject, Qt, Signal

from napari_medmeta import io
from napari_medmeta.core import LabelArray, MedmetaError, Structure
from napari_medmeta.ui.scan import Scan

__all__ = ["SaveEnd", "SaveJob", "Saver", "Writes"]

LOGGER = logging.getLogger(__name__)


class Writes(Protocol):
    """Something that knows its file and can write it, from any thread."""

    @property
    def path(self) -> Path:
        """Where it is written."""
        ...

    def write(self) -> Path:
        """Write it; return the written file."""
        ...


@dataclass(frozen=True, eq=False, slots=True)
class SaveJob:
    """A segmentation as it was when it was to be saved.

    Parameters
    ----------
    path
        Where it is written; the ending chooses the format.
    labels
        A copy of the labels (I, J, K) on the grid on screen; nobody else may change it.
    scan
        Where the labels belong.
    structures
        The table with names and colours.
    anonymous
        Leave the patient out of a DICOM file.
    """

    path: Path
    labels: LabelArray
    scan: Scan
    structures: tuple[Structure, ...]
    anonymous: bool = False

    def write(self) -> Path:
        """Write the labels onto the file's own grid; return the written file. Errors as `io.save_labels`."""
        return io.save_labels(
            self.path,
            self.scan.grid.labels_to_original(self.labels),
            self.scan.grid.original,
            names={s.id: s.name for s in self.structures},
            colours={s.id: s.colour for s in self.structures},
            source=io.ScanSource(self.scan.source, name=self.scan.name),
            anonymous=self.anonymous,
        )


@dataclass(frozen=True, eq=False, slots=True)
class SaveEnd:
    """How a job ended: with the file ``written``, or with an error in words."""

    job: Writes
    written: Path | None = None
    error: MedmetaError | None = None


class Saver(QObject):
    """Write jobs in one background thread, first come, first written."""

    ended = Signal(object)
    """A `SaveEnd`, on the window's thread."""
    running_changed = Signal(int)
    """How many jobs are not written yet."""
    _news = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        # The program's end waits for this pool, so a file is written to its end in any case.
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="napari-medmeta save")
        self._ends: deque[SaveEnd] = deque()
        self._running = 0
        self._closed = False
        self._news.connect(self._deliver, Qt.ConnectionType.QueuedConnection)

    @property
    def running(self) -> int:
        """How many jobs are not written yet."""
        return self._running

    def save(self, job: Writes) -> None:
        """Write ``job`` behind those that wait; how it ended comes by ``ended``."""
        self._count(+1)
        self._pool.submit(_written, job).add_done_callback(self._note)

    def close(self) -> None:
        """Wait until every job is written, and tell how it ended; nothing can be saved after this."""
        self._pool.shutdown(wait=True)
        self._deliver()
        self._closed = True

    def _note(self, future: Future[SaveEnd]) -> None:
        self._ends.append(future.result())
        if not self._closed:
            self._news.emit()

    def _deliver(self) -> None:
        while self._ends:
            self._count(-1)
            self.ended.emit(self._ends.popleft())

    def _count(self, step: int) -> None:
        self._running += step
        self.running_changed.emit(self._running)


def _written(job: Writes) -> SaveEnd:
    end = partial(SaveEnd, job)
    try:
        return end(written=job.write())
    except MedmetaError as error:
        return end(error=error)
    # The edge of the thread: what no one foresaw must reach the user as a sentence and the log as a trace.
    except Exception as error:
        LOGGER.exception("Saving failed")
        return end(error=_unforeseen(job.path, error))


def _unforeseen(path: Path, error: Exception) -> MedmetaError:
    return MedmetaError(
        f"{path.name} could not be saved ({type(error).__name__}); nothing you painted is lost",
        next_step="Save it elsewhere or in another format, and report it with the log if it comes back",
    )
