"""The baseline of recalling: copy the labels of the nearest known patient by affine registration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK

from napari_medmeta.bench.cases import LoadedCase
from napari_medmeta.core import Geometry, LabelArray

__all__ = ["Copied", "copied_labels", "nearest"]

sitk: Any = SimpleITK
"""SimpleITK comes without types."""

SAMPLES = 20_000
"""Voxels drawn for the metric in each step: more tell an affine registration nothing new."""

HISTOGRAM_BINS = 32
ITERATIONS = 100
"""The settings of SimpleITK's own registration examples, which suit scans of one kind."""


@dataclass(frozen=True, eq=False)
class Copied:
    """Labels of one patient on the grid of another.

    Parameters
    ----------
    labels
        (I, J, K) uint8 on the grid of the scan that is to be segmented.
    cost
        Mattes mutual information with its sign turned: the lower, the more alike the two scans are.
    """

    labels: LabelArray
    cost: float


def copied_labels(known: LoadedCase, target: LoadedCase, *, seed: int = 0) -> Copied:
    """Register ``known`` to ``target`` (affine, Mattes mutual information) and carry its labels over."""
    fixed, moving = (_image(case.volume.array, case.volume.geometry, np.float32) for case in (target, known))
    start = sitk.CenteredTransformInitializer(
        fixed, moving, sitk.AffineTransform(3), sitk.CenteredTransformInitializerFilter.GEOMETRY
    )
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(HISTOGRAM_BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(min(1.0, SAMPLES / float(np.prod(target.truth.shape))), seed=seed + 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsGradientDescent(1.0, ITERATIONS, estimateLearningRate=method.EachIteration)
    method.SetOptimizerScalesFromPhysicalShift()
    # Few slices leave nothing to shrink along their axis.
    method.SetShrinkFactorsPerLevel([2 if min(fixed.GetSize()) >= 2 * HISTOGRAM_BINS else 1, 1])
    method.SetSmoothingSigmasPerLevel([2.0, 0.0])
    method.SetSmoothingSigmasAreSpecifiedInPhysicalUnits(True)
    method.SetInitialTransform(start, inPlace=False)
    transform = method.Execute(fixed, moving)
    labels = _image(known.truth, known.volume.geometry, np.uint8)
    carried = sitk.Resample(labels, fixed, transform, sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)
    return Copied(sitk.GetArrayFromImage(carried).transpose(2, 1, 0), float(method.GetMetricValue()))


def nearest(copies: Sequence[Copied]) -> Copied:
    """Return the copy from the patient whose scan is most alike."""
    return min(copies, key=lambda copy: copy.cost)


def _image(array: npt.NDArray[Any], geometry: Geometry, kind: type[np.generic]) -> Any:
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0), dtype=kind))
    image.SetSpacing(geometry.spacing_mm)
    image.SetDirection(geometry.direction.ravel().tolist())
    image.SetOrigin(geometry.origin_mm)
    return image
