"""Train one family of learners from nothing, or the embedding that all of them share, and write the weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from napari_medmeta.core import CancelToken, Progress, silent
from napari_medmeta.core.weights import EMBEDDING_FAMILIES, ENCODER
from napari_medmeta.engine.embedding import Encoder
from napari_medmeta.engine.learners.registry import (
    FAMILIES,
    built,
    save_modules,
    shipped_encoder,
)
from napari_medmeta.training.learners import LearnerTrainConfig, train_learners
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
    encoder: Path | None = None,
    resume: bool = False,
    progress: Progress = silent,
    cancel: CancelToken | None = None,
) -> tuple[Path, ...]:
    """Train and write weights, records, log and checkpoint into ``out``; return the weights files.

    Parameters
    ----------
    name
        One of `trainable`.
    encoder
        Folder with the encoder in whose embedding a family is trained; None: the one that comes with the package.
    """
    torch.manual_seed(config.seed)
    families = EMBEDDING_FAMILIES if name == EMBEDDING else (name,)
    network = Encoder() if name == EMBEDDING else shipped_encoder(encoder)
    members = {family: built(family) for family in families}
    config = replace(config, dense=any(FAMILIES[family].dense for family in families))
    flat: dict[str, nn.Module] = {f"{f} {key}": module for f, own in members.items() for key, module in own.items()}
    train_learners(source, out, config, encoder=network, learners=flat, resume=resume, progress=progress, cancel=cancel)
    training = record_of(config)
    files = [save_modules(out, family, own, training=training) for family, own in members.items()]
    if name == EMBEDDING:
        files.append(save_modules(out, ENCODER, {ENCODER: network}, training=training))
    return tuple(files)
