"""How far everyone was trusted in a proposal: written into it, and read from it to explain it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from napari_medmeta.core import Proposal
from napari_medmeta.core.proposal import Recipe
from napari_medmeta.engine.fusion import Trust

__all__ = ["recipe_of", "trust_behind"]


def recipe_of(trust: Trust, structures: Sequence[int]) -> Recipe:
    """Return what a proposal has to tell of ``trust`` beside each source's share and how far the network goes."""
    weight = dict(zip(structures, trust.weights.sum(1).tolist(), strict=True))
    last = {} if trust.last is None else dict(zip(structures, trust.last.cpu().numpy(), strict=True))
    return Recipe(weight, trust.tested_mm, last)


def trust_behind(proposal: Proposal, fixed: Trust, structures: Sequence[int]) -> Trust:
    """Return the trust that ``proposal`` was made with; ``fixed`` gives the sources, and all that it does not tell."""
    recipe = proposal.recipe
    rows = []
    for s, usual in zip(structures, fixed.weights.tolist(), strict=True):
        shares = proposal.trust.get(s, {})
        # Without a recipe the usual weights' sum gives the shares a scale.
        scale = sum(usual) if recipe is None else recipe.weight.get(s, sum(usual))
        rows.append([shares.get(name, 0.0) * scale for name in fixed.names] if shares else usual)
    found = replace(fixed, weights=torch.tensor(rows).to(fixed.weights))
    if recipe is not None:
        found = replace(found, tested_mm=recipe.tested_mm)
    if found.network is None:
        return found
    followed = torch.tensor([proposal.network.get(s, 0.0) for s in structures]).to(found.weights)
    adapted = {} if recipe is None else recipe.last
    if not all(s in adapted for s in structures):
        return replace(found, network=followed)
    last = torch.from_numpy(np.stack([adapted[s] for s in structures])).to(found.weights)
    return replace(found, network=followed, last=last)
