"""Lesions found from a few painted ones, on small scans with balls in them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from napari_medmeta.core import (
    Cancelled,
    CancelToken,
    Geometry,
    InputError,
    MissingExamplesError,
    Modality,
    Volume,
    support_from_labels,
)
from napari_medmeta.engine.features import FeatureMaps, compute_features
from napari_medmeta.engine.keeping import learn
from napari_medmeta.tasks.detection import (
    Candidate,
    DetectionConfig,
    LesionExamples,
    detect,
    examples_of_entries,
    examples_on,
    joined,
)

SHAPE = (32, 56, 56)
SPACING = (2.0, 1.5, 1.5)
BALLS = (((10, 18, 18), 6.0), ((22, 36, 20), 5.0), ((14, 20, 40), 7.0))
VESSEL = (24, 40)
"""Row and column of a dark tube that runs through the whole scan: it is no lesion."""


@cache
def scan(seed: int = 0, brightness: float = 1.0) -> tuple[Volume, np.ndarray]:
    """Return a noisy body with three bright balls, and the balls numbered from 1."""
    draw = np.random.default_rng(seed)
    grid = np.indices(SHAPE).astype(float)
    body = (((grid[1] - 28) / 26) ** 2 + ((grid[2] - 28) / 26) ** 2) < 1
    image = np.where(body, 100.0, 0.0)
    truth = np.zeros(SHAPE, np.uint8)
    for number, (centre, radius) in enumerate(BALLS, start=1):
        away = sum(((grid[a] - centre[a]) * SPACING[a]) ** 2 for a in range(3))
        truth[away <= radius**2] = number
    image[truth > 0] = 160.0
    tube = ((grid[1] - VESSEL[0]) ** 2 + (grid[2] - VESSEL[1] - 8) ** 2) < 4
    image[tube & (truth == 0)] = 40.0
    image = brightness * (image + draw.normal(0, 6, SHAPE))
    return Volume(image.astype(np.float32), Geometry.from_parts(SHAPE, spacing_mm=SPACING), Modality.MR), truth


@cache
def maps(seed: int = 0, brightness: float = 1.0) -> FeatureMaps:
    return compute_features(scan(seed, brightness)[0], device=torch.device("cpu"))


def painted(truth: np.ndarray, *, ball: int = 1, slices: tuple[int, ...] = (10,)) -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    for index in slices:
        labels[index] = truth[index] == ball
    return labels


@cache
def found_here() -> tuple[Candidate, ...]:
    volume, truth = scan()
    support = support_from_labels(painted(truth), axis=0)
    examples = examples_on(maps(), volume.geometry, support, structure=1)
    return detect(maps(), volume, examples, known=painted(truth) > 0)


def ball_of(candidate: Candidate, truth: np.ndarray) -> int:
    inside = truth[candidate.box.slices][candidate.mask]
    return int(np.bincount(inside, minlength=4).argmax())


def test_one_painted_section_finds_the_other_lesions_of_the_scan() -> None:
    _, truth = scan()
    assert {ball_of(c, truth) for c in found_here()[:2]} == {2, 3}


def test_what_is_painted_already_is_no_candidate() -> None:
    _, truth = scan()
    assert all(c.overlap(painted(truth) > 0) == 0 for c in found_here())


def test_candidates_come_with_size_and_place() -> None:
    volume, truth = scan()
    best = next(c for c in found_here() if ball_of(c, truth) == 3)
    size = (truth == 3).sum() * volume.geometry.voxel_volume_ml
    assert best.volume_ml == pytest.approx(size, rel=0.4)
    # A ball of 14 mm, drawn voxel by voxel.
    assert best.longest_mm == pytest.approx(14, abs=3)
    np.testing.assert_allclose(best.centre_mm, volume.geometry.to_world((14, 20, 40)), atol=3)
    assert best.ref.axis == 0
    assert abs(best.ref.index - 14) <= 2


def test_scores_fall_and_stay_between_0_and_1() -> None:
    scores = [c.score for c in found_here()]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= s <= 1 for s in scores)


def test_candidates_do_not_overlap() -> None:
    seen = np.zeros(SHAPE, bool)
    for candidate in found_here():
        assert candidate.overlap(seen) == 0
        seen[candidate.box.slices] |= candidate.mask


def test_lesions_painted_on_another_scan_find_those_of_this_one() -> None:
    other, truth = scan(seed=1, brightness=3.0)
    support = support_from_labels(painted(truth), axis=0)
    examples = examples_on(maps(1, 3.0), other.geometry, support, structure=1)
    found = detect(maps(), scan()[0], examples)
    assert {ball_of(c, truth) for c in found[:3]} == {1, 2, 3}


def test_lesions_kept_in_the_library_find_those_of_this_scan() -> None:
    other, truth = scan(seed=1)
    entry = learn(maps(1), other, (truth > 0).astype(np.uint8), structure=1, name="Lesion")
    found = detect(maps(), scan()[0], examples_of_entries([entry]))
    assert {ball_of(c, truth) for c in found[:3]} == {1, 2, 3}


def test_entries_of_other_features_are_refused() -> None:
    other, truth = scan(seed=1)
    entry = learn(maps(1), other, (truth > 0).astype(np.uint8), structure=1, name="Lesion")
    with pytest.raises(MissingExamplesError, match="cannot be compared|can be compared"):
        examples_of_entries([replace(entry, features="of another age")])


def test_a_dismissed_candidate_does_not_come_back_and_makes_its_like_less_likely() -> None:
    volume, truth = scan()
    support = support_from_labels(painted(truth), axis=0)
    examples = examples_on(maps(), volume.geometry, support, structure=1)
    gone = next(c for c in found_here() if ball_of(c, truth) == 3)
    again = detect(maps(), volume, examples, known=painted(truth) > 0, dismissed=[gone])
    assert all(ball_of(c, truth) != 3 for c in again)
    before = next(c for c in found_here() if ball_of(c, truth) == 2)
    after = [c.score for c in again if ball_of(c, truth) == 2]
    assert not after or after[0] < before.score


def test_the_same_examples_give_the_same_list() -> None:
    volume, truth = scan()
    support = support_from_labels(painted(truth), axis=0)
    examples = examples_on(maps(), volume.geometry, support, structure=1)
    again = detect(maps(), volume, examples, known=painted(truth) > 0)
    assert [(c.score, c.voxel) for c in again] == [(c.score, c.voxel) for c in found_here()]


def test_a_scan_without_lesions_gets_lower_scores() -> None:
    volume, truth = scan()
    empty = np.where(truth > 0, volume.array.min() + 100.0, volume.array)
    plain = Volume(empty.astype(np.float32), volume.geometry, Modality.MR)
    support = support_from_labels(painted(truth), axis=0)
    examples = examples_on(maps(), volume.geometry, support, structure=1)
    found = detect(compute_features(plain, device=torch.device("cpu")), plain, examples)
    assert max((c.score for c in found), default=0.0) < found_here()[1].score


def test_sections_over_each_other_are_one_lesion_of_the_largest_size() -> None:
    volume, truth = scan()
    support = support_from_labels(painted(truth, slices=(8, 10, 12)), axis=0)
    examples = examples_on(maps(), volume.geometry, support, structure=1)
    # A ball of 12 mm, cut through its middle.
    assert examples.diameters_mm == pytest.approx((12.0,), rel=0.1)


def test_two_lesions_on_one_slice_are_two() -> None:
    volume, _ = scan()
    labels = np.zeros(SHAPE, np.uint8)
    labels[10, 15:21, 15:21] = 1
    labels[10, 36:39, 36:39] = 1
    examples = examples_on(maps(), volume.geometry, support_from_labels(labels, axis=0), structure=1)
    assert len(examples.diameters_mm) == 2
    assert examples.diameters_mm[0] < examples.diameters_mm[1]


def test_without_a_painted_lesion_nothing_is_learnt() -> None:
    volume, truth = scan()
    support = support_from_labels(painted(truth), axis=0)
    with pytest.raises(MissingExamplesError, match="No lesion is painted"):
        examples_on(maps(), volume.geometry, support, structure=2)


def test_examples_count_the_same_however_many_voxels_each_scan_gives() -> None:
    many = LesionExamples(np.zeros((60, 3), np.float32), np.arange(60) < 20, np.ones(60, np.float32), (5.0,))
    few = LesionExamples(np.ones((6, 3), np.float32), np.arange(6) < 2, np.ones(6, np.float32), (9.0,))
    both = joined([many, few])
    assert both.weight[:60].sum() == pytest.approx(both.weight[60:].sum())
    assert both.diameters_mm == (5.0, 9.0)


def test_samples_of_only_one_kind_are_refused() -> None:
    with pytest.raises(MissingExamplesError):
        LesionExamples(np.zeros((4, 3), np.float32), np.ones(4, bool), np.ones(4, np.float32), (5.0,))


def test_known_lesions_on_another_grid_are_refused() -> None:
    volume, truth = scan()
    support = support_from_labels(painted(truth), axis=0)
    examples = examples_on(maps(), volume.geometry, support, structure=1)
    with pytest.raises(InputError, match="shape"):
        detect(maps(), volume, examples, known=np.zeros((2, 2, 2), bool))


def test_the_work_can_be_stopped() -> None:
    volume, truth = scan()
    support = support_from_labels(painted(truth), axis=0)
    examples = examples_on(maps(), volume.geometry, support, structure=1)
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        detect(maps(), volume, examples, cancel=token)


def test_the_list_is_no_longer_than_wanted() -> None:
    volume, truth = scan()
    support = support_from_labels(painted(truth), axis=0)
    examples = examples_on(maps(), volume.geometry, support, structure=1)
    config = DetectionConfig()
    short = replace(config, candidates=replace(config.candidates, most=1))
    assert len(detect(maps(), volume, examples, config=short)) == 1
