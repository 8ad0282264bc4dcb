"""Which engine answers: the fused default, or one family of learners alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from napari_medmeta.engine.fusion import FusionConfig
from napari_medmeta.engine.learners.registry import FAMILIES, shipped_learners
from napari_medmeta.engine.segmenter import EngineConfig

__all__ = ["FUSED", "engine_config", "joined_config", "learner_names"]

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


JOINED_WEIGHT = 0.5
"""Fixed weight of a family beside the other sources, as that of the other learners by looks and place."""


def joined_config(learner: str, *, weights: Path | None = None) -> EngineConfig:
    """Return the settings of the engine with a family of learners as one more source beside the default ones.

    Members of the family that are among the default sources already stay as they are. The network that corrects the
    sources goes: it was trained without the new one. Compare with the default engine without its network.
    """
    whole = EngineConfig()
    present = {source.name for source in whole.learners}
    learners = [member for member in shipped_learners(learner, weights) if member.name not in present]
    share = {member.name: JOINED_WEIGHT / len(learners) for member in learners}
    fusion = replace(whole.fusion, weights={**whole.fusion.weights, **share})
    return replace(whole, learners=(*whole.learners, *learners), fusion=fusion, network=False)
