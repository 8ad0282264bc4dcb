"""A prior segmentation carried to the open scan: asked for, shown as a proposal, and measured. No Qt."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from napari_medmeta.core import (
    BACKGROUND,
    Box,
    CancelToken,
    Geometry,
    LabelArray,
    MissingExamplesError,
    Proposal,
    Volume,
)
from napari_medmeta.ui.controller import Controller
from napari_medmeta.ui.job_desk import JobDesk
from napari_medmeta.ui.library import blended

if TYPE_CHECKING:
    from napari_medmeta.tasks.registration import Carried
    from napari_medmeta.tasks.registration_change import VolumeChange

__all__ = ["Carrying", "FollowUpDesk", "Prior", "Request", "better_of", "prior_in_files", "prior_in_memory"]


NOTHING_UP_TO = 0.5
"""Expected Dice of a carried slice up to which the engine is believed that nothing is there; see `better_of`."""


LITTLE = 0.5
"""Where no structure promises a higher Dice, more of what was carried is expected to be wrong than right; so it is
where structures with more than this share of the volume did not arrive at all."""
ALIKE = "That is not much: do both scans show the same part of the body?"
GO_ON = "Accept a slice (A), or correct it by painting."


@dataclass(frozen=True, eq=False)
class LoadedPrior:
    """A prior scan with its labels (on its own grid), and what they are called where that is known."""

    volume: Volume
    labels: LabelArray
    names: Mapping[int, str]


@dataclass(frozen=True, eq=False)
class Prior:
    """A prior scan with labels that can be carried.

    Parameters
    ----------
    load
        Called in the background.
    uncover
        Puts away what lies over the open scan, where the prior scan is shown in the same window.
    """

    name: str
    load: Callable[[], LoadedPrior]
    uncover: Callable[[], None] | None = None


@dataclass(frozen=True, eq=False)
class Request:
    """All that is needed to carry labels in the background.

    Parameters
    ----------
    kind
        "rigid", "affine" or "deformable".
    axis
        Along which slices of the open scan are judged.
    stages
        Receives (fraction, stage) while the work goes on; read by the window when it likes.
    """

    prior: Prior
    today: Volume
    kind: str
    axis: int
    cancel: CancelToken = field(default_factory=CancelToken)
    stages: list[tuple[float, str]] = field(default_factory=list)

    def report(self, fraction: float, stage: str, /) -> None:
        """Note how far the work is."""
        self.stages[:] = [(fraction, stage)]


Carrying: TypeAlias = "Callable[[Request], tuple[LoadedPrior, Carried]]"
"""Called in the background."""


@dataclass(frozen=True, eq=False)
class _Shown:
    """What was carried, under the numbers of the structure table."""

    prior_ml: Mapping[int, float]
    proposal: Proposal
    notes: tuple[str, ...]


class FollowUpDesk(JobDesk["tuple[LoadedPrior, Carried]"]):
    """The verbs of a follow-up for one open scan.

    Parameters
    ----------
    volume
        The scan on the grid on screen.
    carrying
        Runs in the background; None: by registration.
    """

    def __init__(self, controller: Controller, volume: Volume, *, carrying: Carrying | None = None) -> None:
        super().__init__(controller)
        self._volume = volume
        self._carrying = carrying or carried_by_registration
        self._shown: _Shown | None = None
        self._before = controller.blend
        self._mine = self._blend
        controller.blend = self._mine

    # What is shown

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know of what was carried, one sentence each."""
        return self._shown.notes if self._shown is not None else ()

    @property
    def expected_dice(self) -> Mapping[int, float]:
        """The Dice expected of each structure as it was carried, before any correction."""
        return self._shown.proposal.expected_dice if self._shown is not None else {}

    def changes(self) -> tuple[VolumeChange, ...]:
        """Return how each carried structure has changed, by what is painted, accepted and proposed now."""
        if self._shown is None:
            return ()
        from napari_medmeta.tasks.registration_change import VolumeChange

        session = self._controller.session
        counts = _counts(self._controller)
        per_voxel = session.geometry.voxel_volume_ml
        names = {s.id: s.name for s in session.structures}
        prior = self._shown.prior_ml
        return tuple(VolumeChange(s, names[s], ml, counts[s] * per_voxel) for s, ml in prior.items() if s in names)

    # What the user does

    def carry(self, prior: Prior | None, *, kind: str = "deformable") -> bool:
        """Carry the labels of ``prior`` to the open scan."""
        if prior is None:
            self._fail(
                MissingExamplesError(
                    "No earlier scan is chosen",
                    next_step="Choose its image and its labels, or drop both onto the window",
                )
            )
            return False
        if prior.uncover is not None:
            prior.uncover()
        request = Request(prior, self._volume, kind, self._controller.focus.axis)
        self._begin(request, lambda _: self._carrying(request))
        return True

    def export(self, path: Path) -> bool:
        """Write the changes of volume as a table (.csv or .json)."""
        from napari_medmeta.tasks.registration_change import write_changes

        return self._written(lambda: write_changes(path, self.changes()))

    def close(self) -> None:
        """Let go of the scan."""
        super().close()
        if self._controller.blend is self._mine:
            self._controller.blend = self._before

    # How it works

    def _take(self, found: tuple[LoadedPrior, Carried]) -> None:
        self._show(*found)

    def _show(self, prior: LoadedPrior, carried: Carried) -> None:
        controller = self._controller
        numbers = self._numbers(carried.carrying.structures, prior.names)
        # Only now: what was painted meanwhile counts, and labels do not depend on it.
        proposal = _renumbered(carried.proposal(generation=controller.session.generation), numbers)
        self._shown = _Shown(_prior_ml(prior, numbers), proposal, carried.notes)
        controller.receive(controller.blend(proposal))
        names = {s.id: s.name for s in controller.structures}
        told = ", ".join(f"{names.get(s, '?')} (expected Dice {d:.2f})" for s, d in proposal.expected_dice.items())
        little = max(proposal.expected_dice.values(), default=0.0) < LITTLE
        little |= _lost(self._shown.prior_ml, proposal) > LITTLE
        controller.told.emit(f"Carried from the earlier scan: {told}. {ALIKE if little else GO_ON}")

    def _numbers(self, structures: tuple[int, ...], names: Mapping[int, str]) -> dict[int, int]:
        """Return the table's number for each label value of the prior scan, adding what is missing to the table."""
        session = self._controller.session
        found: dict[int, int] = {}
        for value in structures:
            name = " ".join(names.get(value, f"Structure {value}").split())
            known = next((s for s in session.structures if s.name.casefold() == name.casefold()), None)
            if known is None:
                session.add_structure(name)
                known = session.structures[-1]
            found[value] = known.id
        return found

    def _blend(self, proposal: Proposal) -> Proposal:
        """Go on showing what was carried where the engine expects less of its own proposal."""
        if self._shown is None or proposal is self._shown.proposal:
            return proposal
        proposal = self._before(proposal)
        session = self._controller.session
        if proposal.covered != Box.whole(session.geometry.shape):
            return proposal
        open_ids = {s.id for s in session.structures} - set(session.support().painted_structures())
        return blended(better_of(proposal, self._shown.proposal), self._shown.proposal, frozenset(open_ids))


def better_of(proposal: Proposal, carried: Proposal) -> Proposal:
    """Return ``proposal`` with those slices of ``carried`` that promise a higher Dice than its own.

    Slices are compared where both were judged along the same axis. Where ``proposal`` holds nothing on a slice, it
    says that nothing is there. With a carried Dice of e to be expected, something is there with a probability of e at
    least, as Dice is at most 1: nothing is the better answer up to an e of `NOTHING_UP_TO`, 1 - e being less than e
    beyond.
    """
    box = proposal.box.union(carried.box)
    labels, confidence = proposal.labels_in(box), proposal.confidence_in(box)
    older, surer = carried.labels_in(box), carried.confidence_in(box)
    slice_dice = dict(proposal.slice_dice)
    judged = {ref.axis for ref in slice_dice}
    for ref, dice in carried.slice_dice.items():
        at = tuple(ref.index - box.start[a] if a == ref.axis else slice(None) for a in range(3))
        empty = ref not in slice_dice and ref.axis in judged and not labels[at].any()
        if dice > (NOTHING_UP_TO if empty else slice_dice.get(ref, math.inf)):
            labels[at], confidence[at], slice_dice[ref] = older[at], surer[at], dice
    return Proposal(
        generation=proposal.generation,
        box=box,
        labels=labels,
        confidence=confidence,
        covered=proposal.covered,
        expected_dice=proposal.expected_dice,
        slice_dice=slice_dice,
        trust=proposal.trust,
        seconds=proposal.seconds,
    )


def prior_in_files(scan: Path, labels: Path) -> Prior:
    """Return a prior scan and its labels on disk."""

    def load() -> LoadedPrior:
        from napari_medmeta.io import read_named_labels, read_scan

        volume = read_scan(scan)
        named = read_named_labels(labels, like=volume.geometry, source=scan)
        return LoadedPrior(volume, named.labels, named.names)

    # Exports call every scan the same; the folder tells which it is.
    return Prior(f"{scan.parent.name}: {labels.name} on {scan.name}", load)


def prior_in_memory(
    name: str,
    volume: Volume,
    read: Callable[[], LabelArray],
    names: Mapping[int, str],
    *,
    uncover: Callable[[], None] | None = None,
) -> Prior:
    """Return a prior scan that is open in the window; ``read`` gives its labels."""
    return Prior(name, lambda: LoadedPrior(volume, read(), names), uncover)


def carried_by_registration(request: Request) -> tuple[LoadedPrior, Carried]:
    """Read the prior scan and carry its labels; errors as `tasks.registration.carry`."""
    # Imported in the background: the libraries behind it take seconds to load.
    from napari_medmeta.tasks.registration import Kind, carry

    request.report(0.0, "reading the prior scan")
    prior = request.prior.load()
    carried = carry(
        prior.volume,
        prior.labels,
        request.today,
        kind=Kind(request.kind),
        axis=request.axis,
        progress=request.report,
        cancel=request.cancel,
    )
    return prior, carried


def _renumbered(proposal: Proposal, numbers: Mapping[int, int]) -> Proposal:
    lut = np.zeros(256, dtype=np.uint8)
    lut[list(numbers)] = list(numbers.values())
    return Proposal(
        generation=proposal.generation,
        box=proposal.box,
        labels=lut[proposal.labels],
        confidence=proposal.confidence,
        covered=proposal.covered,
        expected_dice={numbers[s]: d for s, d in proposal.expected_dice.items()},
        slice_dice=proposal.slice_dice,
        trust={numbers[s]: t for s, t in proposal.trust.items()},
        seconds=proposal.seconds,
    )


def _prior_ml(prior: LoadedPrior, numbers: Mapping[int, int]) -> dict[int, float]:
    grid: Geometry = prior.volume.geometry
    counts = np.bincount(prior.labels.ravel(), minlength=256)
    return {number: float(counts[value]) * grid.voxel_volume_ml for value, number in numbers.items()}


def _lost(prior_ml: Mapping[int, float], proposal: Proposal) -> float:
    """Return which share of the earlier volume belongs to structures of which nothing arrived."""
    arrived = set(np.unique(proposal.labels))
    gone = sum(ml for structure, ml in prior_ml.items() if structure not in arrived)
    return gone / max(sum(prior_ml.values()), np.finfo(float).tiny)


def _counts(controller: Controller) -> list[int]:
    """Return for each label value how many voxels are painted, accepted or proposed."""
    session = controller.session
    counts = np.bincount(np.asarray(session.labels).ravel(), minlength=256)
    proposal = session.proposal
    if proposal is not None:
        still_open = session.proposed_labels(proposal.box)
        free = np.asarray(session.labels[proposal.box.slices]) == BACKGROUND
        counts = counts + np.bincount(still_open[free], minlength=256)
    return [int(c) for c in counts]
