"""The engine's one public object: a volume and examples in, proposals out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from napari_medmeta.core import (
    CancelToken,
    InputError,
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
from napari_medmeta.engine.clicks import answer_clicks, split_support
from napari_medmeta.engine.device import free_memory_bytes, pick_device
from napari_medmeta.engine.embedding import embed_volume
from napari_medmeta.engine.features import FeatureMaps, compute_features
from napari_medmeta.engine.joining import joined
from napari_medmeta.engine.learners.registry import shipped_encoder
from napari_medmeta.engine.outlining import Outlines
from napari_medmeta.engine.request import EngineConfig, Request, require_grid
from napari_medmeta.engine.streaming import Keeping, needed_bytes, stream_features
from napari_medmeta.engine.weights import network_in_use

__all__ = ["EngineConfig", "Segmenter"]

_Asked: TypeAlias = Callable[[Support, Progress], Request]
"""Asks the engine: a support set, and where to tell how far the answer is."""

HAND_MADE_SHARE = 0.6
"""Progress when the hand-made features are done and the learnt ones begin: about their share of the time."""


class Segmenter:
    """Propose structures on a whole volume from a few examples.

    A proposal depends on the volume and the support set alone, never on what was asked before: removing
    an example gives exactly what would have been without it.

    Parameters
    ----------
    device
        "auto", "cpu" or "cuda".
    config
        Settings; the defaults are the measured ones. Those of one family of learners, or with own weights:
        `napari_medmeta.engine.choices.engine_config`.
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
        own = self._config.weights
        self._network = network_in_use(names, self._device, folder=own) if self._config.network else None
        for learner in self._config.learnt:
            learner.to(self._device)
        # Nobody looks at the embedding unless a learner works in it.
        self._encoder = shipped_encoder(own).to(self._device) if self._config.learnt else None
        self._maps: FeatureMaps | None = None
        self._support: Support | None = None

    @property
    def device(self) -> str:
        """Where the engine computes: "cpu" or "cuda"."""
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
        """Return about how many bytes a volume of ``shape`` needs at the peak, with what is kept of its features."""
        voxels = int(np.prod(shape))
        return needed_bytes(voxels, self._keeping(voxels) or Keeping.INTENSITY)

    def set_volume(self, volume: Volume, *, progress: Progress = silent, cancel: CancelToken | None = None) -> None:
        """Compute the features of ``volume``, once; forgets the volume before.

        Where memory is short, less of them is kept and the rest computed where it is needed: slower, with the same
        answers.

        Raises
        ------
        Cancelled
            When ``cancel`` is set meanwhile; the volume before stays.
        VolumeTooLargeError
            When the memory would not suffice for the least that has to be kept.
        """
        keeping = self._required_keeping(volume.geometry.shape)
        until = 1.0 if self._encoder is None else HAND_MADE_SHARE
        first, second = _share_of(progress, 0.0, until), _share_of(progress, until, 1.0)
        if keeping is Keeping.FEATURES:
            maps = compute_features(volume, device=self._device, progress=first, cancel=cancel)
        else:
            maps = stream_features(volume, keeping, device=self._device, progress=first, cancel=cancel)
        self._maps = self._embedded(maps, second, cancel)
        self._support = Support(self._maps.shape)

    def reconfigure(
        self, config: EngineConfig, *, progress: Progress = silent, cancel: CancelToken | None = None
    ) -> None:
        """Answer with other settings from now on; what is known of the scan, and the examples, stay.

        Raises
        ------
        Cancelled
            When ``cancel`` is set meanwhile; the settings before stay.
        StorageError
            When weights cannot be used; the settings before stay.
        """
        other = Segmenter(device=self._device.type, config=config, seed=self._seed)
        maps = self._maps if self._maps is None else other._embedded(self._maps, progress, cancel)
        self._config, self._network, self._encoder = config, other._network, other._encoder
        self._maps = maps

    def _embedded(self, maps: FeatureMaps, progress: Progress, cancel: CancelToken | None) -> FeatureMaps:
        known = maps.embedding
        if self._encoder is None or (known is not None and known.encoder == self._encoder.name):
            return maps
        embedding = embed_volume(self._encoder, maps.intensity, maps.spacing_mm, progress=progress, cancel=cancel)
        return replace(maps, embedding=embedding)

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
            The slice on screen: it is answered first, with the fixed trust in the sources, and the parts of the
            volume between complete slices follow from there outward.

        Yields
        ------
        Proposal
            For ``focus`` where it lies in the region, then for parts of the volume, then for all of it. Without a
            focus for all of it alone. What a part says is what the whole says there. Structures with clicks and
            strokes alone are outlined on the marked slices first (see `napari_medmeta.engine.clicks`), and these
            outlines are gone on from as if they had been painted (see `napari_medmeta.engine.outlining`); so is what
            is found in boxes, where no slice is complete.

        Raises
        ------
        MissingExamplesError
            When no structure has an example.
        Cancelled
            When ``cancel`` is set between two steps.
        """
        support = support if support is not None else self._require_support()
        maps = self._require_maps()
        require_grid(support, maps.shape)
        drawn, marked = split_support(support)

        def request(asked: Support, told: Progress) -> Request:
            return Request(maps, asked, self._config, self._network, self._seed, told, cancel)

        if marked is None:
            seen, rest = _begun(support, request, focus, progress)
            yield from (first for first in (seen,) if first is not None)
            yield from rest
            return
        answer = answer_clicks(maps, marked, self._config.clicks, self._config.region, cancel=cancel)
        outlines = Outlines(support, marked, answer)
        if drawn is None:
            yield from _from_outlines(outlines, request, focus, progress)
        else:
            yield from _beside_outlines(drawn, outlines, request, focus, progress)

    def _budget_bytes(self) -> int:
        budget = self._config.memory_budget_bytes
        return free_memory_bytes(self._device) if budget is None else budget

    def _keeping(self, voxels: int) -> Keeping | None:
        """Return the most that can be kept of a volume's features; None where nothing fits."""
        budget = self._budget_bytes()
        return next((keeping for keeping in Keeping if needed_bytes(voxels, keeping) <= budget), None)

    def _required_keeping(self, shape: Triple) -> Keeping:
        voxels = int(np.prod(shape))
        keeping = self._keeping(voxels)
        if keeping is None:
            size = " x ".join(str(n) for n in shape)
            needed, free = needed_bytes(voxels, Keeping.INTENSITY), self._budget_bytes()
            raise VolumeTooLargeError(
                f"A scan of {size} voxels needs {needed / 1e9:.1f} GB of memory; {free / 1e9:.1f} GB are free",
                next_step="Close other programs, or crop the scan to the region you need, or resample it more coarsely",
            )
        return keeping

    def _require_maps(self) -> FeatureMaps:
        if self._maps is None:
            raise InputError("The engine has no volume yet", next_step="Call set_volume first")
        return self._maps

    def _require_support(self) -> Support:
        if self._support is None:
            raise InputError("The engine has no volume yet", next_step="Call set_volume first")
        return self._support


def _begun(
    drawn: Support, request: _Asked, focus: SliceRef | None, progress: Progress
) -> tuple[Proposal | None, Iterator[Proposal]]:
    """Return the answer to what was drawn for the slice on screen, if there is one, and all that follow it."""
    if drawn.complete:
        work = request(drawn, progress)
        return None if focus is None else work.on_focus(focus), work.outward(focus)
    # Boxes alone: what is found in them is outlined first, on a few slices, and gone on from.
    *_, answer = request(drawn, silent).outward(None)
    outlines = Outlines.of_boxes(drawn, answer)
    return outlines.on(focus), _beyond(outlines, request, focus, progress)


def _beyond(outlines: Outlines, request: _Asked, focus: SliceRef | None, progress: Progress) -> Iterator[Proposal]:
    """Yield what follows from all outlines, that for the slice on screen first unless it is outlined itself."""
    if not outlines.slices:
        # Nothing but the marks themselves was found: there is no outline to go on from.
        progress(1.0, "done")
        yield outlines.answer
        return
    work = request(outlines.painted, progress)
    first = None if focus is None or focus in outlines.slices else work.on_focus(focus)
    if first is not None:
        yield outlines.settled(first)
    yield from map(outlines.settled, work.outward(focus))


def _from_outlines(
    outlines: Outlines, request: _Asked, focus: SliceRef | None, progress: Progress
) -> Iterator[Proposal]:
    """Yield what follows from marks alone: the outline on screen, and from all outlines the rest."""
    on_screen = outlines.on(focus)
    if on_screen is not None:
        yield on_screen
    yield from _beyond(outlines, request, focus, progress)


def _beside_outlines(
    drawn: Support, outlines: Outlines, request: _Asked, focus: SliceRef | None, progress: Progress
) -> Iterator[Proposal]:
    """Yield the answers to what was drawn, as if nothing had been marked, joined with what follows from the marks."""
    seen, rest = _begun(drawn, request, focus, _share_of(progress, 0.5, 1.0))
    on_screen = outlines.on(focus)
    if on_screen is not None and seen is not None:
        yield joined(seen, on_screen)
    else:
        yield from (first for first in (on_screen, seen) if first is not None)
    beyond = outlines.answer
    if outlines.slices:
        *_, whole = request(outlines.painted, _share_of(progress, 0.0, 0.5)).outward(None)
        beyond = outlines.settled(whole)
    for proposal in rest:
        yield joined(proposal, beyond)


def _share_of(progress: Progress, start: float, stop: float) -> Progress:
    """Return what tells ``progress`` of a part of the work, from ``start`` to ``stop``."""

    def told(fraction: float, stage: str, /) -> None:
        progress(start + (stop - start) * fraction, stage)

    return told
