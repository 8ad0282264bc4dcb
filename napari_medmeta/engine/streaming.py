"""Features of scans that are larger than memory: computed where they are asked for, instead of being kept.

The result is that of `napari_medmeta.engine.features.compute_features`, up to rounding: every box is computed with
the margin that the Gaussians reach, and the mean and the standard deviation of each channel are those of the whole
scan, gathered slab by slab when the volume is set.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from napari_medmeta.core import Box, CancelToken, Progress, Triple, Volume, silent
from napari_medmeta.engine.features import (
    FEATURE_LIMIT,
    PER_SCALE,
    SCALES_MM,
    FeatureMaps,
    feature_count,
    kernel_radius,
    normalised_intensity,
    responses,
    widened,
)

__all__ = ["Keeping", "StreamedFeatures", "needed_bytes", "stream_features"]

VOXELS_AT_ONCE = 4_000_000
"""Size of the slabs in which a scan is gone through."""

DERIVATIVE_MARGIN = 2
"""Central differences, twice."""

WORKING_BYTES = 800_000_000
"""What a proposal takes beside the features: the libraries, the learnt embedding (half precision, of a scan pooled to
4 million voxels), the region and the evidence."""


class Keeping(Enum):
    """What is kept of a scan, the most first."""

    FEATURES = "features"
    SMOOTHED = "smoothed"
    INTENSITY = "intensity"


def needed_bytes(voxels: int, keeping: Keeping) -> int:
    """Return about how many bytes a scan of so many voxels needs at the peak."""
    if keeping is Keeping.FEATURES:
        # Half precision, and up to six float32 volumes while they are computed.
        return voxels * (2 * feature_count() + 6 * 4) + WORKING_BYTES
    # The intensities and a copy while they are normalised; an image of each scale; the slab in work.
    volumes = 2 + (len(SCALES_MM) if keeping is Keeping.SMOOTHED else 0)
    return voxels * 4 * volumes + 12 * 4 * min(voxels, VOXELS_AT_ONCE) + WORKING_BYTES


@dataclass(frozen=True, eq=False)
class StreamedFeatures(FeatureMaps):
    """Features that are computed where they are asked for; ``maps`` is (C, 0, 0, 0).

    Parameters
    ----------
    smoothed
        (I, J, K) float32 of each scale; empty where they are computed each time, too.
    mean, std
        Of each channel over the whole scan.
    """

    smoothed: tuple[Tensor, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @property
    def crops_agree(self) -> bool:
        """Whether a voxel has the same values to the last bit in every `crop`: other boxes round otherwise."""
        return False

    def crop(self, box: Box) -> Tensor:
        """Return the features inside ``box`` as (C, *box.shape) float32."""
        out = torch.empty((feature_count(), *box.shape), dtype=torch.float16, device=self.device)
        for channel, response in _raw(self, box):
            scaled = (response - self.mean[channel]) / max(self.std[channel], 1e-6)
            out[channel] = scaled.clamp_(-FEATURE_LIMIT, FEATURE_LIMIT)
        return out.float()

    def volumes(self) -> Iterator[Tensor]:
        """Yield every channel of the whole volume, (I, J, K) float16; those of one scale are computed at once."""
        groups = [range(1), *(range(1 + PER_SCALE * n, 1 + PER_SCALE * (n + 1)) for n in range(len(SCALES_MM)))]
        for group in groups:
            block = torch.empty((len(group), *self.shape), dtype=torch.float16, device=self.device)
            for box in _slabs(self.shape):
                for channel, response in _raw(self, box, only=group):
                    scaled = (response - self.mean[channel]) / max(self.std[channel], 1e-6)
                    block[(channel - group.start, *box.slices)] = scaled.clamp_(-FEATURE_LIMIT, FEATURE_LIMIT)
            yield from block


def stream_features(
    volume: Volume,
    keeping: Keeping,
    *,
    device: torch.device,
    progress: Progress = silent,
    cancel: CancelToken | None = None,
) -> StreamedFeatures:
    """Prepare the features of ``volume`` on ``device``.

    Raises
    ------
    Cancelled
        When ``cancel`` is set between two slabs.
    """
    intensity = torch.from_numpy(normalised_intensity(volume)).to(device)
    spacing = volume.geometry.spacing_mm
    smoothed: tuple[Tensor, ...] = ()
    if keeping is Keeping.SMOOTHED:
        smoothed = tuple(_all_scales(intensity, spacing, cancel))
    nothing = torch.empty((feature_count(), 0, 0, 0), dtype=torch.float16, device=device)
    maps = StreamedFeatures(nothing, intensity, spacing, smoothed=smoothed)
    mean, std = _statistics(maps, progress, cancel)
    progress(1.0, "features")
    return StreamedFeatures(nothing, intensity, spacing, smoothed=smoothed, mean=mean, std=std)


def _all_scales(intensity: Tensor, spacing: Sequence[float], cancel: CancelToken | None) -> Iterator[Tensor]:
    smooth = intensity
    for scale, before in _steps():
        if cancel is not None:
            cancel.raise_if_cancelled()
        smooth = widened(smooth, scale, before, spacing)
        yield smooth


def _statistics(
    maps: StreamedFeatures, progress: Progress, cancel: CancelToken | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel, added up in double precision."""
    total = torch.zeros(feature_count(), 2, dtype=torch.float64)
    slabs = _slabs(maps.shape)
    for n, box in enumerate(slabs):
        if cancel is not None:
            cancel.raise_if_cancelled()
        progress(n / len(slabs), "features")
        for channel, response in _raw(maps, box):
            values = response.double()
            total[channel] += torch.stack([values.sum(), (values * values).sum()]).cpu()
    count = math.prod(maps.shape)
    mean = total[:, 0] / count
    variance = ((total[:, 1] - count * mean**2) / max(count - 1, 1)).clamp_min(0.0)
    return tuple(mean.tolist()), tuple(variance.sqrt().tolist())


def _raw(maps: StreamedFeatures, box: Box, *, only: range | None = None) -> Iterator[tuple[int, Tensor]]:
    """Yield the number and the values inside ``box`` of each channel (of ``only`` these), not yet normalised."""
    wanted = range(feature_count()) if only is None else only
    if 0 in wanted:
        yield 0, maps.intensity[box.slices]
    inner = box.grown((DERIVATIVE_MARGIN,) * 3, maps.shape)
    for index, smooth in enumerate(_smooth_at(maps, inner)):
        first = 1 + PER_SCALE * index
        if first in wanted:
            for offset, response in enumerate(responses(smooth, SCALES_MM[index], maps.spacing_mm)):
                yield first + offset, _within(response, inner, box)
        if first + PER_SCALE > wanted[-1]:
            return


def _smooth_at(maps: StreamedFeatures, box: Box) -> Iterator[Tensor]:
    """Yield the image inside ``box`` at each scale."""
    if maps.smoothed:
        yield from (smooth[box.slices] for smooth in maps.smoothed)
        return
    reaches = [_reach(scale, before, maps.spacing_mm) for scale, before in _steps()]
    margin = tuple(sum(reach[axis] for reach in reaches) for axis in range(3))
    grown = box.grown((margin[0], margin[1], margin[2]), maps.shape)
    smooth = maps.intensity[grown.slices]
    for scale, before in _steps():
        smooth = widened(smooth, scale, before, maps.spacing_mm)
        yield _within(smooth, grown, box)


def _steps() -> list[tuple[float, float]]:
    """Return each scale with the one before it."""
    return list(zip(SCALES_MM, (0.0, *SCALES_MM[:-1]), strict=True))


def _reach(scale: float, before: float, spacing: Sequence[float]) -> Triple:
    sigma = (scale**2 - before**2) ** 0.5
    i, j, k = (kernel_radius(sigma / s) for s in spacing)
    return i, j, k


def _within(values: Tensor, grown: Box, box: Box) -> Tensor:
    """Cut ``box`` out of values inside ``grown``."""
    return values[tuple(slice(a - o, b - o) for a, b, o in zip(box.start, box.stop, grown.start, strict=True))]


def _slabs(shape: Triple) -> list[Box]:
    """Return boxes along the first axis that fill a volume of ``shape``."""
    thickness = max(1, VOXELS_AT_ONCE // (shape[1] * shape[2]))
    starts = range(0, shape[0], thickness)
    return [Box((a, 0, 0), (min(a + thickness, shape[0]), shape[1], shape[2])) for a in starts]
