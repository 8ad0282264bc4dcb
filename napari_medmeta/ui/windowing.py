"""Which grey values are shown: the radiologist's CT windows, and robust limits for everything else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_medmeta.core import Modality

__all__ = ["CT_WINDOWS", "Window", "limits_for", "windows_for"]

ROBUST_PERCENTILES = (1.0, 99.5)
"""MR units are arbitrary: the darkest and brightest voxels are noise, fat or vessels."""

SAMPLED_VOXELS = 500_000
"""Percentiles of this many evenly spread voxels differ from the full ones by less than a grey level."""


@dataclass(frozen=True, slots=True)
class Window:
    """A named range of grey values."""

    name: str
    low: float
    high: float


def _ct(name: str, *, centre: float, width: float) -> Window:
    return Window(name, centre - width / 2, centre + width / 2)


CT_WINDOWS: tuple[Window, ...] = (
    _ct("Soft tissue", centre=50, width=400),
    _ct("Lung", centre=-600, width=1500),
    _ct("Bone", centre=400, width=1800),
    _ct("Brain", centre=40, width=80),
    _ct("Liver", centre=30, width=150),
)
"""Reading windows in Hounsfield units, with the values of Radiopaedia, "Windowing (CT)" (rID 52108:
soft tissue and liver of the abdomen, bone of the spine); the first is the one a scan opens with."""

PERCENTILES: tuple[tuple[str, float, float], ...] = (
    ("More contrast", 5.0, 95.0),
    ("Bright parts", 50.0, 99.9),
    ("Dark parts", 0.5, 80.0),
)
"""Further windows where units are arbitrary: name, darkest and brightest percentile. Fat and vessels fill
about the brightest fifth of a body MR; noise and air the darkest half."""


def windows_for(array: npt.NDArray[Any], modality: Modality) -> tuple[Window, ...]:
    """Return the windows offered for a scan (any shape), the one to open with first."""
    automatic = _robust(array)
    if modality is Modality.CT:
        return (*CT_WINDOWS, automatic)
    sample = _sample(array)
    others = (Window(name, *_limits(sample, low, high)) for name, low, high in PERCENTILES)
    return (automatic, *(w for w in others if w.high > w.low), _full(array))


def limits_for(array: npt.NDArray[Any], modality: Modality) -> tuple[float, float]:
    """Return the (darkest, brightest) grey value to open a scan with."""
    window = CT_WINDOWS[0] if modality is Modality.CT else _robust(array)
    return window.low, window.high


def _robust(array: npt.NDArray[Any]) -> Window:
    low, high = _limits(_sample(array), *ROBUST_PERCENTILES)
    return Window("Automatic", low, high) if high > low else _full(array)


def _sample(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    flat = array.reshape(-1) if array.flags.c_contiguous else np.ravel(array)
    return flat[:: max(1, flat.size // SAMPLED_VOXELS)]


def _limits(sample: npt.NDArray[Any], low: float, high: float) -> tuple[float, float]:
    darkest, brightest = np.percentile(sample, (low, high))
    return float(darkest), float(brightest)


def _full(array: npt.NDArray[Any]) -> Window:
    low, high = float(array.min()), float(array.max())
    # napari needs a range above zero; a constant image is shown black.
    return Window("Everything", low, high if high > low else low + 1.0)
