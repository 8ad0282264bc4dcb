from __future__ import annotations

import pytest
import torch

from napari_medmeta.training.anatomies import AnatomyConfig, Dice, random_anatomy, smooth_noise
from napari_medmeta.training.appearance import AppearanceConfig, random_image


def _dice(seed: int) -> Dice:
    return Dice(torch.Generator().manual_seed(seed))


def test_the_same_seed_gives_the_same_anatomy_and_image(small: AnatomyConfig) -> None:
    dice, again = _dice(7), _dice(7)
    one, two = random_anatomy(dice, small), random_anatomy(again, small)
    assert torch.equal(one.labels, two.labels)
    assert one.spacing_mm == two.spacing_mm
    assert torch.equal(random_image(dice, one), random_image(again, two))


def test_another_seed_gives_another_anatomy(small: AnatomyConfig) -> None:
    one, two = random_anatomy(_dice(1), small), random_anatomy(_dice(2), small)
    assert one.labels.shape != two.labels.shape or not torch.equal(one.labels, two.labels)


@pytest.mark.parametrize("seed", range(6))
def test_an_anatomy_holds_the_structures_that_it_names(small: AnatomyConfig, seed: int) -> None:
    anatomy = random_anatomy(_dice(seed), small)
    present = set(torch.unique(anatomy.labels).tolist())
    assert set(anatomy.structures) <= present - {0}
    assert anatomy.structures


def test_spacing_goes_from_isotropic_to_ten_to_one() -> None:
    ratios = []
    for seed in range(40):
        thickness, pixel, _ = random_anatomy(_dice(seed), AnatomyConfig(in_plane=(24, 24), slices=(6, 8))).spacing_mm
        ratios.append(thickness / pixel)
    assert min(ratios) < 1.6
    assert 6 < max(ratios) <= 10


def test_some_structures_end_inside_the_volume(small: AnatomyConfig) -> None:
    anatomy = random_anatomy(_dice(4), small)
    held = [(anatomy.labels == s).flatten(1).any(1) for s in anatomy.structures]
    assert any(not bool(h[0]) and not bool(h[-1]) for h in held)


def test_smooth_noise_is_smooth_and_of_about_unit_variance() -> None:
    noise = smooth_noise(_dice(0), (20, 60, 60), (1.0, 1.0, 1.0), scale_mm=12.0, channels=4)
    assert noise.shape == (4, 20, 60, 60)
    assert 0.5 < float(noise.std()) < 1.6
    assert float(noise.diff(dim=-1).abs().mean()) < 0.25 * float(noise.std())


def test_an_image_without_texture_blur_and_noise_has_one_grey_value_per_label(small: AnatomyConfig) -> None:
    plain = AppearanceConfig(texture=0.0, noise=0.006, bias=0.0, streaks=0.0, ghosts=0.0, blur_pixels=0.0)
    anatomy = random_anatomy(_dice(11), small)
    image = random_image(_dice(12), anatomy, plain)
    assert image.shape == anatomy.labels.shape
    largest = int(torch.bincount(anatomy.labels.flatten())[1:].argmax()) + 1
    inside = anatomy.labels == largest
    assert float(image[inside].std()) < 0.1
