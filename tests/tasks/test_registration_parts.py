"""The parts of a registration, each by itself: grids, likeness, channels, displacements, expectations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_medmeta.core import Box, CancelToken, Geometry, Modality, SliceRef, Volume, silent
from napari_medmeta.tasks.registration_channels import brightness, correlation, self_similarity
from napari_medmeta.tasks.registration_dense import DenseConfig, displacement, inverse
from napari_medmeta.tasks.registration_expectation import Calibration, Evidence, expectation
from napari_medmeta.tasks.registration_image import Comparable, Likeness, comparable, likeness, sampling_grid
from napari_medmeta.tasks.registration_linear import is_plausible
from napari_medmeta.tasks.registration_map import Alignment, Carrying


def texture(shape=(10, 30, 30), seed=0, scale=2.0):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), (scale / 2, scale, scale))
    return ((noise - noise.min()) / np.ptp(noise)).astype(np.float32)


def test_a_thinner_grid_covers_the_same_space():
    grid = Geometry.from_parts((20, 100, 100), spacing_mm=(5, 1, 1), origin_mm=(3, 4, 5))
    thin = sampling_grid(grid, voxels=20_000)
    assert np.prod(thin.shape) <= 22_000
    assert thin.shape[0] == 20
    extents = [np.asarray(g.shape) * g.spacing_mm for g in (grid, thin)]
    np.testing.assert_allclose(*extents)
    corners = [g.to_world((-0.5, -0.5, -0.5)) for g in (grid, thin)]
    np.testing.assert_allclose(*corners)


def test_a_grid_that_is_small_enough_is_kept():
    grid = Geometry.from_parts((5, 6, 7), spacing_mm=(5, 1, 1))
    assert sampling_grid(grid, voxels=1000).same_grid(grid)


def test_ct_is_windowed_and_other_scans_are_scaled_by_their_own_values():
    grid = Geometry.from_parts((2, 2, 2))
    hounsfield = np.array([-1000, -200, 50, 300, 3000, 0, 0, 0], np.int16).reshape(2, 2, 2)
    windowed = comparable(Volume(hounsfield, grid, Modality.CT)).array.ravel()
    assert windowed[:5].tolist() == [0, 0, 0.5, 1, 1]
    scaled = comparable(Volume(hounsfield, grid, Modality.MR)).array
    assert (scaled.min(), scaled.max()) == (0, 1)


def test_a_scan_tells_all_of_itself_and_nothing_of_noise():
    image, noise = texture((40, 40, 40)), texture((40, 40, 40), seed=1)
    assert likeness(image, image) == pytest.approx(1.0)
    assert likeness(image, 1 - image) == pytest.approx(1.0, abs=0.1)
    assert likeness(image, noise) < 0.05


def test_likeness_does_not_favour_meeting_the_other_scan_s_voxel_centres():
    grid = Geometry.from_parts((10, 30, 30))
    noisy = [texture() + np.random.default_rng(s).normal(0, 0.1, (10, 30, 30)).astype(np.float32) for s in (1, 2)]
    scans = [Comparable(np.clip(a, 0, 1), grid) for a in noisy]
    measure = Likeness(scans[0], scans[1], Box.whole(grid.shape))
    by_shift = []
    for shift in (0.0, 0.5):
        affine = np.eye(4)
        affine[0, 3] = shift
        by_shift.append(measure.of(Alignment(affine)))
    # Half a voxel off, interpolation smooths the noise; at the centres themselves the gap is several times as large.
    assert abs(by_shift[0] - by_shift[1]) < 0.03


@pytest.mark.parametrize(
    ("scales", "fits"), [((1, 1, 1), True), ((1.1, 0.9, 1), True), ((1, 1, 0.02), False), ((1.5, 1, 1), False)]
)
def test_a_patient_is_not_stretched_out_of_all_proportion(scales, fits):
    assert is_plausible(np.diag([*scales, 1])) is fits


def test_a_patient_is_not_mirrored():
    assert not is_plausible(np.diag([-1, 1, 1, 1]))


def test_correlation_knows_equal_opposite_and_constant():
    image = texture()
    assert correlation(image, 0.5 * image + 0.1) == pytest.approx(1.0)
    assert correlation(image, 1.1 - image) == pytest.approx(-1.0)
    assert correlation(image, np.zeros_like(image)) == 0.0


def test_darkness_around_the_body_does_not_make_two_scans_alike():
    image = np.pad(texture(), ((0, 0), (60, 60), (60, 60)))
    inverted = np.where(image > 0, 1.1 - image, 0).astype(np.float32)
    assert correlation(image, inverted) < -0.9


def test_brightness_is_fitted_to_today_s():
    image = texture()
    now, then = brightness(image, 5 * image + 2)
    np.testing.assert_allclose(now, then, atol=1e-4)


def test_self_similarity_is_the_same_for_an_inverted_scan():
    image = texture()
    first, second = (self_similarity(a, (1, 1, 1)) for a in (image, 1 - image))
    assert first.shape == (12, 10, 30, 30)
    np.testing.assert_allclose(first, second, atol=1e-4)
    assert np.abs(first - self_similarity(texture(seed=3), (1, 1, 1))).mean() > 0.1


def moved_by(image, shift):
    return ndimage.shift(image, shift, order=1, mode="nearest").astype(np.float32)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (4.0, 1.5, 1.5)])
def test_a_shift_is_found_in_millimetres_along_the_grid_s_axes(spacing):
    image = texture((12, 40, 40), scale=3)
    # today(x) = prior(x + 2 voxels along the last axis)
    prior = moved_by(image, (0, 0, 2))
    now, then = brightness(image, prior)
    found = displacement(now, then, spacing, config=DenseConfig(), progress=silent, cancel=CancelToken())
    middle = found[:, 3:9, 10:30, 10:30].mean(axis=(1, 2, 3))
    np.testing.assert_allclose(middle, (0, 0, 2 * spacing[2]), atol=0.35 * spacing[2])


def test_a_displacement_after_its_inverse_leads_nowhere():
    shape = (8, 24, 24)
    field = np.zeros((3, *shape), np.float32)
    field[2] = 2.0 * np.sin(np.linspace(0, np.pi, 24))[None, None, :]
    back = inverse(field, (2.0, 1.0, 1.0))
    there = np.indices(shape) + back / np.reshape((2.0, 1.0, 1.0), (3, 1, 1, 1))
    both = back[2] + ndimage.map_coordinates(field[2], there, order=1, mode="nearest")
    assert np.abs(both).max() < 0.01


def carrying(*planes):
    mask = np.zeros((4, 10, 10), np.float32)
    for plane in planes:
        mask[plane, 2:8, 2:8] = 1
    return Carrying(Box((5, 0, 0), (9, 10, 10)), (3,), mask[None])


def test_two_ways_that_agree_promise_more_than_two_that_do_not():
    same = expectation(carrying(1, 2), carrying(1, 2), axis=0)
    other = expectation(carrying(1, 2), carrying(2, 3), axis=0)
    assert same.of_structure[3] > other.of_structure[3]
    assert same.evidence[3].agreement == 1.0
    assert other.evidence[3].agreement == 0.5
    assert other.of_slice[SliceRef(0, 7)] > other.of_slice[SliceRef(0, 6)]
    assert set(same.of_slice) == {SliceRef(0, 6), SliceRef(0, 7)}


def test_a_thin_structure_promises_less_than_a_bulky_one():
    calibration = Calibration()
    assert calibration.dice(Evidence(0.9, 0.5)) < calibration.dice(Evidence(0.9, 0.95))


def test_fitting_finds_the_constants_behind_many_pairs():
    true = Calibration(0.2, 0.9, 0.1)
    grid = [Evidence(a, t) for a in np.linspace(0.3, 0.95, 12) for t in np.linspace(0.4, 0.95, 12)]
    found = Calibration.fitted([(e, true.dice(e)) for e in grid])
    assert (found.constant, found.agreement, found.thickness) == pytest.approx((0.2, 0.9, 0.1), abs=0.05)


def test_fitting_to_nothing_keeps_the_usual_constants():
    assert Calibration.fitted([]) == Calibration()
