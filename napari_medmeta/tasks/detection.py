"""Find what looks like a few painted lesions: here on the rest of the scan, or on other scans.

Extremely randomised trees (Geurts, Ernst and Wehenkel, Machine Learning 2006) tell lesion voxels from all
others by the engine's features, without their place: a lesion may lie anywhere. Far from every painted
lesion, and on another scan, nobody said that there is none, so those voxels count as background at first
and are asked once more: what the first trees take for a lesion is left out of the second (learning from
positive and unlabelled examples; Liu et al., "Building text classifiers using positive and unlabeled
examples", ICDM 2003). The second trees rate every voxel of the body, and connected bodies of likely
voxels become candidates (detection_candidates.py). A candidate that was dismissed is background for sure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from sklearn.ensemble import ExtraTreesClassifier

from napari_medmeta.core import CancelToken, Geometry, InputError, Progress, Support, Volume, silent
from napari_medmeta.core.types import FloatArray, MaskArray
from napari_medmeta.engine.anatomy import Anatomy, Grid, maps_of, survey
from napari_medmeta.engine.features import FeatureMaps
from napari_medmeta.engine.segmenter import Segmenter
from napari_medmeta.tasks.detection_candidates import Candidate, CandidateConfig, Outline, candidates_in, outlines_in
from napari_medmeta.tasks.detection_examples import (
    LesionExamples,
    SampleConfig,
    examples_of_entries,
    examples_of_support,
    joined,
    lesion_grid,
)

__all__ = [
    "Candidate",
    "DetectionConfig",
    "LesionExamples",
    "Outline",
    "detect",
    "examples_of_entries",
    "examples_on",
    "joined",
    "likelihood_map",
    "outlines_in",
]

Index = npt.NDArray[np.int64]

CHUNK = 100_000
"""Voxels rated at once: the work can be stopped, and memory stays bounded, between two of them."""


@dataclass(frozen=True)
class DetectionConfig:
    """How lesions are looked for.

    Parameters
    ----------
    trees, leaf, choices
        Number of trees, least samples in a leaf, and features among which each split chooses. Trees that
        choose among many learn by heart the one section that was painted: on the development cases two
        and ten samples found more of the lesions elsewhere (mean average precision of voxels 0.52; 0.46
        with eight and three).
    unlabelled
        Voxels of the scan's body that count as background until the first trees object.
    doubt
        An unlabelled voxel that the first trees take for a lesion with this probability is left out.
    dismissed
        Voxels at most that are drawn from each dismissed candidate.
    samples, candidates
        How examples are sampled, and how candidates are cut out of the map.
    """

    trees: int = 80
    leaf: int = 10
    choices: int = 2
    unlabelled: int = 6000
    doubt: float = 0.5
    dismissed: int = 500
    samples: SampleConfig = field(default_factory=SampleConfig)
    candidates: CandidateConfig = field(default_factory=CandidateConfig)


def examples_on(
    engine: Segmenter | FeatureMaps,
    geometry: Geometry,
    support: Support,
    *,
    structure: int,
    config: DetectionConfig | None = None,
    seed: int = 0,
) -> LesionExamples:
    """Return what the painted slices of a scan say about its lesions.

    Parameters
    ----------
    engine
        An engine that was given the scan, or the features of it.
    geometry
        The scan's grid.
    structure
        The value of the lesions in ``support``.

    Raises
    ------
    MissingExamplesError
        When no lesion is painted, or nothing that is none.
    """
    config = config if config is not None else DetectionConfig()
    anatomy = survey(maps_of(engine), geometry)
    return examples_of_support(anatomy, support, structure=structure, config=config.samples, seed=seed)


def detect(
    engine: Segmenter | FeatureMaps,
    volume: Volume,
    examples: LesionExamples,
    *,
    known: MaskArray | None = None,
    dismissed: Sequence[Outline] = (),
    config: DetectionConfig | None = None,
    seed: int = 0,
    progress: Progress = silent,
    cancel: CancelToken | None = None,
) -> tuple[Candidate, ...]:
    """Return the places of ``volume`` that may be lesions, the best first.

    Parameters
    ----------
    engine
        An engine that was given ``volume``, or the features of it.
    known
        (I, J, K) bool: lesions that are painted or accepted already; no candidate touches them.
    dismissed
        Candidates or other places of this scan that are none: their voxels are background, and none comes back.

    Raises
    ------
    InputError
        When ``known`` does not lie on the scan's grid, or the examples have other features.
    Cancelled
        When ``cancel`` is set.
    """
    config = config if config is not None else DetectionConfig()
    if known is not None and known.shape != volume.geometry.shape:
        raise InputError(f"The known lesions have the shape {known.shape}", expected=str(volume.geometry.shape))
    anatomy = survey(maps_of(engine), volume.geometry)
    grid = lesion_grid(anatomy, examples.diameters_mm, config.samples)
    taken = _taken(volume, known, dismissed)
    likely = likelihood_map(
        anatomy,
        grid,
        examples,
        known=known,
        dismissed=dismissed,
        config=config,
        seed=seed,
        progress=progress,
        cancel=cancel,
    )
    progress(1.0, "listing candidates")
    return candidates_in(
        likely, grid, volume, diameters_mm=examples.diameters_mm, taken=taken, config=config.candidates
    )


def likelihood_map(
    anatomy: Anatomy,
    grid: Grid,
    examples: LesionExamples,
    *,
    known: MaskArray | None = None,
    dismissed: Sequence[Outline] = (),
    config: DetectionConfig | None = None,
    seed: int = 0,
    progress: Progress = silent,
    cancel: CancelToken | None = None,
) -> FloatArray:
    """Return (*grid.shape) float32 in [0, 1]: how likely each voxel of the body is a lesion, 0 outside of it."""
    config = config if config is not None else DetectionConfig()
    body = np.flatnonzero(anatomy.body_on(grid))
    likely = np.zeros(grid.shape, dtype=np.float32)
    if not body.size:
        return likely
    if examples.features.shape[1] != anatomy.maps.channels:
        raise InputError("The examples were learnt from other features than this scan has")
    progress(0.0, "learning from the lesions")
    # Of the body once and for all: pooling the whole scan costs more than the trees do.
    features = anatomy.features(grid, body)
    refused = np.isin(body, _refused(grid, dismissed, config, seed))
    sure = _with_background(examples, features[refused])
    model = _grown(sure, features[_unlabelled(grid, body, known, config, seed)], config, seed)
    parts = range(0, len(body), CHUNK)
    for n, first in enumerate(parts):
        if cancel is not None:
            cancel.raise_if_cancelled()
        progress((1 + n) / (1 + len(parts)), "looking for lesions")
        rows = slice(first, first + CHUNK)
        likely.reshape(-1)[body[rows]] = model.predict_proba(features[rows])[:, 1]
    return likely


def _grown(sure: LesionExamples, unlabelled: FloatArray, config: DetectionConfig, seed: int) -> ExtraTreesClassifier:
    if not len(unlabelled):
        return _fitted(sure, config, seed)
    first = _fitted(_with_background(sure, unlabelled), config, seed)
    doubtful = first.predict_proba(unlabelled)[:, 1] >= config.doubt
    return _fitted(_with_background(sure, unlabelled[~doubtful]), config, seed)


def _fitted(samples: LesionExamples, config: DetectionConfig, seed: int) -> ExtraTreesClassifier:
    weight = np.array(samples.weight, dtype=np.float64)
    for where in (samples.inside, ~samples.inside):
        weight[where] *= 1.0 / weight[where].sum()
    model = ExtraTreesClassifier(
        config.trees, min_samples_leaf=config.leaf, max_features=config.choices, random_state=seed
    )
    return model.fit(samples.features, samples.inside, sample_weight=weight * len(weight))


def _with_background(samples: LesionExamples, features: FloatArray) -> LesionExamples:
    """Return ``samples`` with further background; it counts as much as all the background before."""
    if not len(features):
        return samples
    share = float(samples.weight[~samples.inside].sum()) / len(features)
    return LesionExamples(
        np.concatenate([samples.features, features]),
        np.concatenate([samples.inside, np.zeros(len(features), dtype=bool)]),
        np.concatenate([samples.weight, np.full(len(features), share, dtype=np.float32)]),
        samples.diameters_mm,
    )


def _unlabelled(grid: Grid, body: Index, known: MaskArray | None, config: DetectionConfig, seed: int) -> Index:
    """Return which of the body's voxels, drawn at random, count as background: none that is known to be a lesion."""
    rows = np.arange(len(body))
    if known is not None:
        lesion = grid.pool(torch.from_numpy(known.astype(np.float32))).numpy().reshape(-1) > 0
        rows = rows[~lesion[body]]
    return np.random.default_rng(seed).permutation(rows)[: config.unlabelled]


def _refused(grid: Grid, dismissed: Sequence[Outline], config: DetectionConfig, seed: int) -> Index:
    generator = np.random.default_rng(seed)
    found = [np.zeros(0, dtype=np.int64)]
    for candidate in dismissed:
        voxels = np.argwhere(candidate.mask) + candidate.box.start
        pooled = np.unique(np.ravel_multi_index(tuple((voxels // grid.factors).T), grid.shape))
        found.append(generator.permutation(pooled)[: config.dismissed])
    return np.concatenate(found)


def _taken(volume: Volume, known: MaskArray | None, dismissed: Sequence[Outline]) -> MaskArray:
    taken = np.zeros(volume.geometry.shape, dtype=bool)
    if known is not None:
        taken |= known
    for candidate in dismissed:
        taken[candidate.box.slices] |= candidate.mask
    return taken
