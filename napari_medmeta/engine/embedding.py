"""The learnt embedding: one small network looks at a scan once and gives every voxel a place in a learnt space.

The encoder is a 2D U-Net (Ronneberger et al., MICCAI 2015; MONAI's BasicUNet) on a slice with its two neighbours,
told how far apart they are. It is meta-trained on few-shot tasks over synthetic anatomies of random contrast, so that
voxels of one structure come to lie together whatever the scanner (the idea of training on randomised synthesis:
Billot et al., "SynthSeg", Medical Image Analysis 2023; Dey et al., "Learning general-purpose biomedical volume
representations using randomized synthesis", ICLR 2025). What it gives depends on the scan alone, not on the painting.

Its normalisation layers take their statistics from the scan itself, in training and in use (Li et al., "Adaptive batch
normalization for practical domain adaptation", Pattern Recognition 2018): a scanner never seen before is met halfway.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from monai.networks.nets.basic_unet import BasicUNet
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from napari_medmeta.core import CancelToken, Progress, Triple, silent
from napari_medmeta.engine.device import mixed_precision

__all__ = ["EmbeddingMaps", "Encoder", "EncoderConfig", "embed_volume", "encode_slices"]

CONTEXT = 3
"""The slice itself and its neighbours on both sides."""

SPACING_CHANNELS = 2
"""Constant over a slice: the logarithms of the pixel's size and of the slices' distance over it."""

SIDE_MULTIPLE = 16
"""Four halvings: the sides of a slice are padded to multiples of this."""

SLICES_AT_ONCE = 8
"""Slices that pass the encoder together: more needs memory and gains no time on a processor."""

STATISTICS_SLICES = 12
"""Slices, evenly spread over a scan, that give the normalisation its statistics: as many as a training task shows."""

MAX_VOXELS = 4_000_000
"""A scan is pooled in plane until it holds at most about this many voxels: a few seconds on two processor cores."""


@dataclass(frozen=True)
class EncoderConfig:
    """Architecture of the encoder.

    Parameters
    ----------
    features
        Channels of the five levels, and of the last layer before the embedding.
    embedding
        E, the number of dimensions of the embedding.
    """

    features: tuple[int, int, int, int, int, int] = (16, 24, 32, 48, 64, 16)
    embedding: int = 16

    def as_dict(self) -> dict[str, object]:
        """Return plain values for the record beside the weights."""
        return asdict(self)


class Encoder(nn.Module):
    """Give every voxel of a slice its embedding.

    Parameters
    ----------
    config
        Architecture.

    Attributes
    ----------
    name
        Of its weights; empty where they were not loaded.

    Notes
    -----
    In training mode slices are normalised by their own statistics, all slices of a call together, and these are kept;
    in evaluation mode by those of the last call in training mode. `embed_volume` does both in turn.
    """

    def __init__(self, config: EncoderConfig | None = None) -> None:
        super().__init__()
        self.config = config if config is not None else EncoderConfig()
        self.name = ""
        self.unet = BasicUNet(
            spatial_dims=2,
            in_channels=CONTEXT + SPACING_CHANNELS,
            out_channels=self.config.embedding,
            features=self.config.features,
            norm=("batch", {"momentum": 1.0}),
            upsample="nontrainable",
        )
        # Twice as fast on a CPU as channels first.
        convert_conv2d_weight_memory_format(self, torch.channels_last)

    def forward(self, slices: Tensor) -> Tensor:
        """Return (B, E, H, W) embeddings of (B, 5, H, W) slices whose sides are multiples of 16."""
        embedded: Tensor = self.unet(slices)
        return embedded


def encode_slices(encoder: Encoder, intensity: Tensor, spacing_mm: Sequence[float], depths: Sequence[int]) -> Tensor:
    """Return (E, n, H, W) embeddings of the slices at ``depths``, differentiable with respect to the encoder.

    Parameters
    ----------
    intensity
        (D, H, W) float32, robustly normalised (see `napari_medmeta.engine.features.normalised_intensity`).
    spacing_mm
        Along D, H, W.
    """
    deep, height, width = intensity.shape
    rows = torch.as_tensor(list(depths), device=intensity.device)
    context = [intensity[(rows + offset).clamp(0, deep - 1)] for offset in (-1, 0, 1)]
    pixel = math.sqrt(spacing_mm[1] * spacing_mm[2])
    told = (math.log(pixel), math.log(spacing_mm[0] / pixel))
    constant = [torch.full_like(context[0], value) for value in told]
    stacked = torch.stack([*context, *constant], dim=1)
    pad = (0, -width % SIDE_MULTIPLE, 0, -height % SIDE_MULTIPLE)
    padded = F.pad(stacked, pad, mode="replicate").contiguous(memory_format=torch.channels_last)
    embedded: Tensor = encoder(padded)
    return embedded[..., :height, :width].transpose(0, 1)


@dataclass(frozen=True, eq=False)
class EmbeddingMaps:
    """The embedding of one scan.

    Parameters
    ----------
    maps
        (E, I', J', K') float16 on the engine's device: the scan's axes, pooled by ``factors``.
    factors
        How many voxels of the scan one voxel of ``maps`` stands for, along I, J, K.
    encoder
        Name of the encoder's weights: embeddings of different ones cannot be compared.
    """

    maps: Tensor
    factors: Triple
    encoder: str = ""

    def sampled(self, centres: Sequence[Tensor]) -> Tensor:
        """Return (E, a, b, c) float32 at the places given by voxel indices of the scan along each axis, linearly.

        Parameters
        ----------
        centres
            For each of I, J, K the (fractional) indices wanted, in voxels of the scan.
        """
        out = self.maps
        for axis, (wanted, factor) in enumerate(zip(centres, self.factors, strict=True), start=1):
            out = _linear(out, axis, (wanted + 0.5) / factor - 0.5)
        return out.float()


def _linear(maps: Tensor, axis: int, places: Tensor) -> Tensor:
    last = maps.shape[axis] - 1
    places = places.to(maps.device).clamp(0, last)
    low = places.floor().long()
    share = places - low
    below = maps.index_select(axis, low)
    if not bool(share.any()):
        return below
    above = maps.index_select(axis, (low + 1).clamp(max=last))
    weight = share.reshape(-1, *(1 for _ in range(maps.ndim - axis - 1)))
    return torch.lerp(below.float(), above.float(), weight)


@torch.inference_mode()
def embed_volume(
    encoder: Encoder,
    intensity: Tensor,
    spacing_mm: Sequence[float],
    *,
    max_voxels: int = MAX_VOXELS,
    progress: Progress = silent,
    cancel: CancelToken | None = None,
) -> EmbeddingMaps:
    """Embed a whole scan, slice by slice along its axis of largest spacing.

    Parameters
    ----------
    intensity
        (I, J, K) float32, robustly normalised.
    max_voxels
        The slices are pooled until the scan holds at most about this many voxels.

    Raises
    ------
    Cancelled
        When ``cancel`` is set between two groups of slices.
    """
    normal = max(range(3), key=lambda axis: spacing_mm[axis])
    order = (normal, *(axis for axis in range(3) if axis != normal))
    stack = intensity.permute(order)
    factor = max(1, math.ceil(math.sqrt(stack.numel() / max_voxels) - 0.1))
    pooled = F.avg_pool2d(stack, factor, ceil_mode=True) if factor > 1 else stack
    spacing = (spacing_mm[order[0]], spacing_mm[order[1]] * factor, spacing_mm[order[2]] * factor)
    encoder.train()
    encode_slices(encoder, pooled, spacing, _spread(len(pooled), STATISTICS_SLICES))
    encoder.eval()
    maps = torch.empty((encoder.config.embedding, *pooled.shape), dtype=torch.float16, device=intensity.device)
    for start in range(0, len(pooled), SLICES_AT_ONCE):
        if cancel is not None:
            cancel.raise_if_cancelled()
        progress(start / len(pooled), "learnt features")
        depths = range(start, min(start + SLICES_AT_ONCE, len(pooled)))
        with mixed_precision(intensity.device):
            maps[:, start : start + len(depths)] = encode_slices(encoder, pooled, spacing, depths)
    back = [order.index(axis) for axis in range(3)]
    factors = tuple(1 if axis == normal else factor for axis in range(3))
    return EmbeddingMaps(maps.permute(0, *(1 + b for b in back)), (factors[0], factors[1], factors[2]), encoder.name)


def _spread(slices: int, count: int) -> list[int]:
    if slices <= count:
        return list(range(slices))
    return [int((i + 0.5) / count * slices) for i in range(count)]
