"""What a report needs of a structure: volume, values, diameters and extent, kept up to date slice by slice.

Diameters are measured on axial slices: the planes of the grid whose normal lies nearest to the patient's
head-foot axis. On an oblique scan these are the scan's own planes, not planes cut across its voxels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_medmeta.core.diameters import Caliper, Segment, longest_diameter, longest_perpendicular
from napari_medmeta.core.errors import AnnotationError, GeometryMismatchError
from napari_medmeta.core.geometry import Geometry
from napari_medmeta.core.types import MAX_STRUCTURES, Box, LabelArray, Modality, SliceRef, label_slice

__all__ = ["PERCENTILES", "Diameter", "Measurement", "MeasurementTable", "axial_axis", "measure"]

PERCENTILES = (5, 25, 50, 75, 95)

MOST_LEVELS = 1 << 16
"""Scanners store 16 bits at most, so whole numbers of that range are counted one by one."""

STEPS = 1 << 14
"""Into which other values are sorted: finer than the noise of any scan, and 64 kB a slice at most."""

Point = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Diameter:
    """A line on one slice; ``start`` and ``end`` are LPS positions in mm."""

    length_mm: float
    start_mm: Point
    end_mm: Point


@dataclass(frozen=True)
class Measurement:
    """One structure in numbers; everything but the counts is None where the structure is empty.

    Parameters
    ----------
    structure
        Its label value.
    voxels, volume_ml
        Number of voxels, and their volume in millilitres.
    mean, sd, percentiles
        Of the scan's values in ``unit``; the standard deviation is that of the population (divided by
        n). Percentiles (5, 25, 50, 75, 95) are interpolated between the two nearest values.
    unit
        "HU" for CT; empty where the scan's numbers have no unit.
    ref
        The axial slice on which the longest diameter lies; the first of equals.
    longest, perpendicular
        The longest diameter of one connected piece on an axial slice, and the longest line at a right
        angle to it on the same slice, as in RECIST 1.1.
    extent_mm
        How far it reaches along the patient's left-right, front-back and head-foot axes, outer edges
        of the voxels included.
    slices
        Number of axial slices that hold some of it.
    """

    structure: int
    voxels: int = 0
    volume_ml: float = 0.0
    mean: float | None = None
    sd: float | None = None
    percentiles: Mapping[int, float] = field(default_factory=dict)
    unit: str = ""
    ref: SliceRef | None = None
    longest: Diameter | None = None
    perpendicular: Diameter | None = None
    extent_mm: Point | None = None
    slices: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "percentiles", MappingProxyType(dict(self.percentiles)))


def measure(
    labels: LabelArray,
    image: npt.NDArray[Any],
    geometry: Geometry,
    *,
    structure: int,
    modality: Modality = Modality.OTHER,
) -> Measurement:
    """Return the measurements of one structure of ``labels`` on ``image``, both (I, J, K) on ``geometry``.

    Raises
    ------
    AnnotationError
        When ``structure`` is not 1 to 254.
    GeometryMismatchError
        When an array does not have the grid's shape.

    Examples
    --------
    >>> labels = np.zeros((1, 4, 4), np.uint8)
    >>> labels[0, 1:3, 1:3] = 1
    >>> round(measure(labels, labels, Geometry.from_parts((1, 4, 4)), structure=1).volume_ml, 6)
    0.004
    """
    if not 1 <= structure <= MAX_STRUCTURES:
        raise AnnotationError(f"Structure number {structure} cannot be measured", expected=f"1 to {MAX_STRUCTURES}")
    table = MeasurementTable(image, geometry, modality=modality)
    # Without the others, their diameters need not be looked for.
    table.update(np.where(labels == structure, labels, np.uint8(0)))
    return table.measurement(structure)


def axial_axis(geometry: Geometry) -> int:
    """Return the array axis that lies nearest to the patient's head-foot axis."""
    return next(axis for axis, code in enumerate(geometry.axis_codes) if code in "IS")


@dataclass(frozen=True, eq=False)
class _SliceFacts:
    """What one structure adds on one slice: value counts, moments, caliper, reach of voxel centres (LPS mm)."""

    voxels: int
    total: float
    squares: float
    lowest: int
    counts: npt.NDArray[np.int32]
    caliper: Caliper
    reach: npt.NDArray[np.float64]


class MeasurementTable:
    """The measurements of all structures, of which a change measures only the slices that it touches.

    Parameters
    ----------
    image
        (I, J, K) values of the scan; it is looked at, never copied whole.
    geometry
        Its grid.
    modality
        CT gives its values the unit HU.

    Whole numbers that span less than 65536 are counted one by one, so percentiles are exact; other
    values are sorted into 16384 steps of the scan's range, and percentiles are exact to half a step.
    """

    def __init__(self, image: npt.NDArray[Any], geometry: Geometry, *, modality: Modality = Modality.OTHER) -> None:
        _require_shape(image, geometry, "The scan")
        self._image, self.geometry, self._unit = image, geometry, "HU" if modality is Modality.CT else ""
        self.axis = axial_axis(geometry)
        self._plane, self._frame = _plane_of(geometry, self.axis)
        self._low, self._step = _levels(image)
        # Differences from a value inside the range keep the sums of squares precise.
        self._centre = float(np.floor((self._low + float(image.max())) / 2))
        self._slices: dict[int, dict[int, _SliceFacts]] = {}

    def update(self, labels: LabelArray, *, box: Box | None = None) -> frozenset[int]:
        """Measure the slices of ``labels`` (I, J, K) inside ``box`` anew, all without one.

        Returns the structures that are, or were, on these slices.
        """
        _require_shape(labels, self.geometry, "The labels")
        box = Box.whole(self.geometry.shape) if box is None else box
        touched: set[int] = set()
        for index in range(box.start[self.axis], box.stop[self.axis]):
            before = self._slices.pop(index, {})
            after = self._measure_slice(labels, index)
            if after:
                self._slices[index] = after
            touched |= before.keys() | after.keys()
        return frozenset(touched)

    def measurement(self, structure: int) -> Measurement:
        """Return what is known of ``structure`` after the last `update`."""
        facts = {index: found[structure] for index, found in sorted(self._slices.items()) if structure in found}
        if not facts:
            return Measurement(structure, unit=self._unit)
        voxels = sum(f.voxels for f in facts.values())
        offset = sum(f.total for f in facts.values()) / voxels
        variance = max(0.0, sum(f.squares for f in facts.values()) / voxels - offset**2)
        index = max(facts, key=lambda i: (round(facts[i].caliper.longest.length, 6), -i))
        caliper = facts[index].caliper
        return Measurement(
            structure,
            voxels,
            voxels * self.geometry.voxel_volume_ml,
            mean=self._centre + offset,
            sd=float(np.sqrt(variance)),
            percentiles=self._percentiles(facts.values(), voxels),
            unit=self._unit,
            ref=SliceRef(self.axis, index),
            longest=self._placed(caliper.longest, index),
            perpendicular=self._placed(longest_perpendicular(caliper), index),
            extent_mm=self._extent(facts.values()),
            slices=len(facts),
        )

    def measurements(self, structures: Iterable[int]) -> tuple[Measurement, ...]:
        """Return the measurements of several structures, in their order."""
        return tuple(self.measurement(s) for s in structures)

    def _measure_slice(self, labels: LabelArray, index: int) -> dict[int, _SliceFacts]:
        ref = SliceRef(self.axis, index)
        drawn = label_slice(labels, ref)
        if not drawn.any():
            return {}
        plane = np.ascontiguousarray(drawn)
        found = np.flatnonzero(np.bincount(plane.ravel(), minlength=MAX_STRUCTURES + 1)[: MAX_STRUCTURES + 1])
        values = label_slice(self._image, ref)
        return {int(s): self._facts(plane == s, values, index) for s in found if s}

    def _facts(self, mask: npt.NDArray[np.bool_], values: npt.NDArray[Any], index: int) -> _SliceFacts:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        crop = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        inside = mask[crop]
        caliper = longest_diameter(inside, self._plane)
        if caliper is None:  # a mask that holds no voxel is never asked for
            raise AnnotationError("There is nothing to measure on this slice")
        numbers = values[crop][inside].astype(np.float64)
        codes = np.rint((numbers - self._low) / self._step).astype(np.int64)
        lowest = int(codes.min())
        offsets = numbers - self._centre
        moved = _moved(caliper, self._plane @ (float(rows[0]), float(columns[0])))
        return _SliceFacts(
            len(numbers),
            float(offsets.sum()),
            float(offsets @ offsets),
            lowest,
            np.bincount(codes - lowest).astype(np.int32),
            moved,
            self._reach(inside, (int(rows[0]), int(columns[0])), index),
        )

    def _reach(self, mask: npt.NDArray[np.bool_], start: tuple[int, int], index: int) -> npt.NDArray[np.float64]:
        """Return (2, 3): lowest and highest LPS position of the voxels' centres."""
        r = np.arange(mask.shape[0])
        first, last = mask.argmax(axis=1), mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)
        used = mask.any(axis=1)
        # Along a row only the first and the last voxel can be the farthest one.
        ends = np.concatenate([np.stack([r, first], axis=1)[used], np.stack([r, last], axis=1)[used]]) + start
        points = self.geometry.to_world(np.insert(ends, self.axis, index, axis=1))
        return np.stack([points.min(axis=0), points.max(axis=0)])

    def _extent(self, facts: Iterable[_SliceFacts]) -> Point:
        reaches = np.stack([f.reach for f in facts])
        edges = np.abs(self.geometry.affine[:3, :3]).sum(axis=1)
        x, y, z = (float(v) for v in reaches[:, 1].max(axis=0) - reaches[:, 0].min(axis=0) + edges)
        return x, y, z

    def _placed(self, segment: Segment, index: int) -> Diameter:
        origin = self.geometry.to_world(np.insert(np.zeros(2), self.axis, index))
        ends: list[Point] = []
        for point in (segment.start, segment.end):
            x, y, z = (float(v) for v in origin + self._frame @ point)
            ends.append((x, y, z))
        return Diameter(segment.length, ends[0], ends[1])

    def _percentiles(self, facts: Iterable[_SliceFacts], voxels: int) -> dict[int, float]:
        parts = list(facts)
        lowest = min(f.lowest for f in parts)
        counts = np.zeros(max(f.lowest + len(f.counts) for f in parts) - lowest, dtype=np.int64)
        for part in parts:
            start = part.lowest - lowest
            counts[start : start + len(part.counts)] += part.counts
        ranks = np.asarray(PERCENTILES) / 100 * (voxels - 1)
        cumulated = np.cumsum(counts)
        below, above = (np.searchsorted(cumulated, np.floor(ranks) + n, side="right") for n in (0, 1))
        share = ranks - np.floor(ranks)
        above = np.where(share > 0, above, below)
        codes = lowest + below + share * (above - below)
        return {p: float(self._low + self._step * code) for p, code in zip(PERCENTILES, codes, strict=True)}


def _plane_of(geometry: Geometry, axis: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return (2, 2) from a step (row, column) to mm in the plane, and (3, 2) from there to LPS."""
    steps = np.delete(geometry.affine[:3, :3], axis, axis=1)
    frame, plane = np.linalg.qr(steps)
    signs = np.sign(np.diag(plane))  # along the steps, so that a line starts where the indices are low
    return np.asarray(plane * signs[:, None], dtype=np.float64), np.asarray(frame * signs, dtype=np.float64)


def _levels(image: npt.NDArray[Any]) -> tuple[float, float]:
    """Return the lowest value and the width of the steps into which values are sorted."""
    low, high = float(image.min()), float(image.max())
    if image.dtype.kind in "iub" and high - low < MOST_LEVELS:
        return low, 1.0
    return low, (high - low) / (STEPS - 1) or 1.0


def _moved(caliper: Caliper, by: npt.NDArray[np.float64]) -> Caliper:
    (a, b), (c, d) = caliper.longest.start, caliper.longest.end
    x, y = (float(v) for v in by)
    return Caliper(Segment((a + x, b + y), (c + x, d + y)), caliper.hull + by)


def _require_shape(array: npt.NDArray[Any], geometry: Geometry, what: str) -> None:
    if array.shape != geometry.shape:
        raise GeometryMismatchError(
            f"{what} has the shape {array.shape}", expected=f"the grid's shape {geometry.shape}"
        )
