from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from napari_medmeta.engine.learners.base import Scene, SceneConfig
from napari_medmeta.engine.learners.head import Examples, examples_of, logits_of
from napari_medmeta.engine.learners.meta_recurrent import (
    MetaLSTMLearner,
    RecurrentPropagation,
    UpdateRule,
    log_scaled,
)

MakeScene = Callable[..., tuple[Scene, Tensor]]
QUERIES = [2, 3, 4]
KINDS = [MetaLSTMLearner, RecurrentPropagation]


def fresh(kind: type[nn.Module], **settings: object) -> nn.Module:
    torch.manual_seed(0)
    return kind(**settings)


def loss_of(learner: nn.Module, scene: Scene, truth: Tensor) -> Tensor:
    evidence, target = learner.fit(scene).evidence(QUERIES), truth[QUERIES]
    asked = scene.undecided[QUERIES]
    return nn.functional.nll_loss(evidence[:, asked].T, target[asked])


@pytest.fixture(scope="module")
def taught(make_scene: MakeScene) -> dict[type[nn.Module], nn.Module]:
    learners = {}
    for kind in KINDS:
        learner = fresh(kind)
        optimizer = torch.optim.Adam(learner.parameters(), lr=0.02)
        for seed in range(100, 112):
            scene, truth = make_scene(1, 6, seed=seed, noise=1.0)
            optimizer.zero_grad()
            loss_of(learner, scene, truth).backward()
            optimizer.step()
        learners[kind] = learner
    return learners


def test_gradients_enter_by_the_logarithm_of_their_size_and_their_sign() -> None:
    tiny = math.exp(-12.0)
    found = log_scaled(torch.tensor([1.0, -math.exp(-5.0), tiny, -tiny]))
    expected = [[0.0, 1.0], [-0.5, -1.0], [-1.0, math.exp(-2.0)], [-1.0, -math.exp(-2.0)]]
    assert torch.allclose(found, torch.tensor(expected), atol=1e-6)


def test_a_step_of_the_rule_is_the_equation_of_the_paper() -> None:
    rule = fresh(UpdateRule)
    for gate in (rule.forget, rule.input):
        nn.init.zeros_(gate.weight)
    parameter, gradient = torch.tensor([2.0, -1.0]), torch.tensor([0.3, 0.0])
    changed, state = rule(parameter, gradient, torch.ones(2), rule.start(2))
    kept, step = 1 / (1 + math.exp(-5.0)), 0.5
    assert torch.allclose(changed, kept * parameter - step * gradient)
    assert torch.allclose(state.forget, torch.tensor(kept))
    assert torch.allclose(state.step, torch.tensor(step))


def test_every_parameter_is_changed_by_the_same_rule_alone() -> None:
    rule = fresh(UpdateRule)
    nn.init.normal_(rule.input.weight)
    numbers = torch.tensor([0.5, -0.2, 0.5]), torch.tensor([0.1, 3.0, 0.1]), torch.tensor([1.0, 0.2, 1.0])
    changed, _ = rule(*numbers, rule.start(3))
    alone, _ = rule(*(n[1:2] for n in numbers), rule.start(1))
    assert changed[0] == changed[2]
    assert torch.allclose(changed[1:2], alone)


def test_untrained_the_rule_already_descends(make_scene: MakeScene) -> None:
    scene, _ = make_scene(1, 6, structures=2)
    learner, examples = fresh(MetaLSTMLearner), examples_of(scene)
    assert bool((support_loss(learner, examples, steps=8) < support_loss(learner, examples, steps=0)).all())


@torch.no_grad()
def support_loss(learner: nn.Module, examples: Examples, *, steps: int) -> Tensor:
    learner.steps = steps
    return examples.loss(logits_of(learner.head, learner.adapted(examples), examples.inputs))


def test_training_reaches_the_rule_and_the_start(make_scene: MakeScene) -> None:
    scene, truth = make_scene(1, 6)
    learner = fresh(MetaLSTMLearner)
    learner.own_loss(scene, truth, QUERIES).backward()
    for parameter in (learner.head.first.weight, learner.rule.memory.weight_ih, learner.rule.input.bias):
        assert float(parameter.grad.abs().max()) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_meta_training_makes_the_answer_better(
    kind: type[nn.Module], make_scene: MakeScene, taught: dict[type[nn.Module], nn.Module]
) -> None:
    for seed in (1, 2, 3):
        scene, truth = make_scene(1, 6, seed=seed, noise=1.0)
        with torch.no_grad():
            assert loss_of(taught[kind], scene, truth) < 0.9 * loss_of(fresh(kind), scene, truth)


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
def test_posteriors_sum_to_one_and_the_same_examples_give_the_same(
    kind: type[nn.Module], make_scene: MakeScene, taught: dict[type[nn.Module], nn.Module]
) -> None:
    learner = taught[kind]
    first = learner.fit(make_scene(1, 6, structures=2)[0]).evidence([3, 4])
    assert first.shape == (3, 2, 24, 24)
    assert torch.allclose(first.exp().sum(0), torch.ones(2, 24, 24), atol=0.01)
    assert torch.equal(first, learner.fit(make_scene(1, 6, structures=2)[0]).evidence([3, 4]))


@pytest.mark.parametrize("kind", KINDS)
def test_one_slice_at_a_time_gives_what_all_at_once_give(
    kind: type[nn.Module], make_scene: MakeScene, taught: dict[type[nn.Module], nn.Module]
) -> None:
    fitted = taught[kind].fit(make_scene(2, 6, structures=2)[0])
    together = fitted.evidence([0, 3, 4, 7])
    for n, depth in enumerate([0, 3, 4, 7]):
        assert torch.allclose(together[:, n : n + 1], fitted.evidence([depth]), atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_an_example_taken_away_leaves_no_trace(
    kind: type[nn.Module], make_scene: MakeScene, taught: dict[type[nn.Module], nn.Module]
) -> None:
    with_both, _ = make_scene(1, 6)
    before = taught[kind].fit(with_both).evidence([3])
    left = taught[kind].fit(Scene(with_both.task.without(6), SceneConfig())).evidence([3])
    assert torch.equal(left, taught[kind].fit(make_scene(1)[0]).evidence([3]))
    assert not torch.equal(left, before)


def test_untrained_the_walk_says_what_the_shape_says(make_scene: MakeScene) -> None:
    scene, _ = make_scene(4)
    found = fresh(RecurrentPropagation).fit(scene).evidence([2, 5])
    assert torch.allclose(found, scene.shape.log_posterior([2, 5]), atol=1e-4)


def test_a_walk_starts_at_every_painted_slice_and_ends_before_the_next(make_scene: MakeScene) -> None:
    scene, _ = make_scene(2, 6)
    walks = fresh(RecurrentPropagation).fit(scene)._walks([0, 1, 3, 7])
    assert [(w.painted.index, w.direction, w.steps) for w in walks] == [(6, -1, 3), (2, -1, 2), (2, 1, 1), (6, 1, 1)]


def test_what_a_walk_says_counts_by_its_nearness(make_scene: MakeScene) -> None:
    learner = fresh(RecurrentPropagation)
    # The answer is 1 wherever a walk comes from: blended it is 1 again, on every slice.
    nn.init.ones_(learner.answer.bias)
    scene, _ = make_scene(1, 6)
    fitted = learner.fit(scene)
    changes = fitted._changes(fitted._walks([2, 3, 7]), [2, 3, 7])
    assert torch.allclose(changes, torch.ones(1, 3, 24, 24))


def test_half_the_resolution_gives_answers_of_full_size(
    make_scene: MakeScene, taught: dict[type[nn.Module], nn.Module]
) -> None:
    scene, truth = make_scene(1, 6, side=25, noise=0.5)
    learner = fresh(RecurrentPropagation, full_pixels=100)
    learner.load_state_dict(taught[RecurrentPropagation].state_dict())
    found = learner.fit(scene).evidence(QUERIES)
    assert found.shape == (2, 3, 25, 25)
    mine, true = found.argmax(0) == 1, truth[QUERIES] == 1
    assert float(2 * (mine & true).sum() / (mine.sum() + true.sum())) > 0.8


@pytest.mark.parametrize("kind", KINDS)
def test_the_meta_learnt_part_is_small(kind: type[nn.Module]) -> None:
    assert sum(p.numel() for p in fresh(kind).parameters()) < 100_000
