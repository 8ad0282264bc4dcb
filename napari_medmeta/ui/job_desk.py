"""One long question to the engine at a time, asked in the background of the open scan. No Qt."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from psygnal import Signal

from napari_medmeta.core import CancelToken, MedmetaError
from napari_medmeta.ui.controller import Controller, Work

__all__ = ["JobDesk"]

STOPPED = "Stopped"
"""The stage that the controller tells when the user stops all that the engine does."""

Found = TypeVar("Found")


class Request(Protocol):
    """What is asked, as far as this part needs it: how it is stopped, and how far it is."""

    @property
    def cancel(self) -> CancelToken:
        """Stops the work."""
        ...

    @property
    def stages(self) -> list[tuple[float, str]]:
        """The last (fraction, stage), if any."""
        ...


class _Job(Generic[Found]):
    """One question to the engine; called once in the background, however often it is asked."""

    def __init__(self, request: Request, work: Callable[[Any], Found]) -> None:
        self.request, self._work = request, work
        self.begun = self.broken = False

    def __call__(self, engine: Any) -> _Answer[Found] | None:
        if self.begun:
            return None
        self.begun, whole = True, False
        try:
            answer = self._answer(engine)
            whole = True
        finally:
            # Something went wrong that nobody foresaw; the worker tells of it.
            self.broken = not whole
        return answer

    def _answer(self, engine: Any) -> _Answer[Found]:
        # An answer in any case: what is shown as busy must end.
        try:
            return _Answer(self, self._work(engine))
        except MedmetaError as error:
            return _Answer(self, error=error)


@dataclass(frozen=True, eq=False)
class _Answer(Generic[Found]):
    job: _Job[Found]
    found: Found | None = None
    error: MedmetaError | None = None


class JobDesk(ABC, Generic[Found]):
    """What the verbs of an application have in common that asks one long question at a time.

    A subclass asks by `_begin`, and says in `_take` what becomes of the answer.
    """

    changed = Signal()
    """What is shown, or what is being done, is another one."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._job: _Job[Found] | None = None
        controller.answered.connect(self._receive)
        controller.worked.connect(self._on_work)

    @property
    def busy(self) -> bool:
        """Whether work is going on."""
        return self._job is not None

    @property
    def progress(self) -> tuple[float, str]:
        """How far the work is: a fraction in [0, 1] and its stage."""
        stages = self._job.request.stages if self._job is not None else []
        return stages[0] if stages else (0.0, "waiting for the engine")

    def stop(self) -> None:
        """Stop the work; what is shown stays as it was."""
        self._drop()
        self.changed.emit()

    def close(self) -> None:
        """Let go of the scan."""
        self._drop()
        self._controller.answered.disconnect(self._receive)
        self._controller.worked.disconnect(self._on_work)

    @abstractmethod
    def _take(self, found: Found) -> None:
        """Show what was found."""

    def _begin(self, request: Request, work: Callable[[Any], Found]) -> None:
        """Call ``work`` with the engine in the background; what was asked before is dropped."""
        self._drop()
        # What was told of the question before is of no use any more.
        self._controller.told.emit("")
        self._job = _Job(request, work)
        self.changed.emit()
        self._controller.ask_engine(self._job)

    def _drop(self) -> None:
        job, self._job = self._job, None
        if job is not None:
            job.request.cancel.cancel()

    def _fail(self, error: MedmetaError) -> None:
        self._controller.failed.emit(error)

    def _written(self, write: Callable[[], Path]) -> bool:
        """Write a file and tell where; return whether that was possible."""
        try:
            path = write()
        except MedmetaError as error:
            self._fail(error)
            return False
        self._controller.told.emit(f"Saved as {path.name} in {path.parent}.")
        return True

    def _receive(self, answer: object) -> None:
        if not isinstance(answer, _Answer) or answer.job is not self._job:
            return
        self._job = None
        if isinstance(answer.error, MedmetaError):
            self._fail(answer.error)
        elif answer.found is not None:
            self._take(answer.found)
        self.changed.emit()

    def _on_work(self, work: Work) -> None:
        """See to it that a question that was lost is asked again, and that one that broke does not seem busy."""
        job = self._job
        if job is None or work.busy:
            return
        if job.broken or work.stage == STOPPED:
            self.stop()
        elif not job.begun:
            # Another question took its place in the engine's queue.
            self._controller.ask_engine(job)
