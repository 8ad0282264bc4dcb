"""Carrying a prior segmentation, on small synthetic scans whose true map is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from napari_medmeta.core import (
    Cancelled,
    CancelToken,
    Geometry,
    GeometryMismatchError,
    InputError,
    MissingExamplesError,
    Modality,
    Volume,
)
from napari_medmeta.tasks.registration import Kind, carry

SHAPE = (20, 40, 40)


def scan(centre=(10.0, 20.0, 18.0), radii=(5.0, 8.0, 6.0), *, seed=0, origin_mm=(0.0, 0.0, 0.0)):
    """Return a body with one bright organ, and the organ's mask."""
    k = np.indices(SHAPE).astype(np.float32)
    rng = np.random.default_rng(seed)
    texture = ndimage.gaussian_filter(np.random.default_rng(5).normal(size=SHAPE), 3) * 60
    body = ((k[1] - 20) / 18) ** 2 + ((k[2] - 20) / 16) ** 2 < 1
    organ = sum(((k[a] - centre[a]) / radii[a]) ** 2 for a in range(3)) < 1
    image = np.where(body, 100 + texture, 0) + 80 * organ + rng.normal(0, 3, SHAPE)
    geometry = Geometry.from_parts(SHAPE, spacing_mm=(3, 2, 2), origin_mm=origin_mm)
    volume = Volume(ndimage.gaussian_filter(image, 0.6).astype(np.float32), geometry, Modality.MR)
    return volume, organ.astype(np.uint8)


def dice(a, b):
    return 2 * int((a & b).sum()) / max(1, int(a.sum() + b.sum()))


@pytest.fixture(scope="module")
def grown():
    """A prior scan, its labels, today's scan with a larger organ, and the truth there."""
    prior, labels = scan()
    today, truth = scan(radii=(5.0, 11.0, 9.0), seed=1)
    return prior, labels, today, truth


@pytest.fixture(scope="module")
def carried(grown):
    prior, labels, today, _ = grown
    return carry(prior, labels, today)


def test_a_grown_organ_is_followed_by_the_deformable_step(grown, carried):
    _, labels, _, truth = grown
    assert dice(labels, truth) < 0.72
    assert dice(carried.labels(), truth) > 0.88
    assert carried.stages[-1].kept


def test_the_expected_dice_is_near_the_true_one(grown, carried):
    assert carried.expected.of_structure[1] == pytest.approx(dice(carried.labels(), grown[3]), abs=0.12)


def test_every_slice_with_labels_has_an_expected_dice(grown, carried):
    found = {ref.index for ref in carried.expected.of_slice}
    assert found == set(np.flatnonzero(carried.labels().any(axis=(1, 2))).tolist())
    assert all(ref.axis == 0 and 0 <= d <= 1 for ref, d in carried.expected.of_slice.items())


def test_the_same_seed_carries_the_same_labels(grown, carried):
    prior, labels, today, _ = grown
    again = carry(prior, labels, today)
    assert np.array_equal(again.labels(), carried.labels())
    assert again.expected.of_structure == carried.expected.of_structure


def test_a_proposal_of_carried_labels_says_where_they_come_from(grown, carried):
    proposal = carried.proposal(generation=7)
    assert proposal.generation == 7
    assert np.array_equal(proposal.volume(SHAPE), carried.labels())
    assert proposal.trust[1] == {"prior scan": 1.0}
    assert proposal.covered.shape == SHAPE


def test_a_scan_at_another_place_of_the_scanner_is_found_again():
    prior, labels = scan()
    today, truth = scan(seed=1, origin_mm=(300.0, -200.0, 500.0))
    result = carry(prior, labels, today, kind=Kind.RIGID)
    assert dice(result.labels(), truth) > 0.9


def test_a_turned_scan_is_turned_back_by_the_rigid_step():
    prior, labels = scan()
    today, truth = scan(seed=1)
    angle = np.radians(10)
    turned = today.geometry.affine.copy()
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    turned[:3] = turn @ turned[:3]
    result = carry(prior, labels, replace(today, geometry=Geometry(SHAPE, turned)), kind=Kind.RIGID)
    assert result.stages[0].kept
    assert dice(result.labels(), truth) > 0.9


def test_a_structure_that_is_cut_off_by_today_s_scan_is_told():
    prior, labels = scan()
    whole, _ = scan(seed=1)
    half = Volume(
        whole.array[10:], Geometry.from_parts((10, 40, 40), spacing_mm=(3, 2, 2), origin_mm=(0, 0, 30)), Modality.MR
    )
    result = carry(prior, labels, half, kind=Kind.RIGID)
    told = [note for note in result.notes if "outside of today's scan" in note]
    assert len(told) == 1
    assert 35 < float(told[0].split()[1]) < 65


def test_nothing_is_told_to_be_cut_off_where_all_is_seen(carried):
    assert not any("outside" in note for note in carried.notes)


def test_no_step_is_kept_that_makes_the_scans_less_alike(carried):
    assert all(stage.after > stage.before for stage in carried.stages if stage.kept)


def test_rigid_takes_no_deformable_map(grown):
    prior, labels, today, _ = grown
    result = carry(prior, labels, today, kind=Kind.RIGID)
    assert [s.name for s in result.stages] == ["rigid"]
    assert result.alignment.displacement_mm is None


def test_voxels_of_which_nothing_is_known_are_not_carried(grown):
    prior, labels, today, _ = grown
    unknown = labels.copy()
    unknown[0] = 255
    result = carry(prior, unknown, today, kind=Kind.RIGID)
    assert result.carrying.structures == (1,)


def test_progress_grows_to_the_end(grown):
    prior, labels, today, _ = grown
    told: list[float] = []
    carry(prior, labels, today, kind=Kind.RIGID, progress=lambda fraction, stage, /: told.append(fraction))
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) > 20


@pytest.mark.parametrize("after", [1, 60])
def test_cancelling_stops_the_work(grown, after):
    prior, labels, today, _ = grown
    token, calls = CancelToken(), []

    def progress(fraction, stage, /):
        calls.append(stage)
        if len(calls) == after:
            token.cancel()

    with pytest.raises(Cancelled):
        carry(prior, labels, today, progress=progress, cancel=token)
    assert len(calls) < after + 10


def test_labels_of_another_shape_are_refused(grown):
    prior, labels, today, _ = grown
    with pytest.raises(GeometryMismatchError, match="painted"):
        carry(prior, labels[:-1], today)


def test_an_empty_segmentation_is_refused(grown):
    prior, labels, today, _ = grown
    with pytest.raises(MissingExamplesError, match="empty"):
        carry(prior, np.zeros_like(labels), today)


def test_a_constant_scan_is_refused(grown):
    prior, labels, today, _ = grown
    flat = replace(today, array=np.zeros(SHAPE, np.float32))
    with pytest.raises(InputError, match="today's scan holds too little"):
        carry(prior, labels, flat)
