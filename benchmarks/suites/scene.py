"""The scan on which the limits are stated: 256 x 256 x 100 voxels, three structures, three example slices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_medmeta.core import LabelArray, SliceExample, SliceRef, Support, Volume, label_slice
from napari_medmeta.core.phantoms import torso_ct

__all__ = ["OnScene", "Scene", "make_scene"]

SHAPE = (100, 256, 256)
STRUCTURES = (1, 2, 3)
"""Liver, spleen and left kidney."""
FRACTIONS = (1 / 6, 3 / 6, 5 / 6)
AXIS = 0


@dataclass(frozen=True, eq=False)
class Scene:
    """A scan, its truth, and the slices a user would paint on it.

    Parameters
    ----------
    support
        Three painted slices.
    more
        The same and one more, as after a correction.
    focus
        The slice on screen, next to the one painted last.
    """

    volume: Volume
    truth: LabelArray
    support: Support
    more: Support
    focus: SliceRef


class OnScene:
    """What every suite on the scan of the stated limits shares: asv makes the scan once for all of them."""

    timeout = 600
    number, repeat, warmup_time = 1, 3, 0

    def setup_cache(self) -> Scene:
        return make_scene()


def make_scene() -> Scene:
    """Paint three slices of a synthetic torso, and a fourth between the first two."""
    phantom = torso_ct(shape=SHAPE)
    truth = np.where(np.isin(phantom.labels, STRUCTURES), phantom.labels, 0).astype(np.uint8)
    held = np.flatnonzero(truth.any(axis=(1, 2)))
    painted = [int(held[0] + f * len(held)) for f in FRACTIONS]
    corrected = (painted[0] + painted[1]) // 2
    return Scene(
        phantom.volume,
        truth,
        _support(truth, painted, generation=1),
        _support(truth, [*painted, corrected], generation=2),
        SliceRef(AXIS, corrected + 1),
    )


def _support(truth: LabelArray, indices: list[int], *, generation: int) -> Support:
    examples = []
    for index in sorted(indices):
        labels = label_slice(truth, SliceRef(AXIS, index)).copy()
        examples.append(SliceExample(SliceRef(AXIS, index), labels, np.ones(labels.shape, dtype=bool)))
    i, j, k = truth.shape
    return Support((i, j, k), tuple(examples), STRUCTURES, generation)
