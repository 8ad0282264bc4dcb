"""The ways to register that are compared: none, SimpleITK's demons and B-splines as they come, and ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import SimpleITK as sitk

from napari_medmeta.bench.registration_trials import LoadedTrial
from napari_medmeta.core import Geometry
from napari_medmeta.io.itk import sitk_image
from napari_medmeta.tasks.registration import align
from napari_medmeta.tasks.registration_expectation import Expected, expectation
from napari_medmeta.tasks.registration_image import Comparable, comparable, resampled, sampling_grid
from napari_medmeta.tasks.registration_map import Alignment, carry_labels

__all__ = ["METHODS", "Answer", "Method"]

Answer: TypeAlias = Mapping[str, tuple[Alignment, Expected]]
"""By the row's name: the map, and what the method expects of it, nothing where it does not foretell."""

Method: TypeAlias = Callable[[LoadedTrial, int], Answer]

VOXELS = 200_000
"""Of the grid on which the baselines work, as many as ours uses."""


def none(trial: LoadedTrial, seed: int) -> Answer:
    """Leave the scans where the scanner put them."""
    return {"no registration": (Alignment(), Expected())}


def demons(trial: LoadedTrial, seed: int) -> Answer:
    """SimpleITK's demons with the settings of its example DemonsRegistration1."""
    today, prior, grid = _pair(trial)
    fixed, moving = sitk_image(today.array, grid), sitk_image(resampled(prior, grid), grid)
    matcher: Any = sitk.HistogramMatchingImageFilter()
    matcher.SetNumberOfHistogramLevels(1024)
    matcher.SetNumberOfMatchPoints(7)
    matcher.ThresholdAtMeanIntensityOn()
    filter_: Any = sitk.DemonsRegistrationFilter()
    filter_.SetNumberOfIterations(50)
    filter_.SetStandardDeviations(1.0)
    field = sitk.GetArrayFromImage(filter_.Execute(fixed, matcher.Execute(moving, fixed)))
    return {"SimpleITK demons": (Alignment(np.eye(4), np.moveaxis(field, -1, 0).astype(np.float32), grid), Expected())}


def b_spline(trial: LoadedTrial, seed: int) -> Answer:
    """SimpleITK's B-splines with the settings of its example ImageRegistrationMethodBSpline1.

    A mesh of 8 along each axis, correlation, LBFGSB. Between sequences the metric is the mutual information of
    ImageRegistrationMethodBSpline3 with 50 bins. A tenth of the voxels is asked, or it would take many minutes.
    """
    today, prior, grid = _pair(trial)
    fixed, moving = sitk_image(today.array, grid), sitk_image(resampled(prior, grid), grid)
    transform: Any = sitk.BSplineTransformInitializer(fixed, _mesh(grid))
    method: Any = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    if trial.same_contrast:
        method.SetMetricAsCorrelation()
    else:
        method.SetMetricAsMattesMutualInformation(50)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.1, seed + 1)
    method.SetOptimizerAsLBFGSB(gradientConvergenceTolerance=1e-5, numberOfIterations=100)
    method.SetInitialTransform(transform, True)
    method.SetInterpolator(sitk.sitkLinear)
    out = method.Execute(fixed, moving)
    field = sitk.GetArrayFromImage(sitk.TransformToDisplacementField(out, sitk.sitkVectorFloat32, *_place(fixed)))
    return {
        "SimpleITK B-spline": (Alignment(np.eye(4), np.moveaxis(field, -1, 0).astype(np.float32), grid), Expected())
    }


def ours(trial: LoadedTrial, seed: int) -> Answer:
    """Return the maps of our three steps, of which each begins where the one before ended."""
    found = align(trial.prior, trial.labels, trial.today, seed=seed)
    prior, today = trial.prior.geometry, trial.today.geometry
    best = carry_labels(trial.labels, prior, today, found.best)
    one, other = (carry_labels(trial.labels, prior, today, way, box=best.box) for way in found.ways)
    expected = expectation(one, other, axis=today.through_plane_axis)
    last = list(found.maps)[-1]
    return {f"ours, {k}": (m, expected if k is last else Expected()) for k, m in found.maps.items()}


METHODS: Mapping[str, Method] = {"none": none, "demons": demons, "b-spline": b_spline, "ours": ours}


def _pair(trial: LoadedTrial) -> tuple[Comparable, Comparable, Geometry]:
    now, then = comparable(trial.today), comparable(trial.prior)
    grid = sampling_grid(now.grid, voxels=VOXELS)
    return Comparable(resampled(now, grid), grid), then, grid


def _mesh(grid: Geometry) -> list[int]:
    # ITK wants fewer mesh elements than voxels along an axis.
    return [int(min(8, max(1, n - 1))) for n in grid.shape[::-1]]


def _place(image: Any) -> tuple[Any, Any, Any, Any]:
    return image.GetSize(), image.GetOrigin(), image.GetSpacing(), image.GetDirection()
