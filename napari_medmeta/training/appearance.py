"""From labels to an image: random contrast, texture, blur and the usual artefacts of CT and MRI.

Domain randomisation after Billot et al., "SynthSeg: segmentation of brain MRI scans of any contrast and
resolution without retraining", Medical Image Analysis 2023: a network that has seen every contrast relies on none.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from monai.networks.layers.convutils import gaussian_1d
from monai.networks.layers.simplelayers import separable_filtering
from torch import Tensor

from napari_medmeta.training.anatomies import Anatomy, Dice, smooth_noise

__all__ = ["AppearanceConfig", "random_image"]


@dataclass(frozen=True)
class AppearanceConfig:
    """How often and how strongly an image is disturbed; strengths in units of its contrast.

    Parameters
    ----------
    ct
        Share of CT-like images: soft tissues alike, air and bone far away, no bias field.
    twins
        Chance that a label nearly has the contrast of another one.
    texture, noise, bias
        Largest strengths.
    streaks, ghosts
        Chances of these artefacts.
    blur_pixels
        Largest standard deviation of the blur in the plane.
    """

    ct: float = 0.4
    twins: float = 0.25
    texture: float = 0.18
    noise: float = 0.11
    bias: float = 0.45
    streaks: float = 0.15
    ghosts: float = 0.15
    blur_pixels: float = 1.2


def random_image(dice: Dice, anatomy: Anatomy, config: AppearanceConfig | None = None) -> Tensor:
    """Return (D, H, W) float32: an image of ``anatomy`` with a contrast of its own."""
    config = config if config is not None else AppearanceConfig()
    is_ct = dice.chance(config.ct)
    means = _contrasts(dice, int(anatomy.labels.max()) + 1, config, is_ct=is_ct)
    image = _textured(dice, anatomy, means, config)
    image = _blurred(dice, image, config)
    if not is_ct:
        image = image * torch.exp(dice.uniform(0.0, config.bias) * _noise(dice, anatomy, 90.0)[0])
    if dice.chance(config.streaks):
        image = image + dice.uniform(0.02, 0.12) * _streaks(dice, anatomy)
    if dice.chance(config.ghosts):
        shift = dice.integer(6, max(7, image.shape[1] // 2))
        image = image + dice.uniform(0.03, 0.15) * torch.roll(image, shift, dims=1)
    return _noisy(dice, image, config)


def _noise(dice: Dice, anatomy: Anatomy, scale_mm: float, *, channels: int = 1) -> Tensor:
    return smooth_noise(dice, anatomy.labels.shape, anatomy.spacing_mm, scale_mm=scale_mm, channels=channels)


def _contrasts(dice: Dice, labels: int, config: AppearanceConfig, *, is_ct: bool) -> Tensor:
    means = torch.empty(labels, device=dice.device)
    for label in range(labels):
        if is_ct:
            # Mostly soft tissue; now and then lung or fat below, bone or contrast agent above.
            kind = dice.uniform(0.0, 1.0)
            means[label] = (
                dice.uniform(0.42, 0.62)
                if kind < 0.7
                else dice.uniform(0.05, 0.4)
                if kind < 0.85
                else dice.uniform(0.62, 1.0)
            )
        else:
            means[label] = dice.uniform(0.0, 1.0)
        if label > 1 and dice.chance(config.twins):
            means[label] = means[dice.integer(1, label - 1)] + dice.uniform(-0.04, 0.04)
    means[0] = 0.0 if is_ct else dice.uniform(0.0, 0.15)
    return means


def _textured(dice: Dice, anatomy: Anatomy, means: Tensor, config: AppearanceConfig) -> Tensor:
    image = means[anatomy.labels]
    for scale_mm in (dice.log_uniform(1.5, 6.0), dice.log_uniform(6.0, 30.0)):
        strength = torch.tensor(
            [dice.uniform(0.0, config.texture) ** 1.5 for _ in range(len(means))], device=dice.device
        )
        image = image + strength[anatomy.labels] * _noise(dice, anatomy, scale_mm)[0]
    return image


def _blurred(dice: Dice, image: Tensor, config: AppearanceConfig) -> Tensor:
    """Blur as a scanner does: in the plane, and along D, where a slice sees a part of its neighbours."""
    in_plane = torch.tensor(max(0.05, dice.uniform(0.0, config.blur_pixels)), device=dice.device)
    across = torch.tensor(max(0.05, dice.uniform(0.0, 0.45)), device=dice.device)
    kernels = [gaussian_1d(across, truncated=3.0), *(gaussian_1d(in_plane, truncated=3.0) for _ in range(2))]
    blurred: Tensor = separable_filtering(image[None, None], kernels, mode="replicate")[0, 0]
    return blurred


def _streaks(dice: Dice, anatomy: Anatomy) -> Tensor:
    """Return stripes that radiate from one point, as metal casts them on a CT."""
    d, h, w = anatomy.labels.shape
    rows = torch.arange(h, device=dice.device)[:, None] - dice.uniform(0, h)
    columns = torch.arange(w, device=dice.device)[None] - dice.uniform(0, w)
    angle = torch.atan2(rows, columns)
    stripes = torch.sin(angle * dice.integer(5, 24) + dice.uniform(0.0, 6.28))
    falling = torch.exp(-torch.hypot(rows, columns) / (0.4 * max(h, w)))
    per_slice = torch.sigmoid(2 * dice.normal(d, 1, 1))
    return per_slice * (stripes * falling)[None]


def _noisy(dice: Dice, image: Tensor, config: AppearanceConfig) -> Tensor:
    strength = dice.uniform(0.005, config.noise)
    grain = dice.normal(*image.shape)
    if dice.chance(0.5):
        # A reconstruction kernel makes neighbouring pixels alike.
        grain = 2.0 * F.avg_pool2d(grain[None], 3, stride=1, padding=1, count_include_pad=False)[0]
    if dice.chance(0.3):
        # Magnitude images of MRI have Rician noise.
        return torch.hypot(image + strength * grain, strength * dice.normal(*image.shape))
    return image + strength * grain
