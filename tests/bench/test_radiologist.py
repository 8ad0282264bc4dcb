"""Which slice the simulated radiologist looks at, and what it makes of it."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medmeta.bench.interactive_store import Action, Policy
from napari_medmeta.bench.protocol import anatomy_of
from napari_medmeta.bench.radiologist import Look, Radiologist, slice_dice
from napari_medmeta.core import Box, Geometry, LabelArray, Origin, Proposal, SliceExample, SliceRef, Support

GEOMETRY = Geometry.from_parts((12, 20, 20), spacing_mm=(5.0, 1.0, 1.0))


def column() -> LabelArray:
    """A square of 10 x 10 voxels on slices 2 to 10, of 12 x 10 on slice 6."""
    truth = np.zeros((12, 20, 20), dtype=np.uint8)
    truth[2:11, 4:14, 4:14] = 1
    truth[6, 2:14, 4:14] = 1
    return truth


def radiologist(policy: Policy = Policy.EQUAL, *, truth: LabelArray | None = None, seed: int = 0) -> Radiologist:
    return Radiologist(anatomy_of(column() if truth is None else truth, GEOMETRY, case_id="a"), policy, seed)


def support(*indices: int) -> Support:
    truth = column()
    known = np.ones((20, 20), dtype=bool)
    examples = tuple(SliceExample(SliceRef(0, i), truth[i].copy(), known) for i in indices)
    return Support((12, 20, 20), examples, (1,))


def proposal(labels: LabelArray) -> Proposal:
    confidence = np.full(labels.shape, 0.9, dtype=np.float32)
    return Proposal(1, Box.whole(labels.shape), labels, confidence, Box.whole(labels.shape))


def test_it_starts_by_painting_the_slice_of_largest_area():
    start = radiologist().start()
    assert (start.example.ref, start.action) == (SliceRef(0, 6), Action.PAINTED)
    assert np.array_equal(start.example.labels, column()[6])
    assert start.structures_corrected == 1


def test_painting_takes_longer_where_there_is_more_to_draw():
    truth = column()
    truth[:, 16:18, 2:18] = 2
    assert radiologist(truth=truth).start().seconds > radiologist().start().seconds


def test_equal_spacing_goes_where_it_is_farthest_from_all_slices_seen():
    doctor, labels = radiologist(), column()
    # Slices 2 to 10, 6 seen: 2 and 10 are 4 away; then 4 and 8 are 2 away from their neighbours.
    seen = [6]
    for expected in (2, 10, 4, 8, 3):
        assert doctor.choose(labels, support(*seen)) == expected
        seen.append(expected)


def test_equal_spacing_turns_to_what_leaks_out_when_the_extent_is_done():
    labels = column()
    labels[11] = 1
    assert radiologist().choose(labels, support(*range(2, 11))) == 11


@pytest.mark.parametrize("policy", Policy)
def test_no_slice_is_chosen_twice_and_then_none(policy):
    doctor, labels, seen = radiologist(policy), column(), [6]
    while (index := doctor.choose(labels, support(*seen))) is not None:
        assert index not in seen
        seen.append(index)
    assert sorted(seen) == list(range(2, 11))


def test_worst_is_the_slice_that_costs_the_structures_most():
    truth = column()
    truth[2:9, 16:19, :19] = 2
    labels = truth.copy()
    # 30 voxels of 920 of the large structure against 19 of 399 of the small one.
    labels[3, 4:7, 4:14] = 0
    labels[7, 16, :19] = 0
    assert radiologist(Policy.WORST, truth=truth).choose(labels, support(6)) == 7


def test_worst_sees_what_leaks_beyond_the_truth():
    labels = column()
    labels[0, :15] = 1
    assert radiologist(Policy.WORST).choose(labels, support(6)) == 0


def test_random_depends_on_the_seed_and_on_the_number_of_slices_seen():
    labels = column()
    first = [radiologist(Policy.RANDOM, seed=s).choose(labels, support(6)) for s in range(8)]
    assert first == [radiologist(Policy.RANDOM, seed=s).choose(labels, support(6)) for s in range(8)]
    assert len(set(first)) > 1


def test_the_suggestion_is_the_tools_own():
    labels = column()
    labels[7:] = 0
    found = radiologist(Policy.SUGGESTION).choose(labels, support(6), proposal(labels))
    from napari_medmeta.engine.suggest import rank_slices

    ranked = rank_slices(proposal(labels), support(6), axis=0, spacing_mm=GEOMETRY.spacing_mm)
    assert found == ranked[0].ref.index


def test_without_a_proposal_the_suggestion_is_equal_spacing():
    labels = column()
    assert radiologist(Policy.SUGGESTION).choose(labels, support(6)) == radiologist().choose(labels, support(6)) == 2


def look(labels: LabelArray, index: int = 4) -> Look:
    return radiologist().look(index, labels)


def test_a_slice_of_dice_above_095_is_accepted_as_it_is_proposed():
    labels = column()
    labels[4, 4, 4] = 0
    seen = look(labels)
    assert (seen.action, seen.structures_corrected, seen.example.origin) == (Action.ACCEPTED, 0, Origin.ACCEPTED)
    assert np.array_equal(seen.example.labels, labels[4])


def test_a_slice_of_dice_below_it_is_corrected_to_the_truth():
    labels = column()
    labels[4, 4:7] = 0
    seen = look(labels)
    assert (seen.action, seen.structures_corrected, seen.example.origin) == (Action.CORRECTED, 1, Origin.PAINTED)
    assert np.array_equal(seen.example.labels, column()[4])


def test_a_dice_of_exactly_095_is_corrected():
    labels = column()
    # 100 voxels true, 10 missed and 0 too many: 2 * 90 / 190 = 0.947; 5 too many of 100: 2 * 95 / 200.
    labels[4, 4, 4:9], labels[4, 15, 4:9] = 0, 1
    assert slice_dice(labels[4], column()[4], (1,)) == 0.95
    assert look(labels).action is Action.CORRECTED


def test_the_dice_of_a_slice_is_the_mean_over_what_is_there():
    found, true = np.array([[1, 1, 0, 0, 2]]), np.array([[1, 0, 0, 0, 0]])
    # Structure 1: 2 / 3; structure 2 is only proposed: 0; structure 3 is nowhere and does not count.
    assert slice_dice(found, true, (1, 2, 3)) == pytest.approx(1 / 3)


def test_a_slice_without_anything_is_right_and_accepted():
    assert slice_dice(np.zeros((2, 2)), np.zeros((2, 2)), (1,)) == 1.0
    seen = look(column(), 0)
    assert (seen.action, seen.example.labels.any()) == (Action.ACCEPTED, False)


def test_a_structure_on_an_empty_slice_is_cleared():
    labels = column()
    labels[0, 4:9, 4:9] = 1
    seen = look(labels, 0)
    assert (seen.action, seen.structures_corrected, seen.example.labels.any()) == (Action.CORRECTED, 1, False)


def test_accepting_is_quicker_than_correcting_and_that_quicker_than_painting():
    slightly, empty = column(), np.zeros_like(column())
    slightly[4, 4:6] = 0
    assert look(column()).seconds < look(slightly).seconds < look(empty).seconds


def test_a_label_that_nobody_asked_for_is_not_kept():
    labels = column()
    labels[4, 0, 0] = 9
    assert 9 not in look(labels).example.labels


def test_examples_are_copies_of_their_own():
    truth, labels = column(), column()
    doctor = radiologist(truth=truth)
    for seen in (doctor.start(), doctor.look(4, labels), doctor.look(4, labels * 0)):
        assert seen.example.labels.base is None
        assert not np.shares_memory(seen.example.labels, truth)
        assert not np.shares_memory(seen.example.labels, doctor.anatomy.truth)
