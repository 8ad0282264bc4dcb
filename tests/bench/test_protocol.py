"""Which structures and slices the protocol takes, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medmeta.bench.protocol import Placement, chosen_structures, example_slices, make_task
from napari_medmeta.core import Geometry, InputError, LabelArray

THICK = Geometry.from_parts((12, 20, 20), spacing_mm=(5.0, 1.0, 1.0))


def column(first: int, last: int, *, label: int = 1, side: int = 10) -> LabelArray:
    """A square column on slices first to last of a (12, 20, 20) grid."""
    truth = np.zeros((12, 20, 20), dtype=np.uint8)
    truth[first : last + 1, :side, :side] = label
    return truth


def slices(truth: LabelArray, k: int, *, placement: Placement = Placement.EVEN, seed: int = 0) -> tuple[int, ...]:
    rng = np.random.default_rng(seed)
    return example_slices(truth, axis=0, k=k, placement=placement, rng=rng)


def test_a_structure_of_300_voxels_on_5_slices_counts():
    truth = np.zeros((12, 20, 20), dtype=np.uint8)
    truth[2:7, :6, :10] = 7
    assert chosen_structures(truth, axis=0) == (7,)


def test_a_structure_of_299_voxels_does_not_count():
    truth = np.zeros((12, 20, 20), dtype=np.uint8)
    truth[2:7, :6, :10] = 7
    truth[2, 0, 0] = 0
    assert chosen_structures(truth, axis=0) == ()


def test_a_structure_on_4_slices_does_not_count():
    assert chosen_structures(column(0, 3), axis=0) == ()


def test_only_the_8_largest_count():
    truth = np.zeros((12, 20, 20), dtype=np.uint8)
    for label in range(1, 11):
        truth[:, 2 * label - 2 : 2 * label, : 13 + label % 3] = label
    # 2 rows of 13 columns for 3, 6 and 9, of 14 or 15 for the others: 9 goes, then 6 of the equals 3 and 6.
    assert chosen_structures(truth, axis=0) == (1, 2, 3, 4, 5, 7, 8, 10)


def test_three_examples_lie_at_one_half_of_each_third():
    # Extent of 9 slices from 2: fractions 1/6, 1/2, 5/6 of 9 are 1.5, 4.5, 7.5.
    assert slices(column(2, 10), 3) == (3, 6, 9)


def test_five_examples_lie_at_tenths():
    # Extent of 10 slices from 1: 1, 3, 5, 7, 9 slices into it.
    assert slices(column(1, 10), 5) == (2, 4, 6, 8, 10)


def test_one_example_lies_where_the_area_is_largest():
    truth = column(2, 10)
    truth[7, :12, :12] = 1
    assert slices(truth, 1) == (7,)


def test_more_examples_than_slices_gives_each_slice_once():
    assert slices(column(2, 4), 9) == (2, 3, 4)


def test_random_placement_takes_distinct_slices_that_hold_a_structure():
    truth = column(2, 10)
    truth[5] = 0
    for seed in range(20):
        found = slices(truth, 3, placement=Placement.RANDOM, seed=seed)
        assert len(set(found)) == 3
        assert set(found) <= {2, 3, 4, 6, 7, 8, 9, 10}


def test_random_placement_depends_on_the_case_and_not_on_the_order_of_cases():
    truth = column(0, 11)
    first = make_task(truth, THICK, k=3, placement=Placement.RANDOM, seed=4, case_id="a")
    make_task(truth, THICK, k=3, placement=Placement.RANDOM, seed=4, case_id="b")
    again = make_task(truth, THICK, k=3, placement=Placement.RANDOM, seed=4, case_id="a")
    assert first.painted == again.painted


def test_the_extent_is_that_of_all_structures_together():
    truth = column(0, 5)
    truth[4:10, 12:, 12:] = 2
    assert make_task(truth, THICK, k=1).structures == (1, 2)
    # 10 slices from 0: 1.67, 5, 8.33.
    assert make_task(truth, THICK, k=3).painted == (1, 5, 8)


def test_slices_run_along_the_axis_of_largest_spacing():
    geometry = Geometry.from_parts((12, 20, 20), spacing_mm=(1.0, 3.0, 1.0))
    assert make_task(column(0, 11), geometry, k=1).axis == 1


def test_equal_spacing_takes_the_first_axis():
    geometry = Geometry.from_parts((12, 20, 20), spacing_mm=(2.0, 2.0, 2.0))
    assert make_task(column(0, 11), geometry, k=1).axis == 0


def test_a_structure_that_does_not_count_is_background_on_the_examples():
    truth = column(0, 11)
    truth[6, 15:, 15:] = 9
    task = make_task(truth, THICK, k=1)
    assert 9 not in task.truth
    assert set(np.unique(task.support.examples[0].labels)) == {0, 1}


def test_an_example_slice_is_wholly_known_and_equals_the_truth():
    task = make_task(column(2, 10), THICK, k=3)
    for example in task.support.examples:
        assert example.is_complete
        assert np.array_equal(example.labels, task.truth[example.ref.index])


def test_painted_slices_are_not_scored():
    task = make_task(column(2, 10), THICK, k=3)
    assert np.flatnonzero(~task.scored).tolist() == [3, 6, 9]


def test_a_scan_without_a_large_structure_is_refused():
    with pytest.raises(InputError, match="No structure is large enough"):
        make_task(column(0, 2), THICK, k=1)
