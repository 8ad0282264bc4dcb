from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from napari_medmeta.engine.learners.base import Scene, SceneConfig
from napari_medmeta.engine.learners.head import examples_of, logits_of
from napari_medmeta.engine.learners.model_agnostic import MAMLLearner, Order, ReptileLearner, support_gradient

MakeScene = Callable[..., tuple[Scene, Tensor]]
QUERIES = [2, 3, 4]
KINDS = [MAMLLearner, ReptileLearner]


def fresh(kind: type[nn.Module], **settings: object) -> nn.Module:
    torch.manual_seed(0)
    return kind(**settings)


def trained(kind: type[nn.Module], make_scene: MakeScene, steps: int = 12) -> nn.Module:
    learner = fresh(kind, steps=4)
    optimizer = torch.optim.Adam(learner.parameters(), lr=0.02)
    for seed in range(100, 100 + steps):
        scene, truth = make_scene(1, 6, seed=seed, noise=1.0)
        if isinstance(learner, ReptileLearner):
            learner.meta_step(scene, truth, QUERIES, optimizer)
        else:
            optimizer.zero_grad()
            learner.own_loss(scene, truth, QUERIES).backward()
            optimizer.step()
    return learner


@torch.no_grad()
def adapted_loss(learner: nn.Module, scene: Scene, truth: Tensor) -> float:
    """Return the mean loss of the adapted head on all voxels of the query slices, the shape left out."""
    fitted = learner.fit(scene)
    _, embedded, places = scene.learnt_queries(QUERIES)
    known = fitted.frame.inputs(embedded, places)
    logits = logits_of(fitted.head, fitted.weights, known)
    target = (truth[QUERIES][scene.undecided[QUERIES]][None] == 1).float()
    return float(nn.functional.binary_cross_entropy_with_logits(logits, target))


@pytest.fixture(scope="module")
def taught(make_scene: MakeScene) -> dict[type[nn.Module], nn.Module]:
    return {kind: trained(kind, make_scene) for kind in KINDS}


def tiny(order: Order) -> MAMLLearner:
    """Return a learner of few parameters in double precision, for differences to be exact."""
    return fresh(MAMLLearner, embedding=16, hidden=2, steps=3, order=order).double()


def in_double(make_scene: MakeScene) -> tuple[Scene, Tensor]:
    scene, truth = make_scene(1, 6, noise=1.0)
    task = replace(scene.task, embedding=scene.task.embedding.double())
    return Scene(task, SceneConfig(samples=20, background_samples=20)), truth


@pytest.mark.parametrize("kind", KINDS)
def test_meta_training_makes_adaptation_end_lower(
    kind: type[nn.Module], make_scene: MakeScene, taught: dict[type[nn.Module], nn.Module]
) -> None:
    for seed in (1, 2, 3):
        scene, truth = make_scene(1, 6, seed=seed, noise=1.0)
        untrained = fresh(kind, steps=4)
        assert adapted_loss(taught[kind], scene, truth) < 0.7 * adapted_loss(untrained, scene, truth)


@pytest.mark.parametrize("kind", KINDS)
def test_adaptation_lowers_the_loss_that_the_start_has(
    kind: type[nn.Module], make_scene: MakeScene, taught: dict[type[nn.Module], nn.Module]
) -> None:
    learner = taught[kind]
    scene, _ = make_scene(1, 6, seed=7, noise=1.0, structures=2)
    examples = examples_of(scene)
    start = examples.loss(logits_of(learner.head, learner.head.copies(2), examples.inputs))
    weights = learner.fit(scene).weights
    assert bool((examples.loss(logits_of(learner.head, weights, examples.inputs)) < start).all())


def test_the_outer_gradient_of_second_order_is_that_of_finite_differences(make_scene: MakeScene) -> None:
    learner = tiny(Order.SECOND)
    scene, truth = in_double(make_scene)
    found = torch.autograd.grad(learner.own_loss(scene, truth, QUERIES), list(learner.head.parameters()))
    for parameter, gradient in zip(learner.head.parameters(), found, strict=True):
        assert difference(learner, scene, truth, parameter) == pytest.approx(float(gradient.reshape(-1)[0]), abs=1e-6)


def difference(learner: MAMLLearner, scene: Scene, truth: Tensor, parameter: nn.Parameter) -> float:
    """Return the central difference of the outer loss by the first number of ``parameter``."""
    losses = []
    number = parameter.data.reshape(-1)
    kept = float(number[0])
    for offset in (1e-5, -1e-5):
        number[0] = kept + offset
        losses.append(float(learner.own_loss(scene, truth, QUERIES).detach()))
    number[0] = kept
    return (losses[0] - losses[1]) / 2e-5


def test_first_order_takes_the_inner_gradients_for_constants(make_scene: MakeScene) -> None:
    # With them as constants the adapted weights move one to one with the start, so the outer gradient with
    # respect to the start is the plain gradient of the query loss at the adapted weights.
    learner = tiny(Order.FIRST)
    scene, truth = in_double(make_scene)
    found = torch.autograd.grad(learner.own_loss(scene, truth, QUERIES), list(learner.head.parameters()))
    reached = {name: w[0].detach() for name, w in learner.fit(scene).weights.items()}
    still = tiny(Order.FIRST)
    still.load_state_dict(learner.state_dict() | {f"head.{name}": w for name, w in reached.items()})
    still.log_rates.data.fill_(-100.0)
    for parameter, gradient in zip(still.head.parameters(), found, strict=True):
        assert difference(still, scene, truth, parameter) == pytest.approx(float(gradient.reshape(-1)[0]), abs=1e-6)


def test_first_and_second_order_adapt_alike_and_learn_differently(make_scene: MakeScene) -> None:
    scene, truth = in_double(make_scene)
    gradients, weights = [], []
    for order in Order:
        learner = tiny(order)
        weights.append(learner.fit(scene).weights["first.weight"].detach())
        gradients.append(torch.autograd.grad(learner.own_loss(scene, truth, QUERIES), learner.head.first.weight)[0])
    assert torch.allclose(*weights)
    assert not torch.allclose(*gradients, rtol=0.01)


def test_inner_gradients_are_those_of_each_structure_alone(make_scene: MakeScene) -> None:
    scene, _ = make_scene(1, 6, structures=2)
    learner = fresh(MAMLLearner)
    examples = examples_of(scene)
    found = support_gradient(learner.head, learner.head.copies(2), examples, differentiable=False)["second.weight"]
    for s in range(2):
        loss = examples.loss(learner.head(examples.inputs))[s]
        assert torch.allclose(found[s], torch.autograd.grad(loss, learner.head.second.weight)[0], atol=1e-6)


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_reptile_moves_the_start_the_stated_share_towards_the_adapted_weights(
    share: float, make_scene: MakeScene
) -> None:
    scene, truth = make_scene(1, 6, structures=2)
    ends = []
    for rate in (share, 1.0):
        learner = fresh(ReptileLearner, steps=3)
        before = learner.head.first.weight.detach().clone()
        learner.meta_step(scene, truth, QUERIES, torch.optim.SGD(learner.parameters(), lr=rate))
        ends.append(learner.head.first.weight.detach() - before)
    assert bool(ends[1].abs().max() > 1e-3)
    assert torch.allclose(ends[0], share * ends[1], atol=1e-6)


def test_reptile_goes_all_the_way_to_the_mean_of_the_structures(make_scene: MakeScene) -> None:
    scene, truth = make_scene(1, 6, structures=2)
    learner = fresh(ReptileLearner, steps=3)
    batches = learner._minibatches(learner._known(scene, truth, QUERIES))
    reached = learner.adapted(batches)["last.weight"].mean(0)
    learner.meta_step(scene, truth, QUERIES, torch.optim.SGD(learner.parameters(), lr=1.0))
    assert torch.allclose(learner.head.last.weight, reached, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("structures", [1, 3])
def test_structures_are_found_between_painted_slices(
    kind: type[nn.Module], structures: int, make_scene: MakeScene, taught: dict[type[nn.Module], nn.Module]
) -> None:
    scene, truth = make_scene(1, 6, seed=5, structures=structures, noise=0.5)
    found = taught[kind].fit(scene).evidence(QUERIES).argmax(0)
    for s in range(1, structures + 1):
        mine, true = found == s, truth[QUERIES] == s
        assert float(2 * (mine & true).sum() / (mine.sum() + true.sum())) > 0.8


@pytest.mark.parametrize("kind", KINDS)
def test_one_example_is_enough_to_adapt_to(
    kind: type[nn.Module], make_scene: MakeScene, taught: dict[type[nn.Module], nn.Module]
) -> None:
    scene, truth = make_scene(4, seed=5, noise=0.5)
    found, true = taught[kind].fit(scene).evidence([5]).argmax(0)[0] == 1, truth[5] == 1
    assert float(2 * (found & true).sum() / (found.sum() + true.sum())) > 0.8


@pytest.mark.parametrize("kind", KINDS)
def test_posteriors_sum_to_one_and_the_same_examples_give_the_same(
    kind: type[nn.Module], make_scene: MakeScene
) -> None:
    learner = fresh(kind)
    first = learner.fit(make_scene(1, 6, structures=2)[0]).evidence([3, 4])
    assert first.shape == (3, 2, 24, 24)
    assert torch.allclose(first.exp().sum(0), torch.ones(2, 24, 24), atol=0.01)
    assert torch.equal(first, learner.fit(make_scene(1, 6, structures=2)[0]).evidence([3, 4]))


@pytest.mark.parametrize("kind", KINDS)
def test_an_example_taken_away_leaves_no_trace(kind: type[nn.Module], make_scene: MakeScene) -> None:
    learner = fresh(kind)
    with_both, _ = make_scene(1, 6)
    before = learner.fit(with_both).evidence([3])
    left = learner.fit(Scene(with_both.task.without(6), SceneConfig())).evidence([3])
    never = learner.fit(make_scene(1)[0]).evidence([3])
    assert torch.equal(left, never)
    assert not torch.equal(left, before)


@pytest.mark.parametrize("kind", KINDS)
def test_adaptation_works_without_gradients_being_kept(kind: type[nn.Module], make_scene: MakeScene) -> None:
    learner = fresh(kind)
    scene, _ = make_scene(1, 6)
    kept = learner.fit(scene).evidence([3])
    with torch.no_grad():
        assert torch.allclose(learner.fit(scene).evidence([3]), kept, atol=1e-5)
    frozen = learner.requires_grad_(False).fit(scene).evidence([3])
    assert torch.allclose(frozen, kept, atol=1e-5)
    assert not frozen.requires_grad


def test_a_structure_of_which_no_example_is_left_is_not_invented(make_scene: MakeScene) -> None:
    scene, _ = make_scene(4)
    task = scene.task.without(4)
    task.classes[4, 0] = 0
    evidence = fresh(MAMLLearner).fit(Scene(task, SceneConfig())).evidence([4])
    assert bool(torch.isfinite(evidence).all())


@pytest.mark.parametrize("kind", KINDS)
def test_the_meta_learnt_part_is_small(kind: type[nn.Module]) -> None:
    assert sum(p.numel() for p in fresh(kind).parameters()) < 100_000
