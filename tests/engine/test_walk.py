from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage.segmentation import random_walker

from napari_medmeta.engine.learners.base import Scene, SceneConfig
from napari_medmeta.engine.learners.walk import WalkConfig, WalkLearner, refine, walled_slab
from napari_medmeta.engine.task import Task

MakeTask = Callable[..., Task]
EXACT = WalkConfig(iterations=2000, tolerance=1e-6)


@pytest.fixture
def bright_cube(make_task: MakeTask) -> Task:
    """A bright cube in dark, noisy surroundings, painted on two slices."""
    truth = np.zeros((9, 16, 16), bool)
    truth[1:8, 4:11, 5:12] = True
    image = truth + np.random.default_rng(0).normal(0, 0.05, truth.shape)
    task = make_task({2: truth[2], 6: truth[6]}, depth=9)
    return replace(task, intensity=torch.from_numpy(image).float())


def walk(task: Task, depths: range, config: WalkConfig = EXACT) -> torch.Tensor:
    return WalkLearner(config).fit(Scene(task, SceneConfig())).evidence(depths)


def test_it_agrees_with_the_library_where_both_can_walk(bright_cube: Task) -> None:
    classes = bright_cube.classes.numpy()
    seeds = np.where(classes >= 0, classes + 1, 0)
    rim = np.ones_like(seeds, bool)
    rim[1:-1, 1:-1, 1:-1] = False
    seeds[rim & (seeds == 0)] = 1
    image = (bright_cube.intensity / bright_cube.intensity.std()).numpy()
    # The library scales beta by ten times the variance of the image.
    library = random_walker(
        image, seeds, beta=10 * EXACT.beta * image.std(), mode="cg_j", tol=1e-6, return_full_prob=True
    )
    ours = walk(bright_cube, range(9)).exp().numpy()
    assert np.argmax(ours, 0).tolist() == np.argmax(library, 0).tolist()


def test_it_fills_the_cube_between_the_painted_slices_and_nothing_else(bright_cube: Task) -> None:
    found = walk(bright_cube, range(9)).argmax(0)
    assert bool(found[4, 5:10, 6:11].all())
    assert not bool(found[4, :3].any())


def test_one_slice_alone_gives_what_the_whole_volume_gives(bright_cube: Task) -> None:
    whole = walk(bright_cube, range(9))
    alone = walk(bright_cube, range(4, 5))
    assert torch.allclose(whole[:, 4:5].exp(), alone.exp(), atol=1e-3)


def test_painted_slices_wall_a_slab_in(bright_cube: Task) -> None:
    assert walled_slab(bright_cube, [4]) == (2, 7)
    assert walled_slab(bright_cube, [0]) == (0, 3)
    assert walled_slab(bright_cube, [8]) == (6, 9)


def test_posteriors_sum_to_one(bright_cube: Task) -> None:
    total = walk(bright_cube, range(9)).exp().sum(0)
    assert torch.allclose(total, torch.ones_like(total), atol=5e-3)


def test_with_a_strong_prior_the_walker_returns_the_prior(bright_cube: Task) -> None:
    prior = torch.full((2, 9, 16, 16), 0.5).log()
    config = replace(EXACT, prior_strength=1e4)
    refined = refine(bright_cube, prior, [4], first=0, config=config)
    free = refined[1, 0, 5:10, 6:11].exp()
    assert torch.allclose(free, torch.full_like(free, 0.5), atol=1e-2)


def test_where_the_scan_ends_early_a_structure_may_run_off_its_end(bright_cube: Task) -> None:
    cut = bright_cube.slab(2, 7)
    ends = ((False, False), (True, True), (True, True))
    free = replace(cut.without(0).without(4), bounded=ends, missing=(4, 4), painted=(), classes=cut.classes)
    assert bool(walk(free, range(5)).argmax(0)[2, 7, 8] == 1)


def test_what_the_embedding_tells_apart_stays_apart_whatever_the_grey_values(bright_cube: Task) -> None:
    alike = replace(bright_cube, intensity=torch.zeros(9, 16, 16))
    right = torch.zeros(9, 16, 16)
    right[..., 8:] = 1.0
    alike = replace(alike, embedding=torch.stack([right, torch.zeros_like(right)]))
    prior = torch.full((2, 9, 16, 16), 0.5)
    prior[1, 4, :, 12], prior[0, 4, :, 12] = 1.0, 0.0
    config = replace(EXACT, prior_strength=0.05)
    plain, learnt = (
        refine(alike, prior.log(), [4], first=0, config=replace(config, likeness=b)).exp()[1, 0, 8] for b in (0.0, 50.0)
    )
    # Across the border the embedding changes, so what is said on the right does not reach the left.
    assert float(learnt[8] - learnt[7]) > float(plain[8] - plain[7]) + 0.02


def test_without_an_embedding_the_grey_values_stand_alone(bright_cube: Task) -> None:
    prior = torch.full((2, 9, 16, 16), 0.5).log()
    plain, learnt = (refine(bright_cube, prior, [4], first=0, config=replace(EXACT, likeness=b)) for b in (0.0, 50.0))
    assert torch.equal(plain, learnt)


def test_beyond_the_outermost_painted_slices_the_prior_pulls_less(bright_cube: Task) -> None:
    wrong = torch.full((2, 9, 16, 16), 0.1)
    wrong[1] = 0.9
    refined = {
        fading: refine(bright_cube, wrong.log(), [4, 7], first=0, config=replace(EXACT, fading_mm=fading)).exp()
        for fading in (torch.inf, 0.5)
    }
    # In the dark, which no painted slice calls the structure.
    between, beyond = (refined[0.5][1, n, 2, 2] - refined[torch.inf][1, n, 2, 2] for n in (0, 1))
    assert float(beyond) < -0.05
    assert abs(float(between)) < 0.02


def test_the_least_pull_is_kept_however_far_away(bright_cube: Task) -> None:
    wrong = torch.full((2, 9, 16, 16), 0.1)
    wrong[1] = 0.9
    plain = refine(bright_cube, wrong.log(), range(9), first=0, config=EXACT)
    kept = replace(EXACT, fading_mm=0.1, least_strength=EXACT.prior_strength)
    assert torch.allclose(refine(bright_cube, wrong.log(), range(9), first=0, config=kept), plain, atol=1e-4)


def test_missing_slices_that_conduct_better_end_a_structure_sooner(bright_cube: Task) -> None:
    cut = bright_cube.slab(2, 7)
    ends = ((False, False), (True, True), (True, True))
    free = replace(cut, bounded=ends, missing=(0, 2))
    free = replace(free.without(4), classes=free.without(4).classes)
    prior = torch.full((2, 5, 16, 16), 0.5).log()
    poor, good = (
        refine(free, prior, [4], first=0, config=replace(EXACT, missing_conductance=c)).exp()[1, 0, 5:10, 6:11].mean()
        for c in (1.0, 4.0)
    )
    assert float(good) < float(poor) - 0.02
