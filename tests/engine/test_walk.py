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
