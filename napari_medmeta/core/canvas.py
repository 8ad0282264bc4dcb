"""A canvas for synthetic scans: shapes as signed depths in mm, bent by a smooth random displacement, with their labels.

Patient axes: z grows to superior, y to posterior, x to the patient's left, 0 in the middle of the grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from napari_medmeta.core.geometry import Geometry
from napari_medmeta.core.types import FloatArray, LabelArray, Triple

__all__ = ["Canvas"]


class Canvas:
    """Depths in mm go in, an image with partial volume and a label volume come out.

    Parameters
    ----------
    shape, spacing_mm
        Along (z, y, x).
    background
        Value of what nothing is drawn over.
    seed
        Of the bends and of all noise.
    bend_mm
        How far shapes are bent.
    """

    def __init__(
        self, shape: Triple, spacing_mm: Sequence[float], *, background: float, seed: int, bend_mm: float
    ) -> None:
        spacing = [float(s) for s in spacing_mm]
        centre = [-(n - 1) / 2 * s for n, s in zip(shape, spacing, strict=True)]
        # World x, y, z of the first voxel; array axes (z, y, x) point to superior, posterior, left.
        self.geometry = Geometry.from_parts(shape, spacing_mm=spacing, origin_mm=centre[::-1])
        self.labels: LabelArray = np.zeros(shape, dtype=np.uint8)
        self._image = np.full(shape, background, dtype=np.float32)
        self._rng = np.random.default_rng(seed)
        axes = [c + s * np.arange(n, dtype=np.float32) for c, s, n in zip(centre, spacing, shape, strict=True)]
        grid = np.meshgrid(*axes, indexing="ij", sparse=True)
        self.z, self.y, self.x = (g + bend_mm * 0.6 * self.smooth_noise(55.0) for g in grid)
        self._softness = min(spacing[1:])

    def draw(self, depth: FloatArray, value: float | FloatArray, *, label: int | None = None) -> None:
        """Blend ``value`` in where ``depth`` (mm, positive inside) says so; set ``label`` (None keeps it)."""
        share = np.clip(depth / self._softness + 0.5, 0.0, 1.0)
        self._image += share * (value - self._image)
        if label is not None:
            self.labels[depth > 0] = label

    def ellipsoid(
        self, centre: tuple[float, float, float], radii: tuple[float, float, float], *, tilt: float = 0.0
    ) -> FloatArray:
        """Return the depth of an ellipsoid at (z, y, x) in mm, turned by ``tilt`` radians in the (z, x) plane."""
        z, y, x = self.z - centre[0], self.y - centre[1], self.x - centre[2]
        if tilt:
            z, x = np.cos(tilt) * z + np.sin(tilt) * x, np.cos(tilt) * x - np.sin(tilt) * z
        radius = np.sqrt((z / radii[0]) ** 2 + (y / radii[1]) ** 2 + (x / radii[2]) ** 2)
        return np.asarray((1.0 - radius) * min(radii), dtype=np.float32)

    def tube(self, y: float | FloatArray, x: float | FloatArray, radius_y: float, radius_x: float) -> FloatArray:
        """Return the depth of a tube along z through (y, x)."""
        radius = np.hypot((self.y - y) / radius_y, (self.x - x) / radius_x)
        return np.asarray((1.0 - radius) * min(radius_y, radius_x), dtype=np.float32)

    def branches(self, scale_mm: float, radius_mm: float) -> FloatArray:
        """Return the depth of a net of winding vessels: where two smooth fields are both near zero."""
        distance = np.hypot(self.smooth_noise(scale_mm), self.smooth_noise(scale_mm)) * scale_mm * 0.6
        return np.asarray(radius_mm - distance, dtype=np.float32)

    def bump(self, distance: FloatArray, width: float) -> FloatArray:
        """Return a bell of height 1 and standard deviation ``width`` around distance 0."""
        return np.asarray(np.exp(-0.5 * (distance / width) ** 2), dtype=np.float32)

    def smooth_noise(self, scale_mm: float) -> FloatArray:
        """Return a random field of mean 0 and standard deviation about 1 that changes over ``scale_mm``."""
        spacing = self.geometry.spacing_mm
        # Drawn on a grid as coarse as the field allows, then interpolated: far cheaper than a wide filter.
        counts = [max(2, int(np.ceil(n * s / scale_mm)) + 3) for n, s in zip(self.geometry.shape, spacing, strict=True)]
        field = self._rng.standard_normal(counts).astype(np.float32)
        for axis, (count, n, s) in enumerate(zip(counts, self.geometry.shape, spacing, strict=True)):
            field = _interpolate(field, np.arange(n) * s / scale_mm + 1.0, axis, count)
        return np.asarray(field / max(float(field.std()), 1e-6), dtype=np.float32)

    def grain(self, *, sigma: float) -> FloatArray:
        """Return noise of standard deviation 1, correlated over ``sigma`` voxels in the slice plane."""
        noise = self._rng.standard_normal(self.geometry.shape, dtype=np.float32)
        if sigma:
            noise = ndimage.gaussian_filter(noise, (0.0, sigma, sigma))
            noise /= noise.std()
        return np.asarray(noise, dtype=np.float32)

    def rendered(self) -> FloatArray:
        """Return the image as a scanner of limited sharpness sees it."""
        return np.asarray(ndimage.gaussian_filter(self._image, (0.4, 0.45, 0.45)), dtype=np.float32)


def _interpolate(field: FloatArray, positions: FloatArray, axis: int, count: int) -> FloatArray:
    """Resample one axis of ``field`` (``count`` samples) at ``positions`` with a cubic B-spline's weights."""
    base = np.clip(np.floor(positions).astype(int), 1, count - 3) if count > 3 else np.zeros(len(positions), dtype=int)
    t = (positions - base).astype(np.float32)
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6
    matrix = np.zeros((len(positions), count), dtype=np.float32)
    for offset, weight in zip((-1, 0, 1, 2), weights, strict=True):
        matrix[np.arange(len(positions)), np.clip(base + offset, 0, count - 1)] += weight
    return np.moveaxis(np.tensordot(matrix, field, axes=(1, axis)), 0, axis)
