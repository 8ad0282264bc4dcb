"""Which engine answers: the fused default, or one family of learners alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from napari_medmeta.core.weights import FUSED_FAMILIES, require_fitting
from napari_medmeta.engine.fusion import FusionConfig
from napari_medmeta.engine.learners.registry import FAMILIES, default_learners, shipped_learners
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
        Folder of own weights, as ``napari-medmeta train`` writes them: what it holds replaces what comes with the
        package, what it does not hold stays.

    Raises
    ------
    InputError
        When there is no such learner.
    WeightsError
        When the folder cannot be used: it is missing or empty, files and records differ, or a family was trained with
        another encoder than the one in use.
    StorageError
        When the learner's weights cannot be used.
    """
    if weights is not None:
        require_fitting(weights, _families(learner))
    if learner == FUSED:
        return EngineConfig() if weights is None else EngineConfig(learners=default_learners(weights), weights=weights)
    learners = shipped_learners(learner, weights)
    # Members of one family start as equals; the left-out check then decides between them.
    fusion = FusionConfig(weights={member.name: 1.0 / len(learners) for member in learners})
    return EngineConfig(learners=learners, fusion=fusion, network=False, weights=weights)


def _families(learner: str) -> tuple[str, ...]:
    return FUSED_FAMILIES if learner == FUSED else (learner,)


JOINED_WEIGHT = 0.5
"""Fixed weight of a family beside the other sources, as that of the other learners by looks and place."""


def joined_config(learner: str, *, weights: Path | None = None) -> EngineConfig:
    """Return the settings of the engine with a family of learners as one more source beside the default ones.

    Members of the family that are among the default sources already stay as they are. The network that corrects the
    sources goes: it was trained without the new one. Compare with the default engine without its network. What may
    be wrong with ``weights``: as `engine_config`.
    """
    whole = engine_config(weights=weights)
    if weights is not None:
        require_fitting(weights, _families(learner))
    present = {source.name for source in whole.learners}
    learners = [member for member in shipped_learners(learner, weights) if member.name not in present]
    share = {member.name: JOINED_WEIGHT / len(learners) for member in learners}
    fusion = replace(whole.pool, weights={**whole.pool.weights, **share})
    return replace(whole, learners=(*whole.learners, *learners), fusion=fusion, network=False)
