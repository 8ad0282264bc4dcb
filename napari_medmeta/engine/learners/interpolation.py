"""The shape prior: signed distances interpolated between painted slices, rounded off beyond them.

Shape-based interpolation after Raya and Udupa, "Shape-based interpolation of multidimensional objects",
IEEE TMI 1990, with neighbouring contours first moved onto each other's centre (after Treece et al.,
"Surface interpolation from sparse cross sections using region correspondence", IEEE TMI 2000).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from napari_medmeta.engine.task import Task

__all__ = ["LEAST_LOG_POSTERIOR", "ShapeField", "shape_field", "signed_distance_mm"]

Plane = npt.NDArray[np.float32]
"""(H, W) float32: signed distance to a contour in mm, positive inside."""

FAR_OUTSIDE_MM = -50.0
"""Signed distance where a structure has no contour to measure from: beyond any doubt outside."""

LEAST_LOG_POSTERIOR = -7.0
"""Log-posteriors are cut here (odds of 1 to 1,000): no single source may veto all others."""

REACH_GAPS = 0.6
"""Beyond the outermost painted slice a structure rounds off within this share of a mean gap. Evenly
spread slices leave half a gap, randomly placed ones a whole gap on average."""

REACH_RADII = 1.2
"""The same in radii of a disc of the outermost painted area: a ball has 1, vessels more. What the painted slices
span already is taken off, half on each side, so that slices close together do not end a large organ early."""

SOFTNESS_MM = 1.0
"""Scale of the logistic from distance to posterior on a painted slice: the width of a painted edge."""

SOFTNESS_PER_MM = 0.12
"""Growth of that scale per mm from the nearest painted slice, between painted slices."""

SOFTNESS_PER_MM_BEYOND = 0.4
"""The same beyond the outermost painted slices: an extrapolated contour deserves less trust."""


@dataclass(frozen=True, eq=False)
class ShapeField:
    """The interpolated shape of every structure.

    Parameters
    ----------
    distance_mm
        (S, D, H, W) float32: signed distance in mm, positive inside.
    softness_mm
        (D,) float32: scale of the logistic at each depth.
    known
        Whether any complete slice spoke.
    """

    distance_mm: Tensor
    softness_mm: Tensor
    known: bool

    def log_posterior(self, depths: Sequence[int]) -> Tensor:
        """Return (S+1, n, H, W) log-posteriors at ``depths``; uniform while nothing is known."""
        rows = torch.as_tensor(list(depths), device=self.distance_mm.device)
        logits = self.distance_mm[:, rows] / self.softness_mm[rows][None, :, None, None]
        if not self.known:
            logits = torch.zeros_like(logits)
        return torch.log_softmax(torch.cat([torch.zeros_like(logits[:1]), logits]), dim=0).clamp_min(
            LEAST_LOG_POSTERIOR
        )


@dataclass(frozen=True, eq=False)
class _Contour:
    """A structure on one painted slice; without a field the slice says that it is absent."""

    index: int
    field: Plane | None
    centre: tuple[float, float]
    radius_mm: float
    weight: float = 1.0


def shape_field(task: Task) -> ShapeField:
    """Interpolate every structure of ``task`` over all depths, from the painted slices of each axis."""
    fields: list[npt.NDArray[np.float32]] = []
    weights: list[npt.NDArray[np.float32]] = []
    for axis in sorted({p.axis for p in task.painted}):
        seen = task if axis == 0 else task.transposed(axis)
        field = _along_normal(seen)
        back = np.argsort((axis, *(a for a in range(3) if a != axis)))
        fields.append(np.transpose(field, (0, *(back + 1))))
        weights.append(_nearness(task, axis))
    softness = _softness_mm(task)
    if not fields:
        empty = torch.full((task.structures, *task.shape), FAR_OUTSIDE_MM, device=task.device)
        return ShapeField(empty, softness, known=False)
    total = sum(weights, np.zeros((1, 1, 1), np.float32))
    blended = sum(f * (w / total)[None] for f, w in zip(fields, weights, strict=True))
    distance = torch.from_numpy(np.ascontiguousarray(blended, dtype=np.float32)).to(task.device)
    return ShapeField(distance, softness, known=True)


def signed_distance_mm(mask: npt.NDArray[np.bool_], spacing_mm: Sequence[float]) -> Plane:
    """Return (H, W) signed distance in mm to the edge of ``mask``, positive inside, 0 on voxel borders."""
    inside = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=spacing_mm)[1:-1, 1:-1]
    outside = ndimage.distance_transform_edt(~mask, sampling=spacing_mm)
    half = 0.5 * min(spacing_mm)
    return np.asarray(np.where(mask, inside - half, half - outside), dtype=np.float32)


def _softness_mm(task: Task) -> Tensor:
    depths = torch.arange(task.shape[0], device=task.device)
    low, high = min(task.depths, default=0), max(task.depths, default=0)
    beyond = (depths < low) | (depths > high)
    growth = torch.where(beyond, SOFTNESS_PER_MM_BEYOND, SOFTNESS_PER_MM)
    return SOFTNESS_MM + growth * task.distance_mm(range(task.shape[0]))


def _nearness(task: Task, axis: int) -> npt.NDArray[np.float32]:
    painted = [p.index for p in task.painted if p.axis == axis]
    places = np.arange(task.shape[axis])
    gap = np.min(np.abs(places[:, None] - np.asarray(painted)[None]), axis=1) * task.spacing_mm[axis]
    shape = [1, 1, 1]
    shape[axis] = -1
    # Squared, so that on a painted slice its own contour outweighs an interpolated one many times.
    return np.asarray(1.0 / (0.5 + gap) ** 2, dtype=np.float32).reshape(shape)


def _along_normal(task: Task) -> npt.NDArray[np.float32]:
    out = np.full((task.structures, *task.shape), FAR_OUTSIDE_MM, dtype=np.float32)
    for structure in range(1, task.structures + 1):
        contours = _contours(task, structure)
        if any(c.field is not None for c in contours):
            for depth in range(task.shape[0]):
                _interpolate(contours, depth, task.spacing_mm[0], out[structure - 1, depth])
    return out


def _contours(task: Task, structure: int) -> list[_Contour]:
    contours = []
    for painted in task.painted:
        if painted.axis != 0 or structure not in painted.asked:
            continue
        mask = (painted.classes == structure).cpu().numpy()
        if not mask.any():
            contours.append(_Contour(painted.index, None, (0.0, 0.0), 0.0))
            continue
        row, column = ndimage.center_of_mass(mask)
        area = float(mask.sum()) * task.spacing_mm[1] * task.spacing_mm[2]
        field = signed_distance_mm(mask, task.spacing_mm[1:])
        contours.append(_Contour(painted.index, field, (row, column), (area / np.pi) ** 0.5, painted.weight))
    return sorted(contours, key=lambda c: c.index)


def _reach_mm(contours: Sequence[_Contour], outermost: _Contour, spacing_mm: float) -> float:
    present = [c.index for c in contours if c.field is not None]
    span = (present[-1] - present[0]) * spacing_mm
    by_gaps = REACH_GAPS * span / max(1, len(present) - 1)
    by_size = REACH_RADII * outermost.radius_mm - 0.5 * span
    return max(by_gaps, by_size, 0.5 * spacing_mm)


def _interpolate(contours: Sequence[_Contour], depth: int, spacing_mm: float, out: Plane) -> None:
    below = next((c for c in reversed(contours) if c.index <= depth), None)
    above = next((c for c in contours if c.index >= depth), None)
    if below is not None and above is not None and below.field is not None and above.field is not None:
        out[...] = _between(below, above, depth)
        return
    for near, far in ((below, above), (above, below)):
        if near is None or near.field is None:
            continue
        # Towards a slice where the structure is absent, it ends halfway for want of better knowledge.
        halfway = 0.5 * abs(far.index - near.index) * spacing_mm if far is not None else 0.0
        limit = halfway if far is not None else _reach_mm(contours, near, spacing_mm)
        np.maximum(out, _rounded_off(near.field, abs(depth - near.index) * spacing_mm, limit), out=out)


def _between(below: _Contour, above: _Contour, depth: int) -> Plane:
    if below.field is None or above.field is None:
        raise ValueError("both contours need a field")
    if above.index == below.index:
        return below.field
    t = (depth - below.index) / (above.index - below.index)
    rows, columns = above.centre[0] - below.centre[0], above.centre[1] - below.centre[1]
    lower = _moved(below.field, t * rows, t * columns)
    upper = _moved(above.field, (t - 1) * rows, (t - 1) * columns)
    if below.weight != above.weight:
        # Where the contours lie follows from the places alone, which of them is believed from the weights too.
        t = t * above.weight / ((1 - t) * below.weight + t * above.weight)
    return ((1 - t) * lower + t * upper).astype(np.float32)


def _moved(field: Plane, rows: float, columns: float) -> Plane:
    if max(abs(rows), abs(columns)) < 0.5:
        return field
    moved: Plane = ndimage.shift(field, (rows, columns), order=1, mode="nearest")
    return moved


def _rounded_off(field: Plane, distance_mm: float, reach_mm: float) -> Plane:
    # A half-ellipsoid: the contour shrinks by its own inner radius over the reach.
    radius = float(field.max())
    if distance_mm < reach_mm:
        shrink = radius * (1 - (1 - (distance_mm / reach_mm) ** 2) ** 0.5)
    else:
        shrink = radius + distance_mm - reach_mm
    return np.asarray(field - shrink, dtype=np.float32)
