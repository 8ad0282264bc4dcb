"""What a proposal tells of the trust behind it is what it was made with."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from napari_medmeta.core import Support
from napari_medmeta.engine import EngineConfig, Segmenter
from napari_medmeta.engine.fusion import Trust
from napari_medmeta.engine.recipe import trust_behind
from napari_medmeta.engine.request import Request

Paint = Callable[..., Support]


def fixed_trust() -> Trust:
    """Weights that nobody fitted, the network followed as it is."""
    names = tuple(learner.name for learner in EngineConfig().learners)
    weights = torch.full((2, len(names)), 0.5)
    return Trust(names, weights, torch.full((2,), math.nan), network=torch.ones(2), fixed=weights)


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[Trust]:
    """Every trust that a request answers with, the last one at the end."""
    seen: list[Trust] = []
    decide = Request._trust

    def kept(self: Request, *arguments: object) -> Trust:
        seen.append(decide(self, *arguments))  # type: ignore[arg-type]
        return seen[-1]

    monkeypatch.setattr(Request, "_trust", kept)
    return seen


def test_the_trust_that_made_a_proposal_is_read_from_it(ready: Segmenter, paint: Paint, used: list[Trust]) -> None:
    proposal = ready.segment(paint(8, 12, 17))
    found, made = trust_behind(proposal, fixed_trust(), (1, 2)), used[-1]
    assert made.last is not None
    assert made.network is not None
    assert found.last is not None
    assert found.network is not None
    torch.testing.assert_close(found.last, made.last)
    torch.testing.assert_close(found.network, made.network)
    torch.testing.assert_close(found.weights, made.weights)
    assert found.tested_mm == made.tested_mm


def test_a_network_that_did_not_adapt_is_followed_as_it_was_learnt(ready: Segmenter, paint: Paint) -> None:
    # A single slice cannot be left out.
    proposal = ready.segment(paint(12))
    assert proposal.recipe is not None
    assert not proposal.recipe.last
    assert trust_behind(proposal, fixed_trust(), (1, 2)).last is None


def test_a_proposal_without_a_recipe_falls_back_on_the_usual_weights_sum(ready: Segmenter, paint: Paint) -> None:
    proposal = replace(ready.segment(paint(12)), recipe=None)
    found = trust_behind(proposal, fixed_trust(), (1, 2))
    torch.testing.assert_close(found.weights.sum(1), fixed_trust().weights.sum(1))
