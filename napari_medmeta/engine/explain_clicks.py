"""Why a voxel got its label where clicks and strokes alone were asked: which marks lie nearest, and nothing between."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from napari_medmeta.core import BACKGROUND, Box, FloatArray, Proposal, SliceExample, Support, Triple
from napari_medmeta.core.explanation import ExampleShare, ExampleVoxel, Explanation, SourceShare
from napari_medmeta.engine.clicks import CLICKS

__all__ = ["explain_clicks"]

Voxels: TypeAlias = npt.NDArray[np.int64]
"""(n, 3) or (3,) indices."""

VOXELS_SHOWN = 5
"""Marks named for each example slice."""


def explain_clicks(
    support: Support,
    voxel: Triple,
    proposal: Proposal,
    *,
    spacing_mm: tuple[float, float, float],
    names: Mapping[int, str],
) -> Explanation:
    """Explain what ``proposal`` says at ``voxel`` (i, j, k) of structures that were marked alone.

    The marks of the answer share it by their nearness in mm, as `napari_medmeta.engine.explain` shares the walker's:
    a front's own way would need a run for every mark.

    Parameters
    ----------
    support
        What is said of the marked structures (see `napari_medmeta.engine.clicks.split_support`).
    """
    one = Box.of_voxel(voxel)
    label = int(proposal.labels_in(one)[0, 0, 0])
    probability = float(proposal.confidence_in(one)[0, 0, 0])
    shares = _shares(support, label, np.array(voxel), np.array(spacing_mm, dtype=np.float32))
    source = SourceShare(CLICKS, label, probability, 1.0)
    summary = _summary(label, shares, names.get(label, f"structure {label}"))
    return Explanation(voxel, label, probability, False, shares, (source,), summary, support.generation)


def _shares(support: Support, label: int, here: Voxels, spacing_mm: FloatArray) -> tuple[ExampleShare, ...]:
    nearness = []
    for example in support.examples:
        marks = _marks(example, support, label)
        if len(marks):
            near = 1.0 / (1.0 + (((marks - here) * spacing_mm) ** 2).sum(1))
            nearness.append((example.ref, marks, near))
    total = sum(float(near.sum()) for *_, near in nearness)
    found = []
    for ref, marks, near in nearness:
        order = np.argsort(-near, kind="stable")[:VOXELS_SHOWN]
        voxels = tuple(ExampleVoxel(_triple(marks[n]), float(near[n] / total)) for n in order)
        found.append(ExampleShare(ref, float(near.sum()) / total, voxels))
    return tuple(sorted(found, key=lambda share: (-share.weight, share.ref)))


def _marks(example: SliceExample, support: Support, label: int) -> Voxels:
    """Return (n, 3) voxels that ``example`` says to be ``label``: background is none of the structures."""
    if label == BACKGROUND:
        said = np.all([example.negative(s) for s in support.structures], axis=0)
    else:
        said = example.positive(label)
    found = np.argwhere(said)
    return np.insert(found, example.ref.axis, example.ref.index, axis=1)


def _triple(voxel: Voxels) -> Triple:
    i, j, k = (int(v) for v in voxel)
    return i, j, k


def _summary(label: int, shares: tuple[ExampleShare, ...], name: str) -> str:
    if label == BACKGROUND:
        return "Background, because an edge, another look or the distance parts it from every mark of a structure."
    return f"Because no edge parts it from where {name} was marked on slice {shares[0].ref.index}."
