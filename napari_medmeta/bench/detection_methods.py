"""The detectors that are compared: ours, a threshold with components, and a forest with components."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from scipy import ndimage
from sklearn.ensemble import RandomForestClassifier

from napari_medmeta.bench.detection_scores import Detected
from napari_medmeta.core import Box, Support, Volume
from napari_medmeta.core.types import FloatArray, LabelArray, MaskArray
from napari_medmeta.engine.anatomy import Grid, survey
from napari_medmeta.engine.features import FeatureMaps
from napari_medmeta.tasks.detection import LesionExamples, detect, examples_on
from napari_medmeta.tasks.detection_candidates import CandidateConfig
from napari_medmeta.tasks.detection_examples import SampleConfig, examples_of_support, lesion_grid

__all__ = ["METHODS", "Method", "Task", "by_forest", "by_threshold", "by_us"]

INTENSITY = 0
"""The channel of the features that holds the scan's own values."""

THRESHOLDS = 100
TREES = 100
"""scikit-learn's default."""


@dataclass(frozen=True, eq=False)
class Task:
    """Lesions painted on one scan, to be found on another or the same.

    Parameters
    ----------
    painted_on, painted_maps, support
        The scan that was painted; lesions are structure 1.
    volume, maps
        The scan to look at.
    truth
        (I, J, K) uint8: the lesions asked for, numbered from 1.
    ignored
        (I, J, K) bool: other lesions.
    """

    painted_on: Volume
    painted_maps: FeatureMaps
    support: Support
    volume: Volume
    maps: FeatureMaps
    truth: LabelArray
    ignored: MaskArray | None = None

    @property
    def known(self) -> MaskArray | None:
        """What is painted on the scan to look at."""
        if self.painted_on is not self.volume:
            return None
        labels, _ = self.support.labels_and_known()
        return np.asarray(labels == 1)


def by_us(task: Task) -> tuple[Detected, ...]:
    """Return what the package finds."""
    examples = examples_on(task.painted_maps, task.painted_on.geometry, task.support, structure=1)
    found = detect(task.maps, task.volume, examples, known=task.known)
    return tuple(Detected(c.score, c.box, c.mask) for c in found)


def by_threshold(task: Task) -> tuple[Detected, ...]:
    """Cut normalised values where the painted lesions are cut out best; components, the largest first."""
    return _by_voxels(task, _cut, by_size=True)


def by_forest(task: Task) -> tuple[Detected, ...]:
    """Cut the votes of a random forest on the same features at one half; components, the surest first."""
    return _by_voxels(task, _votes, by_size=False)


Method: TypeAlias = Callable[[Task], tuple[Detected, ...]]

METHODS: Mapping[str, Method] = MappingProxyType(
    {"napari-medmeta": by_us, "forest and components": by_forest, "threshold and components": by_threshold}
)


def _by_voxels(
    task: Task, rate: Callable[[LesionExamples, FloatArray], FloatArray], *, by_size: bool
) -> tuple[Detected, ...]:
    """Rate each voxel of the body, cut at one half, and return the components that are not far too small."""
    # Far voxels are our own guess of what is background: the baselines learn from painted slices alone.
    config = SampleConfig(far=0)
    painted = survey(task.painted_maps, task.painted_on.geometry)
    examples = examples_of_support(painted, task.support, structure=1, config=config)
    anatomy = survey(task.maps, task.volume.geometry)
    grid = lesion_grid(anatomy, examples.diameters_mm, config)
    body = np.flatnonzero(anatomy.body_on(grid))
    rated = np.zeros(grid.shape, dtype=np.float32)
    rated.reshape(-1)[body] = rate(examples, anatomy.features(grid, body))
    pieces, count = ndimage.label(rated >= 0.5)
    numbers = np.arange(1, count + 1)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
    spacing = [s * f for s, f in zip(task.volume.geometry.spacing_mm, grid.factors, strict=True)]
    diameters = (6 * sizes * float(np.prod(spacing)) / np.pi) ** (1 / 3)
    least = CandidateConfig().least_diameters * min(examples.diameters_mm)
    scores = sizes if by_size else ndimage.mean(rated, pieces, numbers)
    boxes = ndimage.find_objects(pieces)
    found = [
        _on_the_scan(float(scores[n - 1]), boxes[n - 1], pieces[boxes[n - 1]] == n, grid)
        for n in numbers
        if diameters[n - 1] >= least
    ]
    return tuple(d for d in found if task.known is None or not (task.known[d.box.slices] & d.mask).any())


def _cut(examples: LesionExamples, features: FloatArray) -> FloatArray:
    """Return 1 on the side of the value that gives the best Dice on the painted slices."""
    values = examples.features[:, INTENSITY]
    inside = examples.inside
    best, cut, bright = -1.0, 0.0, True
    for threshold in np.quantile(values, np.linspace(0, 1, THRESHOLDS)):
        for above in (True, False):
            chosen = values >= threshold if above else values <= threshold
            dice = 2 * float((chosen & inside).sum()) / float(chosen.sum() + inside.sum())
            if dice > best:
                best, cut, bright = dice, float(threshold), above
    side = features[:, INTENSITY] >= cut if bright else features[:, INTENSITY] <= cut
    return np.asarray(side, dtype=np.float32)


def _votes(examples: LesionExamples, features: FloatArray) -> FloatArray:
    model = RandomForestClassifier(TREES, class_weight="balanced", random_state=0)
    model.fit(examples.features, examples.inside)
    return np.asarray(model.predict_proba(features)[:, 1], dtype=np.float32)


def _on_the_scan(score: float, where: tuple[slice, ...], mask: MaskArray, grid: Grid) -> Detected:
    """Return a component on the scan's own grid: every pooled voxel stands for all that it was pooled from."""
    fine = mask
    for axis, factor in enumerate(grid.factors):
        fine = np.repeat(fine, factor, axis=axis)
    i, j, k = (w.start * f for w, f in zip(where, grid.factors, strict=True))
    p, q, r = (min(w.stop * f, n) for w, f, n in zip(where, grid.factors, grid.box.shape, strict=True))
    return Detected(score, Box((i, j, k), (p, q, r)), fine[: p - i, : q - j, : r - k])
