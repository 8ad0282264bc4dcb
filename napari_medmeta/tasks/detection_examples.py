"""What lesions look like, learnt from a few painted ones: samples of them and of what they are not.

Features are normalised over the body of each scan (engine/anatomy.py), so that samples of several scans,
and of the library, can stand side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from napari_medmeta.core import InputError, MissingExamplesError, SliceExample, Support
from napari_medmeta.core.library import LibraryEntry
from napari_medmeta.core.types import FloatArray, MaskArray
from napari_medmeta.engine.anatomy import Anatomy, Grid, coarse_grid
from napari_medmeta.engine.keeping import FEATURES

__all__ = ["LesionExamples", "SampleConfig", "examples_of_entries", "examples_of_support", "joined", "lesion_grid"]

Index = npt.NDArray[np.int64]

SAID, GUESSED = 1.0, 0.5
"""What the radiologist said counts fully; that a place far from every painted lesion holds none is a guess."""


@dataclass(frozen=True)
class SampleConfig:
    """How many voxels are drawn, and from where.

    Parameters
    ----------
    inside, beside, far
        Voxels at most of lesions, of the painted slices' rest, and of the body far from every lesion.
    far_diameters
        How far is far: in diameters of the largest painted lesion, since only a part of it may be painted.
    details
        The scan is looked at so finely that the smallest painted lesion spans so many voxels.
    least_mm, most_mm
        Bounds of this resolution.
    most_voxels
        The scan is pooled until it holds at most so many voxels.
    """

    inside: int = 3000
    beside: int = 4000
    far: int = 4000
    far_diameters: float = 1.5
    details: float = 10.0
    least_mm: float = 1.0
    most_mm: float = 3.0
    most_voxels: int = 800_000


@dataclass(frozen=True, eq=False)
class LesionExamples:
    """Samples of lesions and of their surroundings, from any number of scans.

    Parameters
    ----------
    features
        (n, C) float32, normalised over the scan's body.
    inside
        (n,) bool: whether the sample lies in a lesion.
    weight
        (n,) float32, above 0: how sure that is.
    diameters_mm
        Of each painted lesion: that of a disc as large as its largest painted section, or of a ball as
        large as its volume where only that is known.
    """

    features: FloatArray
    inside: MaskArray
    weight: FloatArray
    diameters_mm: tuple[float, ...]

    def __post_init__(self) -> None:
        n = len(self.inside)
        if self.features.ndim != 2 or len(self.features) != n or self.weight.shape != (n,):
            raise InputError("The samples of the lesions do not fit each other", expected="one row for each sample")
        if self.inside.all() or not self.inside.any():
            raise MissingExamplesError(
                "The examples show only lesions, or none",
                expected="at least one painted lesion on a slice that also shows what is no lesion",
                next_step="Paint one lesion on a whole slice",
            )


def examples_of_support(
    anatomy: Anatomy,
    support: Support,
    *,
    structure: int,
    grid: Grid | None = None,
    config: SampleConfig | None = None,
    seed: int = 0,
) -> LesionExamples:
    """Return what the painted slices of one scan say about its lesions.

    Parameters
    ----------
    anatomy
        The scan on which they were painted.
    structure
        The value of the lesions in ``support``; other structures are what a lesion is not.
    grid
        Where the scan is looked at; None: as finely as the painted lesions ask for.

    Raises
    ------
    MissingExamplesError
        When no lesion is painted, or nothing that is none.
    """
    config = config if config is not None else SampleConfig()
    diameters = painted_diameters(support, anatomy.maps.spacing_mm, structure=structure)
    if not diameters:
        raise MissingExamplesError("No lesion is painted yet", next_step="Paint one lesion on a whole slice")
    grid = grid if grid is not None else lesion_grid(anatomy, diameters, config)
    lesion, other = _shares(anatomy, grid, support, structure)
    spacing = [s * f for s, f in zip(anatomy.maps.spacing_mm, grid.factors, strict=True)]
    inside = lesion > 0.5
    if not inside.any():
        # A lesion thinner than a voxel of the grid is still where most of it lies.
        inside = lesion >= lesion.max()
    beside = (other > 0.5) & ~inside
    distance = ndimage.distance_transform_edt(lesion <= 0, sampling=spacing)
    far = anatomy.body_on(grid) & (distance > config.far_diameters * max(diameters)) & (other <= 0)
    generator = np.random.default_rng(seed)
    drawn = [
        (generator.permutation(np.flatnonzero(where))[:most], sure)
        for where, most, sure in (
            (inside, config.inside, SAID),
            (beside, config.beside, SAID),
            (far, config.far, GUESSED),
        )
    ]
    index: Index = np.concatenate([d for d, _ in drawn])
    weight = np.concatenate([np.full(len(d), sure, dtype=np.float32) for d, sure in drawn])
    return LesionExamples(anatomy.features(grid, index), inside.reshape(-1)[index], weight, diameters)


def examples_of_entries(entries: Sequence[LibraryEntry]) -> LesionExamples:
    """Return what the library keeps of lesions.

    Raises
    ------
    MissingExamplesError
        When none of the entries has today's features.
    """
    usable = [e for e in entries if e.features == FEATURES]
    if not usable:
        raise MissingExamplesError(
            "The library keeps nothing of these lesions that can be compared with this scan",
            next_step="Paint one of them on this scan",
        )
    parts = [
        LesionExamples(
            e.samples.features,
            e.samples.inside,
            np.ones(len(e.samples.inside), dtype=np.float32),
            (_ball_diameter(e.volume_ml),),
        )
        for e in usable
    ]
    return joined(parts)


def joined(parts: Iterable[LesionExamples]) -> LesionExamples:
    """Return the samples of several scans as one; each scan counts the same.

    Raises
    ------
    InputError
        When there is none, or they are of different features.
    """
    kept = list(parts)
    if not kept or len({p.features.shape[1] for p in kept}) > 1:
        raise InputError("Examples of lesions cannot be joined", expected="at least one, all of the same features")
    return LesionExamples(
        np.concatenate([p.features for p in kept]),
        np.concatenate([p.inside for p in kept]),
        np.concatenate([_evened(p) for p in kept]),
        tuple(d for p in kept for d in p.diameters_mm),
    )


def painted_diameters(support: Support, spacing_mm: tuple[float, float, float], *, structure: int) -> tuple[float, ...]:
    """Return for each painted lesion the diameter (mm) of a disc as large as its largest painted section.

    Sections on different slices are of one lesion when they would touch if the slices between them were
    painted as well: that is, when one lies over the other.
    """
    found: list[tuple[int, MaskArray, float]] = []
    for example in support.examples:
        found = _with_sections(found, example, spacing_mm, structure)
    return tuple(sorted(diameter for _, _, diameter in found))


def lesion_grid(anatomy: Anatomy, diameters_mm: Sequence[float], config: SampleConfig) -> Grid:
    """Return the grid of the whole scan on which the smallest example still spans enough voxels."""
    detail = float(np.clip(min(diameters_mm) / config.details, config.least_mm, config.most_mm))
    return coarse_grid(anatomy.maps, detail, most=config.most_voxels)


def _with_sections(
    found: list[tuple[int, MaskArray, float]],
    example: SliceExample,
    spacing_mm: tuple[float, float, float],
    structure: int,
) -> list[tuple[int, MaskArray, float]]:
    area = float(np.prod([s for a, s in enumerate(spacing_mm) if a != example.ref.axis]))
    pieces, count = ndimage.label(example.positive(structure), structure=np.ones((3, 3)))
    out = list(found)
    for number in range(1, count + 1):
        mask = pieces == number
        diameter = 2 * float(np.sqrt(np.count_nonzero(mask) * area / np.pi))
        same = [n for n, (axis, seen, _) in enumerate(out) if axis == example.ref.axis and (seen & mask).any()]
        merged = [out[n] for n in same]
        out = [item for n, item in enumerate(out) if n not in same]
        seen = np.logical_or.reduce([mask, *(m for _, m, _ in merged)])
        out.append((example.ref.axis, seen, max([diameter, *(d for _, _, d in merged)])))
    return out


def _shares(anatomy: Anatomy, grid: Grid, support: Support, structure: int) -> tuple[FloatArray, FloatArray]:
    """Return (*grid.shape) float32: how much of the known part of each pooled voxel is lesion, and how much is not."""
    labels, known = support.labels_and_known()
    lesion = np.zeros(labels.shape, dtype=np.float32)
    for example in support.examples:
        view = lesion[example.ref.slicer]
        view[example.negative(structure)] = -1.0
    lesion[known & (labels == structure)] = 1.0
    # A painted slice is one of several in a pooled voxel: what counts is its share of what is known there.
    said = [grid.pool(torch.from_numpy(part.astype(np.float32))).numpy() for part in (lesion > 0, lesion < 0)]
    total = np.maximum(said[0] + said[1], 1e-6)
    return np.asarray(said[0] / total, np.float32), np.asarray(said[1] / total, np.float32)


def _ball_diameter(volume_ml: float) -> float:
    return float((6 * volume_ml * 1000 / np.pi) ** (1 / 3))


def _evened(part: LesionExamples) -> FloatArray:
    """Return weights with which the lesion samples of this scan sum to 1, and the others as well."""
    weight = np.array(part.weight, dtype=np.float32)
    for where in (part.inside, ~part.inside):
        weight[where] /= weight[where].sum()
    return weight
