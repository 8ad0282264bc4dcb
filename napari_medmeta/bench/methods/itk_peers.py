"""Peers from ITK modules, optional: grow from seeds as in 3D Slicer, contour interpolation as in ITK-SNAP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_medmeta.bench.methods.interpolation import rounded_ends
from napari_medmeta.bench.methods.stack import region_of, stack_of
from napari_medmeta.core import LabelArray, Support, Volume

__all__ = ["ContourInterpolation", "GrowCut"]

GROWCUT_VOXELS = 4_000_000
"""Fast GrowCut needs no small grid: four million voxels take seconds."""


@dataclass(frozen=True)
class GrowCut:
    """Fast GrowCut (Zhu et al. 2014), "grow from seeds" of 3D Slicer, inside the painted bound."""

    name: str = "growcut"
    version: str = "4"

    def segment(self, volume: Volume, support: Support) -> LabelArray:
        """Return (I, J, K) labels that reached each voxel at the lowest cost."""
        import itk

        region = region_of(volume, support, max_voxels=GROWCUT_VOXELS, seeded_ends=True, strokes=True)
        seeds = _itk_image(region.seeds.astype(np.uint8), region.spacing_mm)
        image = _itk_image(region.image * np.float32(GRAY_LEVELS), region.spacing_mm)
        grow = itk.FastGrowCut[type(image), type(seeds)].New(image)
        grow.SetSeedImage(seeds)
        grow.Update()
        grown = itk.array_from_image(grow.GetOutput())
        count = 1 + len(region.stack.structures)
        votes = np.stack([(grown == n + 1) for n in range(count)]).astype(np.float32)
        return region.labels_from(votes)


GRAY_LEVELS = 255.0
"""Costs add up grey-value differences; on 0 to 1 every path would cost about the same."""


@dataclass(frozen=True)
class ContourInterpolation:
    """Morphological contour interpolation (Zukic et al. 2016), optionally with our rounded ends."""

    dome: bool = True
    version: str = "4"

    @property
    def name(self) -> str:
        """Name in tables."""
        return "contours-dome" if self.dome else "contours"

    def segment(self, volume: Volume, support: Support) -> LabelArray:
        """Return (I, J, K) labels; where two structures claim a voxel, the one of higher number has it."""
        stack = stack_of(volume, support)
        out = rounded_ends(stack) if self.dome else np.zeros((stack.count, *stack.labels.shape[1:]), dtype=np.uint8)
        for structure in stack.structures:
            painted = np.zeros(out.shape, dtype=np.uint8)
            painted[stack.indices] = stack.labels == structure
            # One structure at a time: given several at once, the filter can lose one.
            out[_between(painted, stack.spacing_mm) > 0] = structure
        return stack.to_volume(out)


def _between(painted: LabelArray, spacing_mm: tuple[float, float, float]) -> LabelArray:
    import itk

    image = _itk_image(painted, spacing_mm)
    fill = itk.MorphologicalContourInterpolator[type(image)].New(image)
    fill.SetAxis(2)  # ITK counts from the fastest axis: our first is its last
    fill.SetLabel(1)
    # With more than one thread the filter crashes now and then.
    fill.SetNumberOfWorkUnits(1)
    itk.MultiThreaderBase.SetGlobalMaximumNumberOfThreads(1)
    fill.Update()
    return np.asarray(itk.array_from_image(fill.GetOutput()), dtype=np.uint8)


def _itk_image(array: npt.NDArray[Any], spacing_mm: tuple[float, float, float]) -> Any:
    import itk

    image = itk.image_from_array(np.ascontiguousarray(array))
    image.SetSpacing(list(reversed(spacing_mm)))
    return image
