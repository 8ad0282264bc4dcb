"""Measure a case for comparison with others: size, shape, brightness, and ratios between structures and phases.

Nothing here knows an organ or a disease. An ejection fraction, a wall that thickens, an enlarged spleen or a
bright liver are all ratios or sizes of structures that the user named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.measure import marching_cubes, mesh_surface_area

from napari_medmeta.core import (
    BACKGROUND,
    Box,
    GeometryMismatchError,
    InputError,
    LabelArray,
    MaskArray,
    MissingExamplesError,
    Modality,
    Volume,
)
from napari_medmeta.core.diagnosis import Feature, MeasuredCase, Quantity, clean_name, comparable

__all__ = ["MeasuredScan", "join_scans", "measure_case", "measure_scan"]

LEAST_VOXELS = 20
"""Fewer voxels have no shape."""

MOST_VOXELS = 4_000_000
"""Shapes of larger boxes are measured on every second voxel, or every third: a percent of their size."""

STATISTICS = 500_000
"""Voxels of the body that are enough for its median."""

FLAT = 2.0
"""Slices this much thicker than a pixel is wide say nothing of thickness across them."""

HOUNSFIELD_AIR = 1000.0

BETWEEN_STRUCTURES = (Quantity.VOLUME, Quantity.THICKNESS)
BETWEEN_PHASES = (
    Quantity.VOLUME,
    Quantity.LENGTH,
    Quantity.WIDTH,
    Quantity.THICKNESS,
    Quantity.THICKEST,
    Quantity.THINNEST,
)
"""Ratios of these mean something in every organ; others would only repeat them with more noise."""


@dataclass(frozen=True, eq=False)
class MeasuredScan:
    """One scan of a case in numbers: each structure's quantities, as `Feature` stores them."""

    modality: Modality
    values: Mapping[str, Mapping[Quantity, float]]


def measure_scan(volume: Volume, labels: LabelArray, names: Mapping[int, str]) -> MeasuredScan:
    """Measure the structures of one scan.

    Parameters
    ----------
    volume, labels
        The scan and its segmentation, (I, J, K) uint8 on its grid; painted or proposed masks alike.
    names
        What the structures are called by their value; values without a name are left out.

    Raises
    ------
    GeometryMismatchError
        When the labels do not have the scan's shape.
    InputError
        When two structures have one name.
    MissingExamplesError
        When none of the structures is there.
    """
    if labels.shape != volume.array.shape:
        raise GeometryMismatchError(
            f"The labels have the shape {labels.shape}", expected=f"the scan's shape {volume.array.shape}"
        )
    clean = {number: clean_name(name, what="a structure").casefold() for number, name in names.items()}
    if len(set(clean.values())) < len(clean):
        raise InputError("Two structures have the same name", expected="a name of its own for each")
    middle, spread = _body(volume)
    found = {}
    for number, name in sorted(clean.items()):
        mask = labels == number
        if number != BACKGROUND and np.count_nonzero(mask) >= LEAST_VOXELS:
            values = volume.array[mask].astype(np.float64)
            found[name] = {**_shape(mask, volume), **_brightness(values, middle, spread)}
    if not found:
        raise MissingExamplesError(
            "There is no structure to measure on this scan", next_step="Segment it first: paint and propose"
        )
    return MeasuredScan(volume.modality, found)


def join_scans(scans: Mapping[str, MeasuredScan]) -> MeasuredCase:
    """Return the measurements of a case, ratios included, from its scans by the name of their phase.

    Raises
    ------
    InputError
        When there is no scan, or the scans are of different kinds (CT and MR).
    """
    if not scans:
        raise InputError("The case has no scan yet", next_step="Measure its scan first")
    modalities = [scan.modality for scan in scans.values()]
    if not all(comparable(modalities[0], m) for m in modalities):
        raise InputError("The scans of one case are of different kinds", expected="all CT, or all MR")
    named = {_phase(name): scan for name, scan in scans.items()}
    if len(named) < len(scans):
        raise InputError("Two scans of the case have the same phase", expected="a name of its own for each")
    values = {
        feature: value for source in (_single, _between_structures, _between_phases) for feature, value in source(named)
    }
    return MeasuredCase(modalities[0], values)


def measure_case(
    scans: Mapping[str, tuple[Volume, LabelArray]], names: Mapping[int, str], *, modality: Modality | None = None
) -> MeasuredCase:
    """Measure all scans of a case, given by the name of their phase; see `measure_scan` and `join_scans`.

    ``modality`` overrules what the files say.
    """
    case = join_scans({phase: measure_scan(volume, labels, names) for phase, (volume, labels) in scans.items()})
    return case if modality is None else MeasuredCase(modality, case.values)


def _phase(name: str) -> str:
    return clean_name(name, what="a phase").casefold() if name.strip() else ""


def _single(scans: Mapping[str, MeasuredScan]) -> Iterator[tuple[Feature, float]]:
    for phase, scan in scans.items():
        for structure, quantities in scan.values.items():
            for quantity, value in quantities.items():
                yield Feature(quantity, structure, phase), value


def _between_structures(scans: Mapping[str, MeasuredScan]) -> Iterator[tuple[Feature, float]]:
    for phase, scan in scans.items():
        for over, structure in combinations(sorted(scan.values), 2):
            for quantity in BETWEEN_STRUCTURES:
                ratio = scan.values[structure][quantity] - scan.values[over][quantity]
                yield Feature(quantity, structure, phase, over, phase), ratio


def _between_phases(scans: Mapping[str, MeasuredScan]) -> Iterator[tuple[Feature, float]]:
    for before, after in combinations(sorted(scans), 2):
        first, second = scans[before].values, scans[after].values
        for structure in sorted(first.keys() & second.keys()):
            for quantity in BETWEEN_PHASES:
                ratio = second[structure][quantity] - first[structure][quantity]
                yield Feature(quantity, structure, after, structure, before), ratio


def _body(volume: Volume) -> tuple[float, float]:
    """Return median and interquartile range of the scan inside the body."""
    step = max(1, volume.array.size // STATISTICS)
    values = volume.array.reshape(-1)[::step].astype(np.float64)
    low = -HOUNSFIELD_AIR if volume.modality is Modality.CT else float(values.min())
    inside = values[values - low > 0.5 * float((values - low).mean())]
    quarter, middle, three = np.percentile(inside if inside.size else values, (25, 50, 75))
    return float(middle), max(float(three - quarter), 1e-6)


def _brightness(values: npt.NDArray[np.float64], middle: float, spread: float) -> dict[Quantity, float]:
    """Return how bright the structure is beside the body, and how uneven, in the body's interquartile ranges."""
    quarter, half, three = np.percentile(values, (25, 50, 75))
    # A twentieth of the body's range: below that is the noise of any scan.
    texture = max(float(three - quarter) / spread, 0.05)
    return {Quantity.BRIGHTNESS: (float(half) - middle) / spread, Quantity.TEXTURE: float(np.log(texture))}


def _shape(mask: MaskArray, volume: Volume) -> dict[Quantity, float]:
    """Return the logarithms of the sizes and shapes of a structure (ml, mm)."""
    millilitres = np.count_nonzero(mask) * volume.geometry.voxel_volume_ml
    small, spacing = _thinned(mask, volume.geometry.spacing_mm)
    long, wide = _axes(small, volume.geometry.affine[:3, :3] * (np.divide(spacing, volume.geometry.spacing_mm)))
    thin, thickness, thick = _thicknesses(small, spacing)
    shapes = {
        Quantity.VOLUME: millilitres,
        Quantity.LENGTH: long,
        Quantity.WIDTH: wide,
        Quantity.ROUNDNESS: _sphericity(small, spacing),
        Quantity.THICKNESS: thickness,
        Quantity.THICKEST: thick,
        Quantity.THINNEST: thin,
    }
    return {quantity: float(np.log(value)) for quantity, value in shapes.items()}


def _thinned(mask: MaskArray, spacing_mm: tuple[float, float, float]) -> tuple[MaskArray, tuple[float, float, float]]:
    """Return the box of the structure with one empty voxel around it, coarser where it is very large."""
    box = Box.around(mask) or Box.whole(mask.shape)
    crop = mask[box.slices]
    step = int(np.ceil((crop.size / MOST_VOXELS) ** (1 / 3)))
    if step > 1 and np.count_nonzero(crop[::step, ::step, ::step]) >= LEAST_VOXELS:
        crop = crop[::step, ::step, ::step]
        i, j, k = (s * step for s in spacing_mm)
        spacing_mm = (i, j, k)
    return np.pad(crop, 1), spacing_mm


def _axes(mask: MaskArray, steps: npt.NDArray[Any]) -> tuple[float, float]:
    """Return the longest and the shortest axis (mm) of the ellipsoid with the structure's moments."""
    points = np.argwhere(mask) @ np.asarray(steps).T
    # Each voxel is a box of its own extent, so that a single slice has a thickness too.
    covariance = np.cov(points, rowvar=False) + np.asarray(steps) @ np.asarray(steps).T / 12
    roots = np.sqrt(np.linalg.eigvalsh(covariance))
    # An ellipsoid's variance along an axis is a fifth of the square of its half.
    return float(2 * np.sqrt(5) * roots[-1]), float(2 * np.sqrt(5) * roots[0])


def _sphericity(mask: MaskArray, spacing_mm: tuple[float, float, float]) -> float:
    """Return the surface of the ball of the structure's volume over its own surface (Wadell 1935): 1 for a ball."""
    corners, faces, _, _ = marching_cubes(  # type: ignore[no-untyped-call]
        mask.astype(np.float32), 0.5, spacing=spacing_mm
    )
    surface = float(mesh_surface_area(corners, faces))  # type: ignore[no-untyped-call]
    millimetres = np.count_nonzero(mask) * float(np.prod(spacing_mm))
    return float(np.pi ** (1 / 3) * (6 * millimetres) ** (2 / 3) / surface)


def _thicknesses(mask: MaskArray, spacing_mm: tuple[float, float, float]) -> tuple[float, float, float]:
    """Return the 10th, 50th and 90th percentile (mm) of the thickness along the structure's middle.

    Thickness is twice the distance from the middle to the outside; across thick slices it is measured
    inside each slice alone.
    """
    through = int(np.argmax(spacing_mm))
    plane = [s for axis, s in enumerate(spacing_mm) if axis != through]
    flat = spacing_mm[through] > FLAT * max(plane)
    size = [3, 3, 3]
    sampling = list(spacing_mm)
    if flat:
        # So far away that no other slice is ever the nearest outside.
        size[through], sampling[through] = 1, 1e6
    distance = ndimage.distance_transform_edt(mask, sampling=sampling)
    middle = mask & (distance >= ndimage.maximum_filter(distance, size=size))
    # From voxel centre to voxel centre: the outline lies half a voxel nearer.
    pixel = float(np.mean(plane))
    thickness = np.sort(np.maximum(2 * distance[middle] - pixel, pixel))
    # Each place counts as much as there is around it: corners have middles of their own, of next to no width.
    below = np.cumsum(thickness) / float(thickness.sum())
    thin, half, thick = thickness[np.searchsorted(below, (0.1, 0.5, 0.9))]
    return float(thin), float(half), float(thick)
