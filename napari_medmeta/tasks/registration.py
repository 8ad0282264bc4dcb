"""Follow-up: the segmentation of a prior scan, carried to today's scan as a proposal to be corrected.

First the scans are laid upon each other as rigid bodies, then stretched and sheared (affine), then, around the
structures, each place by itself (deformable). A step that does not make the scans more alike by the measure of
`likeness` is left out, so that the result is never worse than no registration by that measure.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from napari_medmeta.core import (
    BACKGROUND,
    UNLABELLED,
    Box,
    CancelToken,
    GeometryMismatchError,
    InputError,
    LabelArray,
    MissingExamplesError,
    Progress,
    Proposal,
    Triple,
    Volume,
    silent,
)
from napari_medmeta.tasks.registration_deform import deform
from napari_medmeta.tasks.registration_expectation import Expected, expectation
from napari_medmeta.tasks.registration_image import Comparable, comparable
from napari_medmeta.tasks.registration_linear import LinearRegistration, is_plausible
from napari_medmeta.tasks.registration_map import Alignment, Carrying, carry_labels, landing_box

__all__ = ["Aligned", "Carried", "Kind", "Stage", "align", "carry"]

LEAST_VOXELS = 4
"""Along each axis: the least that a pyramid of three levels can thin out."""

ASKED = 20_000
"""Labelled voxels of which it is asked whether they lie in today's scan."""
WORTH_TELLING = 0.02
"""A share below it may be no more than the edge of the outermost voxels."""


class Kind(StrEnum):
    """How much the body may have changed between the two scans; each includes those before it."""

    RIGID = "rigid"
    AFFINE = "affine"
    DEFORMABLE = "deformable"


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a registration.

    Parameters
    ----------
    name
        "rigid", "affine" or "deformable".
    before, after
        How much alike the scans were before and after it, in [0, 1].
    kept
        Whether it made them more alike without more stretch than a patient can show; if not, it was left out.
    seconds
        How long it took.
    """

    name: str
    before: float
    after: float
    kept: bool
    seconds: float


@dataclass(frozen=True, eq=False)
class Aligned:
    """The maps from today's scan to the prior one.

    Parameters
    ----------
    maps
        The map after each step that was wanted; where a step was left out, that of the step before.
    stages
        What was tried, in order.
    ways
        Two maps that would be the same if all were certain.
    """

    maps: Mapping[Kind, Alignment]
    stages: tuple[Stage, ...]
    ways: tuple[Alignment, Alignment]

    @property
    def best(self) -> Alignment:
        """The map after the last step."""
        return list(self.maps.values())[-1]


@dataclass(frozen=True, eq=False)
class Carried:
    """A prior segmentation on today's grid.

    Parameters
    ----------
    carrying
        The labels and how sure they are, inside a box of today's grid.
    today
        The shape of today's grid.
    alignment
        The map from today's scan to the prior one.
    expected
        The Dice expected of each structure and each slice.
    stages
        What was tried, in order.
    notes
        What the user should know, one sentence each.
    """

    carrying: Carrying
    today: Triple
    alignment: Alignment
    expected: Expected
    stages: tuple[Stage, ...]
    notes: tuple[str, ...] = ()

    def labels(self) -> LabelArray:
        """Return the carried labels on today's whole grid (uint8)."""
        out = np.zeros(self.today, dtype=np.uint8)
        out[self.carrying.box.slices] = self.carrying.labels()
        return out

    def proposal(self, *, generation: int) -> Proposal:
        """Return the carried labels as a proposal for today's scan."""
        return Proposal(
            generation=generation,
            box=self.carrying.box,
            labels=self.carrying.labels(),
            confidence=self.carrying.confidence(),
            covered=Box.whole(self.today),
            expected_dice=self.expected.of_structure,
            slice_dice=self.expected.of_slice,
            trust={s: {"prior scan": 1.0} for s in self.carrying.structures},
            seconds={stage.name: stage.seconds for stage in self.stages},
        )


def carry(
    prior: Volume,
    labels: LabelArray,
    today: Volume,
    *,
    kind: Kind = Kind.DEFORMABLE,
    axis: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
    cancel: CancelToken | None = None,
) -> Carried:
    """Carry ``labels`` (I, J, K uint8 on the grid of ``prior``) onto the grid of ``today``.

    Parameters
    ----------
    labels
        Structures 1 to 254; 255 (not known) is not carried.
    kind
        How far the registration may go. The deformable step is computed in any case: it tells how far the result
        of the others can be trusted.
    axis
        Along which slices of today are judged; the through-plane axis without one.
    seed
        Of the sampling; the same seed gives the same labels.

    Raises
    ------
    GeometryMismatchError
        When the labels do not have the prior scan's shape.
    MissingExamplesError
        When no structure is labelled.
    InputError
        When a scan is constant or flat, or the structures lie outside of today's scan.
    Cancelled
        When it was stopped.
    """
    labels = np.where(labels == UNLABELLED, np.uint8(BACKGROUND), labels)
    found = align(prior, labels, today, kind=kind, seed=seed, progress=_part(progress, 0.0, 0.95), cancel=cancel)
    carrying = carry_labels(labels, prior.geometry, today.geometry, found.best)
    if not carrying.labels().any():
        raise _outside()
    one, other = (carry_labels(labels, prior.geometry, today.geometry, w, box=carrying.box) for w in found.ways)
    expected = expectation(one, other, axis=today.geometry.through_plane_axis if axis is None else axis)
    progress(1.0, "carried")
    notes = (*_left_out(found.stages), *_cut_off(prior, labels, today, found.best))
    return Carried(carrying, today.geometry.shape, found.best, expected, found.stages, notes)


def align(
    prior: Volume,
    labels: LabelArray,
    today: Volume,
    *,
    kind: Kind = Kind.DEFORMABLE,
    seed: int = 0,
    progress: Progress = silent,
    cancel: CancelToken | None = None,
) -> Aligned:
    """Return the maps from ``today`` to ``prior`` that `carry` uses; parameters and errors as there."""
    _require_usable(prior, labels, today)
    cancel = cancel or CancelToken()
    then, now = comparable(prior), comparable(today)
    maps, stages = _linear(now, then, kind, seed, progress=_part(progress, 0.0, 0.4), cancel=cancel)
    linear = list(maps.values())[-1]
    box = landing_box(labels, prior.geometry, now.grid, linear)
    if box.size == 0:
        raise _outside()
    start = time.perf_counter()
    within = _part(progress, 0.4, 0.6, Kind.DEFORMABLE)
    deformed = deform(now, then, linear, box, seed=seed, progress=within, cancel=cancel)
    # Either both directions of the deformable step are compared, or what is less than it with it.
    ways = (linear, deformed.alignment)
    if kind is Kind.DEFORMABLE:
        stages.append(_stage(kind, deformed.before, deformed.after, start))
        maps[kind] = deformed.alignment if stages[-1].kept else linear
        ways = (deformed.there, deformed.back) if stages[-1].kept else ways
    return Aligned(maps, tuple(stages), ways)


def _linear(
    now: Comparable, then: Comparable, kind: Kind, seed: int, *, progress: Progress, cancel: CancelToken
) -> tuple[dict[Kind, Alignment], list[Stage]]:
    registration = LinearRegistration(now, then, seed=seed)
    matrix = registration.best(registration.starts())
    steps = {Kind.RIGID: registration.rigid, Kind.AFFINE: registration.affine}
    if kind is Kind.RIGID:
        del steps[Kind.AFFINE]
    stages: list[Stage] = []
    maps: dict[Kind, Alignment] = {}
    for number, (name, step) in enumerate(steps.items()):
        start, share = time.perf_counter(), 1 / len(steps)
        found = step(matrix, progress=_part(progress, number * share, share, name), cancel=cancel)
        before, after = registration.likeness(matrix), registration.likeness(found)
        stages.append(_stage(name, before, after, start, plausible=is_plausible(found)))
        matrix = found if stages[-1].kept else matrix
        maps[name] = Alignment(matrix)
    return maps, stages


def _stage(name: str, before: float, after: float, start: float, *, plausible: bool = True) -> Stage:
    return Stage(str(name), before, after, after > before and plausible, time.perf_counter() - start)


def _part(progress: Progress, offset: float, share: float, name: str = "") -> Progress:
    return lambda fraction, stage, /: progress(offset + share * fraction, name or stage)


def _left_out(stages: tuple[Stage, ...]) -> tuple[str, ...]:
    why = {False: "did not make the scans more alike", True: "would have stretched the body out of all proportion"}
    return tuple(f"The {s.name} step {why[s.after > s.before]} and was left out" for s in stages if not s.kept)


def _cut_off(prior: Volume, labels: LabelArray, today: Volume, alignment: Alignment) -> tuple[str, ...]:
    """Tell how much of the labels lies outside of today's scan, by the linear part of the map."""
    voxels = np.argwhere(labels)
    # Every n-th is enough for a share.
    places = prior.geometry.to_world(voxels[:: max(1, len(voxels) // ASKED)])
    back = np.linalg.inv(alignment.affine)
    index = today.geometry.to_index(places @ back[:3, :3].T + back[:3, 3])
    inside = ((index > -0.5) & (index < np.asarray(today.geometry.shape) - 0.5)).all(axis=-1)
    share = 1 - float(inside.mean())
    if share < WORTH_TELLING:
        return ()
    return (f"About {100 * share:.0f} % of what was labelled lies outside of today's scan and is cut off",)


def _require_usable(prior: Volume, labels: LabelArray, today: Volume) -> None:
    if labels.shape != prior.geometry.shape:
        raise GeometryMismatchError(
            f"The prior labels have the shape {labels.shape}",
            expected=f"that of the prior scan, {prior.geometry.shape}",
            next_step="Choose the scan on which they were painted",
        )
    if not labels.any():
        raise MissingExamplesError(
            "The prior segmentation is empty", expected="at least one labelled structure", next_step="Choose another"
        )
    for name, volume in (("prior", prior), ("today's", today)):
        if min(volume.geometry.shape) < LEAST_VOXELS or float(np.ptp(volume.array)) == 0:
            raise InputError(
                f"The {name} scan holds too little to be laid upon another",
                expected=f"at least {LEAST_VOXELS} voxels along each axis, and not all of one value",
            )


def _outside() -> InputError:
    return InputError(
        "The structures of the prior scan lie outside of today's scan",
        expected="two scans of the same part of the body",
        next_step="Choose a scan that shows them",
    )
