"""The network's last layer adapts to left-out slices whose error is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from napari_medmeta.engine.adaptation import adapt
from napari_medmeta.engine.correction import check_network, corrected_log_odds
from napari_medmeta.engine.fusion import Fold, Trust
from napari_medmeta.engine.learners.base import Scene, SceneConfig
from napari_medmeta.engine.network import FusionNetwork, NetworkConfig
from napari_medmeta.engine.task import Task

SIDE = 32

MakeTask = Callable[..., Task]


def _disc(radius: float) -> Tensor:
    places = torch.arange(SIDE) - (SIDE - 1) / 2
    return (places[:, None] ** 2 + places[None] ** 2) < radius**2


def _too_wide() -> Tensor:
    """Return (2, H, W) log-posteriors of a source that is unsure around the structure, and leans the wrong way."""
    inside, around = _disc(6), _disc(11)
    probability = torch.where(inside, 0.97, torch.where(around, 0.52, 0.03))
    return torch.log(torch.stack([1 - probability, probability]))


@pytest.fixture
def network() -> FusionNetwork:
    torch.manual_seed(0)
    return FusionNetwork(NetworkConfig(("a", "b"))).eval()


@pytest.fixture
def folds(make_task: MakeTask) -> list[Fold]:
    depths = (0, 2, 4)
    task = make_task(dict.fromkeys(depths, _disc(6).numpy()), depth=6)
    scenes = [(d, Scene(task.without(d), SceneConfig())) for d in depths]
    # A second opinion in name only: voxels on which nobody differs would teach nothing.
    return [Fold({"a": _too_wide(), "b": _too_wide() * 3}, _disc(6).long(), scene, d) for d, scene in scenes]


def _trust() -> Trust:
    return Trust(("a", "b"), torch.tensor([[1.0, 0.0]]), torch.tensor([math.nan]))


def _dice(odds: Tensor) -> float:
    found = odds[0] > 0
    return float(2 * (found & _disc(6)).sum() / (found.sum() + _disc(6).sum()))


def test_slices_never_adapted_to_are_answered_better(network: FusionNetwork, folds: list[Fold]) -> None:
    adaptation = adapt(network, folds, _trust())
    assert adaptation is not None
    assert _dice(folds[0].evidence["a"][1:] - folds[0].evidence["a"][:1]) < 0.6
    assert all(_dice(unseen) > 0.9 for unseen in adaptation.unseen)


def test_the_adapted_layer_answers_the_volume(network: FusionNetwork, folds: list[Fold]) -> None:
    checked = check_network(network, folds, _trust())
    assert checked.last is not None
    assert float(checked.expected_dice[0]) > 0.9
    scene = folds[0].scene
    assert scene is not None
    evidence = {name: e[:, None].expand(-1, 2, -1, -1) for name, e in folds[0].evidence.items()}
    assert all(_dice(odds[None]) > 0.9 for odds in corrected_log_odds(network, scene, evidence, checked, [1, 3])[0])


def test_the_same_examples_adapt_to_the_same_layer(network: FusionNetwork, folds: list[Fold]) -> None:
    first, second = adapt(network, folds, _trust()), adapt(network, folds, _trust())
    assert first is not None
    assert second is not None
    assert torch.equal(first.last, second.last)


def test_one_left_out_slice_tests_nothing_and_nothing_adapts(network: FusionNetwork, folds: list[Fold]) -> None:
    assert adapt(network, folds[:1], _trust()) is None
    assert check_network(network, folds[:1], _trust()).last is None


def test_who_asks_for_no_adaptation_gets_the_network_as_it_was_trained(
    network: FusionNetwork, folds: list[Fold]
) -> None:
    plain, adapted = (check_network(network, folds, _trust(), adapts=adapts) for adapts in (False, True))
    assert plain.last is None
    assert float(plain.expected_dice[0]) < 0.7 < 0.9 < float(adapted.expected_dice[0])


def test_a_structure_on_no_left_out_slice_keeps_what_was_learnt_before(
    network: FusionNetwork, folds: list[Fold]
) -> None:
    nowhere = [Fold(fold.evidence, torch.full((SIDE, SIDE), -1), fold.scene, fold.depth) for fold in folds]
    checked = check_network(network, nowhere, _trust())
    assert checked.last is not None
    assert torch.equal(checked.last[0], network.last.detach())
