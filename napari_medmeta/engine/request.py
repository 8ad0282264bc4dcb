"""One request to the engine: everything that follows from one support set, answered part by part.

Complete slices are walls (see `napari_medmeta.engine.learners.walk`): what is proposed between two of them depends on
nothing beyond. So the whole answer is made of the parts between them, the ones nearest to the slice on screen first.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_medmeta.core import (
    BACKGROUND,
    Box,
    CancelToken,
    FloatArray,
    InputError,
    LabelArray,
    MissingExamplesError,
    Progress,
    Proposal,
    SliceRef,
    Support,
    Triple,
)
from napari_medmeta.engine.clicks import ClickConfig
from napari_medmeta.engine.correction import check_network, corrected_log_odds
from napari_medmeta.engine.crew import ALONE, Crew, crew_for
from napari_medmeta.engine.cutting import make_task
from napari_medmeta.engine.deciding import leaning
from napari_medmeta.engine.drawing import draw
from napari_medmeta.engine.expectation import expected_dice, slice_dice
from napari_medmeta.engine.features import FeatureMaps
from napari_medmeta.engine.fusion import Fold, FusionConfig, Trust, as_log_posterior, fit_trust, usual_fusion
from napari_medmeta.engine.learners.base import Fitted, Learner, Scene, SceneConfig
from napari_medmeta.engine.learners.registry import default_learners
from napari_medmeta.engine.learners.walk import WalkConfig, refine, walled_slab
from napari_medmeta.engine.network import FusionNetwork
from napari_medmeta.engine.recipe import recipe_of
from napari_medmeta.engine.region import Region, RegionConfig, find_region
from napari_medmeta.engine.task import Task

__all__ = ["EngineConfig", "Request", "parts_of", "require_grid"]

_Scalar = TypeVar("_Scalar", bound=np.generic)

MOST_PARTS = 6
"""Parts in which an answer arrives: each one costs the window a redraw."""

CHECKED, CORRECTED = 0.5, 0.9
"""Progress when the left-out check is done, and within each part when only the smoothing is left."""

MOST_SLICES_POOLED = 4
"""Large organs on thin slices are pooled along the normal as well, up to this. At a working size of 60,000 voxels, for
which two development cases are pooled twice along each axis instead of three times in the plane, the mean Dice of lungs
rose from 0.91 to 0.95, and that of eight abdominal organs stayed within 0.01."""


@dataclass(frozen=True)
class EngineConfig:
    """All settings of the engine.

    Parameters
    ----------
    learners
        The sources of evidence.
    fusion
        How far each is trusted before anything was tested; the measured weights of these sources where None.
    folds
        At most this many painted slices are left out in turn; more tell little new and cost time.
    network
        Whether the trained network corrects what the sources say.
    adapts
        Whether its last layer is fitted to the painted slices, left out in turn.
    memory_budget_bytes
        How much memory the engine may need at its peak; what is free where None. With less, features are computed
        where they are needed instead of being kept: slower, with the same answers.
    weights
        Folder whose encoder and network replace those that come with the package, where it holds them. The learners
        are those given: `napari_medmeta.engine.choices.engine_config` takes all from one folder, and checks it.
    clicks
        How structures are answered that were clicked or stroked, but are complete on no slice.
    """

    learners: tuple[Learner, ...] = field(default_factory=default_learners)
    region: RegionConfig = field(default_factory=lambda: RegionConfig(max_step=MOST_SLICES_POOLED))
    scene: SceneConfig = field(default_factory=SceneConfig)
    fusion: FusionConfig | None = None
    walk: WalkConfig = field(default_factory=WalkConfig)
    folds: int = 4
    network: bool = True
    adapts: bool = True
    memory_budget_bytes: int | None = None
    weights: Path | None = None
    clicks: ClickConfig = field(default_factory=ClickConfig)

    @property
    def pool(self) -> FusionConfig:
        """How far each source is trusted before anything was tested."""
        return usual_fusion(learner.name for learner in self.learners) if self.fusion is None else self.fusion

    @property
    def learnt(self) -> tuple[nn.Module, ...]:
        """The sources that have weights."""
        return tuple(learner for learner in self.learners if isinstance(learner, nn.Module))


def require_grid(support: Support, shape: Triple) -> None:
    """Check that the examples belong to a volume of ``shape``.

    Raises
    ------
    InputError
        When they do not.
    """
    if support.shape != shape:
        raise InputError(
            f"The examples belong to a volume of the shape {support.shape}", expected=f"the scan's {shape}"
        )


def parts_of(task: Task, *, most: int = MOST_PARTS) -> list[range]:
    """Return the depths between the walls of ``task``, each part from its first wall to the next one's eve.

    Neighbouring parts are joined until there are at most ``most`` of about the same thickness.
    """
    deep = task.shape[0]
    edges = [0, *(z for z in task.walls if z > 0), deep]
    least = deep / most
    kept = [0]
    for edge in edges[1:-1]:
        if edge - kept[-1] >= least and deep - edge >= least:
            kept.append(edge)
    return [range(a, b) for a, b in zip(kept, [*kept[1:], deep], strict=True)]


class _Sum:
    """Adds up what is done of several parts, whichever thread tells of it."""

    def __init__(self, tell: Progress, parts: int) -> None:
        self._tell, self._parts = tell, parts
        self._done = 0.0
        self._lock = threading.Lock()

    def add(self, share: float, stage: str) -> None:
        """Add so large a share of one part."""
        with self._lock:
            self._done += share / self._parts
            self._tell(CHECKED + (1 - CHECKED) * min(self._done, 1.0), stage)


@dataclass(frozen=True, eq=False)
class _Part:
    """The answer for the slices of one part, counted in the region's box."""

    slices: range
    labels: LabelArray
    confidence: FloatArray
    slice_dice: Mapping[SliceRef, float]


class Request:
    """One support set on one volume.

    Raises
    ------
    InputError
        When the examples belong to a volume of another shape.
    MissingExamplesError
        When no structure has an example.
    """

    def __init__(
        self,
        maps: FeatureMaps,
        support: Support,
        config: EngineConfig,
        network: FusionNetwork | None,
        seed: int,
        progress: Progress,
        cancel: CancelToken | None,
    ) -> None:
        require_grid(support, maps.shape)
        painted = support.painted_structures()
        if not painted:
            raise MissingExamplesError(
                "No structure has been painted yet", next_step="Paint a structure on one slice, or click on it"
            )
        self._support = replace(support, structures=painted)
        self._config, self._network, self._seed = config, network, seed
        self._progress, self._cancel = progress, cancel
        self._seconds: dict[str, float] = {}
        started = time.perf_counter()
        self._region: Region = find_region(self._support, maps.spacing_mm, config.region)
        self._task: Task = make_task(maps, self._support, self._region)
        self._scene = Scene(self._task, config.scene, seed=seed)
        self._crew = crew_for(self._task.device)
        self._names = tuple(learner.name for learner in config.learners)
        self._fitted: dict[str, Fitted] = {}
        self._seconds["region"] = time.perf_counter() - started

    def on_focus(self, focus: SliceRef) -> Proposal | None:
        """Answer for one slice, if it is one of the region's own."""
        depth = self._region.depth_of(focus.index)
        normal = self._region.order[0]
        local = focus.index - self._region.box.start[normal]
        if focus.axis != normal or not 0 <= local < self._region.full_shape[0]:
            return None
        started = time.perf_counter()
        fixed = self._trust(())
        self._learn()
        posterior = self._posterior([depth], fixed, self._crew)
        self._seconds["visible slice"] = time.perf_counter() - started
        part = self._part(posterior, fixed, depth, range(local, local + 1))
        return self._proposal([part], fixed, Box.of_slice(focus, self._support.shape))

    def outward(self, focus: SliceRef | None) -> Iterator[Proposal]:
        """Answer part by part from ``focus`` outward, and then for the whole volume; only that without a focus."""
        started = time.perf_counter()
        self._check(0.0, "checking whom to trust")
        trust = self._trust(self._folds())
        self._seconds["left-out check"] = time.perf_counter() - started
        started = time.perf_counter()
        self._learn()
        found: dict[int, tuple[_Part, Tensor]] = {}
        parts = parts_of(self._task)
        # Several parts are answered at once, each by one worker; a single one by all of them.
        crew = self._crew if len(parts) == 1 else ALONE
        told = _Sum(self._check, len(parts))

        def answered(part: range) -> tuple[_Part, Tensor]:
            first, posterior = self._settled(part, trust, crew, told)
            answer = self._part(posterior, trust, first, self._slices(part))
            return answer, posterior[:, part.start - first : part.stop - first]

        nearest = self._nearest_first(parts, focus)
        for part, (answer, posterior) in zip(nearest, self._crew.map(answered, nearest), strict=True):
            found[part.start] = answer, posterior
            self._seconds["proposal"] = time.perf_counter() - started
            if focus is not None and len(parts) > 1:
                yield self._proposal([answer], trust, self._covered(answer.slices))
        ordered = [found[part.start] for part in parts]
        posterior = torch.cat([p for _, p in ordered], dim=1)
        expected = expected_dice(posterior, trust, self._task, range(self._task.shape[0]))
        whole = Box.whole(self._support.shape)
        proposal = self._proposal([answer for answer, _ in ordered], trust, whole, expected)
        self._progress(1.0, "done")
        yield proposal

    def _nearest_first(self, parts: Sequence[range], focus: SliceRef | None) -> list[range]:
        on_axis = focus is not None and focus.axis == self._region.order[0]
        depths = self._task.depths or (0,)
        near = self._region.depth_of(focus.index) if focus is not None and on_axis else depths[len(depths) // 2]
        return sorted(parts, key=lambda part: max(part.start - near, near - part.stop + 1, 0))

    def _slices(self, part: range) -> range:
        """Return the slices of the box that belong to ``part``: from the painted slice of its wall on."""
        edges = []
        painted = {self._region.depth_of(r.index): r.index for r in self._walls()}
        for depth in (part.start, part.stop):
            own = painted.get(depth, 0) - self._region.box.start[self._region.order[0]]
            if depth in (0, self._task.shape[0]):
                edges.append(0 if depth == 0 else self._region.full_shape[0])
            else:
                edges.append(own)
        return range(edges[0], edges[1])

    def _walls(self) -> list[SliceRef]:
        normal = self._region.order[0]
        return [e.ref for e in self._support.complete if e.ref.axis == normal]

    def _settled(self, part: range, trust: Trust, crew: Crew, told: _Sum) -> tuple[int, Tensor]:
        """Return the posterior of ``part`` after smoothing, with the wall that closes it, and where it starts."""
        self._raise_if_cancelled()
        posterior = self._posterior(part, trust, crew)
        told.add(CORRECTED, "smoothing")
        start, stop = walled_slab(self._task, part)
        # Nobody asks for the prior of a wall: every voxel of it is known.
        prior = F.pad(posterior, (0, 0, 0, 0, 0, stop - part.stop))
        settled = refine(self._task, prior, range(start, stop), first=start, config=self._config.walk)
        told.add(1 - CORRECTED, "looking at the painted slices")
        return start, settled

    def _posterior(self, depths: Sequence[int], trust: Trust, crew: Crew) -> Tensor:
        evidence = self._evidence(self._fitted, depths, crew)
        odds = corrected_log_odds(self._network, self._scene, evidence, trust, depths, crew=crew)
        return as_log_posterior(odds)

    def _trust(self, folds: Sequence[Fold]) -> Trust:
        kept = [self._support.trust.get(s, {}) for s in self._support.structures]
        trust = fit_trust(self._names, len(kept), folds, self._config.pool, self._task.device, kept=kept)
        if self._network is None:
            return trust
        return check_network(self._network, folds, trust, adapts=self._config.adapts, crew=self._crew)

    def _folds(self) -> list[Fold]:
        folds = []
        chosen = _spread(self._task.depths, self._config.folds) if len(self._task.depths) > 1 else []
        for n, fold in enumerate(self._crew.map(self._fold, chosen)):
            self._check(CHECKED * (n + 1) / len(chosen), "checking whom to trust")
            if fold is not None:
                folds.append(fold)
        return folds

    def _fold(self, depth: int) -> Fold | None:
        """Return what the sources say of a painted slice that they have not seen; None where nothing else is left."""
        left = self._task.without(depth)
        if not bool((left.classes > 0).any()):
            return None
        scene = Scene(left, self._config.scene, seed=self._seed)
        evidence = {name: e[:, 0] for name, e in self._evidence(self._fit(scene, ALONE), [depth], ALONE).items()}
        return Fold(evidence, self._task.classes[depth], scene, depth)

    def _learn(self) -> None:
        if not self._fitted:
            self._fitted = self._fit(self._scene, self._crew)

    def _fit(self, scene: Scene, crew: Crew) -> dict[str, Fitted]:
        def fitted(learner: Learner) -> Fitted:
            self._raise_if_cancelled()
            return learner.fit(scene)

        return dict(zip(self._names, crew.map(fitted, self._config.learners), strict=True))

    def _evidence(self, fitted: Mapping[str, Fitted], depths: Sequence[int], crew: Crew) -> dict[str, Tensor]:
        def said(learner: Fitted) -> Tensor:
            self._raise_if_cancelled()
            return learner.evidence(depths)

        return dict(zip(fitted, crew.map(said, list(fitted.values())), strict=True))

    def _check(self, fraction: float, stage: str) -> None:
        self._raise_if_cancelled()
        self._progress(fraction, stage)

    def _raise_if_cancelled(self) -> None:
        if self._cancel is not None:
            self._cancel.raise_if_cancelled()

    def _part(self, posterior: Tensor, trust: Trust, first: int, slices: range) -> _Part:
        """Draw ``slices`` from the posterior of the depths from ``first`` on."""
        drawn, sure = draw(
            self._region, self._support.structures, posterior, leaning(self._task), first=first, slices=slices
        )
        _keep_painted(self._support, self._region.slab(slices.start, slices.stop), drawn, sure)
        return _Part(slices, drawn, sure, self._slice_dice(posterior, trust, first, slices))

    def _slice_dice(self, posterior: Tensor, trust: Trust, first: int, slices: range) -> dict[SliceRef, float]:
        normal, step = self._region.order[0], self._region.step
        depths = range(first, first + posterior.shape[1])
        expected = slice_dice(posterior, trust, self._task, depths)
        start = self._region.box.start[normal]
        per_slice = ((z, expected[min(z // step, depths[-1]) - first]) for z in slices)
        return {SliceRef(normal, start + z): dice for z, dice in per_slice if dice is not None}

    def _covered(self, slices: range) -> Box:
        """Return the whole slices of the scan on which ``slices`` of the box lie."""
        normal, shape = self._region.order[0], self._support.shape
        slab = self._region.slab(slices.start, slices.stop)
        start, stop = [0, 0, 0], list(shape)
        start[normal], stop[normal] = slab.start[normal], slab.stop[normal]
        return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))

    def _proposal(
        self, parts: Sequence[_Part], trust: Trust, covered: Box, expected: Sequence[float] | None = None
    ) -> Proposal:
        """Put parts, in order, together; ``expected`` is known for the whole answer alone."""
        normal = self._region.order[0]
        structures = self._support.structures
        return Proposal(
            generation=self._support.generation,
            box=self._region.slab(parts[0].slices.start, parts[-1].slices.stop),
            labels=_joined([part.labels for part in parts], normal),
            confidence=_joined([part.confidence for part in parts], normal),
            covered=covered,
            expected_dice={} if expected is None else dict(zip(structures, expected, strict=True)),
            slice_dice={ref: dice for part in parts for ref, dice in part.slice_dice.items()},
            trust={s: trust.shares(n) for n, s in enumerate(structures, start=1)},
            seconds=dict(self._seconds),
            network={} if trust.network is None else dict(zip(structures, trust.network.tolist(), strict=True)),
            recipe=recipe_of(trust, structures),
        )


def _joined(arrays: Sequence[npt.NDArray[_Scalar]], axis: int) -> npt.NDArray[_Scalar]:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=axis)


def _spread(depths: Sequence[int], count: int) -> list[int]:
    if len(depths) <= count:
        return list(depths)
    # Both ends tell how the structure ends, the middle how it goes on.
    return [depths[i] for i in np.unique(np.linspace(0, len(depths) - 1, count).round().astype(int))]


def _keep_painted(support: Support, box: Box, labels: LabelArray, confidence: FloatArray) -> None:
    """Let what is proposed inside of ``box`` be what was said there; a structure nobody looked for may still be."""
    for example in support.examples:
        axis, index = example.ref.axis, example.ref.index - box.start[example.ref.axis]
        if not 0 <= index < box.shape[axis]:
            continue
        here = SliceRef(axis, index).slicer
        rows, columns = (box.slices[a] for a in range(3) if a != axis)
        said, known = example.labels[rows, columns], example.known[rows, columns]
        if example.complete_for is not None:
            known = known & ((said != BACKGROUND) | np.isin(labels[here], [BACKGROUND, *example.complete_for]))
        labels[here] = np.where(known, said, labels[here])
        confidence[here] = np.where(known, np.float32(1.0), confidence[here])
