"""The main job by a simulated radiologist, who paints from a phantom's truth: what the demo and the pictures show.

The scan is synthetic, so its Dice says that the loop works, not how well it does on patients.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_medmeta.bench.protocol import Task, make_task
from napari_medmeta.bench.scores import dice_by_structure
from napari_medmeta.core import Box, LabelArray, Proposal, SliceRef, label_slice
from napari_medmeta.io import write_image, write_labels
from napari_medmeta.session import Session

if TYPE_CHECKING:
    from napari_medmeta.core.phantoms import Phantom
    from napari_medmeta.session.engine import Segmenting

__all__ = ["ORGANS", "Loop", "Round", "ask", "begin", "correct_worst", "finish"]

ORGANS = 4
"""The torso's first four structures: liver, spleen and both kidneys."""


@dataclass(frozen=True, eq=False)
class Loop:
    """The scan with its truth, the session, the engine, and the slices painted so far (in ``task``)."""

    phantom: Phantom
    session: Session
    engine: Segmenting
    task: Task


@dataclass(frozen=True, eq=False)
class Round:
    """What came of one proposal.

    Parameters
    ----------
    labels
        (I, J, K) uint8: the examples as painted, and the proposal everywhere else.
    proposal
        As the engine made it.
    task
        Knows which slices had been painted, and the truth.
    first_slice_s, whole_volume_s
        Seconds until the visible slice and until the whole volume was proposed.
    """

    labels: LabelArray
    proposal: Proposal
    task: Task
    first_slice_s: float
    whole_volume_s: float

    @property
    def dice(self) -> Mapping[int, float | None]:
        """Dice by structure over the slices that had not been painted; None where there is nothing to find."""
        return dice_by_structure(self.labels, self.task)

    @property
    def mean_dice(self) -> float:
        """Mean of `dice` over the structures that can be scored."""
        return float(np.mean([d for d in self.dice.values() if d is not None]))


def begin(phantom: Phantom, engine: Segmenting, *, slices: int) -> Loop:
    """Open the scan, name the organs and paint ``slices`` slices, evenly over the organs' extent."""
    truth = np.where(phantom.labels <= ORGANS, phantom.labels, 0).astype(np.uint8)
    task = make_task(truth, phantom.volume.geometry, k=slices)
    session = Session.create(phantom.volume.geometry, fingerprint=phantom.volume.fingerprint)
    for structure in range(1, ORGANS + 1):
        session.add_structure(phantom.names[structure])
    for index in task.painted:
        ref = SliceRef(task.axis, index)
        session.paint_slice(ref, label_slice(truth, ref))
    engine.set_volume(phantom.volume)
    return Loop(phantom, session, engine, task)


def ask(loop: Loop, *, visible: int) -> Round:
    """Ask for a proposal, the slice ``visible`` first, and hand it to the session."""
    start = time.perf_counter()
    arrived: list[tuple[float, Proposal]] = []
    for proposal in loop.engine.propose(loop.session.support(), focus=SliceRef(loop.task.axis, visible)):
        arrived.append((time.perf_counter() - start, proposal))
        loop.session.set_proposal(proposal)
    proposed = loop.session.proposed_labels(Box.whole(loop.session.geometry.shape))
    labels = np.where(loop.session.status > 0, loop.session.labels, proposed).astype(np.uint8)
    return Round(labels, arrived[-1][1], loop.task, arrived[0][0], arrived[-1][0])


def correct_worst(loop: Loop, round_: Round) -> Loop:
    """Repaint the slice with the most wrong voxels."""
    others = tuple(a for a in range(3) if a != loop.task.axis)
    worst = int(np.argmax(np.count_nonzero(round_.labels != loop.task.truth, axis=others)))
    ref = SliceRef(loop.task.axis, worst)
    loop.session.paint_slice(ref, label_slice(loop.task.truth, ref))
    return replace(loop, task=replace(loop.task, painted=(*loop.task.painted, worst)))


def finish(loop: Loop, folder: Path) -> tuple[Path, ...]:
    """Accept all that is proposed; write the scan, the examples and the result as NIfTI; return their paths."""
    geometry, names = loop.session.geometry, {s.id: s.name for s in loop.session.structures}
    examples, _ = loop.session.support().labels_and_known()
    loop.session.accept_confident(0.0)
    return (
        write_image(folder / "scan.nii.gz", loop.phantom.volume.array, geometry),
        write_labels(folder / "examples.nii.gz", examples, geometry, names=names),
        write_labels(folder / "segmentation.nii.gz", loop.session.labels, geometry, names=names),
    )
