"""A prior segmentation carried to the open scan: asked for, shown as a proposal, and measured. No Qt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from napari_medmeta.core import (
    BACKGROUND,
    CancelToken,
    LabelArray,
    MissingExamplesError,
    Proposal,
    Volume,
)
from napari_medmeta.ui.carried import CarriedHere
from napari_medmeta.ui.controller import Controller
from napari_medmeta.ui.job_desk import JobDesk

if TYPE_CHECKING:
    from napari_medmeta.tasks.registration import Carried
    from napari_medmeta.tasks.registration_change import VolumeChange
    from napari_medmeta.tasks.registration_notes import Landed

__all__ = ["Carrying", "FollowUpDesk", "Prior", "Request", "prior_in_files", "prior_in_memory"]


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


Arrived: TypeAlias = "tuple[Landed, Mapping[int, str]]"
"""What was carried, and what its structures are called where that is known."""


class FollowUpDesk(JobDesk[Arrived]):
    """The verbs of a follow-up for one open scan.

    Parameters
    ----------
    volume
        The scan on the grid on screen.
    carried
        What was carried to it, which outlives this desk.
    carrying
        Runs in the background; None: by registration.
    """

    def __init__(
        self, controller: Controller, volume: Volume, *, carried: CarriedHere, carrying: Carrying | None = None
    ) -> None:
        super().__init__(controller)
        self._volume = volume
        self._carried = carried
        self._carrying = carrying or carried_by_registration
        carried.changed.connect(self.changed.emit)

    # What is shown

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know of what was carried, one sentence each."""
        return self._carried.notes

    @property
    def expected_dice(self) -> Mapping[int, float]:
        """The Dice expected of each structure as it was carried, before any correction."""
        return self._carried.expected_dice

    def changes(self) -> tuple[VolumeChange, ...]:
        """Return how each carried structure has changed, by what is painted, accepted and proposed now."""
        prior = self._carried.prior_ml
        if not prior:
            return ()
        from napari_medmeta.tasks.registration_change import VolumeChange

        session = self._controller.session
        counts = _counts(self._controller)
        per_voxel = session.geometry.voxel_volume_ml
        names = {s.id: s.name for s in session.structures}
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
        self._begin(request, lambda _: _arrived(*self._carrying(request)))
        return True

    def export(self, path: Path) -> bool:
        """Write the changes of volume as a table (.csv or .json)."""
        from napari_medmeta.tasks.registration_change import write_changes

        return self._written(lambda: write_changes(path, self.changes()))

    def close(self) -> None:
        """Let go of the scan."""
        super().close()
        self._carried.changed.disconnect(self.changed.emit)

    # How it works

    def _take(self, found: Arrived) -> None:
        landed, names = found
        # Only now: what was painted meanwhile counts, and labels do not depend on it.
        landed = replace(landed, numbers=self._numbers(tuple(landed.prior_ml), names))
        proposal = self._carried.show(landed)
        called = {s.id: s.name for s in self._controller.structures}
        told = ", ".join(f"{called.get(s, '?')} (expected Dice {d:.2f})" for s, d in proposal.expected_dice.items())
        little = max(proposal.expected_dice.values(), default=0.0) < LITTLE
        little |= _lost(self._carried.prior_ml, proposal) > LITTLE
        self._controller.told.emit(f"Carried from the earlier scan: {told}. {ALIKE if little else GO_ON}")

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


def _arrived(prior: LoadedPrior, carried: Carried) -> Arrived:
    from napari_medmeta.tasks.registration_notes import landed

    counts = np.bincount(prior.labels.ravel(), minlength=256)
    per_voxel = prior.volume.geometry.voxel_volume_ml
    return landed(carried, {s: float(counts[s]) * per_voxel for s in carried.carrying.structures}), prior.names


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
