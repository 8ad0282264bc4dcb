"""Scans larger than memory: less is kept of them, and the answers stay the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import psutil
import pytest
import torch

from napari_medmeta.core import Box, Cancelled, CancelToken, Geometry, Support, Volume, VolumeTooLargeError
from napari_medmeta.core.phantoms import Phantom
from napari_medmeta.engine import EngineConfig, Segmenter, streaming
from napari_medmeta.engine.features import FeatureMaps, compute_features
from napari_medmeta.engine.streaming import Keeping, StreamedFeatures, needed_bytes, stream_features

Paint = Callable[..., Support]

CPU = torch.device("cpu")
SHAPE = (12, 40, 36)
SHORT = (Keeping.SMOOTHED, Keeping.INTENSITY)


@pytest.fixture(scope="module")
def volume() -> Volume:
    """Noise on a ramp, with slices three times as thick as the pixels."""
    noise = np.random.default_rng(0).normal(size=SHAPE).cumsum(0)
    return Volume(noise.astype(np.float32), Geometry.from_parts(SHAPE, spacing_mm=(3.0, 1.0, 1.2)))


@pytest.fixture(scope="module")
def kept(volume: Volume) -> FeatureMaps:
    """All features of the volume, in memory."""
    return compute_features(volume, device=CPU)


@pytest.fixture(params=SHORT)
def streamed(request: pytest.FixtureRequest, volume: Volume, monkeypatch: pytest.MonkeyPatch) -> StreamedFeatures:
    """The same features computed on demand, in slabs of two slices."""
    monkeypatch.setattr(streaming, "VOXELS_AT_ONCE", 2 * SHAPE[1] * SHAPE[2])
    return stream_features(volume, request.param, device=CPU)


@pytest.mark.parametrize("box", [Box.whole(SHAPE), Box((4, 10, 9), (7, 20, 30)), Box((11, 0, 35), (12, 1, 36))])
def test_a_box_of_features_is_that_of_the_whole_scan(streamed: StreamedFeatures, kept: FeatureMaps, box: Box) -> None:
    # Half precision has 11 bits: features are below 8, so that its last bit is worth up to 2**-8.
    torch.testing.assert_close(streamed.crop(box), kept.crop(box), atol=2**-7, rtol=0)


def test_every_channel_can_be_gone_through(streamed: StreamedFeatures, kept: FeatureMaps) -> None:
    volumes = torch.stack(list(streamed.volumes()))
    torch.testing.assert_close(volumes.float(), kept.maps.float(), atol=2**-7, rtol=0)


def test_less_is_kept_than_the_features_take(volume: Volume) -> None:
    voxels = int(np.prod(SHAPE))
    for keeping, images in zip(SHORT, (5, 1), strict=True):
        maps = stream_features(volume, keeping, device=CPU)
        held = [maps.maps, maps.intensity, *maps.smoothed]
        assert sum(t.numel() * t.element_size() for t in held) == 4 * images * voxels


def test_preparing_stops_when_cancelled(volume: Volume) -> None:
    token = CancelToken()
    token.cancel()
    for keeping in SHORT:
        with pytest.raises(Cancelled):
            stream_features(volume, keeping, device=CPU, cancel=token)


@pytest.mark.parametrize("keeping", SHORT)
def test_a_small_budget_gives_the_same_labels(
    keeping: Keeping, ready: Segmenter, paint: Paint, phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    voxels = phantom.labels.size
    monkeypatch.setattr(streaming, "VOXELS_AT_ONCE", voxels // 8)
    config = EngineConfig(memory_budget_bytes=needed_bytes(voxels, keeping))
    segmenter = Segmenter(device="cpu", config=config)
    segmenter.set_volume(phantom.volume)
    assert isinstance(segmenter._maps, StreamedFeatures)
    found, wanted = segmenter.segment(paint(8, 14)), ready.segment(paint(8, 14))
    assert np.mean(found.labels != wanted.labels) < 1e-3


def test_with_memory_enough_everything_is_kept(ready: Segmenter) -> None:
    assert not isinstance(ready._maps, StreamedFeatures)


def test_a_scan_beyond_even_the_least_is_refused_with_both_figures(phantom: Phantom) -> None:
    needed = needed_bytes(phantom.labels.size, Keeping.INTENSITY)
    segmenter = Segmenter(device="cpu", config=EngineConfig(memory_budget_bytes=needed - 1))
    with pytest.raises(VolumeTooLargeError, match="GB are free"):
        segmenter.set_volume(phantom.volume)


def test_a_whole_body_scan_fits_where_its_features_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    free = psutil.virtual_memory()._replace(available=4_000_000_000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    assert Segmenter(device="cpu").memory_estimate_bytes((400, 512, 512)) < 4_000_000_000
