"""From one synthetic patient to the next: found, drawn, bounded, and honest about it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from napari_medmeta.core import Box, Cancelled, CancelToken, Geometry, MissingExamplesError, Modality, Volume
from napari_medmeta.core.library import LibraryEntry
from napari_medmeta.core.phantoms import Phantom, torso_ct
from napari_medmeta.engine.anatomy import survey
from napari_medmeta.engine.features import FeatureMaps, compute_features
from napari_medmeta.engine.keeping import learn
from napari_medmeta.engine.recall import RecallConfig, comparable, recall, usefulness

LIVER, KIDNEY = 1, 3
QUICK = RecallConfig(trees=20)


@cache
def patient(seed: int) -> tuple[Phantom, FeatureMaps]:
    made = torso_ct(shape=(24, 56, 56), seed=seed)
    return made, compute_features(made.volume, device=torch.device("cpu"))


@cache
def kept(seed: int, structure: int = LIVER) -> LibraryEntry:
    made, maps = patient(seed)
    return learn(maps, made.volume, made.labels, structure=structure, name=made.names[structure])


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def recalled(seed: int, entries: dict[int, list[LibraryEntry]]) -> np.ndarray:
    made, maps = patient(seed)
    return recall(maps, made.volume, entries, config=QUICK).volume(made.labels.shape)


def test_an_organ_is_found_on_another_patient() -> None:
    found, truth = recalled(2, {LIVER: [kept(0)]}) == LIVER, patient(2)[0].labels == LIVER
    by_place_alone = patient(0)[0].labels == LIVER
    assert dice(found, truth) > 0.7
    moved = np.roll(found, 12, axis=2)
    assert dice(found, truth) > dice(moved, truth) + 0.2
    assert by_place_alone.shape == truth.shape


def test_several_structures_are_proposed_together() -> None:
    labels = patient(2)[0].labels
    found = recalled(2, {LIVER: [kept(0)], KIDNEY: [kept(0, KIDNEY)]})
    assert dice(found == LIVER, labels == LIVER) > 0.7
    assert dice(found == KIDNEY, labels == KIDNEY) > 0.6


def test_the_voxel_axes_of_the_file_do_not_matter() -> None:
    made, _ = patient(2)
    turned = made.volume.geometry.reoriented(("R", "S", "A"))
    volume = Volume(np.ascontiguousarray(turned.image_to_working(made.volume.array)), turned.working, Modality.CT)
    maps = compute_features(volume, device=torch.device("cpu"))
    found = recall(maps, volume, {LIVER: [kept(0)]}, config=QUICK).volume(volume.geometry.shape)
    assert dice(turned.labels_to_original(found) == LIVER, made.labels == LIVER) > 0.7


def test_forgetting_an_entry_removes_its_influence_exactly() -> None:
    alone = recalled(2, {LIVER: [kept(0)]})
    both = recalled(2, {LIVER: [kept(0), kept(1)]})
    assert not np.array_equal(alone, both)
    assert np.array_equal(recalled(2, {LIVER: [kept(0)]}), alone)


def test_expected_dice_is_low_until_a_second_entry_checks_it() -> None:
    made, maps = patient(2)
    one = recall(maps, made.volume, {LIVER: [kept(0)]}, config=QUICK)
    two = recall(maps, made.volume, {LIVER: [kept(0), kept(1)]}, config=QUICK)
    assert one.expected_dice[LIVER] < two.expected_dice[LIVER] <= 1.0
    assert set(two.slice_dice) == {r for r in two.slice_dice if (two.volume(maps.shape)[r.index] == LIVER).any()}
    assert all(0.0 <= d <= 1.0 for d in two.slice_dice.values())


def test_expected_dice_is_near_what_is_found() -> None:
    made, maps = patient(2)
    proposal = recall(maps, made.volume, {LIVER: [kept(0), kept(1)]}, config=QUICK)
    found = dice(proposal.volume(maps.shape) == LIVER, made.labels == LIVER)
    assert abs(proposal.expected_dice[LIVER] - found) < 0.15


def test_of_a_structure_that_is_not_there_little_is_expected() -> None:
    made, maps = patient(2)
    # The upper half of the scan, without a kidney.
    cut = made.volume.geometry.shape[0] * 3 // 4
    assert not (made.labels[cut:] == KIDNEY).any()
    affine = made.volume.geometry.affine.copy()
    affine[:3, 3] = made.volume.geometry.to_world(np.array([cut, 0, 0]))
    shape = (made.labels.shape[0] - cut, *made.labels.shape[1:])
    volume = Volume(made.volume.array[cut:], Geometry(shape, affine), Modality.CT)
    half = compute_features(volume, device=torch.device("cpu"))
    there = recall(maps, made.volume, {KIDNEY: [kept(0, KIDNEY)]}, config=QUICK).expected_dice[KIDNEY]
    absent = recall(half, volume, {KIDNEY: [kept(0, KIDNEY)]}, config=QUICK).expected_dice[KIDNEY]
    assert absent < 0.5 < there


def test_progress_is_told_within_a_structure_and_stopping_takes_effect_there() -> None:
    made, maps = patient(2)
    told: list[float] = []
    token = CancelToken()

    def progress(fraction: float, stage: str, /) -> None:
        told.append(fraction)
        assert stage == "recalling liver" or fraction == 1.0
        if len(told) == 3:
            token.cancel()

    with pytest.raises(Cancelled):
        recall(maps, made.volume, {LIVER: [kept(0)]}, config=QUICK, progress=progress, cancel=token)
    assert told == sorted(told)
    assert len(told) == 3


def test_the_proposal_is_one_piece_of_a_plausible_size() -> None:
    from scipy import ndimage

    made, _ = patient(2)
    found = recalled(2, {LIVER: [kept(0)]}) == LIVER
    assert ndimage.label(found)[1] == 1
    volume_ml = found.sum() * made.volume.geometry.voxel_volume_ml
    assert kept(0).volume_ml / 1.8 <= volume_ml <= 1.8 * kept(0).volume_ml


def test_an_entry_of_another_modality_is_left_out() -> None:
    made, maps = patient(2)
    mr = replace(kept(0), modality=Modality.MR)
    assert comparable([mr, kept(1)], made.volume) == (kept(1),)
    with pytest.raises(MissingExamplesError, match="nothing of these structures on CT"):
        recall(maps, made.volume, {LIVER: [mr]})


def test_an_entry_of_other_features_is_left_out() -> None:
    made, _ = patient(2)
    assert comparable([replace(kept(0), features="older")], made.volume) == ()


def test_usefulness_needs_another_entry() -> None:
    assert usefulness(kept(0), [kept(0)]).dice is None
    good = usefulness(kept(0), [kept(0), kept(1)], config=QUICK)
    assert good.others == 1
    assert good.dice is not None
    assert good.dice > 0.6


def test_an_entry_of_something_else_is_of_little_use() -> None:
    wrong = usefulness(kept(0), [kept(1, KIDNEY)], config=QUICK)
    assert wrong.dice is not None
    assert wrong.dice < 0.3


def test_what_is_not_there_or_too_small_cannot_be_kept() -> None:
    made, maps = patient(0)
    with pytest.raises(MissingExamplesError, match="no gallstone"):
        learn(maps, made.volume, made.labels, structure=200, name="gallstone")
    tiny = np.zeros(made.labels.shape, np.uint8)
    tiny[10, 20:22, 20:22] = 1
    with pytest.raises(MissingExamplesError, match="too small"):
        learn(maps, made.volume, tiny, structure=1, name="lesion")


def test_few_voxels_are_kept_and_none_with_its_neighbours() -> None:
    made, _ = patient(0)
    samples = kept(0).samples
    assert samples.inside.sum() <= 0.25 * (made.labels == LIVER).sum() + 1
    assert len(samples.inside) <= 4000


def test_the_body_is_found_with_its_lungs() -> None:
    made, maps = patient(0)
    anatomy = survey(maps, made.volume.geometry)
    whole = anatomy.body_on(anatomy.body_grid)
    assert 0.3 < whole.mean() < 0.95
    lungs = anatomy.body_grid.pool(torch.from_numpy(made.labels == 6)).numpy() > 0.5
    assert whole[lungs].mean() > 0.9


def test_it_can_be_stopped() -> None:
    made, maps = patient(2)
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        recall(maps, made.volume, {LIVER: [kept(0)]}, cancel=token)


def test_the_proposal_speaks_for_the_whole_scan() -> None:
    made, maps = patient(2)
    proposal = recall(maps, made.volume, {LIVER: [kept(0)]}, generation=7, config=QUICK)
    assert proposal.generation == 7
    assert proposal.covered == Box.whole(made.labels.shape)
    assert proposal.trust[LIVER] == {"library": 1.0}
