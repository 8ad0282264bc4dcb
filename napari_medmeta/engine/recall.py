"""Propose structures on a new scan before the first stroke, from what the library keeps of earlier ones.

Twice extremely randomised trees (Geurts et al., Machine Learning 2006): first over features and the place
in the body, which finds the structure; then over features and the distance to the centre so found, which
draws it. The random walker smooths the answer along the scan's edges, and what the entries know of size
and of being in one piece bounds it. Leaving one entry out in turn tells how much to expect.

An engine whose one learner is the memory-augmented network draws the structure by reading its memory instead, which
is written from the same entries (library_memory.py); where to look is still told by the first trees.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage, special
from sklearn.ensemble import ExtraTreesClassifier
from torch import Tensor

from napari_medmeta.core import (
    Box,
    CancelToken,
    InputError,
    MaskArray,
    MissingExamplesError,
    Progress,
    Proposal,
    SliceRef,
    Triple,
    Volume,
    silent,
)
from napari_medmeta.core.library import Expected, LibraryEntry
from napari_medmeta.core.proposal import FROM_LIBRARY
from napari_medmeta.engine.anatomy import Anatomy, Grid, coarse_grid, maps_of, pooling, survey
from napari_medmeta.engine.features import FeatureMaps
from napari_medmeta.engine.keeping import FEATURES, detail_mm
from napari_medmeta.engine.learners.memory_augmented import MemoryAugmentedLearner
from napari_medmeta.engine.learners.walk import WalkConfig, refine
from napari_medmeta.engine.library_memory import embedded_at, written
from napari_medmeta.engine.segmenter import Segmenter
from napari_medmeta.engine.task import UNKNOWN, Task

__all__ = ["RecallConfig", "comparable", "recall", "usefulness"]

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class RecallConfig:
    """How structures are recalled.

    Parameters
    ----------
    trees, leaf
        Number of trees, and least samples in a leaf.
    most_entries
        At most so many entries are asked, the newest.
    temper
        Samples count by this power of the volume that they stand for: at 1 small structures drown, at 0
        the rest of the body is held too small.
    coarse_mm, coarse_voxels
        Resolution at which the structure is looked for, and at most so many voxels.
    fine_voxels
        Voxels at most where it is drawn.
    margin_mm
        Added to the entries' extent around the centre.
    volume_slack
        The proposal's volume stays between the entries' smallest and largest, each with this factor.
    one_piece
        With at least this share of their volume in one body, entries say that there is one body.
    certainty_offset, certainty_slope
        From the answer's own certainty to Dice, on the logit scale (Platt, "Probabilistic outputs for support
        vector machines", 1999): trees of few entries are timid where they are right, and bold where they are wrong.
    checked_share
        What leaving entries out says, beside the certainty, where there is a second entry to check with. The three
        were fitted on hearts of two development cases and on phantoms.
    folds
        At most so many entries are left out in turn.
    """

    trees: int = 60
    leaf: int = 4
    most_entries: int = 12
    temper: float = 0.5
    coarse_mm: float = 4.0
    coarse_voxels: int = 400_000
    fine_voxels: int = 700_000
    margin_mm: float = 12.0
    volume_slack: float = 1.8
    one_piece: float = 0.9
    certainty_offset: float = 0.25
    certainty_slope: float = 1.8
    checked_share: float = 0.75
    folds: int = 6
    walk: WalkConfig = field(default_factory=WalkConfig)


STEPS = 6
"""Steps of about the same length for one structure; leaving many entries out in turn takes a few more."""

LEAST = 5e-3
"""Probability below which trees cannot tell it from none."""


def comparable(entries: Sequence[LibraryEntry], volume: Volume) -> tuple[LibraryEntry, ...]:
    """Return the entries that can be compared with ``volume``: of its modality and of today's features."""
    return tuple(e for e in entries if e.modality is volume.modality and e.features == FEATURES)


def recall(
    engine: Segmenter | FeatureMaps,
    volume: Volume,
    entries: Mapping[int, Sequence[LibraryEntry]],
    *,
    generation: int = 0,
    axis: int = 0,
    config: RecallConfig | None = None,
    progress: Progress = silent,
    cancel: CancelToken | None = None,
) -> Proposal:
    """Propose structures on a scan that nobody painted yet.

    Parameters
    ----------
    engine
        An engine that was given ``volume``, or the features of it; one of the memory-augmented network alone reads
        from its memory.
    entries
        For each structure's value its entries in the library; those of other modalities are left out.
    generation
        Of the session, see `Proposal`.
    axis
        The array axis along which the expected Dice is told slice by slice.

    Raises
    ------
    MissingExamplesError
        When no entry can be compared with this scan, or none holds what the memory could read.
    Cancelled
        When ``cancel`` is set between two steps of a structure.
    """
    config = config if config is not None else RecallConfig()
    usable = {s: kept for s, e in entries.items() if (kept := comparable(e, volume))}
    if not usable:
        raise MissingExamplesError(
            f"The library keeps nothing of these structures on {volume.modality} scans",
            next_step="Paint them on one slice of this scan",
        )
    started = time.perf_counter()
    maps = maps_of(engine)
    anatomy, memory = survey(maps, volume.geometry), _memory_of(engine)
    found: dict[int, _Found] = {}
    for n, (structure, kept) in enumerate(usable.items()):
        steps = _Steps(progress, cancel, n / len(usable), 1 / len(usable), f"recalling {kept[-1].structure}")
        found[structure] = _find(anatomy, kept[-config.most_entries :], config, steps, memory)
    progress(1.0, "done")
    seconds = {"recall": time.perf_counter() - started}
    return _proposal(found, maps.shape, generation=generation, axis=axis, seconds=seconds)


def _memory_of(engine: Segmenter | FeatureMaps) -> MemoryAugmentedLearner | None:
    """Return the memory-augmented network where it is the engine's only learner."""
    learners = engine._config.learners if isinstance(engine, Segmenter) else ()
    alone = learners[0] if len(learners) == 1 else None
    return alone if isinstance(alone, MemoryAugmentedLearner) else None


def usefulness(entry: LibraryEntry, others: Sequence[LibraryEntry], *, config: RecallConfig | None = None) -> Expected:
    """Return how well ``others`` would have predicted the entry's own samples, each for the volume it stands for.

    Entries of another modality, of other features, and the entry itself are not asked.
    """
    config = config if config is not None else RecallConfig()
    asked = [e for e in others if e.id != entry.id and (e.modality, e.features) == (entry.modality, entry.features)]
    if not asked:
        return Expected(None, 0)
    asked = asked[-config.most_entries :]
    pair, own = _Pair.grown(asked, config), entry.samples
    rough = pair.rough(own.features, own.places)
    # The centre is not known on a new scan: it is found as it would be there, with its error.
    offsets = own.offsets_mm - _centre(own.offsets_mm, rough, own.ml)
    found = pair.fine(own.features, offsets) > 0.5
    hit = float(own.ml[found & own.inside].sum())
    return Expected(2 * hit / float(own.ml[found].sum() + own.ml[own.inside].sum()), len(asked))


@dataclass
class _Steps:
    """Tells after each step of one structure how far all are, and stops where that is wanted."""

    progress: Progress
    cancel: CancelToken | None
    start: float
    share: float
    stage: str
    done: int = 0

    def next(self) -> None:
        """Begin the next of `STEPS` steps."""
        if self.cancel is not None:
            self.cancel.raise_if_cancelled()
        self.progress(self.start + self.share * min(self.done / STEPS, 1.0), self.stage)
        self.done += 1


@dataclass(frozen=True, eq=False)
class _Pair:
    """The trees that find a structure and those that draw it."""

    finder: ExtraTreesClassifier
    drawer: ExtraTreesClassifier

    @classmethod
    def grown(cls, entries: Sequence[LibraryEntry], config: RecallConfig) -> _Pair:
        features = np.concatenate([e.samples.features for e in entries])
        places = np.concatenate([e.samples.places for e in entries])
        offsets = np.concatenate([e.samples.offsets_mm for e in entries])
        inside = np.concatenate([e.samples.inside for e in entries])
        weights = np.concatenate([e.samples.ml / e.samples.ml.mean() for e in entries]) ** config.temper
        finder, drawer = (
            ExtraTreesClassifier(config.trees, min_samples_leaf=config.leaf, max_features=0.5, random_state=0).fit(
                np.concatenate([features, where], axis=1), inside, sample_weight=weights
            )
            for where in (places, offsets)
        )
        return cls(finder, drawer)

    def rough(self, features: Array, places: Array) -> Array:
        """Return (n,) float32 probabilities from features and places."""
        return _probability(self.finder, features, places)

    def fine(self, features: Array, offsets_mm: Array) -> Array:
        """Return (n,) float32 probabilities from features and the distance to the centre."""
        return _probability(self.drawer, features, offsets_mm)


def _probability(model: ExtraTreesClassifier, features: Array, where: Array) -> Array:
    if not len(features):
        return np.zeros(0, dtype=np.float32)
    rows = np.concatenate([features, where], axis=1)
    return np.asarray(model.predict_proba(rows)[:, 1], dtype=np.float32)


def _centre(positions_mm: Array, probability: Array, weights: Array) -> Array:
    """Return (3,) the middle of what is likely: the upper half of the probability, by its square."""
    top = np.where(probability >= 0.5 * probability.max(initial=0.0), probability, 0.0) ** 2 * weights
    return np.asarray((positions_mm * top[:, None]).sum(0) / max(float(top.sum()), 1e-9), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class _Found:
    """One structure on the new scan: ``probability`` is (*box.shape) float32, ``mask`` what is proposed of it."""

    box: Box
    probability: Array
    mask: MaskArray
    expected: float


def _find(
    anatomy: Anatomy,
    entries: Sequence[LibraryEntry],
    config: RecallConfig,
    steps: _Steps,
    learner: MemoryAugmentedLearner | None,
) -> _Found:
    steps.next()
    # Refused before anything is computed.
    embedding = anatomy.maps.embedding
    encoder = embedding.encoder if embedding is not None else ""
    memory = written(learner, entries, encoder=encoder) if learner is not None else None
    pair = _Pair.grown(entries, config)
    steps.next()
    centre = _locate(anatomy, pair, config)
    steps.next()
    grid = _around(anatomy, centre, entries, config)
    index = np.flatnonzero(np.ones(grid.shape, dtype=bool))
    positions = anatomy.positions_mm(grid, index)
    fine = pair.fine if memory is None else memory.probability
    seen = anatomy.features(grid, index) if memory is None else _embedded(anatomy, grid, index)
    probability = fine(seen, positions - centre)
    steps.next()
    # Once more from the better centre that the drawing gives.
    centre = _centre(positions, probability, np.ones(len(index), dtype=np.float32))
    probability = fine(seen, positions - centre).reshape(grid.shape)
    steps.next()
    smooth = grid.upsample(_walked(anatomy, grid, probability, config)[None])[0].cpu().numpy()
    mask = _bounded(smooth, entries, anatomy, config)
    # How well trees of some entries foretell the others says nothing of the memory.
    checked = entries if memory is None else ()
    return _Found(grid.box, smooth, mask, _expected(smooth, mask, checked, config, steps))


def _embedded(anatomy: Anatomy, grid: Grid, index: npt.NDArray[np.int64]) -> Array:
    found = embedded_at(anatomy.maps, grid, index)
    if found is None:
        raise InputError("The engine has no learnt embedding of this scan", next_step="Call set_volume again")
    return found


def _locate(anatomy: Anatomy, pair: _Pair, config: RecallConfig) -> Array:
    grid = coarse_grid(anatomy.maps, config.coarse_mm, most=config.coarse_voxels)
    index = np.flatnonzero(anatomy.body_on(grid))
    positions = anatomy.positions_mm(grid, index)
    likely = np.zeros(grid.shape, dtype=np.float32)
    likely.reshape(-1)[index] = pair.rough(anatomy.features(grid, index), anatomy.places(positions))
    # Of several likely places the one with the most likelihood in one piece.
    smooth = ndimage.gaussian_filter(likely, 1.0)
    pieces, count = ndimage.label(smooth >= 0.5 * smooth.max())
    mass = ndimage.sum_labels(likely, pieces, range(1, count + 1))
    best = (pieces == 1 + int(np.argmax(mass))).reshape(-1)[index]
    chosen = np.where(best, likely.reshape(-1)[index], 0.0).astype(np.float32)
    return _centre(positions, chosen, np.ones(len(index), dtype=np.float32))


def _around(anatomy: Anatomy, centre: Array, entries: Sequence[LibraryEntry], config: RecallConfig) -> Grid:
    """Return the grid around ``centre`` in which the largest of the entries has room."""
    half = np.max([e.extent_mm for e in entries], axis=0) * 0.6 + config.margin_mm
    start, stop = [0, 0, 0], [0, 0, 0]
    for n, (axis, sign) in enumerate(zip(anatomy.axes, anatomy.signs, strict=True)):
        spacing, size = anatomy.maps.spacing_mm[axis], anatomy.maps.shape[axis]
        middle = sign * centre[n] / spacing
        start[axis] = int(np.clip(np.floor(middle - half[n] / spacing), 0, size - 1))
        stop[axis] = int(np.clip(np.ceil(middle + half[n] / spacing) + 1, start[axis] + 1, size))
    box = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    detail = detail_mm(float(np.median([e.volume_ml for e in entries])))
    grid = Grid(box, pooling(anatomy.maps.spacing_mm, detail))
    while int(np.prod(grid.shape)) > config.fine_voxels:
        detail *= 1.2
        grid = Grid(box, pooling(anatomy.maps.spacing_mm, detail))
    return grid


def _walked(anatomy: Anatomy, grid: Grid, probability: Array, config: RecallConfig) -> Tensor:
    device = anatomy.maps.maps.device
    inside = torch.from_numpy(probability).to(device).clamp(LEAST, 1 - LEAST)
    intensity = grid.pool(anatomy.maps.intensity)
    i, j, k = (s * f for s, f in zip(anatomy.maps.spacing_mm, grid.factors, strict=True))
    open_faces = ((False, False), (False, False), (False, False))
    classes = torch.full(grid.shape, UNKNOWN, device=device)
    task = Task(intensity[None], intensity, (i, j, k), classes, (), 1, open_faces)
    prior = torch.log(torch.stack([1 - inside, inside]))
    return refine(task, prior, range(grid.shape[0]), first=0, config=config.walk)[1].exp()


def _bounded(probability: Array, entries: Sequence[LibraryEntry], anatomy: Anatomy, config: RecallConfig) -> MaskArray:
    """Return what is proposed: of a plausible volume, and in one piece where all entries are."""
    voxel_ml = float(np.prod(anatomy.maps.spacing_mm)) / 1000
    sizes = [e.volume_ml for e in entries]
    least, most = min(sizes) / config.volume_slack / voxel_ml, max(sizes) * config.volume_slack / voxel_ml
    level, count = 0.5, int((probability > 0.5).sum())
    if not least <= count <= most:
        wanted = int(np.clip(count, least, most))
        kept = min(max(wanted, 1), probability.size)
        # Lower than this nothing is proposed at all: an absent structure must stay absent.
        level = max(0.25, float(np.partition(probability.reshape(-1), -kept)[-kept]))
    mask = probability > level
    if min(e.largest_share for e in entries) < config.one_piece or not mask.any():
        return np.asarray(mask)
    pieces, count = ndimage.label(mask)
    mass = ndimage.sum_labels(probability, pieces, range(1, count + 1))
    whole = pieces == 1 + int(np.argmax(mass))
    return np.asarray(ndimage.binary_fill_holes(whole))


def _expected(
    probability: Array, mask: MaskArray, entries: Sequence[LibraryEntry], config: RecallConfig, steps: _Steps
) -> float:
    """Return the Dice to expect, by the answer's own certainty and by how well entries foretell each other."""
    if not mask.any():
        return 0.0
    certain = config.certainty_offset + config.certainty_slope * _logit(_soft_dice(probability, mask))
    judged = []
    for entry in entries[-config.folds :]:
        steps.next()
        judged.append(usefulness(entry, entries, config=config).dice)
    known = [d for d in judged if d is not None]
    share = config.checked_share if known else 0.0
    checked = _logit(float(np.mean(known))) if known else 0.0
    return float(special.expit((1 - share) * certain + share * checked))


def _logit(share: float) -> float:
    # Ends that no finite sample could prove.
    return float(special.logit(np.clip(share, 0.01, 0.99)))


def _soft_dice(probability: Array, mask: MaskArray) -> float:
    agreed = 2 * float(probability[mask].sum())
    return agreed / max(float(probability.sum() + np.count_nonzero(mask)), 1e-6)


def _proposal(
    found: Mapping[int, _Found], shape: Triple, *, generation: int, axis: int, seconds: Mapping[str, float]
) -> Proposal:
    box = None
    for item in found.values():
        box = item.box if box is None else box.union(item.box)
    box = box or Box.whole(shape)
    labels = np.zeros(box.shape, dtype=np.uint8)
    best = np.zeros(box.shape, dtype=np.float32)
    rest = np.ones(box.shape, dtype=np.float32)
    for structure, item in found.items():
        part = tuple(slice(a - o, b - o) for a, b, o in zip(item.box.start, item.box.stop, box.start, strict=True))
        wins = item.mask & (item.probability > best[part])
        labels[part][wins] = structure
        best[part][wins] = item.probability[wins]
        rest[part] = np.minimum(rest[part], 1 - item.probability)
    return Proposal(
        generation=generation,
        box=box,
        labels=labels,
        confidence=np.where(labels > 0, best, rest).astype(np.float32),
        covered=Box.whole(shape),
        expected_dice={s: item.expected for s, item in found.items()},
        slice_dice=_slices(found, labels, best, box, axis),
        trust={s: {FROM_LIBRARY: 1.0} for s in found},
        seconds=dict(seconds),
    )


def _slices(
    found: Mapping[int, _Found], labels: npt.NDArray[np.uint8], best: Array, box: Box, axis: int
) -> dict[SliceRef, float]:
    """Return for each slice the structures' expected Dice, less where the slice is less sure than the rest."""
    out: dict[SliceRef, float] = {}
    means = {s: float(best[labels == s].mean()) for s in found if (labels == s).any()}
    for n in range(labels.shape[axis]):
        here, sure = np.take(labels, n, axis=axis), np.take(best, n, axis=axis)
        values = [
            min(1.0, found[s].expected * float(sure[here == s].mean()) / max(mean, 1e-6))
            for s, mean in means.items()
            if (here == s).any()
        ]
        if values:
            out[SliceRef(axis, box.start[axis] + n)] = float(np.mean(values))
    return out
