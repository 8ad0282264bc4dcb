"""What a deformable registration compares in each voxel: brightness, or how a place differs from its surroundings."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_medmeta.core import FloatArray

__all__ = ["brightness", "correlation", "self_similarity"]

LEAST_VARIANCE, MOST_VARIANCE = 1e-3, 1e3
"""Bounds of a voxel's noise beside the mean noise, as in the authors' code of MIND."""

DARK = 0.02
"""Share of the range of values up to which a voxel shows nothing."""

NEIGHBOURS = ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1))


def correlation(first: FloatArray, second: FloatArray) -> float:
    """Return the linear correlation in [-1, 1] of two arrays with values in [0, 1]; 0 where one is constant.

    Only where both show something: the darkness around a body is the same in every scan.
    """
    seen = (first > DARK) & (second > DARK)
    if not seen.any():
        return 0.0
    a, b = (np.asarray(x, dtype=np.float64)[seen] for x in (first, second))
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 0 else 0.0


def brightness(today: FloatArray, prior: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return one channel (1, I, J, K) each, in units of today's spread, the prior's values fitted to today's."""
    spread = float(today.std()) or 1.0
    fitted = (prior - prior.mean()) * (spread / (float(prior.std()) or 1.0)) + today.mean()
    return (today / spread)[None].astype(np.float32), (fitted / spread)[None].astype(np.float32)


def self_similarity(array: FloatArray, spacing_mm: Sequence[float]) -> FloatArray:
    """Return 12 channels (12, I, J, K) in [0, 1] that do not depend on how a tissue is shown, only on its borders.

    The modality independent neighbourhood descriptor with self-similarity context (Heinrich et al., "Towards realtime
    multimodal fusion for image-guided interventions using self-similarities", MICCAI 2013): exp(-d / v) of the
    squared distances d of patches at two of the six neighbours, v their mean.
    """
    image = torch.from_numpy(np.ascontiguousarray(array))[None, None]
    patch = [3 if s < 2 * min(spacing_mm) else 1 for s in spacing_mm]
    pairs = [(a, b) for a, b in combinations(NEIGHBOURS, 2) if sum(x * y for x, y in zip(a, b, strict=True)) == 0]
    distances = torch.cat([_patch_mean((_moved(image, a) - _moved(image, b)).square(), patch) for a, b in pairs], 1)
    distances = distances - distances.amin(dim=1, keepdim=True)
    noise = distances.mean(dim=1, keepdim=True)
    usual = float(noise.mean())
    noise = noise.clamp(max(usual * LEAST_VARIANCE, torch.finfo(torch.float32).tiny), max(usual * MOST_VARIANCE, 1e-30))
    return np.asarray(torch.exp(-distances / noise)[0].numpy(), dtype=np.float32)


def _moved(image: Tensor, step: Sequence[int]) -> Tensor:
    grown = F.pad(image, (1, 1, 1, 1, 1, 1), mode="replicate")
    i, j, k = (slice(1 + s, 1 + s + n) for s, n in zip(step, image.shape[2:], strict=True))
    return grown[:, :, i, j, k]


def _patch_mean(image: Tensor, patch: Sequence[int]) -> Tensor:
    a, b, c = (p // 2 for p in patch)
    return F.avg_pool3d(F.pad(image, (c, c, b, b, a, a), mode="replicate"), tuple(patch), stride=1)
