"""Guess from the values whether an image without a header is a CT."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from napari_medmeta.core.types import Modality

__all__ = ["guess_modality"]

SAMPLES = 200_000
"""Enough for stable percentiles; a whole CT has a hundred times as many voxels."""

FAT_HU = -50.0
"""Fat and air lie below: an image in HU without any of them is not a cut through a body."""

DENSEST_HU = 4100.0
"""Metal saturates a 12-bit CT at 3071 HU; some scanners go on to 4095."""

BELOW_AIR_HU = -1100.0
"""Nothing in the body is darker than air (-1000 HU, give or take noise)."""


def guess_modality(array: npt.NDArray[Any]) -> Modality:
    """Return CT when the values (I, J, K) look like Hounsfield units, else OTHER.

    Hounsfield units are whole numbers; fat or air brings more than one voxel in a thousand below -50,
    no more than one in a thousand is above 4100, and (padding outside the scanner's circle, the very
    lowest value, left aside) next to nothing is below -1100. The last keeps out MR phase images, which
    are whole numbers around 0 too. MR magnitude, PET and shifted CT have no negative values: these
    cannot be told apart, and count as OTHER.
    """
    flat = array.reshape(-1)
    # One generator a call: the same image always gives the same guess.
    picks = np.random.default_rng(0).integers(0, flat.size, min(SAMPLES, flat.size))
    values = flat[picks].astype(np.float64)
    if not np.isfinite(values).all() or not np.array_equal(values, np.round(values)):
        return Modality.OTHER
    low, high = np.quantile(values, [0.001, 0.999])
    unpadded = values[values > values.min()]
    too_dark = np.mean(unpadded < BELOW_AIR_HU) if unpadded.size else 1.0
    looks_like_hu = low < FAT_HU and high < DENSEST_HU and too_dark < 0.01
    return Modality.CT if looks_like_hu else Modality.OTHER
