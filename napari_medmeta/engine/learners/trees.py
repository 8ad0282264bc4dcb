"""A classifier grown on this very scan: extremely randomised trees over features and place.

Geurts, Ernst and Wehenkel, "Extremely randomized trees", Machine Learning 2006. It is no meta-learner; it
stands among them because it learns which few features separate the structures of one scan, and was the
strongest single source on thin examples (docs/benchmarks.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.ensemble import ExtraTreesClassifier
from torch import Tensor

from napari_medmeta.engine.learners.base import Scene

__all__ = ["TreesLearner"]

LEAST_SHARE = 5e-3
"""Share of votes below which a class counts as having none: 30 trees cannot tell less apart."""


@dataclass(frozen=True)
class TreesLearner:
    """Extremely randomised trees on embeddings with position.

    Parameters
    ----------
    trees
        Number of trees.
    leaf
        Least number of samples in a leaf.
    """

    trees: int = 30
    leaf: int = 4

    @property
    def name(self) -> str:
        """The source of evidence it stands for."""
        return "trees"

    def fit(self, scene: Scene) -> FittedTrees:
        """Grow the trees on the support samples."""
        model = ExtraTreesClassifier(
            self.trees, min_samples_leaf=self.leaf, max_features=0.5, class_weight="balanced", random_state=0
        )
        model.fit(scene.samples(with_position=True).cpu().numpy(), scene.sample_class.cpu().numpy())
        return FittedTrees(scene, model)


@dataclass(frozen=True, eq=False)
class FittedTrees:
    """Trees grown on one support set."""

    scene: Scene
    model: ExtraTreesClassifier

    def evidence(self, depths: Sequence[int]) -> Tensor:
        """Return (S+1, n, H, W) log-posteriors."""
        mask, queries = self.scene.queries(depths, with_position=True)
        votes = np.full((len(queries), self.scene.task.structures + 1), LEAST_SHARE, dtype=np.float32)
        if len(queries):
            votes[:, self.model.classes_] = self.model.predict_proba(queries.cpu().numpy())
        logits = torch.from_numpy(np.log(np.maximum(votes, LEAST_SHARE)).T.copy()).to(queries.device)
        return self.scene.spread(mask, logits, depths)
