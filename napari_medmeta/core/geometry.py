"""Where the voxels lie in the patient: one immutable grid type and exact conversions.

World coordinates are LPS+ millimetres (x to the patient's left, y to posterior, z to superior), the
convention of DICOM (PS3.3 C.7.6.2) and ITK. nibabel uses RAS+; `Geometry.ras_affine` converts.
The affine maps an array index (i, j, k), in array-axis order, to world millimetres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import ndimage, optimize

from napari_medmeta.core.errors import GeometryMismatchError, InputError
from napari_medmeta.core.types import Triple

__all__ = ["DISPLAY_CODES", "Geometry", "GridMap"]

AXIS_CODES = (("R", "L"), ("A", "P"), ("I", "S"))
"""For each LPS world axis, the letter of its negative and of its positive direction."""

DISPLAY_CODES = ("I", "P", "L")
"""Index directions in which all three planes stand upright on a screen whose y axis points down:
axial with anterior on top and the patient's left on the right, coronal and sagittal head up."""

GRID_TOLERANCE_MM = 1e-2
"""Two grids whose corners are nearer than this are the same (NIfTI stores float32 affines)."""

SHEAR_TOLERANCE = 1e-3
"""Cosine between two axes above which a grid counts as sheared (0.06 degrees)."""

SEEN_SPACING = 1e-3
"""Spacings nearer than a part in a thousand would read the same in a message."""

SEEN_DEGREES = 0.05
"""A turn of less reads as 0; it is told by how far the corners lie apart."""

TOWARDS = {
    "R": "the patient's right",
    "L": "the patient's left",
    "A": "the front",
    "P": "the back",
    "I": "the feet",
    "S": "the head",
}

_Scalar = TypeVar("_Scalar", bound=np.generic)


@dataclass(frozen=True, eq=False)
class Geometry:
    """A grid of voxels in patient space.

    Parameters
    ----------
    shape
        Voxels along array axes (0, 1, 2).
    affine
        (4, 4) float64; maps a homogeneous array index (i, j, k, 1) to LPS+ millimetres.

    Raises
    ------
    InputError
        When the shape is not three positive numbers, or the affine is not finite or not invertible.
    """

    shape: Triple
    affine: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise InputError(
                f"The grid has the shape {tuple(self.shape)}",
                expected="three axes with at least one voxel each",
            )
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise InputError(
                "The scan's position in space is not a finite 4 x 4 matrix",
                expected="spacing, direction and origin of finite numbers",
                next_step="Export the scan again from its source",
            )
        if abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise InputError(
                "The scan's axes do not span a volume (two of them point the same way, or a spacing is 0)",
                expected="three independent axes with a spacing above 0 mm",
                next_step="Export the scan again from its source",
            )
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))

    @classmethod
    def from_parts(
        cls,
        shape: Triple,
        *,
        spacing_mm: Sequence[float] = (1.0, 1.0, 1.0),
        origin_mm: Sequence[float] = (0.0, 0.0, 0.0),
        direction: npt.ArrayLike | None = None,
    ) -> Geometry:
        """Build a grid from spacing (per array axis), origin (LPS mm) and direction.

        ``direction`` is (3, 3); column a is the unit vector of array axis a in LPS. Without it, array
        axes (0, 1, 2) point to (superior, posterior, left), as (z, y, x) of an axial scan does.
        """
        if direction is None:
            direction = np.eye(3)[:, ::-1]
        affine = np.eye(4)
        affine[:3, :3] = np.asarray(direction, dtype=np.float64) * np.asarray(spacing_mm, dtype=np.float64)
        affine[:3, 3] = np.asarray(origin_mm, dtype=np.float64)
        return cls(shape, affine)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxels along each array axis, in mm."""
        i, j, k = (float(v) for v in np.linalg.norm(self.affine[:3, :3], axis=0))
        return i, j, k

    @property
    def direction(self) -> npt.NDArray[np.float64]:
        """(3, 3); column a is the unit vector of array axis a in LPS."""
        return np.asarray(self.affine[:3, :3] / np.asarray(self.spacing_mm), dtype=np.float64)

    @property
    def origin_mm(self) -> tuple[float, float, float]:
        """LPS position of the centre of voxel (0, 0, 0), in mm."""
        x, y, z = (float(v) for v in self.affine[:3, 3])
        return x, y, z

    @property
    def ras_affine(self) -> npt.NDArray[np.float64]:
        """The affine towards RAS+ millimetres, as nibabel uses it."""
        return np.asarray(np.diag([-1.0, -1.0, 1.0, 1.0]) @ self.affine, dtype=np.float64)

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @property
    def axis_codes(self) -> tuple[str, str, str]:
        """For each array axis, the patient direction (R/L, A/P, I/S) in which its index grows."""
        world_axes, signs = self._closest_axes()
        i, j, k = (AXIS_CODES[w][1 if s > 0 else 0] for w, s in zip(world_axes, signs, strict=True))
        return i, j, k

    @property
    def is_sheared(self) -> bool:
        """Whether two array axes are not perpendicular (gantry tilt)."""
        cosines = self.direction.T @ self.direction
        return bool(np.max(np.abs(cosines - np.eye(3))) > SHEAR_TOLERANCE)

    @property
    def is_oblique(self) -> bool:
        """Whether an array axis leans away from the patient axes by more than about half a degree."""
        return bool(np.max(np.min(1 - np.abs(self.direction), axis=0)) > 4e-5)

    @property
    def through_plane_axis(self) -> int:
        """The array axis of largest spacing; the first of equals."""
        spacing = np.round(self.spacing_mm, 4)
        return int(np.argmax(spacing))

    def to_world(self, ijk: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Map voxel indices (..., 3), in array-axis order, to LPS+ millimetres (..., 3)."""
        points = np.asarray(ijk, dtype=np.float64)
        return np.asarray(points @ self.affine[:3, :3].T + self.affine[:3, 3], dtype=np.float64)

    def to_index(self, xyz_mm: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Map LPS+ millimetres (..., 3) to voxel indices (..., 3), not rounded."""
        points = np.asarray(xyz_mm, dtype=np.float64) - self.affine[:3, 3]
        return np.asarray(np.linalg.solve(self.affine[:3, :3], points[..., None])[..., 0], dtype=np.float64)

    def same_grid(self, other: Geometry) -> bool:
        """Whether both grids have the same shape and put every corner at the same place."""
        if self.shape != other.shape:
            return False
        gap = self.to_world(self._corners()) - other.to_world(self._corners())
        return bool(np.max(np.abs(gap)) < GRID_TOLERANCE_MM)

    def require_same_grid(self, other: Geometry, *, what: str) -> None:
        """Raise `GeometryMismatchError` unless ``other`` (named by ``what``) is the same grid."""
        if self.same_grid(other):
            return
        found, expected = _differences(self, other)
        raise GeometryMismatchError(
            f"{what} does not lie on the scan's grid: {', '.join(found)}",
            expected=f"as the scan, {', '.join(expected)}",
            next_step="Open the scan that it was made on, or resample it onto this one first",
        )

    def reoriented(self, codes: tuple[str, str, str] = DISPLAY_CODES) -> GridMap:
        """Return the map to the same voxels with axes permuted and flipped to grow along ``codes``."""
        return GridMap.reorient(self, codes)

    def deskewed(self) -> Geometry:
        """Return the orthogonal grid that holds a sheared one.

        The two axes of smallest spacing (the acquired plane's) are kept; the third is made
        perpendicular to them, and the grid grows so that no voxel centre is lost.
        """
        if not self.is_sheared:
            return self
        through = self.through_plane_axis
        first, second = (a for a in range(3) if a != through)
        direction = self.direction.copy()
        u = direction[:, first]
        v = direction[:, second] - u * (u @ direction[:, second])
        v /= np.linalg.norm(v)
        normal = np.cross(u, v)
        normal *= np.sign(normal @ direction[:, through])
        axes = np.empty((3, 3))
        axes[:, first], axes[:, second], axes[:, through] = u, v, normal
        spacing = np.asarray(self.spacing_mm)
        spacing[through] *= abs(normal @ direction[:, through])
        local = self.to_world(self._corners()) @ axes
        low = local.min(axis=0)
        count = np.ceil((local.max(axis=0) - low) / spacing - 1e-6).astype(int) + 1
        i, j, k = (int(n) for n in count)
        return Geometry.from_parts((i, j, k), spacing_mm=spacing.tolist(), origin_mm=axes @ low, direction=axes)

    def _corners(self) -> npt.NDArray[np.float64]:
        last = np.asarray(self.shape, dtype=np.float64) - 1
        unit = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=np.float64)
        return np.asarray(unit * last, dtype=np.float64)

    def _closest_axes(self) -> tuple[list[int], list[int]]:
        # An assignment, not three independent arg-maxima: at 45 degrees two axes could both claim one.
        strength = np.abs(self.direction)
        rows, columns = optimize.linear_sum_assignment(-strength)
        world = [int(rows[list(columns).index(a)]) for a in range(3)]
        return world, [1 if self.direction[world[a], a] >= 0 else -1 for a in range(3)]


def _differences(scan: Geometry, other: Geometry) -> tuple[list[str], list[str]]:
    """Say in words what ``other`` has and what ``scan`` has, for each of size, spacing, direction and place."""
    found, expected = [], []
    for words, differ in (
        (_size, scan.shape != other.shape),
        (_spacing, not np.allclose(scan.spacing_mm, other.spacing_mm, rtol=SEEN_SPACING)),
        (_order, scan.axis_codes != other.axis_codes),
    ):
        if differ:
            found.append(words(other))
            expected.append(words(scan))
    turned = _angle(scan, other)
    if scan.axis_codes == other.axis_codes and turned >= SEEN_DEGREES:
        found.append(f"turned by {turned:.2g} degrees")
        expected.append("not turned")
    apart = float(np.linalg.norm(_middle(scan) - _middle(other)))
    if apart >= GRID_TOLERANCE_MM or not found:
        gap = scan.to_world(scan._corners()) - other.to_world(other._corners())
        found.append(f"{max(apart, float(np.abs(gap).max()) if not found else 0.0):.3g} mm away")
        expected.append("at the same place")
    return found, expected


def _size(geometry: Geometry) -> str:
    return f"size {' x '.join(str(n) for n in geometry.shape)} voxels"


def _spacing(geometry: Geometry) -> str:
    return f"spacing {' x '.join(f'{s:.4g}' for s in geometry.spacing_mm)} mm"


def _order(geometry: Geometry) -> str:
    slices, rows, columns = (TOWARDS[code] for code in geometry.axis_codes)
    return f"slices counted towards {slices}, rows towards {rows} and columns towards {columns}"


def _angle(scan: Geometry, other: Geometry) -> float:
    """Return by how many degrees the axis that leans most is turned."""
    cosines = np.sum(scan.direction * other.direction, axis=0)
    return float(np.degrees(np.arccos(np.clip(cosines, -1, 1)).max()))


def _middle(geometry: Geometry) -> npt.NDArray[np.float64]:
    return geometry.to_world((np.asarray(geometry.shape) - 1) / 2)


@dataclass(frozen=True, eq=False)
class GridMap:
    """How arrays on an ``original`` grid become arrays on a ``working`` grid, and back.

    A permutation of axes with flips is exact both ways. A sheared original (gantry tilt) is resampled
    once on the way in; labels come back by nearest neighbour, each original voxel asking the working
    voxel it lies in.
    """

    original: Geometry
    working: Geometry
    permutation: Triple
    """Axis of the (deskewed) original that becomes each working axis."""
    flips: tuple[bool, bool, bool]
    """Whether each working axis runs against the original one."""

    @classmethod
    def reorient(cls, original: Geometry, codes: tuple[str, str, str]) -> GridMap:
        """Build the map to a right-angled grid whose axes grow along ``codes``.

        Raises
        ------
        InputError
            When ``codes`` does not name each of the three patient axes once.
        """
        wanted = [_world_axis(code) for code in codes]
        if sorted(w for w, _ in wanted) != [0, 1, 2]:
            raise InputError(
                f"The orientation {''.join(codes)} is not one",
                expected="such as IPL: one letter of each pair R/L, A/P, I/S",
            )
        straight = original.deskewed()
        world_axes, signs = straight._closest_axes()
        order = [world_axes.index(w) for w, _ in wanted]
        flips = [signs[a] != s for a, (_, s) in zip(order, wanted, strict=True)]
        affine = np.eye(4)
        start = np.zeros(3)
        for new, (old, flip) in enumerate(zip(order, flips, strict=True)):
            affine[:3, new] = straight.affine[:3, old] * (-1 if flip else 1)
            start[old] = straight.shape[old] - 1 if flip else 0
        affine[:3, 3] = straight.to_world(start)
        i, j, k = (straight.shape[a] for a in order)
        p, q, r = order
        f, g, h = flips
        return cls(original, Geometry((i, j, k), affine), (p, q, r), (f, g, h))

    @property
    def is_exact(self) -> bool:
        """Whether the working grid holds the very same voxels."""
        return not self.original.is_sheared

    def image_to_working(self, array: npt.NDArray[_Scalar]) -> npt.NDArray[_Scalar]:
        """Carry an image from the original (I, J, K) grid onto the working grid (linear where sheared)."""
        return self._forward(array, order=1)

    def labels_to_working(self, array: npt.NDArray[_Scalar]) -> npt.NDArray[_Scalar]:
        """Carry labels from the original (I, J, K) grid onto the working grid."""
        return self._forward(array, order=0)

    def labels_to_original(self, array: npt.NDArray[_Scalar]) -> npt.NDArray[_Scalar]:
        """Carry labels from the working grid back onto the original grid; never mixes two labels."""
        _require_shape(array, self.working.shape)
        if self.is_exact:
            flipped = np.flip(array, axis=tuple(a for a in range(3) if self.flips[a]))
            back = np.transpose(flipped, np.argsort(self.permutation))
            return np.ascontiguousarray(back)
        return _resample(array, self.working, self.original, order=0)

    def _forward(self, array: npt.NDArray[_Scalar], *, order: int) -> npt.NDArray[_Scalar]:
        _require_shape(array, self.original.shape)
        if not self.is_exact:
            return _resample(array, self.original, self.working, order=order)
        moved = np.transpose(array, self.permutation)
        return np.ascontiguousarray(np.flip(moved, axis=tuple(a for a in range(3) if self.flips[a])))


def _world_axis(code: str) -> tuple[int, int]:
    for axis, letters in enumerate(AXIS_CODES):
        if code in letters:
            return axis, 1 if letters.index(code) else -1
    raise InputError(f"{code!r} is not a patient direction", expected="one of R, L, A, P, I, S")


def _require_shape(array: npt.NDArray[Any], shape: Triple) -> None:
    if array.shape != shape:
        raise GeometryMismatchError(f"The array has the shape {array.shape}", expected=f"the grid's shape {shape}")


def _resample(array: npt.NDArray[_Scalar], source: Geometry, target: Geometry, *, order: int) -> npt.NDArray[_Scalar]:
    to_source = np.linalg.inv(source.affine) @ target.affine
    # Outside the scan there is no tissue: the darkest value stands for it, and background for labels.
    fill = float(np.min(array)) if order else 0.0
    # "grid-constant": plain "constant" fills where a voxel centre misses the outermost ones by a rounding error, and
    # so took whole faces off the scan.
    out: npt.NDArray[_Scalar] = ndimage.affine_transform(
        array,
        to_source[:3, :3],
        to_source[:3, 3],
        output_shape=target.shape,
        order=order,
        mode="grid-constant",
        cval=fill,
    )
    return out
