"""What a follow-up is judged on: pairs of real scans, and real scans moved or deformed in a known way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial.transform import Rotation

from napari_medmeta.bench.cases import Case, load_case
from napari_medmeta.core import FloatArray, Geometry, LabelArray, Volume
from napari_medmeta.tasks.registration_map import Alignment, sampled

__all__ = ["LoadedTrial", "Question", "Trial", "error_mm", "load_trial", "trials_of"]

Points = npt.NDArray[np.float64]
PHASES = ("_ed", "_es")
SEQUENCES = ("_t1c", "_flair")

TARGETS = 400
"""Labelled places of the prior scan whose place today is known."""
TURN_DEGREES, SHIFT_MM, SCALE = 8.0, 12.0, 0.04
"""Most by which a scan is turned about each axis, shifted along it and scaled, as between two examinations."""
BEND_SHARE, KNOT_SHARE = 0.03, 0.25
"""Of the scan's extent: the standard deviation of a known deformation, and the distance of its control points."""
GAIN, NOISE = 1.1, 0.02
"""How a deformed scan's values differ: brighter by a tenth, and noise beside the range of its values."""


class Question(StrEnum):
    """What a trial asks."""

    HEART = "end-diastole to end-systole"
    KNOWN = "known deformation"
    SEQUENCE = "T1 with contrast to FLAIR, known affine map"


@dataclass(frozen=True, slots=True)
class Trial:
    """One question about one or two cases."""

    question: Question
    prior: Case
    today: Case

    @property
    def name(self) -> str:
        """The case of today's scan, and what is asked of it."""
        return f"{self.today.id}: {self.question}"

    @property
    def is_development(self) -> bool:
        """Whether either of its scans is a development case."""
        return self.prior.is_development or self.today.is_development


@dataclass(frozen=True, eq=False)
class LoadedTrial:
    """A trial in memory.

    Parameters
    ----------
    prior, labels, today
        What a registration is given.
    truth
        The labels on today's grid.
    places
        (n, 3) LPS mm in today's scan, and where each lay in the prior scan; None where that is not known.
    same_contrast
        Whether both scans show tissues alike.
    """

    prior: Volume
    labels: LabelArray
    today: Volume
    truth: LabelArray
    places: tuple[Points, Points] | None = None
    same_contrast: bool = True


def trials_of(cases: Iterable[Case]) -> tuple[Trial, ...]:
    """Return all trials that ``cases`` allow.

    Pairs whose names differ in the phase (``_ed``, ``_es``) or in the sequence (``_t1c``, ``_flair``) are pairs of
    one patient; every other case is deformed in a known way.
    """
    known = {case.id: case for case in cases}
    pairs = [(q, *_partner(case, known, q, ends)) for case in known.values() for q, ends in _PAIRS.items()]
    found = [Trial(question, first, second) for question, first, second in pairs if first and second]
    used = {c.id for t in found for c in (t.prior, t.today)}
    alone = [Trial(Question.KNOWN, c, c) for c in known.values() if c.id not in used]
    return (*found, *alone)


_PAIRS = {Question.HEART: PHASES, Question.SEQUENCE: SEQUENCES}


def _partner(
    case: Case, known: dict[str, Case], question: Question, ends: Sequence[str]
) -> tuple[Case | None, Case | None]:
    first, second = ends
    if not case.id.endswith(first):
        return None, None
    return case, known.get(case.id.removesuffix(first) + second)


def load_trial(trial: Trial, *, seed: int) -> LoadedTrial:
    """Read the scans of ``trial``, and move or deform the prior one by a map drawn from ``seed``."""
    prior, today = load_case(trial.prior), load_case(trial.today)
    if trial.question is Question.HEART:
        return LoadedTrial(prior.volume, prior.truth, today.volume, today.truth)
    # The name stands for the case, so that each gets a map of its own.
    rng = np.random.default_rng([seed, *trial.today.id.encode()])
    grid = prior.volume.geometry
    to_today = _affine(grid, rng)
    if trial.question is Question.KNOWN:
        to_today = _bent(grid, _affine(grid, rng, share=0.25), rng)
    moved, labels = _seen(prior.volume, prior.truth, to_today, rng)
    places = _targets(labels, grid, to_today, rng)
    alike = trial.question is Question.KNOWN
    return LoadedTrial(moved, labels, today.volume, today.truth, places, alike)


def _affine(grid: Geometry, rng: np.random.Generator, *, share: float = 1.0) -> Alignment:
    """Return a turn about the middle of the grid with a shift and a stretch, ``share`` of the most allowed."""
    extent = float(np.min(np.asarray(grid.shape) * grid.spacing_mm))
    turn = Rotation.from_euler("xyz", rng.uniform(-1, 1, 3) * TURN_DEGREES * share, degrees=True).as_matrix()
    linear = turn @ np.diag(1 + rng.uniform(-1, 1, 3) * SCALE * share)
    middle = grid.to_world((np.asarray(grid.shape) - 1) / 2)
    # A scan of 30 mm is not shifted by 12.
    shift = rng.uniform(-1, 1, 3) * min(SHIFT_MM, extent / 8) * share
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = linear, middle + shift - linear @ middle
    return Alignment(affine)


def _bent(grid: Geometry, alignment: Alignment, rng: np.random.Generator) -> Alignment:
    """Return ``alignment`` after a smooth random displacement of every place."""
    extent = np.asarray(grid.shape) * grid.spacing_mm
    usual = float(np.median(extent))
    knots = [max(4, round(e / (KNOT_SHARE * usual))) for e in extent]
    coarse = rng.normal(0.0, BEND_SHARE * usual, size=(3, *knots))
    zoom = [n / k for n, k in zip(grid.shape, knots, strict=True)]
    fine = np.stack([ndimage.zoom(c, zoom, order=3, mode="nearest", grid_mode=True) for c in coarse])
    return replace(alignment, displacement_mm=fine.astype(np.float32), grid=grid)


def _seen(
    volume: Volume, truth: LabelArray, to_today: Alignment, rng: np.random.Generator
) -> tuple[Volume, LabelArray]:
    """Return the scan and its labels as they would have looked before: at y lies what is at ``to_today`` (y) now."""
    grid = volume.geometry
    there = to_today.to_prior(grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1)))
    low, high = (float(v) for v in np.percentile(volume.array, (1, 99)))
    image = sampled(volume.array, grid, there, fill=float(volume.array.min()))
    noise = rng.normal(0.0, NOISE * (high - low), size=grid.shape)
    changed = (low + GAIN * (image - low) + noise).astype(np.float32)
    labels = sampled(truth, grid, there, fill=0.0, order=0).astype(np.uint8)
    return Volume(changed, grid, volume.modality), labels


def _targets(
    labels: LabelArray, grid: Geometry, to_today: Alignment, rng: np.random.Generator
) -> tuple[Points, Points]:
    """Return places today and where they lay before, drawn among labelled voxels whose place today is in the scan."""
    voxels = np.argwhere(labels > 0)
    before = grid.to_world(voxels[rng.permutation(len(voxels))[:TARGETS]])
    today = to_today.to_prior(before)
    index = grid.to_index(today)
    inside = ((index >= 0) & (index <= np.asarray(grid.shape) - 1)).all(axis=-1)
    return today[inside], before[inside]


def error_mm(alignment: Alignment, places: tuple[Points, Points]) -> FloatArray:
    """Return for each place by how many mm ``alignment`` misses where it lay before."""
    today, before = places
    return np.asarray(np.linalg.norm(alignment.to_prior(today) - before, axis=-1), dtype=np.float32)
