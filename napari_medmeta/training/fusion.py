"""Train the fusion network on the sources as they are in use, and write its weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from napari_medmeta.core import CancelToken, Progress, silent
from napari_medmeta.core.weights import ENCODER, FUSED_FAMILIES, FUSION, parts_in_use
from napari_medmeta.engine.choices import engine_config
from napari_medmeta.engine.learners.registry import shipped_encoder
from napari_medmeta.engine.weights import save_weights
from napari_medmeta.training.meta import TrainConfig, train
from napari_medmeta.training.origin import Origin, Start
from napari_medmeta.training.running import record_of
from napari_medmeta.training.sources import Source

__all__ = ["train_fusion"]


def train_fusion(
    source: Source,
    out: Path,
    config: TrainConfig,
    *,
    weights: Path | None = None,
    start: Start | None = None,
    resume: bool = False,
    progress: Progress = silent,
    cancel: CancelToken | None = None,
) -> Path:
    """Train and write weights, record, log and checkpoint into ``out``; return the weights file.

    Parameters
    ----------
    weights
        Folder of own weights of the sources whose evidence the network learns to correct; None: all of the package.
    start
        Weights to go on from; None: from nothing.

    Raises
    ------
    WeightsError
        When the weights in ``weights`` cannot be used together, or those of ``start`` do not fit.
    """
    if weights is not None:
        learners, encoder = engine_config(weights=weights).learners, shipped_encoder(weights)
        config = replace(config, episodes=replace(config.episodes, learners=learners, encoder=encoder))
    config = replace(config, episodes=replace(config.episodes, correction_chance=config.corrections))
    parts = parts_in_use(weights)
    origin = Origin(FUSION, {name: parts[name].sha256 for name in (ENCODER, *FUSED_FAMILIES) if name in parts})
    made = train(source, out, config, origin=origin, start=start, resume=resume, progress=progress, cancel=cancel)
    training = record_of(config) | made.origin.record(FUSION, rate=config.rate)
    return save_weights(out, made.network, training=training)
