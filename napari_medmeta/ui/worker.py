"""Where the engine's thread starts: the engine works here, and its news arrive on the window's thread.

One thread for each open scan, so the engine is never called from two threads. It keeps its normal
priority: a thread that is held back while it holds the interpreter holds the window back as well. A
newer request replaces the waiting one and cancels the running one; what an old request still sends is
dropped.
"""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import psutil
from qtpy.QtCore import QObject, Qt, Signal

from napari_medmeta.core import (
    Cancelled,
    CancelToken,
    MedmetaError,
    Progress,
    Proposal,
    SliceRef,
    Support,
    Triple,
    Volume,
    silent,
)
from napari_medmeta.core.errors import VolumeTooLargeError
from napari_medmeta.session.engine import Segmenting

__all__ = [
    "Answered",
    "Engine",
    "EngineWorker",
    "Failed",
    "Idle",
    "JobEvent",
    "LongQuestion",
    "Progressed",
    "Proposed",
    "Question",
    "Ready",
    "Runner",
    "Started",
]

LOGGER = logging.getLogger(__name__)

CLOSE_WAIT_S = 2.0
"""How long closing waits for the running step to notice that it is cancelled; it ends by itself later."""

SAFE_SHARE = 0.8
"""Of the memory that is free now, the share that a part of the scan may take: other programs go on."""

EXIT_WAIT_S = 30.0
"""How long the program's end waits for the same: torch aborts the process when it is torn down while at work."""


class Engine(Segmenting, Protocol):
    """An engine that also says how much memory a scan takes."""

    def memory_estimate_bytes(self, shape: Triple, /) -> int:
        """Return about how many bytes a scan of this shape takes."""
        ...


@dataclass(frozen=True, slots=True)
class Started:
    """A request is being worked on: a proposal, or what comes before the first one."""

    what: str
    proposing: bool = False


@dataclass(frozen=True, slots=True)
class Progressed:
    """A share of the work, in [0, 1], is done."""

    fraction: float
    stage: str


@dataclass(frozen=True, slots=True)
class Ready:
    """The volume's features are there; proposals are quick from now on."""

    device: str
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Proposed:
    """The engine answered; the same request may answer again with a larger part."""

    proposal: Proposal


@dataclass(frozen=True, slots=True)
class Failed:
    """The request could not be done, for a reason that the user can read."""

    error: MedmetaError


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing is left to do; ``cancelled`` when the user stopped it."""

    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """A question to the engine was answered."""

    answer: object


JobEvent = Started | Progressed | Ready | Proposed | Answered | Failed | Idle

Question: TypeAlias = Callable[[Any], object]
"""Called with the engine in the background; whoever asks knows what kind of engine it is."""


@dataclass(frozen=True, slots=True)
class LongQuestion:
    """A question that takes long enough to show its progress and to be stopped.

    Parameters
    ----------
    what
        What the user is told meanwhile.
    work
        Called with the engine, where to report progress, and what tells to stop (by `Cancelled`).
    gives_way
        Whether asking for a proposal stops it, as its answer would be out of date.
    """

    what: str
    work: Callable[[Any, Progress, CancelToken], object]
    gives_way: bool = False

    def __call__(self, engine: Any) -> object:
        """Answer without telling and without being stopped."""
        return self.work(engine, silent, CancelToken())


class Runner(Protocol):
    """What the controller needs of a worker; tests bring one without a thread."""

    def listen(self, callback: Callable[[JobEvent], None], /) -> None:
        """Call ``callback`` with everything that happens."""
        ...

    def load(self, volume: Volume, /) -> None:
        """Prepare the engine for a volume."""
        ...

    def propose(self, support: Support, /, *, focus: SliceRef | None) -> None:
        """Ask for a proposal."""
        ...

    def ask(self, question: Question, /) -> None:
        """Ask the engine anything else; a newer question replaces one that still waits."""
        ...

    def cancel(self) -> None:
        """Stop what is running."""
        ...

    def close(self) -> None:
        """Stop for good."""
        ...


@dataclass(frozen=True, eq=False)
class _Ask:
    number: int
    support: Support
    focus: SliceRef | None


@dataclass(frozen=True, eq=False)
class _Work:
    volume: Volume | None
    ask: _Ask | None
    question: Question | None
    token: CancelToken
    answering: CancelToken


class EngineWorker(QObject):
    """Run one engine in one background thread.

    Parameters
    ----------
    make_engine
        Builds the engine; called in the thread, since loading the engine's libraries takes seconds.
    """

    _sent = Signal(int, object)

    def __init__(self, make_engine: Callable[[], Engine], *, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._make_engine = make_engine
        self._wake = threading.Condition()
        self._volume: Volume | None = None
        self._ask: _Ask | None = None
        self._question: Question | None = None
        self._number = 0
        self._closed = False
        self._token = CancelToken()
        self._answering = CancelToken()
        self._running: Question | None = None
        self._callback: Callable[[JobEvent], None] | None = None
        self._refusal: VolumeTooLargeError | None = None
        self._sent.connect(self._deliver, Qt.ConnectionType.QueuedConnection)
        self._thread = threading.Thread(target=self._run, name="napari-medmeta engine", daemon=True)
        self._thread.start()
        atexit.register(self._stop, EXIT_WAIT_S)

    def listen(self, callback: Callable[[JobEvent], None], /) -> None:
        """Call ``callback`` on the window's thread with everything that happens from now on."""
        self._callback = callback

    def load(self, volume: Volume, /) -> None:
        """Compute the features of ``volume`` in the background; drops all that was asked before."""
        with self._wake:
            self._number += 1
            self._token.cancel()
            self._answering.cancel()
            self._volume, self._ask, self._question = volume, None, None
            self._refusal = None
            self._wake.notify()

    def propose(self, support: Support, /, *, focus: SliceRef | None) -> None:
        """Ask for a proposal, the slice ``focus`` first; replaces the request before."""
        with self._wake:
            self._number += 1
            if self._volume is None:
                # Features that are still being computed are wanted in any case: only proposals are cancelled.
                self._token.cancel()
            self._question = None if _gives_way(self._question) else self._question
            if _gives_way(self._running):
                self._answering.cancel()
            self._ask = _Ask(self._number, support, focus)
            self._wake.notify()

    def ask(self, question: Question, /) -> None:
        """Ask the engine anything else, once features and proposals are done; replaces the waiting question."""
        with self._wake:
            self._question = question
            self._wake.notify()

    def cancel(self) -> None:
        """Stop the running request and forget the waiting ones."""
        with self._wake:
            self._number += 1
            self._token.cancel()
            self._answering.cancel()
            self._ask, self._question = None, None
        self._send(Idle(cancelled=True))

    def close(self) -> None:
        """Stop the thread; nothing is delivered after this."""
        self._stop(CLOSE_WAIT_S)
        if not self.alive:
            atexit.unregister(self._stop)

    @property
    def alive(self) -> bool:
        """Whether the thread is still there."""
        return self._thread.is_alive()

    def _stop(self, wait_s: float) -> None:
        with self._wake:
            self._closed = True
            self._callback = None
            self._token.cancel()
            self._answering.cancel()
            self._wake.notify()
        self._thread.join(wait_s)

    def _run(self) -> None:
        engine: Engine | None = None
        while (work := self._wait_for_work()) is not None:
            try:
                engine = self._make_engine() if engine is None else engine
                self._serve(engine, work)
            except Cancelled:
                continue
            except MedmetaError as error:
                self._give_up(error)
            except MemoryError:
                self._give_up(_too_large())
            # The edge of the thread: what no one foresaw must reach the user as a sentence and the log as a trace.
            except Exception as error:
                # Nobody is left to tell, and when the program ends its threads are gone before the engine looks up.
                if self._closed:
                    return
                LOGGER.exception("The engine failed")
                self._give_up(_unforeseen(error))

    def _wait_for_work(self) -> _Work | None:
        with self._wake:
            while not (self._closed or self._volume or self._ask or self._question):
                self._wake.wait()
            # Request and token are taken together: a later request cancels this token, never its own. A question
            # has one of its own, as a proposal that is asked for meanwhile waits, unless the question gives way.
            self._token, self._answering = CancelToken(), CancelToken()
            self._running = None if self._volume or self._ask else self._question
            work = _Work(self._volume, self._ask, self._question, self._token, self._answering)
            return None if self._closed else work

    def _serve(self, engine: Engine, work: _Work) -> None:
        if work.volume is not None:
            self._load(engine, work.volume, work.token)
        elif work.ask is not None:
            self._propose(engine, work.ask, work.token)
        elif work.question is not None:
            self._answer(engine, work.question, work.answering)
        with self._wake:
            resting = self._volume is None and self._ask is None and self._question is None
        if resting:
            self._send(Idle())

    def _load(self, engine: Engine, volume: Volume, token: CancelToken) -> None:
        self._send(Started("Getting to know the scan"))
        try:
            engine.set_volume(volume, progress=self._report_features, cancel=token)
        except Cancelled:
            # Cancelled by hand: the next proposal starts over with the features. Replaced: the next scan waits.
            self._wait_for_ask(volume)
            raise
        except (VolumeTooLargeError, MemoryError) as error:
            self._refusal = _too_large_for(engine, volume.geometry.shape, error)
            raise self._refusal from error
        with self._wake:
            if self._volume is volume:
                self._volume = None
        memory = engine.memory_estimate_bytes(volume.geometry.shape)
        self._send(Ready(engine.device, memory))

    def _wait_for_ask(self, volume: Volume) -> None:
        with self._wake:
            while not self._closed and self._volume is volume and self._ask is None:
                self._wake.wait()

    def _propose(self, engine: Engine, ask: _Ask, token: CancelToken) -> None:
        with self._wake:
            if self._ask is ask:
                self._ask = None

        if self._refusal is not None:
            # There are no features to propose from: say again why.
            raise self._refusal

        def progress(fraction: float, stage: str, /) -> None:
            self._send(Progressed(fraction, stage), ask.number)

        self._send(Started("Proposing", proposing=True), ask.number)
        for proposal in engine.propose(ask.support, focus=ask.focus, progress=progress, cancel=token):
            token.raise_if_cancelled()
            self._send(Proposed(proposal), ask.number)

    def _answer(self, engine: Engine, question: Question, token: CancelToken) -> None:
        with self._wake:
            number = self._number
            if self._question is question:
                self._question = None
        try:
            self._send(Answered(self._answered(engine, question, token, number)))
        except Cancelled:
            raise
        except MedmetaError as error:
            # What waits behind a question has nothing to do with it.
            self._send(Failed(error))

    def _answered(self, engine: Engine, question: Question, token: CancelToken, number: int) -> object:
        if not isinstance(question, LongQuestion):
            return question(engine)

        def progress(fraction: float, stage: str, /) -> None:
            token.raise_if_cancelled()
            self._send(Progressed(fraction, stage), number)

        self._send(Started(question.what), number)
        answer = question.work(engine, progress, token)
        token.raise_if_cancelled()
        return answer

    def _give_up(self, error: MedmetaError) -> None:
        with self._wake:
            self._volume, self._ask, self._question = None, None, None
        self._send(Failed(error))
        self._send(Idle())

    def _report_features(self, fraction: float, stage: str, /) -> None:
        self._send(Progressed(fraction, stage))

    def _send(self, event: JobEvent, number: int | None = None) -> None:
        with self._wake:
            if not self._closed:
                self._sent.emit(self._number if number is None else number, event)

    def _deliver(self, number: int, event: JobEvent) -> None:
        late = number != self._number and isinstance(event, Proposed | Started | Progressed)
        if self._callback is not None and not late:
            self._callback(event)


def _gives_way(question: Question | None) -> bool:
    return isinstance(question, LongQuestion) and question.gives_way


def _too_large_for(engine: Engine, shape: Triple, error: Exception) -> VolumeTooLargeError:
    """Return the refusal of a scan of ``shape``, with how many of its voxels would fit."""
    refusal = error if isinstance(error, VolumeTooLargeError) else _too_large()
    if refusal.fits_voxels is None:
        least, needed = engine.memory_estimate_bytes((1, 1, 1)), engine.memory_estimate_bytes(shape)
        free = psutil.virtual_memory().available - least
        voxels = int(np.prod(shape))
        # Where the estimate says that it fits, it was too low: less than half must do.
        share = min(SAFE_SHARE * free / max(1, needed - least), 0.5)
        refusal.fits_voxels = max(0, int(share * voxels))
    return refusal


def _too_large() -> VolumeTooLargeError:
    return VolumeTooLargeError(
        "The memory of this computer does not suffice for the scan",
        next_step="Close other programs, or open a smaller part of the scan",
    )


def _unforeseen(error: Exception) -> MedmetaError:
    return MedmetaError(
        f"The proposal failed inside the program ({type(error).__name__}); nothing you painted is lost",
        next_step="Paint on or press Propose to try again, and report it with the log if it comes back",
    )
