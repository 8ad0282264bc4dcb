"""Tests of the Siamese learners: verification against support voxels, and labels carried along the stack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_medmeta.engine.learners.base import Scene, SceneConfig
from napari_medmeta.engine.learners.siamese import (
    CorrespondenceLearner,
    SiameseLearner,
    SiameseProjection,
    contrastive_loss,
)
from napari_medmeta.engine.task import PaintedSlice, Task

MakeScene = Callable[..., tuple[Scene, Tensor]]
LEARNERS = (SiameseLearner, CorrespondenceLearner)


def fresh(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return kind()


def dice(evidence: Tensor, truth: Tensor, structure: int = 1) -> float:
    found = evidence.argmax(0) == structure
    true = truth == structure
    return float(2 * (found & true).sum() / (found.sum() + true.sum()))


def loss_of(learner: nn.Module, scene: Scene, truth: Tensor, depths: list[int]) -> Tensor:
    own = getattr(learner, "own_loss", None)
    if own is not None:
        return own(scene, truth, depths)
    return F.nll_loss(learner.fit(scene).evidence(depths)[None], truth[depths][None])


def trained(kind: type[nn.Module], make_scene: MakeScene, steps: int = 18) -> tuple[nn.Module, list[float]]:
    learner = fresh(kind)
    optimizer = torch.optim.Adam(learner.parameters(), lr=2e-2)
    losses = []
    for step in range(steps):
        scene, truth = make_scene(1, 7, seed=100 + step, structures=1 + step % 3, noise=0.8)
        loss = loss_of(learner, scene, truth, [2, 3, 4, 5])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return learner.eval(), losses


@pytest.fixture(scope="module")
def taught(make_scene: MakeScene) -> dict[type[nn.Module], tuple[nn.Module, list[float]]]:
    return {kind: trained(kind, make_scene) for kind in LEARNERS}


def test_the_contrastive_loss_is_that_of_the_paper() -> None:
    distance, same = torch.tensor([0.4, 0.5, 2.0]), torch.tensor([True, False, False])
    # 0.4^2 / 2, and the mean of (1 - 0.5)^2 / 2 and 0.
    assert contrastive_loss(distance, same, margin=1.0).item() == pytest.approx(0.08 + 0.0625)


def test_pairs_of_one_kind_alone_have_a_loss() -> None:
    assert contrastive_loss(torch.tensor([2.0]), torch.tensor([True]), margin=1.0).item() == pytest.approx(2.0)
    assert contrastive_loss(torch.tensor([2.0]), torch.tensor([False]), margin=1.0).item() == 0.0


@pytest.mark.parametrize("kind", LEARNERS)
def test_posteriors_of_every_class_sum_to_one(kind: type[nn.Module], make_scene: MakeScene) -> None:
    scene, _ = make_scene(2, 6, structures=2)
    evidence = fresh(kind).fit(scene).evidence([3, 4])
    assert evidence.shape == (3, 2, 24, 24)
    assert torch.allclose(evidence.exp().sum(0), torch.ones(2, 24, 24), atol=0.01)


@pytest.mark.parametrize("kind", LEARNERS)
def test_training_lowers_the_loss_on_scenes_never_seen(
    kind: type[nn.Module], make_scene: MakeScene, taught: dict[type[nn.Module], tuple[nn.Module, list[float]]]
) -> None:
    scene, truth = make_scene(1, 7, seed=1, noise=0.8)
    depths = [2, 3, 4, 5]
    before = loss_of(fresh(kind), scene, truth, depths)
    assert loss_of(taught[kind][0], scene, truth, depths) < 0.9 * before


@pytest.mark.parametrize("kind", LEARNERS)
@pytest.mark.parametrize("structures", [1, 2])
def test_structures_are_found_between_painted_slices(
    kind: type[nn.Module],
    structures: int,
    make_scene: MakeScene,
    taught: dict[type[nn.Module], tuple[nn.Module, list[float]]],
) -> None:
    scene, truth = make_scene(1, 7, seed=2, structures=structures, noise=0.3)
    evidence = taught[kind][0].fit(scene).evidence([3, 4])
    for s in range(1, structures + 1):
        assert dice(evidence, truth[[3, 4]], s) > 0.75


@pytest.mark.parametrize("kind", LEARNERS)
def test_one_painted_slice_is_enough_to_find_the_next(
    kind: type[nn.Module], make_scene: MakeScene, taught: dict[type[nn.Module], tuple[nn.Module, list[float]]]
) -> None:
    scene, truth = make_scene(4, seed=3, noise=0.5)
    assert dice(taught[kind][0].fit(scene).evidence([5]), truth[[5]]) > 0.85


@pytest.mark.parametrize("kind", LEARNERS)
def test_gradients_are_those_of_finite_differences(kind: type[nn.Module], make_scene: MakeScene) -> None:
    learner = fresh(kind)
    scene, truth = make_scene(2, 6)
    loss_of(learner, scene, truth, [4]).backward()
    checked = 0
    for name, parameter in learner.named_parameters():
        if parameter.numel() > 3:
            continue
        flat, slope = parameter.data.reshape(-1), parameter.grad.reshape(-1)[0].item()
        old = flat[0].item()
        flat[0] = old + 5e-2
        high = loss_of(learner, scene, truth, [4]).item()
        flat[0] = old - 5e-2
        low = loss_of(learner, scene, truth, [4]).item()
        flat[0] = old
        assert (high - low) / 0.1 == pytest.approx(slope, rel=0.1, abs=2e-3), name
        checked += 1
    assert checked >= 3
    assert all(bool(p.grad.abs().sum() > 0) for p in learner.projection.parameters())


@pytest.mark.parametrize("kind", LEARNERS)
def test_the_embedding_gets_a_gradient(kind: type[nn.Module], make_scene: MakeScene) -> None:
    scene, truth = make_scene(2, 6)
    assert scene.task.embedding is not None
    embedding = scene.task.embedding.clone().requires_grad_()
    seen = Scene(replace(scene.task, embedding=embedding), SceneConfig())
    loss_of(fresh(kind), seen, truth, [4]).backward()
    assert embedding.grad is not None
    assert bool(embedding.grad[:, 4].abs().sum() > 0)


@pytest.mark.parametrize("kind", LEARNERS)
@torch.no_grad()
def test_the_same_examples_give_the_same_answer_in_any_order(kind: type[nn.Module], make_scene: MakeScene) -> None:
    learner = fresh(kind)
    first = learner.fit(make_scene(2, 6)[0]).evidence([3, 4])
    again = learner.fit(make_scene(6, 2)[0]).evidence([3, 4])
    assert torch.equal(first, again)


@pytest.mark.parametrize("kind", LEARNERS)
@torch.no_grad()
def test_one_slice_at_a_time_gives_what_all_at_once_give(kind: type[nn.Module], make_scene: MakeScene) -> None:
    fitted = fresh(kind).fit(make_scene(2, 6)[0])
    together = fitted.evidence(range(9))
    apart = torch.cat([fitted.evidence([z]) for z in range(9)], dim=1)
    assert torch.allclose(together, apart, atol=1e-4)


@pytest.mark.parametrize("kind", LEARNERS)
@torch.no_grad()
def test_a_removed_example_leaves_no_trace(kind: type[nn.Module], make_scene: MakeScene) -> None:
    learner = fresh(kind)
    scene, _ = make_scene(2, 4, 6)
    learner.fit(scene).evidence([3])
    without = learner.fit(Scene(scene.task.without(4), SceneConfig())).evidence([3])
    never = learner.fit(make_scene(2, 6)[0]).evidence([3])
    assert torch.equal(without, never)


@pytest.mark.parametrize("kind", LEARNERS)
@torch.no_grad()
def test_a_slice_of_background_alone_is_answered(kind: type[nn.Module], make_scene: MakeScene) -> None:
    scene, _ = make_scene(0)
    evidence = fresh(kind).fit(scene).evidence([1])
    assert bool(torch.isfinite(evidence).all())
    assert dice(evidence, torch.zeros(1, 24, 24), 0) > 0.99


@torch.no_grad()
def test_a_painted_slice_is_carried_unchanged(make_scene: MakeScene) -> None:
    scene, truth = make_scene(2, 6)
    assert dice(fresh(CorrespondenceLearner).fit(scene).evidence([2]), truth[[2]]) == 1.0


@torch.no_grad()
def test_labels_follow_the_look_and_not_the_place(
    make_scene: MakeScene, taught: dict[type[nn.Module], tuple[nn.Module, list[float]]]
) -> None:
    # All but the painted slice are moved by two voxels: the shape prior does not know, the look does.
    scene, truth = make_scene(4, noise=0.1)
    moved, there = scene.task.embedding.roll(2, dims=2), truth.roll(2, dims=1)
    moved[:, 4], there[4] = scene.task.embedding[:, 4], truth[4]
    seen = Scene(replace(scene.task, embedding=moved), SceneConfig())
    carried = dice(taught[CorrespondenceLearner][0].fit(seen).evidence([5]), there[[5]])
    assert carried > 0.9
    assert carried > dice(seen.shape.log_posterior([5]), there[[5]]) + 0.05


@torch.no_grad()
def test_a_voxel_without_its_like_takes_what_the_shape_says(make_scene: MakeScene) -> None:
    learner = fresh(CorrespondenceLearner)
    learner.nowhere.fill_(1e3)
    scene, _ = make_scene(4)
    evidence, shape = learner.fit(scene).evidence([5]), scene.shape.log_posterior([5])
    assert torch.equal(evidence.argmax(0), shape.argmax(0))


@torch.no_grad()
def test_a_stroke_between_painted_slices_is_kept(make_scene: MakeScene) -> None:
    scene, _ = make_scene(2, 6)
    classes = scene.task.classes.clone()
    classes[4, 12, 12] = 0
    evidence = (
        fresh(CorrespondenceLearner).fit(Scene(replace(scene.task, classes=classes), SceneConfig())).evidence([4])
    )
    assert int(evidence[:, 0, 12, 12].argmax()) == 0
    assert int(fresh(CorrespondenceLearner).fit(scene).evidence([4])[:, 0, 12, 12].argmax()) == 1


@torch.no_grad()
def test_a_slice_known_in_part_lets_the_chain_through(make_scene: MakeScene) -> None:
    scene, truth = make_scene(2, 4, 6, noise=0.1)
    classes = scene.task.classes.clone()
    classes[4, :, 12:] = -1
    seen = Scene(replace(scene.task, classes=classes), SceneConfig())
    evidence = fresh(CorrespondenceLearner).fit(seen).evidence([4])
    assert torch.equal(evidence[:, 0, :, :12].argmax(0), truth[4, :, :12])
    assert dice(evidence, truth[[4]]) > 0.9


@torch.no_grad()
def test_background_where_a_structure_was_not_looked_for_stays_open(make_scene: MakeScene) -> None:
    scene, truth = make_scene(2, 4, 6, structures=2)
    partly = torch.where(truth[4] == 2, 0, truth[4])
    slices = tuple(PaintedSlice(0, 4, partly, frozenset({1})) if p.index == 4 else p for p in scene.task.painted)
    task: Task = replace(scene.task, painted=slices)
    task.classes[4] = partly
    evidence = fresh(CorrespondenceLearner).fit(Scene(task, SceneConfig())).evidence([4])
    assert dice(evidence, truth[[4]], 2) > 0.8
    assert dice(evidence, truth[[4]], 1) > 0.99


def test_two_learners_may_share_the_twins() -> None:
    twins = SiameseProjection()
    shared = nn.ModuleList([SiameseLearner(twins), CorrespondenceLearner(twins)])
    apart = nn.ModuleList([SiameseLearner(), CorrespondenceLearner()])
    count = sum(p.numel() for p in twins.parameters())
    assert sum(p.numel() for p in apart.parameters()) - sum(p.numel() for p in shared.parameters()) == count
    assert sum(p.numel() for p in apart.parameters()) < 10_000
