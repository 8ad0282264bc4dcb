"""Which engine answers: the fused default, or one family of learners alone."""

from __future__ import annotations

from pathlib import Path

from napari_medmeta.engine.fusion import FusionConfig
from napari_medmeta.engine.learners.registry import FAMILIES, shipped_learners
from napari_medmeta.engine.segmenter import EngineConfig

__all__ = ["FUSED", "engine_config", "learner_names"]

FUSED = "fused"
"""The default: all sources together."""


def learner_names() -> tuple[str, ...]:
    """Return what may be chosen, the default first."""
    return (FUSED, *FAMILIES)


def engine_config(learner: str = FUSED, *, weights: Path | None = None) -> EngineConfig:
    """Return the settings of the engine with one family of learners alone, or of the fused default.

    Parameters
    ----------
    weights
        Folder with other weights of the learner than those that come with the package.

    Raises
    ------
    InputError
        When there is no such learner.
    StorageError
        When its weights cannot be used.
    """
    if learner == FUSED:
        return EngineConfig()
    learners = shipped_learners(learner, weights)
    # Members of one family start as equals; the left-out check then decides between them.
    fusion = FusionConfig(weights={member.name: 1.0 / len(learners) for member in learners})
    return EngineConfig(learners=learners, fusion=fusion, network=False)
