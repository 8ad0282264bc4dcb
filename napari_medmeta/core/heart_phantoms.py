"""Synthetic beating hearts with a finding: two phases, three structures, seeded, no patient in them.

A left ventricle (half an ellipsoid), its wall, and a right ventricle (a crescent beside it) on short-axis
slices, filled by the volumes drawn for the finding. Means and deviations are round numbers that follow the
definitions of the five groups of the ACDC challenge (Bernard et al., IEEE Trans Med Imaging 2018, section
II-A) and the reference ranges of Petersen et al. (J Cardiovasc Magn Reson 2017, 19:18); no scan was measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_medmeta.core.errors import InputError
from napari_medmeta.core.geometry import Geometry
from napari_medmeta.core.phantoms import Phantom
from napari_medmeta.core.types import FloatArray, MaskArray, Modality
from napari_medmeta.core.volume import Volume

__all__ = ["HEART_FINDINGS", "HEART_NAMES", "HEART_PHASES", "beating_heart"]

HEART_PHASES = ("end-diastole", "end-systole")
HEART_NAMES = {1: "right ventricle", 2: "myocardium", 3: "left ventricle"}

SHAPE = (14, 80, 80)
SPACING_MM = (9.0, 1.8, 1.8)
SLENDER = 1.8
"""Length of the left ventricle over its radius at end-diastole."""
SHORTENING = 0.86
"""Length at end-systole over that at end-diastole: the base moves towards the apex."""
BODY, BLOOD, MUSCLE, NOISE = 120.0, 300.0, 110.0, 14.0
"""Grey values of a cine scan, in arbitrary units; the spread of the noise."""


@dataclass(frozen=True, slots=True)
class _Group:
    """Means of one finding: volumes in ml, ejection fractions, wall in mm, and its oddest sector's share of that."""

    left_ml: float
    left_ejects: float
    right_ml: float
    right_ejects: float
    wall_mm: float
    sector: float = 1.0


HEART_FINDINGS: dict[str, _Group] = {
    "normal": _Group(150.0, 0.60, 160.0, 0.55, 8.0),
    "dilated cardiomyopathy": _Group(260.0, 0.28, 165.0, 0.45, 8.0),
    "hypertrophic cardiomyopathy": _Group(125.0, 0.68, 135.0, 0.58, 12.5, 1.5),
    "previous myocardial infarction": _Group(195.0, 0.32, 150.0, 0.50, 8.5, 0.6),
    "abnormal right ventricle": _Group(125.0, 0.58, 250.0, 0.38, 7.5),
}

SIZE_SPREAD, EJECTION_SPREAD, WALL_SPREAD = 0.20, 0.05, 0.12
"""From person to person: relative, absolute, relative (Petersen et al. 2017, tables 2 and 4, rounded)."""


def beating_heart(finding: str, *, seed: int = 0) -> dict[str, Phantom]:
    """Return one synthetic patient: a scan with its truth for each phase of `HEART_PHASES`.

    Parameters
    ----------
    finding
        One of `HEART_FINDINGS`.
    seed
        Another seed gives another patient.

    Raises
    ------
    InputError
        When there is no such finding.
    """
    group = HEART_FINDINGS.get(finding)
    if group is None:
        raise InputError(f"There is no synthetic heart with {finding!r}", expected=", ".join(HEART_FINDINGS))
    rng = np.random.default_rng([seed, list(HEART_FINDINGS).index(finding)])
    size = float(np.exp(SIZE_SPREAD * rng.standard_normal()))
    left, right = (v * size * np.exp(0.1 * rng.standard_normal()) for v in (group.left_ml, group.right_ml))
    ejects = [e + EJECTION_SPREAD * rng.standard_normal() for e in (group.left_ejects, group.right_ejects)]
    wall = group.wall_mm * float(np.exp(WALL_SPREAD * rng.standard_normal()))
    turn = float(rng.uniform(-0.3, 0.3))
    heart = _Heart(group.sector, turn)
    rest = heart.labels(left, right, wall, 1.0)
    muscle_ml = float(np.count_nonzero(rest == 2)) * heart.voxel_ml
    small, narrow = (v * (1 - min(max(e, 0.08), 0.85)) for v, e in zip((left, right), ejects, strict=True))
    # Muscle is not lost in a beat: the wall grows as thick as its volume asks for.
    thicker = _solved(lambda w: heart.muscle_ml(small, w, SHORTENING), muscle_ml, 2.0, 40.0)
    beat = heart.labels(small, narrow, thicker, SHORTENING)
    gain = float(np.exp(0.4 * rng.standard_normal()))
    return {phase: heart.scan(labels, gain, rng) for phase, labels in zip(HEART_PHASES, (rest, beat), strict=True)}


class _Heart:
    """The grid, and how the three structures lie on it."""

    def __init__(self, sector: float, turn: float) -> None:
        self._sector, self._turn = sector, turn
        self._geometry = Geometry.from_parts(SHAPE, spacing_mm=SPACING_MM)
        self.voxel_ml = self._geometry.voxel_volume_ml
        axes = [s * (np.arange(n, dtype=np.float32) - (n - 1) / 2) for n, s in zip(SHAPE, SPACING_MM, strict=True)]
        z, self._y, self._x = np.meshgrid(*axes, indexing="ij", sparse=True)
        # From the valves down to the apex.
        self._depth = z - z.min() - SPACING_MM[0]
        self._angle = np.arctan2(self._y, self._x) + turn

    def labels(self, left_ml: float, right_ml: float, wall_mm: float, shortening: float) -> np.ndarray:
        """Return (I, J, K) uint8 labels with these volumes."""
        cavity, muscle = self._left(left_ml, wall_mm, shortening)
        out = np.zeros(SHAPE, dtype=np.uint8)
        outer = cavity | muscle
        width = _solved(lambda r: self._ml(self._right(r, outer, shortening)), right_ml, 10.0, 90.0)
        out[self._right(width, outer, shortening)] = 1
        out[muscle], out[cavity] = 2, 3
        return out

    def muscle_ml(self, left_ml: float, wall_mm: float, shortening: float) -> float:
        """Return the volume of a wall of this thickness."""
        return self._ml(self._left(left_ml, wall_mm, shortening)[1])

    def scan(self, labels: np.ndarray, gain: float, rng: np.random.Generator) -> Phantom:
        """Return the scan of ``labels`` with noise and a slowly changing brightness."""
        values = np.array([BODY, BLOOD, MUSCLE, BLOOD], dtype=np.float32)[labels]
        trunk = (self._x / 68.0) ** 2 + (self._y / 62.0) ** 2 + 0 * self._depth < 1
        values = np.where(trunk | (labels > 0), values, 5.0)
        bias = np.exp(0.15 * self._x / 70.0 - 0.1 * self._y / 70.0)
        image = ndimage.gaussian_filter(values * bias, (0.0, 0.6, 0.6)) + NOISE * rng.standard_normal(SHAPE)
        array = np.round(np.clip(image, 0, None) * gain).astype(np.int16)
        return Phantom(Volume(array, self._geometry, Modality.MR, name="heart (synthetic)"), labels, HEART_NAMES)

    def _left(self, ml: float, wall_mm: float, shortening: float) -> tuple[MaskArray, MaskArray]:
        slender = SLENDER * shortening
        radius = _solved(lambda r: self._ml(self._half(r, slender * r, 0.0)), ml, 8.0, 60.0)
        cavity = self._half(radius, slender * radius, 0.0)
        # The sector lies on the free wall and reaches over a quarter of the circle; it does not thicken when infarcted.
        odd = np.exp(-0.5 * (np.angle(np.exp(1j * (self._angle - 0.5))) / 0.7) ** 2)
        factor = self._sector**2 if self._sector < 1 and shortening < 1 else self._sector
        wall = wall_mm * (1 + (factor - 1) * odd)
        outer = self._half(radius + wall, slender * radius + wall, 0.0)
        return cavity, outer & ~cavity

    def _half(self, radius: float | FloatArray, length: float | FloatArray, shift_mm: float) -> MaskArray:
        inside = ((self._x - shift_mm) ** 2 + self._y**2) / radius**2 + (self._depth / length) ** 2 < 1
        return np.asarray(inside & (self._depth >= 0))

    def _right(self, radius: float, outer: MaskArray, shortening: float) -> MaskArray:
        # Wider than deep, displaced to the patient's right; the septum is cut out of it.
        crescent = ((self._x + 0.75 * radius) / radius) ** 2 + (self._y / (1.15 * radius)) ** 2
        crescent = crescent + (self._depth / (1.9 * shortening * radius)) ** 2
        return np.asarray((crescent < 1) & (self._depth >= 0) & ~outer)

    def _ml(self, mask: MaskArray) -> float:
        return float(np.count_nonzero(mask)) * self.voxel_ml


def _solved(value: Callable[[float], float], wanted: float, low: float, high: float) -> float:
    """Return where the growing ``value`` reaches ``wanted``, by bisection to a thousandth of the range."""
    for _ in range(10):
        middle = (low + high) / 2
        low, high = (middle, high) if value(middle) < wanted else (low, middle)
    return (low + high) / 2
