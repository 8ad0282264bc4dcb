"""Stand-ins for the engine and its worker, and small scans."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from napari_medmeta.core import (
    Box,
    CancelToken,
    Geometry,
    MedmetaError,
    Modality,
    Progress,
    Proposal,
    SliceRef,
    Support,
    Triple,
    Volume,
    silent,
)
from napari_medmeta.ui.worker import Answered, Idle, JobEvent, Proposed, Question, Ready

SHAPE: Triple = (6, 20, 24)


def make_volume(shape: Triple = SHAPE, *, source: Path | None = None, name: str = "scan") -> Volume:
    array = np.random.default_rng(0).normal(100, 20, shape).astype(np.float32)
    geometry = Geometry.from_parts(shape, spacing_mm=(5.0, 1.0, 1.0))
    return Volume(array, geometry.reoriented().working, Modality.OTHER, name, source)


class NearestSliceEngine:
    """Copies the nearest complete example to every slice."""

    device = "cpu"

    def __init__(self, *, dice: float = 0.9, gate: threading.Event | None = None) -> None:
        self.has_volume = False
        self.asked: list[Support] = []
        self.focuses: list[SliceRef | None] = []
        self.threads: set[str] = set()
        self._dice, self._gate = dice, gate
        self.fail_with: MedmetaError | Exception | None = None

    def memory_estimate_bytes(self, shape: Triple, /) -> int:
        return 1000

    def set_volume(self, volume: Volume, *, progress: Progress = silent, cancel: CancelToken | None = None) -> None:
        self.threads.add(threading.current_thread().name)
        progress(0.5, "features")
        self.has_volume = True

    def propose(
        self,
        support: Support,
        *,
        focus: SliceRef | None = None,
        progress: Progress = silent,
        cancel: CancelToken | None = None,
    ) -> Iterator[Proposal]:
        self.threads.add(threading.current_thread().name)
        self.asked.append(support)
        self.focuses.append(focus)
        if self.fail_with is not None:
            raise self.fail_with
        while self._gate is not None and not self._gate.wait(0.01):
            if cancel is not None:
                cancel.raise_if_cancelled()
        yield propose_nearest(support, dice=self._dice)


def propose_nearest(support: Support, *, dice: float = 0.9) -> Proposal:
    examples = [e for e in support.examples if e.ref.axis == 0]
    labels = np.zeros(support.shape, dtype=np.uint8)
    for index in range(support.shape[0]):
        nearest = min(examples, key=lambda e: abs(e.ref.index - index))
        labels[index] = np.where(nearest.known, nearest.labels, 0)
    whole = Box.whole(support.shape)
    box = Box.around(labels) or whole
    painted = support.painted_structures()
    return Proposal(
        generation=support.generation,
        box=box,
        labels=labels[box.slices],
        confidence=np.full(box.shape, 0.8, dtype=np.float32),
        covered=whole,
        expected_dice=dict.fromkeys(painted, dice),
        slice_dice={SliceRef(0, i): dice for i in range(support.shape[0]) if labels[i].any()},
    )


class InlineRunner:
    """Answers at once, on the caller's thread."""

    def __init__(self, engine: NearestSliceEngine | None = None) -> None:
        self.engine = engine or NearestSliceEngine()
        self.closed = False
        self.cancelled = 0
        self._callback: Callable[[JobEvent], None] = lambda event: None

    def listen(self, callback: Callable[[JobEvent], None], /) -> None:
        self._callback = callback

    def load(self, volume: Volume, /) -> None:
        self.engine.set_volume(volume)
        self._callback(Ready("cpu", 1000))

    def propose(self, support: Support, /, *, focus: SliceRef | None) -> None:
        for proposal in self.engine.propose(support, focus=focus):
            self._callback(Proposed(proposal))
        self._callback(Idle())

    def ask(self, question: Question, /) -> None:
        self._callback(Answered(question(self.engine)))

    def cancel(self) -> None:
        self.cancelled += 1
        self._callback(Idle(cancelled=True))

    def close(self) -> None:
        self.closed = True
