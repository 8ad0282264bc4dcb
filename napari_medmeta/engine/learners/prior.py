"""The interpolated shape as a source of evidence beside the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from napari_medmeta.engine.learners.base import Scene

__all__ = ["ShapePriorLearner"]


@dataclass(frozen=True)
class ShapePriorLearner:
    """Signed-distance interpolation between painted slices (see `interpolation`)."""

    @property
    def name(self) -> str:
        """The source of evidence it stands for."""
        return "shape"

    def fit(self, scene: Scene) -> FittedShape:
        """Interpolate the painted contours."""
        return FittedShape(scene)


@dataclass(frozen=True, eq=False)
class FittedShape:
    """The interpolated shape of one support set."""

    scene: Scene

    def evidence(self, depths: Sequence[int]) -> Tensor:
        """Return (S+1, n, H, W) log-posteriors."""
        return self.scene.shape.log_posterior(depths)
