from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from napari_medmeta.core import Support
from napari_medmeta.core.phantoms import Phantom
from napari_medmeta.engine.cutting import make_task
from napari_medmeta.engine.features import compute_features
from napari_medmeta.engine.learners import Learner, Scene, SceneConfig, WalkConfig, WalkLearner, hand_made_learners
from napari_medmeta.engine.region import RegionConfig, find_region
from napari_medmeta.engine.task import Task

# Solved exactly, so that equalities hold to rounding instead of to the solver's tolerance.
LEARNERS = (*hand_made_learners()[:-1], WalkLearner(WalkConfig(iterations=2000, tolerance=1e-6)))
NAMES = [learner.name for learner in LEARNERS]


@pytest.fixture(scope="module")
def task(phantom: Phantom, paint) -> Task:  # type: ignore[no-untyped-def]
    maps = compute_features(phantom.volume, device=torch.device("cpu"))
    support: Support = paint(8, 12, 16)
    return make_task(maps, support, find_region(support, maps.spacing_mm, RegionConfig()))


@pytest.mark.parametrize("learner", LEARNERS, ids=NAMES)
def test_every_learner_gives_log_posteriors_of_every_class(learner: Learner, task: Task) -> None:
    scene = Scene(task, SceneConfig())
    evidence = learner.fit(scene).evidence([0, 3])
    assert evidence.shape == (3, 2, *task.shape[1:])
    total = evidence.exp().sum(0)
    assert torch.allclose(total, torch.ones_like(total), atol=0.01)


@pytest.mark.parametrize("learner", LEARNERS, ids=NAMES)
def test_one_slice_at_a_time_gives_what_all_at_once_give(learner: Learner, task: Task) -> None:
    fitted = learner.fit(Scene(task, SceneConfig()))
    together = fitted.evidence([2, 5]).exp()
    apart = torch.cat([fitted.evidence([2]), fitted.evidence([5])], dim=1).exp()
    assert torch.allclose(together, apart, atol=0.02)


@pytest.mark.parametrize("learner", LEARNERS, ids=NAMES)
def test_the_same_examples_give_the_same_evidence(learner: Learner, task: Task) -> None:
    first = learner.fit(Scene(task, SceneConfig())).evidence([3])
    second = learner.fit(Scene(task, SceneConfig())).evidence([3])
    assert torch.equal(first, second)


@pytest.mark.parametrize("learner", LEARNERS, ids=NAMES)
def test_every_learner_beats_guessing_on_a_left_out_slice(learner: Learner, task: Task) -> None:
    depth = task.depths[1]
    found = learner.fit(Scene(task.without(depth), SceneConfig())).evidence([depth]).argmax(0)[0]
    truth = task.classes[depth]
    overlap = 2 * ((found == 1) & (truth == 1)).sum() / ((found == 1).sum() + (truth == 1).sum())
    assert float(overlap) > 0.5


def test_leaving_a_slice_out_takes_its_labels_away(task: Task) -> None:
    depth = task.depths[1]
    left = task.without(depth)
    assert depth not in left.depths
    assert bool((left.classes[depth] == -1).all())
    assert bool((task.classes[depth] >= 0).all())


def test_a_task_seen_from_another_axis_and_back_is_the_same(task: Task) -> None:
    back = task.transposed(1).transposed(1)
    assert torch.equal(back.classes, task.classes)
    assert back.spacing_mm == task.spacing_mm
    assert [(p.axis, p.index) for p in back.painted] == [(p.axis, p.index) for p in task.painted]


def test_with_structures_clicked_alone_the_rim_stands_for_background(task: Task) -> None:
    classes = torch.where(task.classes == 1, 1, -1)
    scene = Scene(replace(task, classes=classes, painted=()), SceneConfig())
    assert set(scene.sample_class.tolist()) == {0, 1}


def test_samples_hold_every_class_that_was_painted(task: Task) -> None:
    assert set(Scene(task, SceneConfig()).sample_class.tolist()) == {0, 1, 2}
