from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_medmeta.core.phantoms import Phantom, brain_mr, simple_blobs, torso_ct
from napari_medmeta.core.types import Modality

SMALL_TORSO = (32, 64, 64)
SMALL_BRAIN = (32, 72, 64)


@pytest.fixture(scope="module")
def torso() -> Phantom:
    return torso_ct(shape=SMALL_TORSO)


@pytest.fixture(scope="module")
def brain() -> Phantom:
    return brain_mr(shape=SMALL_BRAIN)


def number(phantom: Phantom, name: str) -> int:
    return next(n for n, known in phantom.names.items() if known == name)


def mean_inside(phantom: Phantom, name: str) -> float:
    return float(phantom.volume.array[phantom.labels == number(phantom, name)].mean())


def slices_of(phantom: Phantom, name: str) -> np.ndarray:
    return np.flatnonzero((phantom.labels == number(phantom, name)).any(axis=(1, 2)))


def touch(phantom: Phantom, one: str, other: str) -> bool:
    grown = ndimage.binary_dilation(phantom.labels == number(phantom, one))
    return bool(np.any(grown & (phantom.labels == number(phantom, other))))


def test_the_same_seed_gives_the_same_scan(torso):
    again = torso_ct(shape=SMALL_TORSO)
    assert np.array_equal(torso.volume.array, again.volume.array)
    assert np.array_equal(torso.labels, again.labels)


def test_another_seed_gives_another_patient(torso):
    other = torso_ct(shape=SMALL_TORSO, seed=1)
    assert not np.array_equal(torso.labels, other.labels)


@pytest.mark.parametrize("make", [torso_ct, brain_mr])
def test_every_named_structure_is_there_and_no_other(make):
    phantom = make(shape=(32, 72, 72), seed=3)
    assert set(np.unique(phantom.labels)) == {0, *phantom.names}


def test_the_default_scans_are_large_enough_to_look_real():
    phantom = torso_ct()
    assert phantom.volume.array.shape == (64, 160, 160)
    assert phantom.volume.array.dtype == np.int16


def test_organs_have_the_hounsfield_units_of_a_contrast_ct(torso):
    assert torso.volume.modality is Modality.CT
    assert -950 < mean_inside(torso, "left lung") < -650
    assert 90 < mean_inside(torso, "liver") < 130
    assert 130 < mean_inside(torso, "left kidney") < 200
    assert mean_inside(torso, "vertebrae") > 150


def test_neighbouring_organs_touch(torso):
    assert touch(torso, "liver", "right kidney")
    assert touch(torso, "liver", "right lung") or touch(torso, "spleen", "left kidney")


def test_the_liver_is_on_the_patients_right(torso):
    centre = ndimage.center_of_mass(torso.labels == number(torso, "liver"))
    assert torso.volume.geometry.to_world(centre)[0] < 0


@pytest.mark.parametrize("organ", ["liver", "spleen", "left kidney", "right kidney"])
def test_an_organ_begins_and_ends_inside_the_scan(torso, organ):
    found = slices_of(torso, organ)
    assert found[0] > 0
    assert found[-1] < SMALL_TORSO[0] - 1


def test_the_aorta_runs_through_the_whole_scan(torso):
    assert len(slices_of(torso, "aorta")) == SMALL_TORSO[0]


def test_organs_keep_their_size_on_a_finer_grid(torso):
    finer = torso_ct(shape=(48, 96, 96))

    def volume_ml(phantom: Phantom) -> float:
        return np.count_nonzero(phantom.labels == 1) * phantom.volume.geometry.voxel_volume_ml

    assert volume_ml(finer) == pytest.approx(volume_ml(torso), rel=0.25)


def test_grey_matter_is_darker_than_white_and_fluid_darkest(brain):
    assert brain.volume.modality is Modality.MR
    assert mean_inside(brain, "white matter") > mean_inside(brain, "grey matter") > mean_inside(brain, "ventricles")


def test_the_brightness_of_white_matter_drifts_across_the_head(brain):
    white = brain.labels == 1
    x = brain.volume.geometry.to_world(np.argwhere(white))
    _, residual, *_ = np.linalg.lstsq(np.c_[x, np.ones(len(x))], brain.volume.array[white].astype(float), rcond=None)
    assert residual[0] < 0.95 * brain.volume.array[white].var() * white.sum()


def test_an_mr_is_never_negative(brain):
    assert brain.volume.array.min() >= 0


def test_the_two_blobs_touch():
    phantom = simple_blobs()
    assert phantom.volume.array.shape == (24, 48, 48)
    assert touch(phantom, "left blob", "right blob")


def test_blobs_without_noise_are_told_apart_by_a_threshold():
    phantom = simple_blobs(noise=0.0)
    inside = ndimage.binary_erosion(phantom.labels == 2)
    assert phantom.volume.array[inside].min() > 130


def test_the_truth_cannot_be_written_to(torso):
    with pytest.raises(ValueError, match="read-only"):
        torso.labels[0, 0, 0] = 1


def test_the_spacing_may_be_given():
    phantom = simple_blobs(shape=(8, 10, 12), spacing_mm=(5.0, 2.0, 1.0))
    assert phantom.volume.geometry.spacing_mm == pytest.approx((5.0, 2.0, 1.0))
    assert phantom.volume.geometry.axis_codes == ("S", "P", "L")
