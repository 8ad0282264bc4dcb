"""How far the trained network is followed, with networks whose answer is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from napari_medmeta.engine.correction import check_network, corrected_log_odds, untested
from napari_medmeta.engine.fusion import Fold, Trust
from napari_medmeta.engine.learners.base import Scene, SceneConfig
from napari_medmeta.engine.task import Task

SIDE = 16


class _Says(nn.Module):
    """A network that gives one constant log-odds, whatever it sees."""

    def __init__(self, odds: float) -> None:
        super().__init__()
        self._odds = odds

    def forward(self, views: Tensor, log_odds: Tensor) -> Tensor:
        return torch.full_like(log_odds, self._odds)


def _half() -> Tensor:
    classes = torch.zeros(SIDE, SIDE, dtype=torch.int64)
    classes[:, : SIDE // 2] = 1
    return classes


def _posterior(classes: Tensor) -> Tensor:
    """Return (2, H, W) log-posteriors of somebody who is 95 % sure."""
    right = torch.stack([(classes == c).float() for c in (0, 1)])
    return torch.log(right * 0.9 + 0.05)


@pytest.fixture
def scene(make_task) -> Scene:  # type: ignore[no-untyped-def]
    task: Task = make_task({0: _half().numpy() == 1, 2: _half().numpy() == 1}, depth=4)
    return Scene(task, SceneConfig())


def _trust(**more: float) -> Trust:
    return Trust(("a",), torch.ones(1, 1), torch.tensor([math.nan]), **more)  # type: ignore[arg-type]


def _fold(scene: Scene, says: Tensor) -> Fold:
    return Fold({"a": _posterior(says)}, _half(), scene, 1)


def test_a_network_that_does_no_worse_is_followed(scene: Scene) -> None:
    wrong = _fold(scene, torch.zeros_like(_half()))
    checked = check_network(_Says(5.0), [wrong], _trust())  # type: ignore[arg-type]
    assert checked.network is not None
    assert float(checked.network[0]) == 1.0


def test_a_network_that_ruins_a_left_out_slice_is_not_followed(scene: Scene) -> None:
    right = _fold(scene, _half())
    checked = check_network(_Says(-5.0), [right], _trust())  # type: ignore[arg-type]
    assert checked.network is not None
    assert float(checked.network[0]) == 0.0
    assert float(checked.expected_dice[0]) == pytest.approx(1.0)


def test_without_a_left_out_slice_the_network_is_followed(scene: Scene) -> None:
    checked = check_network(_Says(-5.0), [], _trust())  # type: ignore[arg-type]
    assert checked.network is not None
    assert float(checked.network[0]) == 1.0


def test_the_answer_moves_as_far_as_the_network_is_trusted(scene: Scene) -> None:
    evidence = {"a": _posterior(_half())[:, None]}
    plain = corrected_log_odds(None, scene, evidence, _trust(), [1])
    full = corrected_log_odds(_Says(1.0), scene, evidence, untested(_trust()), [1])  # type: ignore[arg-type]
    half_way = untested(_trust())
    assert half_way.network is not None
    half_way.network.fill_(0.5)
    between = corrected_log_odds(_Says(1.0), scene, evidence, half_way, [1])  # type: ignore[arg-type]
    torch.testing.assert_close(full, torch.ones_like(full))
    torch.testing.assert_close(between, 0.5 * (plain + 1.0))
