"""From posteriors on a region to labels on the scan's own grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from napari_medmeta.core import FloatArray, LabelArray
from napari_medmeta.engine.deciding import chosen
from napari_medmeta.engine.region import Region

__all__ = ["draw"]

SLICES_AT_ONCE = 16
"""Slices brought to full resolution together: all of a large organ's would need gigabytes."""


def draw(
    region: Region, structures: Sequence[int], posterior: Tensor, lean: Tensor, *, first: int, slices: range
) -> tuple[LabelArray, FloatArray]:
    """Return labels and their probability for ``slices`` of the region's box, in the volume's axis order.

    Parameters
    ----------
    posterior
        (S+1, n, H, W) log-posteriors of the depths from ``first`` on.
    lean
        (S,) log-odds by which each structure is preferred (see `napari_medmeta.engine.deciding`).
    """
    ids = np.array([0, *structures], dtype=np.uint8)
    labels, confidence = [], []
    probability = posterior.exp()
    for start in range(slices.start, slices.stop, SLICES_AT_ONCE):
        chunk = range(start, min(start + SLICES_AT_ONCE, slices.stop))
        finer = region.upsample(probability, first=first, slices=chunk)
        winner = chosen(finer, lean)
        best = finer.gather(0, winner[None])[0]
        labels.append(ids[winner.cpu().numpy()])
        confidence.append(best.float().cpu().numpy())
    return region.to_volume_axes(np.concatenate(labels)), region.to_volume_axes(np.concatenate(confidence))
