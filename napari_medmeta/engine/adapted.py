"""What a finished scan teaches about the sources of evidence: how far to trust each for a structure.

On a new scan whom to trust is decided by a few slices left out in turn, a noisy judge. On a finished one every slice
is known: a few are taken for painted, others for the test, and the weights are fitted on those. They are fitted for
the Dice of the tested slices (in its soft form; Milletari et al., "V-Net", 3DV 2016): on two development cases the
cross-entropy, by which a scan's own weights are fitted, gave weights that hurt even the scan they came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import optimize, special
from torch import Tensor

from napari_medmeta.core import CancelToken, LabelArray, SliceExample, SliceRef, Support, label_slice
from napari_medmeta.core.trust import MOST_TRUST
from napari_medmeta.engine.anatomy import maps_of
from napari_medmeta.engine.cutting import make_task
from napari_medmeta.engine.fusion import Row, log_odds
from napari_medmeta.engine.learners.base import Scene
from napari_medmeta.engine.region import Region, find_region
from napari_medmeta.engine.segmenter import Segmenter
from napari_medmeta.engine.task import Task

__all__ = ["AdaptConfig", "adapted_trust"]


@dataclass(frozen=True)
class AdaptConfig:
    """How a finished scan is asked.

    Parameters
    ----------
    painted
        The numbers of slices that are taken for painted, one after the other: one and three, as on a new scan.
    tested
        At most so many other slices are tested each time.
    pull
        Strength of the pull towards the usual weights.
    """

    painted: tuple[int, ...] = (1, 3)
    tested: int = 6
    pull: float = 0.02


@dataclass(frozen=True, eq=False)
class _Tested:
    """The tested slices: ``odds`` is (sources, voxels), ``truth`` (voxels,) 0 or 1."""

    odds: Row
    truth: Row


def adapted_trust(
    engine: Segmenter,
    labels: LabelArray,
    structure: int,
    *,
    axis: int,
    config: AdaptConfig | None = None,
    cancel: CancelToken | None = None,
) -> dict[str, float]:
    """Return how many times as far as usual each source deserved trust for ``structure``, by the source's name.

    Parameters
    ----------
    engine
        An engine that was given the scan.
    labels
        (I, J, K) uint8: the finished segmentation.
    axis
        The array axis along which slices are painted.

    Returns
    -------
    dict
        Factors in [0, 5]; none where the structure is on too few slices to test anything.
    """
    config = config if config is not None else AdaptConfig()
    mask = labels == structure
    areas = mask.sum(axis=tuple(a for a in range(3) if a != axis))
    if not areas.any():
        return {}
    asked = [_ask(engine, mask, areas, axis, count, config, cancel) for count in config.painted]
    found = [tested for tested in asked if tested is not None]
    if not found:
        return {}
    names = tuple(learner.name for learner in engine._config.learners)
    usual = np.array([engine._config.pool.weights[name] for name in names])
    factors = _fit(found, usual, config.pull)
    # A source without a usual weight has nothing that a factor could change.
    return {n: round(float(f), 3) for n, f, u in zip(names, factors, usual, strict=True) if u > 0}


def _ask(
    engine: Segmenter,
    mask: npt.NDArray[np.bool_],
    areas: npt.NDArray[np.int64],
    axis: int,
    count: int,
    config: AdaptConfig,
    cancel: CancelToken | None,
) -> _Tested | None:
    """Return what is said of the tested slices from ``count`` painted ones."""
    painted = _painted(areas, count)
    tested = _tested(areas, painted, config.tested)
    if len(painted) < count or not tested:
        return None
    settings = engine._config
    support = _support(mask, axis, sorted({*painted, *tested}))
    maps = maps_of(engine)
    region = find_region(support, maps.spacing_mm, settings.region)
    task, depths = _left_out(make_task(maps, support, region), region, painted, tested)
    if not depths:
        return None
    scene = Scene(task, settings.scene, seed=engine._seed)
    odds = []
    for learner in settings.learners:
        if cancel is not None:
            cancel.raise_if_cancelled()
        odds.append(log_odds(learner.fit(scene).evidence([*depths]))[0].flatten())
    truth = torch.stack([*depths.values()]).flatten() == 1
    return _Tested(torch.stack(odds).double().cpu().numpy(), truth.double().cpu().numpy())


def _fit(found: Sequence[_Tested], usual: Row, pull: float) -> Row:
    """Return the factors of the usual weights with the highest mean soft Dice, near 1 where nothing is gained."""
    best = optimize.minimize(
        _loss, np.ones(len(usual)), args=(found, usual, pull), jac=True, method="L-BFGS-B",
        bounds=[(0.0, MOST_TRUST)] * len(usual),
    )  # fmt: skip
    return np.asarray(best.x)


def _loss(factors: Row, found: Sequence[_Tested], usual: Row, pull: float) -> tuple[float, Row]:
    """Return 1 - soft Dice, with the pull, and its gradient."""
    share, away = usual / usual.sum(), factors - 1.0
    loss, gradient = pull * float(share @ away**2), 2 * pull * share * away
    for tested in found:
        likely = special.expit((factors * usual) @ tested.odds)
        total = likely.sum() + tested.truth.sum()
        dice = 2 * (likely @ tested.truth) / total
        slope = (2 * tested.truth - dice) / total * likely * (1 - likely)
        loss += float(1 - dice) / len(found)
        gradient -= usual * (tested.odds @ slope) / len(found)
    return loss, gradient


def _painted(areas: npt.NDArray[np.int64], count: int) -> list[int]:
    """Return the slices that somebody would paint: the largest one, or several at equal distances."""
    present = np.flatnonzero(areas)
    if count == 1:
        return [int(areas.argmax())]
    wanted = present[0] + (np.arange(count) + 0.5) / count * (present[-1] + 1 - present[0])
    return sorted({int(i) for i in wanted if areas[int(i)]})


def _tested(areas: npt.NDArray[np.int64], painted: Sequence[int], most: int) -> list[int]:
    """Return slices spread over the structure, and one beyond each of its ends: knowing these is half of the task."""
    present = np.flatnonzero(areas)
    first, last = max(int(present[0]) - 1, 0), min(int(present[-1]) + 1, len(areas) - 1)
    others = [i for i in range(first, last + 1) if i not in painted]
    if len(others) <= most:
        return others
    return [others[i] for i in np.unique(np.linspace(0, len(others) - 1, most).round().astype(int))]


def _support(mask: npt.NDArray[np.bool_], axis: int, slices: Sequence[int]) -> Support:
    examples = []
    for index in slices:
        ref = SliceRef(axis, index)
        shown = label_slice(mask, ref).astype(np.uint8)
        examples.append(SliceExample(ref, shown, np.ones(shown.shape, dtype=bool)))
    i, j, k = mask.shape
    return Support((i, j, k), tuple(examples), (1,))


def _left_out(
    task: Task, region: Region, painted: Sequence[int], tested: Sequence[int]
) -> tuple[Task, dict[int, Tensor]]:
    """Return the task without the tested slices, and for each of their depths what is there."""
    walls = {region.depth_of(index) for index in painted}
    depths = sorted({region.depth_of(index) for index in tested} - walls)
    truth = {depth: task.classes[depth] for depth in depths if 0 <= depth < task.shape[0]}
    for depth in truth:
        task = task.without(depth)
    return task, truth
