from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from napari_medmeta.engine.expectation import BOXED, UNCHECKED, expected_dice, slice_dice
from napari_medmeta.engine.fusion import Fold, FusionConfig, Trust, fit_trust, fuse, fused_log_posterior, usual_fusion
from napari_medmeta.engine.learners import hand_made_learners
from napari_medmeta.engine.learners.registry import DEFAULT_SOURCES
from napari_medmeta.engine.request import EngineConfig
from napari_medmeta.engine.task import UNKNOWN

CPU = torch.device("cpu")
CONFIG = FusionConfig(weights={"good": 0.5, "bad": 0.5}, shrinkage=0.1)
TRUTH = torch.zeros(20, 20, dtype=torch.int64)
TRUTH[5:15, 5:15] = 1


def says(classes: torch.Tensor, sure: float = 0.9) -> torch.Tensor:
    """(2, H, W) log-posteriors of a source that says ``classes``."""
    foreground = torch.where(classes == 1, sure, 1 - sure)
    return torch.stack([1 - foreground, foreground]).log()


def test_without_a_left_out_slice_the_fixed_weights_hold() -> None:
    trust = fit_trust(("good", "bad"), 1, (), CONFIG, CPU)
    assert trust.weights.tolist() == [[0.5, 0.5]]
    assert math.isnan(float(trust.expected_dice[0]))


def test_a_source_that_fails_on_left_out_slices_loses_weight() -> None:
    fold = Fold({"good": says(TRUTH), "bad": says(1 - TRUTH)}, TRUTH)
    trust = fit_trust(("good", "bad"), 1, [fold, fold], CONFIG, CPU)
    shares = trust.shares(1)
    assert shares["good"] > 0.7
    assert sum(shares.values()) == pytest.approx(1.0)


def test_a_strong_pull_keeps_the_fixed_weights_against_one_slice() -> None:
    fold = Fold({"good": says(TRUTH), "bad": says(1 - TRUTH)}, TRUTH)
    stiff = FusionConfig(weights=CONFIG.weights, shrinkage=1000.0)
    trust = fit_trust(("good", "bad"), 1, [fold], stiff, CPU)
    assert torch.allclose(trust.weights, torch.tensor([[0.5, 0.5]]), atol=0.01)


def test_weights_are_never_negative() -> None:
    fold = Fold({"good": says(TRUTH), "bad": says(1 - TRUTH, 0.99)}, TRUTH)
    trust = fit_trust(("good", "bad"), 1, [fold] * 4, CONFIG, CPU)
    assert float(trust.weights.min()) >= 0


def test_sources_that_agree_give_the_dice_of_their_answer() -> None:
    fold = Fold({"good": says(TRUTH), "bad": says(TRUTH)}, TRUTH)
    assert float(fit_trust(("good", "bad"), 1, [fold], CONFIG, CPU).expected_dice[0]) == pytest.approx(1.0)


def test_two_structures_never_share_a_voxel() -> None:
    both = torch.tensor([0.02, 0.49, 0.49]).log().reshape(3, 1, 1)
    trust = Trust(("a",), torch.ones(2, 1), torch.full((2,), torch.nan))
    assert fuse({"a": both}, trust).item() in (0, 1, 2)
    assert float(fused_log_posterior({"a": both}, trust).exp().sum()) == pytest.approx(1.0, abs=0.01)


def test_far_from_what_was_tested_the_fixed_weights_hold() -> None:
    trust = Trust(("a",), torch.ones(1, 1), torch.tensor([0.9]), fixed=torch.full((1, 1), 3.0), tested_mm=10.0)
    weights = trust.at(torch.tensor([0.0, 10.0, 20.0, 1e6]))
    torch.testing.assert_close(weights[0, 0], torch.tensor([1.0, 1.0, 2.0, 3.0]), atol=1e-3, rtol=0)


def test_untested_slices_lower_the_expected_dice(make_task) -> None:  # type: ignore[no-untyped-def]
    task = make_task({0: TRUTH.numpy().astype(bool)}, depth=2, spacing=(5.0, 1.0, 1.0))
    posterior = says(TRUTH, 0.97)[:, None]
    near = Trust(("a",), torch.ones(1, 1), torch.tensor([0.97]), tested_mm=5.0)
    far = Trust(("a",), torch.ones(1, 1), torch.tensor([0.97]), tested_mm=2.0)
    assert expected_dice(posterior, far, task, [1])[0] < expected_dice(posterior, near, task, [1])[0]


def test_a_slice_without_a_proposal_has_no_expected_dice(make_task) -> None:  # type: ignore[no-untyped-def]
    task = make_task({0: TRUTH.numpy().astype(bool)}, depth=2)
    empty, full = torch.zeros(20, 20, dtype=torch.int64), TRUTH
    posterior = torch.stack([says(empty), says(full)], dim=1)
    trust = Trust(("a",), torch.ones(1, 1), torch.tensor([0.8]))
    nothing, something = slice_dice(posterior, trust, task, [0, 1])
    assert nothing is None
    assert something is not None
    assert 0.5 < something <= 1.0


def test_a_surer_proposal_is_expected_to_be_better(make_task) -> None:  # type: ignore[no-untyped-def]
    task = make_task({0: TRUTH.numpy().astype(bool)}, depth=2)
    trust = Trust(("a",), torch.ones(1, 1), torch.tensor([torch.nan]))
    sure = expected_dice(says(TRUTH, 0.99)[:, None], trust, task, [1])
    unsure = expected_dice(says(TRUTH, 0.7)[:, None], trust, task, [1])
    assert sure[0] > unsure[0]


def test_a_box_promises_less_than_a_painted_slice_however_sure_the_answer_is(make_task) -> None:  # type: ignore[no-untyped-def]
    painted = make_task({0: TRUTH.numpy().astype(bool)}, depth=2)
    trust = Trust(("a",), torch.ones(1, 1), torch.tensor([torch.nan]))
    posterior = torch.stack([says(TRUTH, 0.9)] * 2, dim=1)
    classes = torch.where(painted.classes == 0, UNKNOWN, painted.classes)
    boxed = replace(painted, classes=classes, painted=())
    promised = {}
    for name, task in (("painted", painted), ("boxed", boxed)):
        (whole,) = expected_dice(posterior, trust, task, [0, 1])
        *_, of_slice = slice_dice(posterior, trust, task, [0, 1])
        assert of_slice == pytest.approx(whole, abs=1e-6)
        promised[name] = whole
    assert promised["boxed"] == pytest.approx(promised["painted"] * BOXED / UNCHECKED)


def test_hand_made_sources_alone_have_weights_of_their_own() -> None:
    alone = usual_fusion(learner.name for learner in hand_made_learners())
    together = usual_fusion(DEFAULT_SOURCES)
    assert alone.weights["propagation"] != together.weights["propagation"]
    assert set(DEFAULT_SOURCES) == set(together.weights)


def test_given_weights_hold_whatever_the_sources_are() -> None:
    given = FusionConfig(weights={learner.name: 0.5 for learner in hand_made_learners()})
    assert EngineConfig(learners=hand_made_learners(), fusion=given).pool is given
    assert EngineConfig(learners=hand_made_learners()).pool == usual_fusion(["shape"])
