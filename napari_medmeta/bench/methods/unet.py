"""A 2D U-Net trained from nothing on the painted slices of the very scan."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_medmeta.bench.methods.stack import Region, region_of
from napari_medmeta.core import FloatArray, LabelArray, Support, Volume

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["UNet"]

FEATURES = (16, 16, 32, 64, 128, 16)
"""Channels of the five levels and of the last layer: half a million weights, a step in a tenth of a second."""
MULTIPLE = 16
"""Four halvings of the resolution."""
BATCH = 4
LEARNING_RATE = 3e-3
"""With Adam and instance normalisation; it falls to zero along a cosine."""


@dataclass(frozen=True)
class UNet:
    """MONAI's ``BasicUNet`` on single slices, trained for a fixed time, inside the painted bound.

    How many steps fit into the time depends on the machine, so two runs differ a little.

    Parameters
    ----------
    seconds
        Processor seconds of training (all cores together), so that a busy machine changes nothing.
    max_steps
        Stops earlier after so many steps: with it, the answer is the same on every run.
    flips
        Probability of each flip of a training slice.
    """

    device: str = "cpu"
    seed: int = 0
    seconds: float = 60.0
    max_steps: int | None = None
    flips: float = 0.5
    name: str = "unet"

    @property
    def version(self) -> str:
        """Changes with the settings too."""
        steps = "" if self.max_steps is None else f",{self.max_steps}"
        return f"1:{self.seconds:g}s{steps},{self.flips:g}"

    def segment(self, volume: Volume, support: Support) -> LabelArray:
        """Return (I, J, K) labels of highest probability inside each structure's bound."""
        import torch

        region = region_of(volume, support)
        # The weights are drawn from torch's global generator; it is put back afterwards.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = self._trained(region)
        return region.labels_from(_probability(network, region))

    def _trained(self, region: Region) -> torch.nn.Module:
        import torch
        from monai.losses.dice import DiceCELoss
        from monai.networks.nets.basic_unet import BasicUNet

        from napari_medmeta.engine.device import pick_device

        device = pick_device(self.device)
        classes = 1 + len(region.stack.structures)
        network = BasicUNet(spatial_dims=2, in_channels=1, out_channels=classes, features=FEATURES).to(device)
        optimiser = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
        loss = DiceCELoss(softmax=True, to_onehot_y=True, include_background=False)
        network.train()
        for share, (images, labels) in self._batches(region):
            for group in optimiser.param_groups:
                group["lr"] = LEARNING_RATE * (1 + np.cos(np.pi * share)) / 2
            optimiser.zero_grad()
            loss(network(images.to(device)), labels.to(device)).backward()
            optimiser.step()
        return network.eval()

    def _batches(self, region: Region) -> Iterator[tuple[float, tuple[Tensor, Tensor]]]:
        """Yield the share of the time that is over, and (B, 1, h, w) images and classes, until it is over."""
        import torch

        slices = _training_slices(region)
        augment = _augmentation(self.seed, self.flips)
        rng = np.random.default_rng(self.seed)
        started, step = time.process_time(), 0
        while (share := self._share(time.process_time() - started, step)) < 1:
            drawn = [augment(slices[n]) for n in rng.integers(len(slices), size=BATCH)]
            images, labels = (torch.stack([d[key].as_tensor() for d in drawn]) for key in ("image", "label"))
            yield share, (images, labels)
            step += 1

    def _share(self, seconds: float, step: int) -> float:
        in_steps = 0.0 if self.max_steps is None else step / self.max_steps
        return max(seconds / self.seconds, in_steps)


def _augmentation(seed: int, flips: float) -> Any:
    from monai.transforms.compose import Compose
    from monai.transforms.intensity import dictionary as intensity
    from monai.transforms.spatial import dictionary as spatial

    both = ["image", "label"]
    chain = Compose(
        [
            spatial.RandFlipd(both, prob=flips, spatial_axis=0),
            spatial.RandFlipd(both, prob=flips, spatial_axis=1),
            spatial.RandAffined(
                both,
                prob=0.9,
                rotate_range=0.3,
                shear_range=0.1,
                translate_range=8,
                scale_range=0.2,
                mode=("bilinear", "nearest"),
                padding_mode="border",
            ),
            intensity.RandScaleIntensityd(["image"], factors=0.2, prob=0.5),
            intensity.RandShiftIntensityd(["image"], offsets=0.1, prob=0.5),
            intensity.RandAdjustContrastd(["image"], gamma=(0.7, 1.5), prob=0.3),
            intensity.RandGaussianNoised(["image"], std=0.05, prob=0.3),
        ]
    )
    return chain.set_random_state(seed=seed)


def _training_slices(region: Region) -> list[dict[str, Tensor]]:
    """Return image and classes of every painted slice in the region, (1, h, w) each, padded."""
    import torch

    first = region.box[0].start
    depths = [int(i) - first for i in region.stack.indices if region.box[0].start <= i < region.box[0].stop]
    return [
        {
            "image": torch.from_numpy(_padded(region.image[d])[None]),
            # Seeds count from 1, which is background.
            "label": torch.from_numpy(_padded(region.seeds[d].astype(np.float32) - 1)[None]),
        }
        for d in depths
    ]


def _probability(network: torch.nn.Module, region: Region) -> FloatArray:
    """Return (1 + structures, s, r, c), slice by slice."""
    import torch

    device = next(network.parameters()).device
    rows, columns = region.image.shape[1:]
    found = []
    with torch.inference_mode():
        for plane in region.image:
            scores = network(torch.from_numpy(_padded(plane)[None, None]).to(device))
            found.append(scores.softmax(1)[0, :, :rows, :columns].float().cpu().numpy())
    return np.stack(found, axis=1)


def _padded(plane: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    # At least two voxels must be left at the lowest resolution for the instance normalisation.
    wanted = [max(2 * MULTIPLE, -(-n // MULTIPLE) * MULTIPLE) for n in plane.shape]
    return np.pad(plane, [(0, w - n) for w, n in zip(wanted, plane.shape, strict=True)], mode="edge").astype(np.float32)
