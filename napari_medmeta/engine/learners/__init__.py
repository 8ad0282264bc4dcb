"""The learners, one file a family, behind one protocol."""

from napari_medmeta.engine.learners.base import Fitted, Learner, Scene, SceneConfig
from napari_medmeta.engine.learners.matching import MatchingLearner
from napari_medmeta.engine.learners.prior import ShapePriorLearner
from napari_medmeta.engine.learners.prototypical import PrototypicalLearner
from napari_medmeta.engine.learners.trees import TreesLearner
from napari_medmeta.engine.learners.walk import WalkConfig, WalkLearner

__all__ = [
    "Fitted",
    "Learner",
    "MatchingLearner",
    "PrototypicalLearner",
    "Scene",
    "SceneConfig",
    "ShapePriorLearner",
    "TreesLearner",
    "WalkConfig",
    "WalkLearner",
    "hand_made_learners",
]


def hand_made_learners() -> tuple[Learner, ...]:
    """Return the sources of evidence that need nothing learnt beforehand."""
    return (
        ShapePriorLearner(),
        PrototypicalLearner(),
        PrototypicalLearner(with_position=True),
        MatchingLearner(),
        MatchingLearner(with_position=True),
        TreesLearner(),
        WalkLearner(),
    )
