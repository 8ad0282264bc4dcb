"""Tests of the memory-augmented learner: what is written, read, and evicted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_medmeta.engine.learners.base import Scene, SceneConfig
from napari_medmeta.engine.learners.memory_augmented import (
    ExternalMemory,
    FittedMemory,
    MemoryAugmentedLearner,
    MemoryConfig,
    Rows,
)

MakeScene = Callable[..., tuple[Scene, Tensor]]


def fresh(**config: float) -> MemoryAugmentedLearner:
    torch.manual_seed(0)
    return MemoryAugmentedLearner(config=MemoryConfig(**config))  # type: ignore[arg-type]


def dice(evidence: Tensor, truth: Tensor, structure: int = 1) -> float:
    found = evidence.argmax(0) == structure
    true = truth == structure
    return float(2 * (found & true).sum() / (found.sum() + true.sum()))


def loss_of(learner: MemoryAugmentedLearner, scene: Scene, truth: Tensor, depths: list[int]) -> Tensor:
    return F.nll_loss(learner.fit(scene).evidence(depths)[None], truth[depths][None])


@pytest.fixture(scope="module")
def taught(make_scene: MakeScene) -> MemoryAugmentedLearner:
    learner = fresh()
    optimizer = torch.optim.Adam(learner.parameters(), lr=2e-2)
    for step in range(18):
        scene, truth = make_scene(1, 7, seed=100 + step, structures=1 + step % 3, noise=0.8)
        optimizer.zero_grad()
        loss_of(learner, scene, truth, [2, 3, 5]).backward()
        optimizer.step()
    return learner


def row(*numbers: float) -> Rows:
    """Rows of two classes whose keys name them: key (n, 0), place 0, class 1."""
    keys = torch.tensor([[n, 0.0] for n in numbers])
    return Rows(keys, torch.zeros(len(keys), 3), torch.tensor([[0.0, 1.0]]).repeat(len(keys), 1), keys)


def named(memory: ExternalMemory) -> list[float]:
    return memory.rows.keys[:, 0].tolist()


def test_of_predicted_rows_the_least_used_gives_way() -> None:
    memory = ExternalMemory.of(row(1.0), evictable=2).predicted(row(2.0)).predicted(row(3.0))
    memory = memory.used(torch.tensor([0.0, 0.9, 0.1]))
    assert named(memory.predicted(row(4.0))) == [1.0, 2.0, 4.0]


def test_of_rows_used_alike_the_oldest_gives_way() -> None:
    memory = ExternalMemory.of(row(1.0), evictable=2).predicted(row(2.0)).predicted(row(3.0))
    assert named(memory.predicted(row(4.0))) == [1.0, 3.0, 4.0]


def test_confirmed_rows_stay_however_little_they_are_used() -> None:
    memory = ExternalMemory.of(row(1.0, 2.0), evictable=1)
    for n in range(3, 30):
        memory = memory.predicted(row(float(n))).used(torch.tensor([0.0, 0.0, 1.0]))
    assert named(memory) == [1.0, 2.0, 29.0]


def test_confirming_takes_no_room_from_predictions() -> None:
    memory = ExternalMemory.of(row(1.0), evictable=1).predicted(row(2.0)).confirmed(row(3.0))
    assert named(memory) == [1.0, 2.0, 3.0]
    assert memory.permanent.tolist() == [True, False, True]


def test_a_memory_without_room_for_predictions_takes_none() -> None:
    assert named(ExternalMemory.of(row(1.0), evictable=0).predicted(row(2.0, 3.0))) == [1.0]


def test_more_predictions_than_there_is_room_are_cut() -> None:
    memory = ExternalMemory.of(row(1.0), evictable=2).predicted(row(2.0)).predicted(row(3.0, 4.0, 5.0))
    assert named(memory) == [1.0, 3.0, 4.0]


def test_usage_stays_bounded() -> None:
    memory = ExternalMemory.of(row(1.0, 2.0), evictable=1)
    for _ in range(500):
        memory = memory.used(torch.tensor([0.5, 0.5]))
    assert memory.usage.tolist() == pytest.approx([20.0, 20.0], rel=1e-3)


def test_posteriors_of_every_class_sum_to_one(make_scene: MakeScene) -> None:
    evidence = fresh().fit(make_scene(2, 6, structures=2)[0]).evidence([3, 4])
    assert evidence.shape == (3, 2, 24, 24)
    assert torch.allclose(evidence.exp().sum(0), torch.ones(2, 24, 24), atol=0.01)


def test_training_lowers_the_loss_on_a_scene_never_seen(make_scene: MakeScene, taught: MemoryAugmentedLearner) -> None:
    scene, truth = make_scene(1, 7, seed=1, noise=0.8)
    assert loss_of(taught, scene, truth, [3, 4]) < 0.9 * loss_of(fresh(), scene, truth, [3, 4])


@pytest.mark.parametrize("structures", [1, 2])
def test_structures_are_found_between_painted_slices(
    structures: int, make_scene: MakeScene, taught: MemoryAugmentedLearner
) -> None:
    scene, truth = make_scene(1, 7, seed=2, structures=structures, noise=0.3)
    evidence = taught.fit(scene).evidence([3, 4])
    for s in range(1, structures + 1):
        assert dice(evidence, truth[[3, 4]], s) > 0.75


def test_one_painted_slice_is_enough_to_find_the_next(make_scene: MakeScene, taught: MemoryAugmentedLearner) -> None:
    scene, truth = make_scene(4, seed=3, noise=0.5)
    assert dice(taught.fit(scene).evidence([5]), truth[[5]]) > 0.85


def test_every_parameter_gets_a_gradient(make_scene: MakeScene) -> None:
    learner = fresh(confidence=0.5)
    scene, truth = make_scene(4)
    loss_of(learner, scene, truth, [5, 6]).backward()
    for name, parameter in learner.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.abs().sum() > 0), name


def test_gradients_are_those_of_finite_differences(make_scene: MakeScene) -> None:
    # No slice lies on the way: what is written there is not followed by the gradient on purpose.
    learner = fresh()
    scene, truth = make_scene(3, 5)
    loss_of(learner, scene, truth, [4]).backward()
    with torch.no_grad():
        for parameter in (learner.log_power, learner.log_nearness, learner.sharpness.bias, learner.value.bias):
            assert parameter.grad is not None
            flat, slope = parameter.reshape(-1), parameter.grad.reshape(-1)[0].item()
            flat[0] += 2e-2
            high = loss_of(learner, scene, truth, [4]).item()
            flat[0] -= 4e-2
            low = loss_of(learner, scene, truth, [4]).item()
            flat[0] += 2e-2
            assert (high - low) / 4e-2 == pytest.approx(slope, rel=0.1, abs=1e-3)


def test_the_embedding_gets_a_gradient(make_scene: MakeScene) -> None:
    scene, truth = make_scene(2, 6)
    assert scene.task.embedding is not None
    embedding = scene.task.embedding.clone().requires_grad_()
    loss_of(fresh(), Scene(replace(scene.task, embedding=embedding), SceneConfig()), truth, [4]).backward()
    assert embedding.grad is not None
    assert bool(embedding.grad[:, [2, 4, 6]].abs().sum((0, 2, 3)).all())


def test_it_is_small() -> None:
    assert sum(p.numel() for p in fresh().parameters()) < 10_000


@torch.no_grad()
def test_the_memory_is_written_slice_by_slice_whatever_the_order_of_painting(make_scene: MakeScene) -> None:
    first, again = fresh().fit(make_scene(2, 6)[0]), fresh().fit(make_scene(6, 2)[0])
    assert torch.equal(first.memory.rows.keys, again.memory.rows.keys)
    depth = first.memory.rows.places[:, 0]
    assert bool((depth.diff() >= 0).all())
    assert torch.equal(first.evidence([3, 4]), again.evidence([3, 4]))


@torch.no_grad()
def test_one_slice_at_a_time_gives_what_all_at_once_give(make_scene: MakeScene) -> None:
    fitted = fresh(confidence=0.6).fit(make_scene(2, 5)[0])
    together = fitted.evidence(range(9))
    apart = torch.cat([fitted.evidence([z]) for z in range(9)], dim=1)
    assert torch.allclose(together, apart, atol=1e-4)


@torch.no_grad()
def test_what_was_predicted_on_the_way_is_remembered(make_scene: MakeScene) -> None:
    scene, _ = make_scene(2)
    remembers, forgets = fresh(confidence=0.6), fresh(confidence=0.6, predicted=0)
    assert torch.equal(remembers.fit(scene).evidence([3])[:, 0], remembers.fit(scene).evidence([3, 4])[:, 0])
    # The next slice has nothing on its way; the one after has.
    assert torch.equal(remembers.fit(scene).evidence([3]), forgets.fit(scene).evidence([3]))
    assert not torch.equal(remembers.fit(scene).evidence([4]), forgets.fit(scene).evidence([4]))


@torch.no_grad()
def test_a_removed_example_leaves_no_trace(make_scene: MakeScene) -> None:
    learner = fresh(confidence=0.6)
    scene, _ = make_scene(2, 4, 6)
    learner.fit(scene).evidence([3])
    without = learner.fit(Scene(scene.task.without(4), SceneConfig())).evidence([3, 4])
    assert torch.equal(without, learner.fit(make_scene(2, 6)[0]).evidence([3, 4]))


@torch.no_grad()
def test_a_slice_of_background_alone_is_answered(make_scene: MakeScene) -> None:
    evidence = fresh().fit(make_scene(0)[0]).evidence([1])
    assert bool(torch.isfinite(evidence).all())
    assert dice(evidence, torch.zeros(1, 24, 24), 0) > 0.99


@torch.no_grad()
def test_a_correction_of_a_few_voxels_is_written(make_scene: MakeScene) -> None:
    scene, _ = make_scene(2, 6)
    classes = scene.task.classes.clone()
    classes[4, 12, 10:14] = 1
    corrected: FittedMemory = fresh().fit(Scene(replace(scene.task, classes=classes), SceneConfig()))
    assert int((corrected.memory.rows.places[:, 0] * corrected.scene.position_scale_mm[0]).eq(8.0).sum()) > 0
    assert bool(corrected.memory.permanent.all())
