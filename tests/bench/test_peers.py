"""Peers on shapes whose right answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medmeta.bench.methods import available_methods, build_methods, is_slow, missing_methods, registry
from napari_medmeta.bench.methods.interpolation import SignedDistance, signed_distance_mm
from napari_medmeta.bench.methods.stack import UNEVEN_REACH, Stack, region_of, stack_of
from napari_medmeta.bench.methods.vote import Vote, majority
from napari_medmeta.bench.methods.walker import RandomWalker
from napari_medmeta.bench.protocol import make_task
from napari_medmeta.bench.scores import dice_by_structure, mean_of
from napari_medmeta.core import (
    Geometry,
    InputError,
    LabelArray,
    MissingExamplesError,
    SliceExample,
    SliceRef,
    Support,
    Volume,
    support_from_labels,
)
from napari_medmeta.core.phantoms import simple_blobs

PEERS = [name for name in available_methods() if name != "medmeta" and not is_slow(name)]


def cone(slices: int = 13) -> tuple[Volume, LabelArray]:
    """A disc whose radius grows by half a voxel a slice, of 2 mm slices."""
    geometry = Geometry.from_parts((slices, 40, 40), spacing_mm=(2.0, 1.0, 1.0))
    i, j, k = np.indices((slices, 40, 40))
    truth = ((np.hypot(j - 20, k - 20) <= 6 + i / 2) & (i > 0) & (i < slices - 1)).astype(np.uint8)
    return Volume(truth.astype(np.float32) * 100, geometry), truth


def test_signed_distance_is_half_a_voxel_on_both_sides_of_the_edge():
    mask = np.array([[False, True, True, True, False]])
    assert signed_distance_mm(mask, (2.0, 2.0)).tolist() == [[-1.0, 1.0, 3.0, 1.0, -1.0]]


def test_interpolation_fills_a_cone_between_the_painted_slices():
    volume, truth = cone()
    task = make_task(truth, volume.geometry, k=3)
    labels = SignedDistance().segment(volume, task.support)
    between = slice(task.painted[0], task.painted[-1] + 1)
    assert np.mean(labels[between] == truth[between]) > 0.99


def test_interpolation_proposes_nothing_beyond_the_ends():
    volume, truth = cone()
    task = make_task(truth, volume.geometry, k=3)
    labels = SignedDistance().segment(volume, task.support)
    assert not labels[: task.painted[0]].any()
    assert not labels[task.painted[-1] + 1 :].any()


def test_a_dome_goes_on_beyond_the_ends_and_gets_smaller():
    volume, truth = cone()
    task = make_task(truth, volume.geometry, k=3)
    area = SignedDistance(dome=True).segment(volume, task.support).sum(axis=(1, 2))
    last = task.painted[-1]
    assert 0 < area[last + 1] < area[last]


def test_a_dome_stops_before_a_slice_painted_without_the_structure():
    volume, truth = cone()
    truth[9:] = 0
    labels = np.full(truth.shape, 255, dtype=np.uint8)
    labels[[4, 8, 9]] = truth[[4, 8, 9]]
    support = support_from_labels(labels, axis=0, slices=(9,))
    assert not SignedDistance(dome=True).segment(volume, support)[9:].any()


def test_a_structure_is_bounded_by_half_the_distance_of_the_examples():
    volume, truth = cone(slices=25)
    task = make_task(truth, volume.geometry, k=3)
    allowed = np.flatnonzero(stack_of(volume, task.support).allowed_slices(1))
    half = (task.painted[1] - task.painted[0]) / 2
    assert allowed[0] == np.ceil(task.painted[0] - half)
    assert allowed[-1] == np.floor(task.painted[-1] + half)


def uneven(indices: tuple[int, ...], radius: float) -> Stack:
    """A disc on slices of 2 mm, painted where told."""
    geometry = Geometry.from_parts((40, 50, 50), spacing_mm=(2.0, 1.0, 1.0))
    j, k = np.indices((50, 50))
    disc = (np.hypot(j - 25, k - 25) <= radius).astype(np.uint8)
    labels = np.full(geometry.shape, 255, dtype=np.uint8)
    labels[list(indices)] = disc
    return stack_of(Volume(np.zeros(geometry.shape, np.float32), geometry), support_from_labels(labels, axis=0))


def test_beyond_uneven_examples_a_wide_structure_goes_on_for_their_mean_distance():
    assert uneven((10, 12, 20), radius=20).reach_mm(1, 2) == pytest.approx(2.0 * 5)


def test_beyond_uneven_examples_a_narrow_structure_goes_on_for_some_radii_only():
    stack = uneven((10, 12, 20), radius=4)
    assert stack.reach_mm(1, 2) == pytest.approx(UNEVEN_REACH * stack.radius_mm(1, 2))


def test_examples_that_are_even_up_to_rounding_count_as_even():
    assert uneven((10, 14, 19), radius=20).reach_mm(1, 2) == pytest.approx(2.0 * 4.5 / 2)


def strokes_on(labels: LabelArray, geometry: Geometry, indices: tuple[int, ...]) -> Support:
    """A cross through each structure of a slice, and a background stroke along the border of the slice."""
    examples = []
    for index in indices:
        plane = labels[index]
        known = np.zeros(plane.shape, dtype=bool)
        known[[2, -3], 2:-2] = known[2:-2, [2, -3]] = True
        known &= plane == 0
        for value in np.unique(plane[plane > 0]):
            rows, columns = np.nonzero(plane == value)
            middle, centre = int(np.median(rows)), int(np.median(columns))
            known[middle, columns.min() : columns.max() + 1] |= (
                plane[middle, columns.min() : columns.max() + 1] == value
            )
            known[rows.min() : rows.max() + 1, centre] |= plane[rows.min() : rows.max() + 1, centre] == value
        examples.append(SliceExample(SliceRef(0, index), plane.copy(), known))
    found = tuple(int(v) for v in np.unique(labels[list(indices)]) if v)
    return Support(geometry.shape, tuple(examples), found)


@pytest.mark.parametrize("name", ["random-walker", "forest-position", "growcut"])
def test_peers_that_grow_from_seeds_take_strokes_and_keep_them(name):
    if name not in available_methods():
        pytest.skip(missing_methods()[name])
    phantom = simple_blobs(shape=(16, 40, 40), spacing_mm=(3.0, 1.0, 1.0), noise=4.0)
    support = strokes_on(phantom.labels, phantom.volume.geometry, (4, 8, 12))
    (method,) = build_methods([name])
    labels = method.segment(phantom.volume, support)
    overlap = np.mean(labels[4:13][phantom.labels[4:13] > 0] == phantom.labels[4:13][phantom.labels[4:13] > 0])
    assert overlap > 0.7
    for example in support.examples:
        assert np.array_equal(labels[example.ref.index][example.known], example.labels[example.known])


@pytest.mark.parametrize("name", ["interpolation-dome", "unet"])
def test_peers_that_need_whole_outlines_ask_for_a_complete_slice(name):
    phantom = simple_blobs(shape=(16, 40, 40))
    (method,) = build_methods([name])
    with pytest.raises(MissingExamplesError):
        method.segment(phantom.volume, strokes_on(phantom.labels, phantom.volume.geometry, (4, 8, 12)))


def test_a_stroke_thinner_than_the_grid_is_not_lost():
    geometry = Geometry.from_parts((3, 64, 64))
    plane = np.zeros((64, 64), dtype=np.uint8)
    plane[20:40, 20:40] = 1
    known = np.zeros(plane.shape, dtype=bool)
    known[30, 22:38] = known[8, 8:56] = known[56, 8:56] = True
    support = Support(geometry.shape, (SliceExample(SliceRef(0, 1), plane, known),), (1,))
    region = region_of(Volume(np.zeros(geometry.shape, np.float32), geometry), support, max_voxels=900, strokes=True)
    assert region.step > 2
    assert (region.seeds == 2).any()


def test_a_peer_without_a_complete_slice_asks_for_one():
    volume, _ = cone()
    with pytest.raises(MissingExamplesError):
        SignedDistance().segment(volume, Support(volume.geometry.shape))


def test_the_vote_takes_the_most_frequent_label():
    answers = [np.array([1, 1, 0], np.uint8), np.array([2, 1, 0], np.uint8), np.array([2, 0, 3], np.uint8)]
    assert majority(answers).tolist() == [2, 1, 0]


def test_the_first_member_decides_between_equals():
    answers = [np.array([1], np.uint8), np.array([2], np.uint8), np.array([3], np.uint8)]
    assert majority(answers).tolist() == [1]


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_solves_an_easy_scan_and_keeps_the_painted_slices(name):
    phantom = simple_blobs(shape=(16, 40, 40), spacing_mm=(3.0, 1.0, 1.0), noise=4.0)
    task = make_task(phantom.labels, phantom.volume.geometry, k=5)
    (method,) = build_methods([name])
    labels = method.segment(phantom.volume, task.support)
    score = mean_of(dice_by_structure(labels, task))
    assert score is not None
    assert score > (0.45 if name in ("interpolation", "contours") else 0.75)
    for index in task.painted:
        assert np.array_equal(labels[index], task.truth[index])


@pytest.mark.parametrize("name", ["random-walker", "forest-position", "growcut"])
@pytest.mark.parametrize("axis", [1, 2])
def test_a_peer_works_along_any_axis(name, axis):
    if name not in available_methods():
        pytest.skip(missing_methods()[name])
    phantom = simple_blobs(shape=(16, 40, 40), spacing_mm=(3.0, 1.0, 1.0), noise=4.0)
    array = np.moveaxis(phantom.volume.array, 0, axis)
    spacing = tuple(3.0 if a == axis else 1.0 for a in range(3))
    volume = Volume(array, Geometry.from_parts(array.shape, spacing_mm=spacing))
    task = make_task(np.moveaxis(phantom.labels, 0, axis), volume.geometry, k=5)
    (method,) = build_methods([name])
    score = mean_of(dice_by_structure(method.segment(volume, task.support), task))
    assert score is not None
    assert score > 0.75


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_answers_the_same_twice(name):
    phantom = simple_blobs(shape=(12, 32, 32))
    task = make_task(phantom.labels, phantom.volume.geometry, k=3)
    (method,) = build_methods([name])
    first = method.segment(phantom.volume, task.support)
    assert np.array_equal(first, method.segment(phantom.volume, task.support))


def test_an_unknown_method_is_refused_with_the_names_there_are():
    with pytest.raises(InputError, match=r"no method 'magic'.*random-walker"):
        build_methods(["magic"])


def test_a_method_whose_package_is_missing_is_left_out_and_says_why(monkeypatch):
    def absent(name: str) -> str:
        raise registry.PackageNotFoundError(name)

    monkeypatch.setattr(registry, "version", absent)
    assert "growcut" not in available_methods()
    assert "napari-medmeta[peers]" in missing_methods()["growcut"]
    with pytest.raises(InputError, match="not installed"):
        build_methods(["growcut"])


@pytest.mark.parametrize("name", ["random-walker", "forest-position", "growcut"])
def test_a_structure_that_leaves_the_scan_sideways_is_not_cut_off_at_its_border(name):
    if name not in available_methods():
        pytest.skip(missing_methods()[name])
    geometry = Geometry.from_parts((13, 30, 30), spacing_mm=(2.0, 1.0, 1.0))
    truth = np.zeros(geometry.shape, dtype=np.uint8)
    truth[1:12, 10:20, :] = 1
    noise = np.random.default_rng(0).normal(0, 5, geometry.shape)
    volume = Volume((truth * 100 + noise).astype(np.float32), geometry)
    task = make_task(truth, geometry, k=3)
    (method,) = build_methods([name])
    between = slice(task.painted[0], task.painted[-1])
    assert method.segment(volume, task.support)[between, 12:18, [0, -1]].all()


def test_the_walker_answers_where_no_voxel_is_left_open() -> None:
    labels = np.zeros((3, 12, 12), np.uint8)
    labels[:, 4:8, 4:8] = 1
    support = support_from_labels(labels, axis=0, slices=(0, 1, 2))
    volume = Volume(
        np.random.default_rng(0).normal(size=labels.shape).astype(np.float32), Geometry.from_parts((3, 12, 12))
    )
    np.testing.assert_array_equal(RandomWalker().segment(volume, support), labels)


def test_the_forest_answers_where_no_voxel_is_left_open() -> None:
    labels = np.zeros((3, 12, 12), np.uint8)
    labels[:, 4:8, 4:8] = 1
    support = support_from_labels(labels, axis=0, slices=(0, 1, 2))
    image = np.random.default_rng(0).normal(size=labels.shape).astype(np.float32)
    (forest,) = build_methods(["forest-position"])
    np.testing.assert_array_equal(forest.segment(Volume(image, Geometry.from_parts((3, 12, 12))), support), labels)


def test_a_vote_goes_on_without_members_that_cannot_learn_from_strokes() -> None:
    phantom = simple_blobs(shape=(16, 40, 40), spacing_mm=(3.0, 1.0, 1.0), noise=4.0)
    support = strokes_on(phantom.labels, phantom.volume.geometry, (4, 8, 12))
    dome, walker = build_methods(["interpolation-dome", "random-walker"])
    labels = Vote((dome, walker)).segment(phantom.volume, support)
    np.testing.assert_array_equal(labels, walker.segment(phantom.volume, support))
    with pytest.raises(MissingExamplesError):
        Vote((dome,)).segment(phantom.volume, support)
