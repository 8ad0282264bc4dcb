from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_medmeta.core import Cancelled, CancelToken, Geometry, Volume
from napari_medmeta.engine.features import SCALES_MM, compute_features, feature_count, normalised_intensity

CPU = torch.device("cpu")


def volume_of(array: np.ndarray, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Volume:
    return Volume(array, Geometry.from_parts(array.shape, spacing_mm=spacing))


def test_every_voxel_gets_the_stated_number_of_finite_features() -> None:
    array = np.random.default_rng(0).normal(size=(6, 9, 8)).astype(np.float32)
    maps = compute_features(volume_of(array), device=CPU)
    assert maps.maps.shape == (feature_count(), 6, 9, 8)
    assert bool(torch.isfinite(maps.maps).all())


def test_a_constant_scan_has_no_structure_in_any_feature() -> None:
    maps = compute_features(volume_of(np.full((4, 8, 8), 7, np.int16)), device=CPU)
    assert float(maps.maps.float().abs().max()) < 1e-3


def test_a_scan_of_truth_values_is_read_as_0_and_1() -> None:
    array = np.indices((4, 4, 4)).sum(0) % 2
    seen = [normalised_intensity(volume_of(a)) for a in (array.astype(bool), array.astype(np.uint8))]
    assert np.array_equal(*seen)
    assert np.ptp(seen[0]) > 0


def test_a_single_slice_scan_has_features_too() -> None:
    array = np.random.default_rng(0).normal(size=(1, 8, 8)).astype(np.float32)
    assert bool(torch.isfinite(compute_features(volume_of(array), device=CPU).maps).all())


def test_the_same_anatomy_gives_the_same_smoothing_on_thin_and_thick_slices() -> None:
    # The same ramp in mm, sampled every 1 mm and every 4 mm along the first axis.
    thin = np.repeat(np.linspace(0, 10, 41)[:, None, None], 8, 1).repeat(8, 2).astype(np.float32)
    thick = thin[::4]
    channel = 1 + 4 * SCALES_MM.index(2.0)
    fine = compute_features(volume_of(thin), device=CPU).maps[channel].float()
    coarse = compute_features(volume_of(thick, (4.0, 1.0, 1.0)), device=CPU).maps[channel].float()
    # Away from the borders, where the scan ends and both must guess.
    assert torch.allclose(fine[12:29:4, 4, 4], coarse[3:8, 4, 4], atol=0.15)


def test_metal_and_padding_do_not_squeeze_the_tissue() -> None:
    array = np.random.default_rng(0).normal(40, 20, size=(20, 40, 40)).astype(np.float32)
    plain = normalised_intensity(volume_of(array))
    array[:4] = -3024
    array[10, 10, 10] = 30_000
    spoilt = normalised_intensity(volume_of(array))
    assert np.std(spoilt[5:9]) > 0.8 * np.std(plain[5:9])


def test_computing_stops_when_cancelled() -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        compute_features(volume_of(np.zeros((4, 8, 8), np.float32)), device=CPU, cancel=token)
