"""Episodes: a few painted slices of a labelled volume as the question, other slices as the answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from napari_medmeta.core import Geometry, LabelArray, MissingExamplesError, SliceExample, SliceRef, Support, Volume
from napari_medmeta.engine.cutting import make_task
from napari_medmeta.engine.embedding import Encoder, embed_volume
from napari_medmeta.engine.features import FeatureMaps, compute_features, normalised_intensity
from napari_medmeta.engine.fusion import FusionConfig, Trust, fit_trust, fuse, pooled_log_odds, usual_fusion
from napari_medmeta.engine.learners.base import Learner, Scene, SceneConfig, normalise
from napari_medmeta.engine.learners.registry import default_learners, shipped_encoder
from napari_medmeta.engine.network import slice_views
from napari_medmeta.engine.region import RegionConfig, find_region
from napari_medmeta.engine.task import Task
from napari_medmeta.training.anatomies import Dice

__all__ = ["Episode", "EpisodeConfig", "LabelledVolume", "Posed", "correct_worst", "make_episode", "paint", "pose"]

IGNORED = -1
"""Class of a voxel whose truth is not asked."""


@dataclass(frozen=True, eq=False)
class LabelledVolume:
    """A scan whose structures are known.

    Parameters
    ----------
    image
        (D, H, W) float32, any units.
    labels
        (D, H, W) int64.
    structures
        Label values that may be asked for.
    spacing_mm
        Along D, H, W; D is the axis along which slices are painted.
    """

    image: Tensor
    labels: Tensor
    structures: tuple[int, ...]
    spacing_mm: tuple[float, float, float]


@dataclass(frozen=True)
class EpisodeConfig:
    """What is asked, how it is painted, and what is kept of the answer.

    Parameters
    ----------
    max_structures
        Structures asked for at once.
    ks, k_weights
        Numbers of painted slices and how often each is drawn.
    least_voxels, least_slices
        A structure must be at least this large.
    queries
        Unpainted slices kept of an episode.
    crop
        Side of the square cut out of each slice, in region voxels.
    jitter_chance, jitter_pixels
        How often the painting is noisy, and by how much its edge moves.
    scribble_chance
        How often a slice more carries strokes only.
    correction_chance
        How often somebody has looked at what the sources proposed and has corrected the worst of some slices: that
        slice is then an example, too, and everything else is asked again.
    mistrust
        Standard deviation of the logarithm of the factors by which the trust in the sources is disturbed.
    blur
        The same for how sure each source is of itself: on real scans they are not as sure as on synthetic ones.
    fusion
        The usual weights of the sources; the measured ones where None.
    encoder
        Gives the learnt embedding that some sources work in; None where no source does.
    """

    max_structures: int = 3
    ks: tuple[int, ...] = (1, 2, 3, 4, 5, 7, 9)
    k_weights: tuple[float, ...] = (0.28, 0.12, 0.24, 0.08, 0.16, 0.06, 0.06)
    least_voxels: int = 200
    least_slices: int = 4
    queries: int = 12
    crop: int = 96
    jitter_chance: float = 0.3
    jitter_pixels: float = 1.0
    scribble_chance: float = 0.1
    correction_chance: float = 0.0
    mistrust: float = 0.35
    blur: float = 0.25
    region: RegionConfig = field(default_factory=RegionConfig)
    scene: SceneConfig = field(default_factory=SceneConfig)
    fusion: FusionConfig | None = None
    learners: tuple[Learner, ...] = field(default_factory=default_learners)
    encoder: Encoder | None = field(default_factory=shipped_encoder)

    def trust(self, structures: int, device: torch.device) -> Trust:
        """Return the usual trust in the sources, for so many structures."""
        names = tuple(learner.name for learner in self.learners)
        return fit_trust(names, structures, (), self.fusion or usual_fusion(names), device)


@dataclass(frozen=True, eq=False)
class Episode:
    """One question with its answer, ready for the network.

    Parameters
    ----------
    views
        (n, S, C, crop, crop) float16: see `napari_medmeta.engine.network.slice_views`.
    log_odds
        (n, S, crop, crop) float16: what the sources say together.
    truth
        (n, crop, crop) int8: classes 0 to S; `IGNORED` outside of the region.
    """

    views: Tensor
    log_odds: Tensor
    truth: Tensor


@dataclass(frozen=True, eq=False)
class Posed:
    """A task with its answer: what a learner is asked, and what is true.

    Parameters
    ----------
    task
        What the learner sees; without a learnt embedding.
    truth
        (D, H, W) int64: classes 0 to S on the task's grid.
    depths
        Unpainted slices that are asked.
    """

    task: Task
    truth: Tensor
    depths: tuple[int, ...]


def make_episode(volume: LabelledVolume, dice: Dice, config: EpisodeConfig) -> Episode | None:
    """Return an episode drawn from ``volume``; None when it holds nothing large enough to ask for."""
    posed = pose(volume, dice, config)
    return None if posed is None else _answered(posed, dice, config)


def pose(volume: LabelledVolume, dice: Dice, config: EpisodeConfig, *, features: bool = True) -> Posed | None:
    """Paint a few slices of ``volume`` and ask for others; None when it holds nothing large enough to ask for.

    Parameters
    ----------
    features
        Whether the task needs features, hand-made and learnt; without them it has one empty channel.
    """
    structures = _asked(volume, dice, config)
    if not structures:
        return None
    labels = _only(volume.labels, structures)
    support = paint(labels, dice, config)
    if not support.painted_structures():
        return None
    maps = _maps(volume, dice, config, features=features)
    try:
        # Without corrections no number is drawn, so that episodes stay what they were.
        if features and config.correction_chance > 0 and dice.chance(config.correction_chance):
            support = correct_worst(maps, labels, support, dice, config)
        return _posed(maps, labels, support, dice, config)
    except MissingExamplesError:
        return None


def correct_worst(
    maps: FeatureMaps, labels: LabelArray, support: Support, dice: Dice, config: EpisodeConfig
) -> Support:
    """Return ``support`` with one more slice, exactly as in ``labels`` (D, H, W): the one that was proposed worst.

    Raises
    ------
    MissingExamplesError
        When no unpainted slice is left.
    """
    posed = _posed(maps, labels, support, dice, config)
    scene = Scene(posed.task, config.scene)
    evidence = {learner.name: learner.fit(scene).evidence(posed.depths) for learner in config.learners}
    proposed = fuse(evidence, config.trust(posed.task.structures, posed.task.device))
    errors = [int((proposed[n] != posed.truth[depth]).sum()) for n, depth in enumerate(posed.depths)]
    region = find_region(support, maps.spacing_mm, config.region)
    index = region.box.start[0] + posed.depths[int(np.argmax(errors))]
    corrected = labels[index].copy()
    example = SliceExample(SliceRef(0, index), corrected, np.ones(corrected.shape, dtype=bool))
    others = support.without(example.ref).examples
    return replace(support, examples=(*others, example))


def _maps(volume: LabelledVolume, dice: Dice, config: EpisodeConfig, *, features: bool) -> FeatureMaps:
    image = volume.image.cpu().numpy().astype(np.float32)
    d, h, w = image.shape
    scan = Volume(image, Geometry.from_parts((d, h, w), spacing_mm=volume.spacing_mm))
    if features:
        maps = compute_features(scan, device=dice.device)
        if config.encoder is None:
            return maps
        return replace(maps, embedding=embed_volume(config.encoder, maps.intensity, maps.spacing_mm))
    intensity = torch.from_numpy(normalised_intensity(scan)).to(dice.device)
    return FeatureMaps(torch.zeros(1, d, h, w, device=dice.device), intensity, volume.spacing_mm)


def paint(labels: LabelArray, dice: Dice, config: EpisodeConfig) -> Support:
    """Paint a few slices of ``labels`` (D, H, W), well placed or badly, exactly or not."""
    held = np.flatnonzero(labels.any(axis=(1, 2)))
    weights = torch.tensor(config.k_weights)
    k = config.ks[int(torch.multinomial(weights, 1, generator=dice.generator))]
    chosen = _placed(labels, held, min(k, max(1, len(held) - 2)), dice)
    noisy = dice.chance(config.jitter_chance)
    examples = []
    for index in chosen:
        painted = _jittered(labels[index], dice, config) if noisy else labels[index].copy()
        examples.append(SliceExample(SliceRef(0, int(index)), painted, np.ones(painted.shape, dtype=bool)))
    spare = sorted({int(i) for i in held} - set(chosen))
    if spare and dice.chance(config.scribble_chance):
        examples.append(_scribbled(labels, dice.choice(spare), dice))
    structures = tuple(int(s) for s in np.unique(labels) if s)
    d, h, w = labels.shape
    return Support((d, h, w), tuple(examples), structures)


def _asked(volume: LabelledVolume, dice: Dice, config: EpisodeConfig) -> list[int]:
    large = []
    for s in volume.structures:
        mask = volume.labels == s
        if int(mask.sum()) >= config.least_voxels and int(mask.any(2).any(1).sum()) >= config.least_slices:
            large.append(s)
    order = [large[i] for i in dice.permutation(len(large))]
    return order[: dice.integer(1, config.max_structures)]


def _only(labels: Tensor, structures: Sequence[int]) -> LabelArray:
    out = torch.zeros(labels.shape, dtype=torch.uint8)
    for n, s in enumerate(structures, start=1):
        out[labels.cpu() == s] = n
    return np.asarray(out.numpy(), dtype=np.uint8)


def _placed(labels: LabelArray, held: np.ndarray[tuple[int], np.dtype[np.intp]], k: int, dice: Dice) -> list[int]:
    first, last = int(held[0]), int(held[-1])
    way = dice.uniform(0.0, 1.0)
    if k == 1 and way < 0.5:
        return [int(np.argmax(np.count_nonzero(labels, axis=(1, 2))))]
    if way < 0.45:
        return sorted({first + int((i + 0.5) / k * (last - first + 1)) for i in range(k)})
    pool = held
    if way > 0.85 and len(held) > 2 * k:
        # All on one side, as by somebody who has only begun.
        half = len(held) // 2 + 1
        pool = held[:half] if dice.chance(0.5) else held[-half:]
    drawn = [int(pool[i]) for i in dice.permutation(len(pool))[:k]]
    if dice.chance(0.1) and first > 0:
        # Now and then a slice on which nothing is.
        drawn.append(dice.choice([i for i in range(labels.shape[0]) if i < first]))
    return sorted(set(drawn))


def _jittered(painted: LabelArray, dice: Dice, config: EpisodeConfig) -> LabelArray:
    """Move edges as an unsteady hand does: sample the slice at smoothly displaced places."""
    h, w = painted.shape
    coarse = dice.normal(1, 2, max(2, h // 8), max(2, w // 8)).cpu()
    shift = config.jitter_pixels * F.interpolate(coarse, size=(h, w), mode="bilinear", align_corners=True)[0].numpy()
    rows, columns = np.mgrid[0:h, 0:w]
    moved = ndimage.map_coordinates(painted, [rows + shift[0], columns + shift[1]], order=0, mode="nearest")
    return np.asarray(moved, dtype=np.uint8)


def _scribbled(labels: LabelArray, index: int, dice: Dice) -> SliceExample:
    """Mark short horizontal strokes on one slice, in the structures and in the background."""
    truth = labels[index]
    known = np.zeros(truth.shape, dtype=bool)
    for value in np.unique(truth):
        rows, columns = np.nonzero(truth == value)
        for _ in range(2):
            at = dice.integer(0, len(rows) - 1)
            stroke = slice(max(0, columns[at] - 4), columns[at] + 5)
            known[rows[at], stroke] = truth[rows[at], stroke] == value
    return SliceExample(SliceRef(0, index), np.where(known, truth, 0).astype(np.uint8), known)


def _posed(maps: FeatureMaps, labels: LabelArray, support: Support, dice: Dice, config: EpisodeConfig) -> Posed:
    region = find_region(support, maps.spacing_mm, config.region)
    if region.order[0] != 0:
        raise MissingExamplesError("Only strokes were painted")
    shown = support.painted_structures()
    task = make_task(maps, Support(support.shape, support.examples, shown), region)
    depths = _queried(labels, region.box.start[0], task.shape[0], task.depths, dice, config)
    if not depths or not task.depths:
        raise MissingExamplesError("No slice is left to ask for")
    lookup = torch.zeros(int(labels.max()) + 1, dtype=torch.int64)
    for n, s in enumerate(shown, start=1):
        lookup[s] = n
    full = lookup[torch.from_numpy(labels[region.box.slices].astype(np.int64))]
    return Posed(task, _pooled(full, len(shown), region.factor), tuple(depths))


def _answered(posed: Posed, dice: Dice, config: EpisodeConfig) -> Episode:
    task, depths = posed.task, posed.depths
    scene = Scene(task, config.scene)
    evidence = {
        learner.name: _blurred(learner.fit(scene).evidence(depths), dice, config) for learner in config.learners
    }
    trust = _disturbed(config.trust(task.structures, task.device), dice, config)
    odds = pooled_log_odds(evidence, trust)
    views = slice_views(scene, evidence, odds, depths)
    truth = posed.truth[list(depths)]
    return _cropped(views.transpose(0, 1), odds.transpose(0, 1), truth, dice, config.crop)


def _queried(
    labels: LabelArray, start: int, depth: int, painted: Sequence[int], dice: Dice, config: EpisodeConfig
) -> list[int]:
    """Draw unpainted slices: mostly such that hold something, but also those beyond the ends."""
    free = [z for z in range(depth) if z not in painted]
    holds = [bool(plane.any()) for plane in labels[start : start + depth]]
    order = sorted(dice.permutation(len(free)), key=lambda i: not holds[free[i]])
    full = [free[i] for i in order if holds[free[i]]]
    empty = [free[i] for i in order if not holds[free[i]]]
    spare = max(config.queries // 4, config.queries - len(full))
    return sorted((full[: config.queries - min(spare, len(empty))] + empty[:spare])[: config.queries])


def _blurred(evidence: Tensor, dice: Dice, config: EpisodeConfig) -> Tensor:
    return normalise(evidence * math.exp(config.blur * float(dice.normal(1))))


def _disturbed(trust: Trust, dice: Dice, config: EpisodeConfig) -> Trust:
    # In use the weights are fitted to each scan: the network must not rely on the fixed ones.
    factors = torch.exp(config.mistrust * dice.normal(*trust.weights.shape))
    return Trust(trust.names, trust.weights * factors, trust.expected_dice)


def _pooled(classes: Tensor, structures: int, factor: int) -> Tensor:
    if factor == 1:
        return classes
    votes = torch.stack([(classes == c).float() for c in range(structures + 1)])
    return F.avg_pool2d(votes, factor, ceil_mode=True).argmax(0)


def _cropped(views: Tensor, odds: Tensor, truth: Tensor, dice: Dice, side: int) -> Episode:
    """Cut or pad every slice to ``side`` x ``side``, around a voxel of a structure."""
    h, w = truth.shape[-2:]
    held = (truth > 0).nonzero()
    centre = held[dice.integer(0, len(held) - 1)] if len(held) else torch.tensor([0, h // 2, w // 2])
    top = min(max(0, int(centre[1]) - side // 2), max(0, h - side))
    left = min(max(0, int(centre[2]) - side // 2), max(0, w - side))
    window = (..., slice(top, top + side), slice(left, left + side))
    pad = (0, max(0, side - w), 0, max(0, side - h))
    return Episode(
        _padded(views[window], pad).half(),
        _padded(odds[window], pad).half(),
        F.pad(truth[window], pad, value=IGNORED).to(torch.int8),
    )


def _padded(maps: Tensor, pad: tuple[int, int, int, int]) -> Tensor:
    flat = maps.flatten(0, -4) if maps.ndim > 4 else maps
    return F.pad(flat, pad, mode="replicate").reshape(
        *maps.shape[:-2], *(n + p for n, p in zip(maps.shape[-2:], (pad[3], pad[1]), strict=True))
    )
