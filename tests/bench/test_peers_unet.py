"""The U-Net that is trained on the painted slices alone; a few steps instead of a minute."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_medmeta.bench.methods import build_methods, is_slow
from napari_medmeta.bench.methods.stack import stack_of
from napari_medmeta.bench.methods.unet import UNet
from napari_medmeta.bench.protocol import Task, make_task
from napari_medmeta.bench.scores import dice_by_structure, mean_of
from napari_medmeta.core import Volume
from napari_medmeta.core.phantoms import simple_blobs

FOREVER = 3600.0


@pytest.fixture(scope="module")
def scene() -> tuple[Volume, Task]:
    phantom = simple_blobs(shape=(10, 32, 32), spacing_mm=(3.0, 1.0, 1.0), noise=4.0)
    return phantom.volume, make_task(phantom.labels, phantom.volume.geometry, k=5)


def test_a_few_steps_teach_it_an_easy_scan(scene):
    volume, task = scene
    score = mean_of(dice_by_structure(UNet(seconds=FOREVER, max_steps=40).segment(volume, task.support), task))
    assert score is not None
    assert score > 0.6


def test_painted_slices_stay_as_painted(scene):
    volume, task = scene
    labels = UNet(seconds=FOREVER, max_steps=2).segment(volume, task.support)
    for index in task.painted:
        assert np.array_equal(labels[index], task.truth[index])


def test_it_proposes_nothing_outside_of_the_painted_extent(scene):
    volume, task = scene
    labels = UNet(seconds=FOREVER, max_steps=2).segment(volume, task.support)
    for structure in task.structures:
        allowed = stack_of(volume, task.support).allowed_slices(structure)
        assert not (labels[~allowed] == structure).any()


def test_a_fixed_number_of_steps_gives_the_same_answer_twice(scene):
    volume, task = scene
    method = UNet(seconds=FOREVER, max_steps=3)
    assert np.array_equal(method.segment(volume, task.support), method.segment(volume, task.support))


def test_another_seed_gives_another_network(scene):
    volume, task = scene
    answers = [UNet(seconds=FOREVER, max_steps=3, seed=n).segment(volume, task.support) for n in (0, 1)]
    assert not np.array_equal(*answers)


def test_it_leaves_the_global_random_numbers_alone(scene):
    volume, task = scene
    before = torch.random.get_rng_state()
    UNet(seconds=FOREVER, max_steps=1).segment(volume, task.support)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_it_stops_when_its_time_is_over(scene):
    volume, task = scene
    labels = UNet(seconds=0.0001).segment(volume, task.support)
    assert labels.shape == task.truth.shape


def test_other_settings_are_another_version():
    assert UNet().version != UNet(seconds=30).version


def test_it_is_slow_and_needs_nothing_but_the_package():
    assert is_slow("unet")
    (method,) = build_methods(["unet"], seed=3)
    assert isinstance(method, UNet)
    assert method.seed == 3
