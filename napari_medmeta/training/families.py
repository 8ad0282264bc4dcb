"""Train one family of learners, or the embedding that all of them share, and write the weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from napari_medmeta.core import CancelToken, Progress, silent
from napari_medmeta.core.weights import EMBEDDING_FAMILIES, ENCODER, parts_in_use
from napari_medmeta.engine.embedding import Encoder
from napari_medmeta.engine.learners.registry import (
    FAMILIES,
    built,
    save_modules,
    shipped_encoder,
)
from napari_medmeta.training.learners import LearnerTrainConfig, train_learners
from napari_medmeta.training.origin import Origin, Start
from napari_medmeta.training.running import record_of
from napari_medmeta.training.sources import Source

__all__ = ["EMBEDDING", "train_family", "trainable", "usual_steps"]

EMBEDDING = "embedding"
"""Stands for the encoder with the families that shape it."""


def trainable() -> tuple[str, ...]:
    """Return what `train_family` can train."""
    return (EMBEDDING, *(name for name in FAMILIES if name not in EMBEDDING_FAMILIES))


def usual_steps(name: str) -> int:
    """Return how many steps the shipped weights of ``name``, one of `trainable`, were trained."""
    return LearnerTrainConfig().steps if name == EMBEDDING else FAMILIES[name].steps


def train_family(
    name: str,
    source: Source,
    out: Path,
    config: LearnerTrainConfig,
    *,
    weights: Path | None = None,
    start: Start | None = None,
    resume: bool = False,
    progress: Progress = silent,
    cancel: CancelToken | None = None,
) -> tuple[Path, ...]:
    """Train and write weights, records, log and checkpoint into ``out``; return the weights files.

    Parameters
    ----------
    name
        One of `trainable`.
    weights
        Folder of own weights with the encoder in whose embedding a family is trained; None, or where it holds none:
        the one that comes with the package.
    start
        Weights to go on from; None: from nothing. A resumed run goes on from its checkpoint, whatever it began with.

    Raises
    ------
    WeightsError
        When ``weights`` cannot be used, or those of ``start`` do not fit.
    """
    torch.manual_seed(config.seed)
    families = EMBEDDING_FAMILIES if name == EMBEDDING else (name,)
    parts = parts_in_use(weights)
    network = Encoder() if name == EMBEDDING else shipped_encoder(weights)
    members = {family: built(family) for family in families}
    origin = Origin(name, {} if name == EMBEDDING else {ENCODER: parts[ENCODER].sha256})
    if start is not None and not resume:
        trained: dict[str, Mapping[str, nn.Module]] = {**members}
        if name == EMBEDDING:
            trained[ENCODER] = {ENCODER: network}
        origin = replace(origin, started_from={part: start.load_modules(part, own) for part, own in trained.items()})
    config = replace(config, dense=any(FAMILIES[family].dense for family in families))
    flat: dict[str, nn.Module] = {f"{f} {key}": module for f, own in members.items() for key, module in own.items()}
    origin = train_learners(
        source,
        out,
        config,
        encoder=network,
        learners=flat,
        origin=origin,
        resume=resume,
        progress=progress,
        cancel=cancel,
    )
    encoder = _saved(out, ENCODER, {ENCODER: network}, config, origin) if name == EMBEDDING else None
    if encoder is not None:
        origin = replace(origin, stands_on={ENCODER: hashlib.sha256(encoder.read_bytes()).hexdigest()})
    files = [_saved(out, family, own, config, origin) for family, own in members.items()]
    return (*files, encoder) if encoder is not None else tuple(files)


def _saved(out: Path, name: str, modules: Mapping[str, nn.Module], config: LearnerTrainConfig, origin: Origin) -> Path:
    return save_modules(out, name, modules, training=record_of(config) | origin.record(name, rate=config.rate))
