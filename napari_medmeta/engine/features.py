"""Per-volume features: multi-scale Gaussian, gradient and Hessian responses, in millimetres.

The responses are normalised by scale (Lindeberg, "Feature detection with automatic scale selection",
IJCV 1998), and each Gaussian has the same width in mm along every axis, so that a feature means the same
on thick and on thin slices. They do not depend on any painting: they are computed once for a volume.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from monai.networks.layers.convutils import gaussian_1d
from monai.networks.layers.simplelayers import separable_filtering
from torch import Tensor

from napari_medmeta.core import Box, CancelToken, Progress, Triple, Volume, silent
from napari_medmeta.engine.embedding import EmbeddingMaps

__all__ = [
    "FEATURE_LIMIT",
    "PER_SCALE",
    "SCALES_MM",
    "FeatureMaps",
    "RegionMaps",
    "compute_features",
    "feature_count",
    "kernel_radius",
    "normalised_intensity",
    "responses",
    "widened",
]

SCALES_MM = (1.0, 2.0, 4.0, 8.0)
"""Widths of the Gaussians: from a vessel wall to an organ's surroundings."""

MIN_SIGMA_VOXELS = 0.3
"""A narrower Gaussian changes less than 1 % of a voxel's weight: the axis is left alone."""

TRUNCATED = 3.0
"""Gaussians are cut off at so many standard deviations."""

FILTERED_AT_ONCE = 500_000
"""Voxels convolved together: their layout for the widest kernel takes about 100 MB."""

FEATURE_LIMIT = 8.0
"""Features are cut here, in standard deviations: metal must not outweigh everything else."""

PER_SCALE = 4
"""Smoothed intensity, gradient magnitude, Laplacian, Frobenius norm of the Hessian."""

ROBUST_PERCENTILES = (0.5, 99.5)
"""Percentiles that stand for the darkest and brightest tissue; beyond them are metal, air and noise."""

SAMPLE_FOR_PERCENTILES = 1_000_000
"""Voxels looked at for the percentiles; their error at this number is far below one grey value."""


@dataclass(frozen=True, eq=False)
class RegionMaps:
    """What was cut out of a volume's features for one region, pooled.

    Parameters
    ----------
    order
        The volume's axes that became D, H, W.
    box
        The part of the volume.
    pooling
        Voxels of the volume in one of these, along D, H, W.
    features
        (C, D, H, W) float32.
    intensity
        (D, H, W) float32.
    embedding
        (E, D, H, W) float32: the learnt embedding; None where the volume has none.
    """

    order: Triple
    box: Box
    pooling: Triple
    features: Tensor
    intensity: Tensor
    embedding: Tensor | None

    def between(self, start: int, stop: int) -> RegionMaps:
        """Return the part between two slices of the volume (half-open); nothing may be pooled along D."""
        normal = self.order[0]
        first, last = list(self.box.start), list(self.box.stop)
        part = slice(start - first[normal], stop - first[normal])
        first[normal], last[normal] = start, stop
        return RegionMaps(
            self.order,
            Box((first[0], first[1], first[2]), (last[0], last[1], last[2])),
            self.pooling,
            self.features[:, part].contiguous(),
            self.intensity[part],
            None if self.embedding is None else self.embedding[:, part],
        )


@dataclass(frozen=True, eq=False)
class FeatureMaps:
    """Features of one volume.

    Parameters
    ----------
    maps
        (C, I, J, K) float16 on the engine's device, each channel with mean 0 and variance 1 over the scan.
    intensity
        (I, J, K) float32 on the engine's device: robustly normalised, about 0 to 1 over the tissue.
    spacing_mm
        Voxel spacing along I, J, K.
    embedding
        The learnt embedding of the scan; None where no learner asks for it.
    """

    maps: Tensor
    intensity: Tensor
    spacing_mm: tuple[float, float, float]
    embedding: EmbeddingMaps | None = None
    last_region: list[RegionMaps] = field(default_factory=list, init=False, repr=False)
    """What was cut out last, at most one: after a correction the region is often the same, or part of it."""

    @property
    def shape(self) -> Triple:
        """The volume's shape (I, J, K)."""
        i, j, k = self.intensity.shape
        return i, j, k

    @property
    def device(self) -> torch.device:
        """Where the tensors live."""
        return self.intensity.device

    @property
    def voxels_at_once(self) -> int:
        """About how many voxels `crop` should be asked for at a time."""
        return 2_000_000

    def volumes(self) -> Iterator[Tensor]:
        """Yield every channel of the whole volume, (I, J, K) float16."""
        yield from self.maps

    @property
    def crops_agree(self) -> bool:
        """Whether a voxel has the same values to the last bit in every `crop`."""
        return True

    @property
    def channels(self) -> int:
        """Number of features per voxel."""
        return int(self.maps.shape[0])

    def crop(self, box: Box) -> Tensor:
        """Return the features inside ``box`` as (C, *box.shape) float32."""
        return self.maps[(slice(None), *box.slices)].float()


def feature_count() -> int:
    """Return the number of features per voxel."""
    return 1 + PER_SCALE * len(SCALES_MM)


def normalised_intensity(volume: Volume) -> np.ndarray[tuple[int, int, int], np.dtype[np.float32]]:
    """Return (I, J, K) float32 with robust percentiles mapped to 0 and 1, and the tails clipped to [-0.5, 1.5]."""
    # Of two truth values no percentile lies between.
    array = volume.array if volume.array.dtype != np.bool_ else volume.array.view(np.uint8)
    step = max(1, array.size // SAMPLE_FOR_PERCENTILES)
    sample = array.reshape(-1)[::step]
    # A constant border (air, padding) would swallow the lower percentiles of the tissue.
    inside = sample[sample > sample.min()]
    low, high = np.percentile(inside if inside.size else sample, ROBUST_PERCENTILES)
    scaled = (array.astype(np.float32) - np.float32(low)) / np.float32(max(high - low, 1e-6))
    return np.asarray(np.clip(scaled, -0.5, 1.5), dtype=np.float32)


def compute_features(
    volume: Volume,
    *,
    device: torch.device,
    progress: Progress = silent,
    cancel: CancelToken | None = None,
) -> FeatureMaps:
    """Compute the features of ``volume`` on ``device``.

    Raises
    ------
    Cancelled
        When ``cancel`` is set between two scales.
    """
    intensity = torch.from_numpy(normalised_intensity(volume)).to(device)
    spacing = volume.geometry.spacing_mm
    maps = torch.empty((feature_count(), *intensity.shape), dtype=torch.float16, device=device)
    _store(maps, 0, intensity)
    smooth, reached = intensity, 0.0
    for index, scale in enumerate(SCALES_MM):
        if cancel is not None:
            cancel.raise_if_cancelled()
        progress(index / len(SCALES_MM), "features")
        # Gaussians compose: widening the last one needs a smaller kernel than starting again.
        smooth = widened(smooth, scale, reached, spacing)
        reached = scale
        for offset, response in enumerate(responses(smooth, scale, spacing)):
            _store(maps, 1 + PER_SCALE * index + offset, response)
    progress(1.0, "features")
    return FeatureMaps(maps, intensity, spacing)


def _store(maps: Tensor, channel: int, response: Tensor) -> None:
    std, mean = torch.std_mean(response)
    maps[channel] = ((response - mean) / std.clamp_min(1e-6)).clamp_(-FEATURE_LIMIT, FEATURE_LIMIT)


def kernel_radius(sigma: float) -> int:
    """Return how many voxels the Gaussian of ``sigma`` voxels reaches to each side."""
    return (len(_kernel(sigma, torch.device("cpu"))) - 1) // 2


def widened(image: Tensor, scale: float, reached: float, spacing_mm: Sequence[float]) -> Tensor:
    """Smooth an (I, J, K) image from a Gaussian of ``reached`` mm to one of ``scale`` mm."""
    sigma_mm = (scale**2 - reached**2) ** 0.5
    smooth = image.clone()
    for axis, spacing in enumerate(spacing_mm):
        kernel = _kernel(sigma_mm / spacing, image.device)
        if len(kernel) > 1:
            _smooth_along(smooth, axis, kernel)
    return smooth


def _smooth_along(image: Tensor, axis: int, kernel: Tensor) -> None:
    """Convolve (I, J, K) along one axis, in place and piece by piece.

    On a processor the convolution lays every voxel out as often as the kernel is long: of a whole scan that would be
    gigabytes. What lies side by side across the axis does not meet, so that the pieces need no margin.
    """
    across = 1 if axis == 0 else 0
    alone = [kernel if a == axis else kernel.new_ones(1) for a in range(3)]
    thickness = max(1, FILTERED_AT_ONCE * image.shape[across] // max(1, image.numel()))
    for start in range(0, image.shape[across], thickness):
        piece = image.narrow(across, start, min(thickness, image.shape[across] - start))
        piece.copy_(separable_filtering(piece[None, None], alone, mode="replicate")[0, 0])


def _kernel(sigma: float, device: torch.device) -> Tensor:
    if sigma <= MIN_SIGMA_VOXELS:
        return torch.ones(1, device=device)
    return gaussian_1d(torch.tensor(sigma, device=device), truncated=TRUNCATED)


def responses(smooth: Tensor, scale: float, spacing_mm: Sequence[float]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the features of one scale: the image itself, gradient, Laplacian, and norm of the Hessian."""
    axes = [a for a in range(3) if smooth.shape[a] > 1]
    first = {a: _derivative(smooth, a, spacing_mm[a]) for a in axes}
    gradient = torch.sqrt(sum((g * g for g in first.values()), torch.zeros_like(smooth)))
    laplacian = torch.zeros_like(smooth)
    frobenius = torch.zeros_like(smooth)
    for n, a in enumerate(axes):
        for b in axes[n:]:
            second = _derivative(first[a], b, spacing_mm[b])
            frobenius += second * second * (1 if a == b else 2)
            if a == b:
                laplacian += second
    return smooth, gradient * scale, laplacian * scale**2, torch.sqrt(frobenius) * scale**2


def _derivative(image: Tensor, axis: int, spacing_mm: float) -> Tensor:
    (gradient,) = torch.gradient(image, spacing=spacing_mm, dim=axis)
    return gradient
