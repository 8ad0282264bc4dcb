"""The engine's one public object: a volume and examples in, proposals out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import psutil
from torch import Tensor, nn

from napari_medmeta.core import (
    Box,
    CancelToken,
    FloatArray,
    InputError,
    LabelArray,
    MissingExamplesError,
    Progress,
    Proposal,
    SliceExample,
    SliceRef,
    Support,
    Triple,
    Volume,
    VolumeTooLargeError,
    silent,
)
from napari_medmeta.engine.correction import check_network, corrected_log_odds
from napari_medmeta.engine.device import pick_device
from napari_medmeta.engine.embedding import embed_volume
from napari_medmeta.engine.expectation import expected_dice, slice_dice
from napari_medmeta.engine.features import FeatureMaps, compute_features, feature_count
from napari_medmeta.engine.fusion import Fold, FusionConfig, Trust, as_log_posterior, fit_trust
from napari_medmeta.engine.learners import default_learners
from napari_medmeta.engine.learners.base import Learner, Scene, SceneConfig
from napari_medmeta.engine.learners.registry import shipped_encoder
from napari_medmeta.engine.learners.walk import WalkConfig, refine
from napari_medmeta.engine.network import FusionNetwork
from napari_medmeta.engine.region import Region, RegionConfig, find_region, make_task
from napari_medmeta.engine.task import Task
from napari_medmeta.engine.weights import shipped_weights

__all__ = ["EngineConfig", "Segmenter"]


@dataclass(frozen=True)
class EngineConfig:
    """All settings of the engine.

    Parameters
    ----------
    learners
        The sources of evidence.
    folds
        At most this many painted slices are left out in turn; more tell little new and cost time.
    network
        Whether the trained network corrects what the sources say.
    """

    learners: tuple[Learner, ...] = field(default_factory=default_learners)
    region: RegionConfig = field(default_factory=RegionConfig)
    scene: SceneConfig = field(default_factory=SceneConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    walk: WalkConfig = field(default_factory=WalkConfig)
    folds: int = 4
    network: bool = True


class Segmenter:
    """Propose structures on a whole volume from a few examples.

    A proposal depends on the volume and the support set alone, never on what was asked before: removing
    an example gives exactly what would have been without it.

    Parameters
    ----------
    device
        "auto", "cpu", "cuda" or "mps".
    config
        Settings; the defaults are the measured ones.
    seed
        Seed of the draws of support voxels.

    Examples
    --------
    >>> from napari_medmeta.core.phantoms import simple_blobs
    >>> from napari_medmeta.core import support_from_labels
    >>> phantom = simple_blobs()
    >>> examples = phantom.labels.copy()
    >>> examples[:8] = examples[9:15] = examples[16:] = 255
    >>> segmenter = Segmenter(device="cpu")
    >>> segmenter.set_volume(phantom.volume)
    >>> proposal = segmenter.segment(support_from_labels(examples, axis=0))
    >>> proposal.volume(examples.shape).shape == examples.shape
    True
    """

    def __init__(self, *, device: str = "auto", config: EngineConfig | None = None, seed: int = 0) -> None:
        self._device = pick_device(device)
        self._config = config if config is not None else EngineConfig()
        self._seed = seed
        names = tuple(learner.name for learner in self._config.learners)
        self._network = shipped_weights(names, self._device) if self._config.network else None
        learnt = [learner for learner in self._config.learners if isinstance(learner, nn.Module)]
        for learner in learnt:
            learner.to(self._device)
        # Nobody looks at the embedding unless a learner works in it.
        self._encoder = shipped_encoder().to(self._device) if learnt else None
        self._maps: FeatureMaps | None = None
        self._support: Support | None = None

    @property
    def device(self) -> str:
        """Where the engine computes: "cpu", "cuda" or "mps"."""
        return self._device.type

    @property
    def uses_network(self) -> bool:
        """Whether the trained network takes part; without it the sources are fused by the left-out check alone."""
        return self._network is not None

    @property
    def has_volume(self) -> bool:
        """Whether the features of a volume are ready."""
        return self._maps is not None

    @property
    def support(self) -> Support | None:
        """The examples added one by one, None before a volume is set."""
        return self._support

    def memory_estimate_bytes(self, shape: Triple) -> int:
        """Return about how many bytes a volume of ``shape`` needs at the peak."""
        voxels = int(np.prod(shape))
        # Features in half precision, and up to six float32 volumes while they are computed.
        return voxels * (2 * feature_count() + 6 * 4) + 600_000_000

    def set_volume(self, volume: Volume, *, progress: Progress = silent, cancel: CancelToken | None = None) -> None:
        """Compute the features of ``volume``, once; forgets the volume before.

        Raises
        ------
        Cancelled
            When ``cancel`` is set meanwhile; the volume before stays.
        VolumeTooLargeError
            When the features would not fit into the memory that is free.
        """
        self._require_memory(volume.geometry.shape)
        maps = compute_features(volume, device=self._device, progress=progress, cancel=cancel)
        if self._encoder is not None:
            embedding = embed_volume(self._encoder, maps.intensity, maps.spacing_mm, progress=progress, cancel=cancel)
            maps = replace(maps, embedding=embedding)
        self._maps = maps
        self._support = Support(self._maps.shape)

    def add_support(self, example: SliceExample) -> None:
        """Add an example, or replace the one of the same slice."""
        support = self._require_support().without(example.ref)
        found = {int(s) for s in np.unique(example.labels[example.known]) if s} | set(support.structures)
        self._support = replace(support, examples=(*support.examples, example), structures=tuple(sorted(found)))

    def remove_support(self, ref: SliceRef) -> None:
        """Forget the example of the slice ``ref``: its influence is gone entirely."""
        self._support = self._require_support().without(ref)

    def segment(
        self, support: Support | None = None, *, progress: Progress = silent, cancel: CancelToken | None = None
    ) -> Proposal:
        """Return the proposal for the whole volume."""
        *_, last = self.propose(support, progress=progress, cancel=cancel)
        return last

    def propose(
        self,
        support: Support | None = None,
        *,
        focus: SliceRef | None = None,
        progress: Progress = silent,
        cancel: CancelToken | None = None,
    ) -> Iterator[Proposal]:
        """Propose labels from ``support`` (default: the examples added one by one).

        Parameters
        ----------
        focus
            The slice on screen: it is answered first, with the fixed trust in the sources.

        Yields
        ------
        Proposal
            First for ``focus`` where it lies in the region, then for the whole volume.

        Raises
        ------
        MissingExamplesError
            When no structure has an example.
        Cancelled
            When ``cancel`` is set between two steps.
        """
        support = support if support is not None else self._require_support()
        work = _Work(self._require_maps(), support, self._config, self._network, self._seed, progress, cancel)
        if focus is not None:
            first = work.on_focus(focus)
            if first is not None:
                yield first
        yield work.everywhere()

    def _require_memory(self, shape: Triple) -> None:
        needed, free = self.memory_estimate_bytes(shape), psutil.virtual_memory().available
        if needed > free:
            size = " x ".join(str(n) for n in shape)
            raise VolumeTooLargeError(
                f"A scan of {size} voxels needs {needed / 1e9:.1f} GB of memory; {free / 1e9:.1f} GB are free",
                next_step="Close other programs, or crop the scan to the region you need, or resample it more coarsely",
            )

    def _require_maps(self) -> FeatureMaps:
        if self._maps is None:
            raise InputError("The engine has no volume yet", next_step="Call set_volume first")
        return self._maps

    def _require_support(self) -> Support:
        if self._support is None:
            raise InputError("The engine has no volume yet", next_step="Call set_volume first")
        return self._support


class _Work:
    """One request: everything derived from one support set."""

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
        if support.shape != maps.shape:
            raise InputError(
                f"The examples belong to a volume of the shape {support.shape}", expected=f"the scan's {maps.shape}"
            )
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
        self._names = tuple(learner.name for learner in config.learners)
        self._seconds["region"] = time.perf_counter() - started

    def on_focus(self, focus: SliceRef) -> Proposal | None:
        """Answer for one slice, if it is one of the region's own."""
        depth = self._region.depth_of(focus.index)
        if focus.axis != self._region.order[0] or not 0 <= depth < self._task.shape[0]:
            return None
        started = time.perf_counter()
        fixed = self._trust(())
        evidence = self._evidence(self._scene, [depth])
        posterior = as_log_posterior(corrected_log_odds(self._network, self._scene, evidence, fixed, [depth]))
        self._seconds["visible slice"] = time.perf_counter() - started
        covered = Box.of_slice(focus, self._support.shape)
        return self._proposal(posterior, [depth], fixed, covered)

    def everywhere(self) -> Proposal:
        """Answer for the whole volume."""
        started = time.perf_counter()
        trust = self._trust(self._folds())
        self._seconds["left-out check"] = time.perf_counter() - started
        started = time.perf_counter()
        depths = range(self._task.shape[0])
        evidence = self._evidence(self._scene, depths, report=True)
        self._check(0.85, "trained network")
        posterior = as_log_posterior(corrected_log_odds(self._network, self._scene, evidence, trust, depths))
        self._check(0.95, "smoothing")
        posterior = refine(self._task, posterior, depths, first=0, config=self._config.walk)
        self._seconds["proposal"] = time.perf_counter() - started
        proposal = self._proposal(posterior, depths, trust, Box.whole(self._support.shape))
        self._progress(1.0, "done")
        return proposal

    def _trust(self, folds: Sequence[Fold]) -> Trust:
        trust = fit_trust(self._names, self._task.structures, folds, self._config.fusion, self._task.device)
        return trust if self._network is None else check_network(self._network, folds, trust)

    def _folds(self) -> list[Fold]:
        folds = []
        chosen = _spread(self._task.depths, self._config.folds) if len(self._task.depths) > 1 else []
        for n, depth in enumerate(chosen):
            self._check(0.5 * n / len(chosen), "checking whom to trust")
            left = self._task.without(depth)
            if not bool((left.classes > 0).any()):
                continue
            scene = Scene(left, self._config.scene, seed=self._seed)
            evidence = {name: e[:, 0] for name, e in self._evidence(scene, [depth]).items()}
            folds.append(Fold(evidence, self._task.classes[depth], scene, depth))
        return folds

    def _evidence(self, scene: Scene, depths: Sequence[int], *, report: bool = False) -> dict[str, Tensor]:
        evidence = {}
        learners = self._config.learners
        for n, learner in enumerate(learners):
            if report:
                self._check(0.5 + 0.35 * n / len(learners), learner.name)
            elif self._cancel is not None:
                self._cancel.raise_if_cancelled()
            evidence[learner.name] = learner.fit(scene).evidence(depths)
        return evidence

    def _check(self, fraction: float, stage: str) -> None:
        if self._cancel is not None:
            self._cancel.raise_if_cancelled()
        self._progress(fraction, stage)

    def _proposal(self, posterior: Tensor, depths: Sequence[int], trust: Trust, covered: Box) -> Proposal:
        probability = self._region.upsample(posterior.exp())
        best, winner = probability.max(0)
        normal = self._region.order[0]
        start = list(self._region.box.start)
        stop = list(self._region.box.stop)
        start[normal] += depths[0]
        stop[normal] = start[normal] + len(depths)
        box = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
        ids = np.array([0, *self._support.structures], dtype=np.uint8)
        labels = self._region.to_volume_axes(ids[winner.cpu().numpy()])
        confidence = self._region.to_volume_axes(best.float().cpu().numpy())
        _keep_painted(self._support, box, labels, confidence)
        structures = self._support.structures
        per_slice = slice_dice(posterior, trust, self._task, depths)
        # One slice says nothing of how a structure fares on all others.
        whole = len(depths) == self._task.shape[0]
        expected = expected_dice(posterior, trust, self._task, depths)
        refs = [SliceRef(normal, start[normal] + n) for n in range(len(depths))]
        return Proposal(
            generation=self._support.generation,
            box=box,
            labels=labels,
            confidence=confidence,
            covered=covered,
            expected_dice=dict(zip(structures, expected, strict=True)) if whole else {},
            slice_dice={ref: d for ref, d in zip(refs, per_slice, strict=True) if d is not None},
            trust={s: trust.shares(n) for n, s in enumerate(structures, start=1)},
            seconds=dict(self._seconds),
        )


def _spread(depths: Sequence[int], count: int) -> list[int]:
    if len(depths) <= count:
        return list(depths)
    # Both ends tell how the structure ends, the middle how it goes on.
    return [depths[i] for i in np.unique(np.linspace(0, len(depths) - 1, count).round().astype(int))]


def _keep_painted(support: Support, box: Box, labels: LabelArray, confidence: FloatArray) -> None:
    painted, known = support.labels_and_known()
    inside = known[box.slices]
    labels[inside] = painted[box.slices][inside]
    confidence[inside] = 1.0
