"""Rigid and affine registration by SimpleITK: Mattes mutual information, from coarse to fine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy import ndimage

from napari_medmeta.core import Box, CancelToken, Geometry, Progress
from napari_medmeta.io.itk import sitk_image
from napari_medmeta.tasks.registration_image import Comparable, Likeness, resampled, sampling_grid
from napari_medmeta.tasks.registration_map import Alignment

__all__ = ["LinearRegistration", "is_plausible"]

Matrix = npt.NDArray[np.float64]

VOXELS = 120_000
"""Of the grid on which linear maps are looked for: finer ones took longer and moved nothing by a tenth of a voxel."""
FINEST_MM = 1.0
SHRINK, SMOOTH_MM = (4, 2, 1), (4.0, 2.0, 0.0)
"""Pyramid, coarse to fine."""
STEPS = 40
"""Most steps of the optimiser on each level."""
FIRST_STEP_MM, LAST_STEP_MM = 4.0, 0.01
BINS = 32
SAMPLED = (1.0, 0.5, 0.25)
"""Share of the voxels asked on each level."""

MOST_STRETCH = 1.25
"""Of a patient between two examinations, along any axis; mutual information also rises when a scan is squeezed flat."""


def is_plausible(affine: Matrix) -> bool:
    """Whether ``affine`` stretches or squeezes no axis more than a patient changes, and mirrors nothing."""
    stretch = np.linalg.svd(affine[:3, :3], compute_uv=False)
    within = bool(stretch.max() <= MOST_STRETCH and stretch.min() >= 1 / MOST_STRETCH)
    return within and float(np.linalg.det(affine[:3, :3])) > 0


class LinearRegistration:
    """Look for the rigid or affine map from today's scan to the prior one.

    Parameters
    ----------
    today, prior
        The scans, made comparable.
    seed
        Of the jitter in the metric's sampling.
    """

    def __init__(self, today: Comparable, prior: Comparable, *, seed: int = 0) -> None:
        self._seed = seed
        self.grid = sampling_grid(today.grid, voxels=VOXELS, finest_mm=FINEST_MM)
        self._today = resampled(today, self.grid)
        fine = sampling_grid(prior.grid, voxels=VOXELS, finest_mm=FINEST_MM)
        self._fixed = sitk_image(self._today, self.grid)
        self._moving = sitk_image(resampled(prior, fine), fine)
        self._thin_prior = Comparable(sitk.GetArrayFromImage(self._moving), fine)
        whole = Box.whole(self.grid.shape)
        self._likeness = Likeness(Comparable(self._today, self.grid), self._thin_prior, whole, seed=seed)

    def likeness(self, affine: Matrix) -> float:
        """Return how much alike the scans are once the prior is moved by ``affine``."""
        return self._likeness.of(Alignment(affine))

    def starts(self) -> tuple[Matrix, Matrix]:
        """Return where to start from: as the scanner placed both scans, and centre upon centre of what is bright."""
        shift = _centre(self._thin_prior.array, self._thin_prior.grid) - _centre(self._today, self.grid)
        moved = np.eye(4)
        moved[:3, 3] = shift
        return np.eye(4), moved

    def best(self, candidates: Iterable[Matrix]) -> Matrix:
        """Return the candidate under which the scans are most alike; the first of equals."""
        return max(candidates, key=self.likeness)

    def rigid(self, start: Matrix, *, progress: Progress, cancel: CancelToken) -> Matrix:
        """Return the rigid map (rotation and shift), looked for from the rigid map ``start`` on."""
        return self._found(sitk.Euler3DTransform(), start, progress=progress, cancel=cancel)

    def affine(self, start: Matrix, *, progress: Progress, cancel: CancelToken) -> Matrix:
        """Return the affine map, looked for from ``start`` on."""
        return self._found(sitk.AffineTransform(3), start, progress=progress, cancel=cancel)

    def _found(self, transform: Any, start: Matrix, *, progress: Progress, cancel: CancelToken) -> Matrix:
        centre = self.grid.to_world((np.asarray(self.grid.shape) - 1) / 2)
        _set(transform, start, centre)
        method = _method(self._seed)
        method.SetInitialTransform(transform, inPlace=True)

        def step() -> None:
            if cancel.cancelled:
                method.StopRegistration()
                return
            done = method.GetCurrentLevel() + min(1.0, method.GetOptimizerIteration() / STEPS)
            progress(min(1.0, done / len(SHRINK)), "")

        method.AddCommand(sitk.sitkIterationEvent, step)
        try:
            method.Execute(self._fixed, self._moving)
        except RuntimeError:
            # ITK gives up where a step leaves too little overlap; what was there before is still a map.
            cancel.raise_if_cancelled()
            return start
        cancel.raise_if_cancelled()
        return _matrix(transform, centre)


def _method(seed: int) -> Any:
    method = sitk.ImageRegistrationMethod()
    # Sums of several threads come in any order, and the last digits decide where a search ends.
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricSamplingStrategy(method.REGULAR)
    # 0 would stand for the clock.
    method.SetMetricSamplingPercentagePerLevel(SAMPLED, seed + 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        FIRST_STEP_MM, LAST_STEP_MM, STEPS, relaxationFactor=0.6, gradientMagnitudeTolerance=1e-6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(SHRINK)
    method.SetSmoothingSigmasPerLevel(SMOOTH_MM)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    return method


def _set(transform: Any, matrix: Matrix, centre: Matrix) -> None:
    """Make ``transform`` the map ``matrix``; ITK turns about ``centre``: T(x) = A (x - c) + c + t."""
    linear, shift = matrix[:3, :3], matrix[:3, 3]
    transform.SetCenter([float(v) for v in centre])
    transform.SetMatrix([float(v) for v in linear.ravel()])
    transform.SetTranslation([float(v) for v in shift + linear @ centre - centre])


def _matrix(transform: Any, centre: Matrix) -> Matrix:
    out = np.eye(4)
    out[:3, :3] = np.reshape(transform.GetMatrix(), (3, 3))
    out[:3, 3] = np.asarray(transform.GetTranslation()) + centre - out[:3, :3] @ centre
    return out


def _centre(array: npt.NDArray[Any], grid: Geometry) -> Matrix:
    """Return the centre of brightness in LPS mm."""
    weight = array.astype(np.float64) - float(array.min())
    index = ndimage.center_of_mass(weight) if weight.any() else (np.asarray(array.shape) - 1) / 2
    return np.asarray(grid.to_world(index), dtype=np.float64)
