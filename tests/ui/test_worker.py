from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from ui_fakes import NearestSliceEngine, make_volume, propose_nearest

from napari_medmeta.core import (
    CancelToken,
    MissingExamplesError,
    Proposal,
    SliceExample,
    SliceRef,
    Support,
    VolumeTooLargeError,
)
from napari_medmeta.ui.worker import (
    Answered,
    EngineWorker,
    Failed,
    Idle,
    JobEvent,
    LongQuestion,
    Progressed,
    Proposed,
    Ready,
    Started,
)

SHAPE = (4, 6, 6)


def support(generation: int = 1) -> Support:
    labels = np.zeros((6, 6), dtype=np.uint8)
    labels[2:4, 2:4] = 1
    example = SliceExample(SliceRef(0, 1), labels, np.ones((6, 6), dtype=bool))
    return Support(SHAPE, (example,), (1,), generation)


@pytest.fixture
def start(qtbot: Any) -> Iterator[Callable[[Any], tuple[EngineWorker, list[JobEvent]]]]:
    workers: list[EngineWorker] = []

    def make(engine: Any) -> tuple[EngineWorker, list[JobEvent]]:
        worker = EngineWorker(lambda: engine)
        events: list[JobEvent] = []
        worker.listen(events.append)
        workers.append(worker)
        return worker, events

    yield make
    for worker in workers:
        worker.close()


def proposals(events: list[JobEvent]) -> list[Proposal]:
    return [e.proposal for e in events if isinstance(e, Proposed)]


def test_the_engine_never_runs_on_the_windows_thread(start: Any, qtbot: Any) -> None:
    engine = NearestSliceEngine()
    worker, events = start(engine)
    worker.load(make_volume(SHAPE))
    worker.propose(support(), focus=SliceRef(0, 2))
    qtbot.waitUntil(lambda: bool(proposals(events)))
    assert threading.current_thread().name not in engine.threads
    assert engine.focuses == [SliceRef(0, 2)]


def test_features_are_computed_as_soon_as_a_volume_is_there(start: Any, qtbot: Any) -> None:
    engine = NearestSliceEngine()
    worker, events = start(engine)
    worker.load(make_volume(SHAPE))
    qtbot.waitUntil(lambda: any(isinstance(e, Ready) for e in events))
    assert engine.has_volume
    assert engine.asked == []


def test_only_the_newest_request_is_answered(start: Any, qtbot: Any) -> None:
    gate = threading.Event()
    engine = NearestSliceEngine(gate=gate)
    worker, events = start(engine)
    worker.load(make_volume(SHAPE))
    worker.propose(support(1), focus=None)
    qtbot.waitUntil(lambda: len(engine.asked) == 1)
    worker.propose(support(2), focus=None)
    worker.propose(support(3), focus=None)
    gate.set()
    qtbot.waitUntil(lambda: any(isinstance(e, Idle) for e in events))
    assert [p.generation for p in proposals(events)] == [3]


def test_a_late_answer_of_a_deaf_engine_is_dropped(start: Any, qtbot: Any) -> None:
    class Deaf(NearestSliceEngine):
        """Never looks at its cancel token."""

        def propose(self, support: Support, **options: Any) -> Iterator[Proposal]:
            self.asked.append(support)
            gate.wait(5)
            yield propose_nearest(support)

    gate = threading.Event()
    engine = Deaf()
    worker, events = start(engine)
    worker.propose(support(1), focus=None)
    qtbot.waitUntil(lambda: len(engine.asked) == 1)
    worker.propose(support(2), focus=None)
    gate.set()
    qtbot.waitUntil(lambda: any(isinstance(e, Idle) for e in events))
    assert [p.generation for p in proposals(events)] == [2]


def test_cancel_stops_the_running_request(start: Any, qtbot: Any) -> None:
    engine = NearestSliceEngine(gate=threading.Event())
    worker, events = start(engine)
    worker.propose(support(), focus=None)
    qtbot.waitUntil(lambda: len(engine.asked) == 1)
    worker.cancel()
    qtbot.waitUntil(lambda: Idle(cancelled=True) in events)
    assert proposals(events) == []


def test_features_cancelled_by_hand_are_computed_with_the_next_request(start: Any, qtbot: Any) -> None:
    class Slow(NearestSliceEngine):
        def set_volume(self, volume: Any, *, progress: Any = None, cancel: CancelToken | None = None) -> None:
            started.set()
            if not again.is_set():
                while cancel is not None:
                    cancel.raise_if_cancelled()
                    threading.Event().wait(0.005)
            self.has_volume = True

    started, again = threading.Event(), threading.Event()
    engine = Slow()
    worker, events = start(engine)
    worker.load(make_volume(SHAPE))
    qtbot.waitUntil(started.is_set)
    worker.cancel()
    qtbot.waitUntil(lambda: Idle(cancelled=True) in events)
    assert not engine.has_volume
    again.set()
    worker.propose(support(), focus=None)
    qtbot.waitUntil(lambda: bool(proposals(events)))
    assert engine.has_volume


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (MissingExamplesError("Nothing is painted"), "Nothing is painted"),
        (MemoryError(), "memory of this computer"),
        (ZeroDivisionError("x"), "nothing you painted is lost"),
    ],
)
def test_every_failure_arrives_as_a_sentence(start: Any, qtbot: Any, raised: Exception, expected: str) -> None:
    engine = NearestSliceEngine()
    engine.fail_with = raised
    worker, events = start(engine)
    worker.propose(support(), focus=None)
    qtbot.waitUntil(lambda: any(isinstance(e, Failed) for e in events))
    (failed,) = [e for e in events if isinstance(e, Failed)]
    assert expected in failed.error.message
    assert "Traceback" not in failed.error.message


def test_the_worker_goes_on_after_a_failure(start: Any, qtbot: Any) -> None:
    engine = NearestSliceEngine()
    engine.fail_with = VolumeTooLargeError("Too large")
    worker, events = start(engine)
    worker.propose(support(), focus=None)
    qtbot.waitUntil(lambda: any(isinstance(e, Failed) for e in events))
    engine.fail_with = None
    worker.propose(support(2), focus=None)
    qtbot.waitUntil(lambda: bool(proposals(events)))


def test_nothing_arrives_after_closing(start: Any, qtbot: Any) -> None:
    gate = threading.Event()
    engine = NearestSliceEngine(gate=gate)
    worker, events = start(engine)
    worker.propose(support(), focus=None)
    qtbot.waitUntil(lambda: len(engine.asked) == 1)
    events.clear()
    worker.close()
    gate.set()
    qtbot.wait(50)
    assert events == []
    assert not worker.alive


def test_an_engine_that_breaks_after_closing_leaves_no_trace(start: Any, caplog: pytest.LogCaptureFixture) -> None:
    working, gate = threading.Event(), threading.Event()

    class BreaksLate(NearestSliceEngine):
        def set_volume(self, *args: Any, **kwargs: Any) -> None:
            working.set()
            gate.wait()
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    worker, _ = start(BreaksLate())
    worker.load(make_volume(SHAPE))
    assert working.wait(10)
    worker.close()
    assert worker.alive
    gate.set()
    worker.close()
    assert not worker.alive
    assert caplog.records == []


def test_the_program_ends_cleanly_while_the_engine_is_at_work() -> None:
    script = """
import time
from qtpy.QtCore import QCoreApplication
import torch
from napari_medmeta.core import Geometry, Volume
from napari_medmeta.engine import Segmenter
from napari_medmeta.ui.worker import EngineWorker
import numpy as np
app = QCoreApplication([])
worker = EngineWorker(lambda: Segmenter(device="cpu"))
shape = (60, 160, 160)
worker.load(Volume(np.random.default_rng(0).normal(size=shape).astype(np.float32), Geometry.from_parts(shape)))
time.sleep(1.0)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr


def long_question(gate: threading.Event, **options: Any) -> LongQuestion:
    """Wait for ``gate``, looking at the token."""

    def work(engine: Any, progress: Any, cancel: CancelToken) -> str:
        progress(0.25, "waiting")
        while not gate.wait(0.01):
            cancel.raise_if_cancelled()
        return threading.current_thread().name

    return LongQuestion("Asking", work, **options)


def told(events: list[Any], kind: type) -> list[Any]:
    return [e for e in events if isinstance(e, kind)]


def test_a_long_question_shows_its_progress(start: Any, qtbot: Any) -> None:
    gate = threading.Event()
    worker, events = start(NearestSliceEngine())
    worker.ask(long_question(gate))
    qtbot.waitUntil(lambda: bool(told(events, Progressed)))
    assert told(events, Started)[0].what == "Asking"
    assert told(events, Progressed)[0].fraction == 0.25
    assert not told(events, Answered)
    gate.set()
    qtbot.waitUntil(lambda: bool(told(events, Idle)))
    assert [e.answer for e in told(events, Answered)] == ["napari-medmeta engine"]


def test_cancel_stops_a_long_question_without_an_answer(start: Any, qtbot: Any) -> None:
    worker, events = start(NearestSliceEngine())
    worker.ask(long_question(threading.Event()))
    qtbot.waitUntil(lambda: bool(told(events, Progressed)))
    worker.cancel()
    qtbot.waitUntil(lambda: any(e.cancelled for e in told(events, Idle)))
    worker.ask(lambda engine: "next")
    qtbot.waitUntil(lambda: bool(told(events, Answered)))
    assert [e.answer for e in told(events, Answered)] == ["next"]
    assert not told(events, Failed)


def test_only_a_question_that_gives_way_is_stopped_by_a_proposal(start: Any, qtbot: Any) -> None:
    gate = threading.Event()
    worker, events = start(NearestSliceEngine())
    worker.ask(long_question(threading.Event(), gives_way=True))
    qtbot.waitUntil(lambda: bool(told(events, Progressed)))
    worker.propose(support(1), focus=None)
    qtbot.waitUntil(lambda: bool(proposals(events)))
    assert not told(events, Answered)
    events.clear()
    worker.ask(long_question(gate))
    qtbot.waitUntil(lambda: bool(told(events, Progressed)))
    worker.propose(support(2), focus=None)
    gate.set()
    qtbot.waitUntil(lambda: bool(proposals(events)))
    assert len(told(events, Answered)) == 1
