"""Ways of painting examples, on slices worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medmeta.bench.painting import Painting, parse_painting, scribbled, seeded, shifted
from napari_medmeta.bench.protocol import Placement, Task, anatomy_of, make_task
from napari_medmeta.core import Geometry, InputError, LabelArray

GEOMETRY = Geometry.from_parts((12, 30, 30), spacing_mm=(5.0, 1.0, 1.0))
MODES = ("jitter", "shift", "missed", "wrong-slice", "axis")


def two_columns() -> LabelArray:
    truth = np.zeros((12, 30, 30), dtype=np.uint8)
    truth[1:11, 4:12, 4:14] = 1
    truth[2:10, 16:26, 16:26] = 2
    return truth


def task(slug: str, *, k: int = 3, seed: int = 0, truth: LabelArray | None = None, case_id: str = "a") -> Task:
    truth = two_columns() if truth is None else truth
    return make_task(truth, GEOMETRY, k=k, painting=parse_painting(slug), seed=seed, case_id=case_id)


def labels(found: Task) -> list[bytes]:
    return [e.labels.tobytes() + e.known.tobytes() for e in found.support.examples]


@pytest.mark.parametrize("mode", MODES)
def test_level_0_is_exact_painting(mode):
    assert labels(task(f"{mode}-0")) == labels(task("exact"))
    assert task(f"{mode}-0").painted == task("exact").painted


@pytest.mark.parametrize("slug", ["jitter-2", "shift-2", "missed", "scribbles", "axis-1"])
def test_every_other_painting_differs_from_exact(slug):
    assert labels(task(slug)) != labels(task("exact"))


@pytest.mark.parametrize("slug", ["jitter-2", "shift-2", "missed-1", "wrong-slice-1", "scribbles", "axis-1"])
def test_the_same_seed_paints_the_same_whatever_was_painted_before(slug):
    first = labels(task(slug, seed=3))
    task(slug, seed=3, case_id="b")
    task("jitter-1", k=5)
    assert labels(task(slug, seed=3)) == first


def test_another_seed_and_another_case_wobble_differently():
    first = labels(task("jitter-2"))
    assert labels(task("jitter-2", seed=1)) != first
    assert labels(task("jitter-2", case_id="b")) != first


def test_a_slice_wobbles_the_same_beside_other_examples():
    one, five = task("jitter-2", k=3), task("jitter-2", k=5)
    shared = set(one.painted) & set(five.painted)
    assert shared
    for index in shared:
        a, b = (next(e.labels for e in t.support.examples if e.ref.index == index) for t in (one, five))
        assert np.array_equal(a, b)


def test_painting_never_changes_the_truth_that_is_scored():
    for slug in ("jitter-2", "shift-2", "missed-1", "wrong-slice-2", "scribbles"):
        assert np.array_equal(task(slug).truth, two_columns())


def test_a_shift_of_2_mm_moves_an_edge_by_2_voxels_of_1_mm():
    square = np.zeros((20, 20), dtype=np.uint8)
    square[8:12, 8:12] = 1
    wider, narrower = shifted(square, {1: 2.0}, (1.0, 1.0)), shifted(square, {1: -1.0}, (1.0, 1.0))
    assert np.flatnonzero(wider[9]).tolist() == list(range(6, 14))
    assert np.flatnonzero(narrower[9]).tolist() == [9, 10]


def test_a_shift_never_erases_a_structure():
    square = np.zeros((20, 20), dtype=np.uint8)
    square[8:11, 8:11] = 1
    assert shifted(square, {1: -50.0}, (1.0, 1.0)).any()


def test_two_structures_that_grow_share_the_gap_between_them():
    row = np.zeros((9, 12), dtype=np.uint8)
    row[:, :4], row[:, 8:] = 1, 2
    assert shifted(row, {1: 10.0, 2: 10.0}, (1.0, 1.0))[4].tolist() == [1] * 6 + [2] * 6


def test_a_structure_is_shifted_the_same_way_on_every_slice():
    found = task("shift-2", k=5)
    sizes = [int(np.count_nonzero(e.labels == 1)) for e in found.support.examples]
    assert len(set(sizes)) == 1
    assert sizes[0] != 80


def test_one_structure_is_missed_on_one_slice():
    exact, missed = task("exact"), task("missed-1")
    pairs = zip(exact.support.examples, missed.support.examples, strict=True)
    gone = [set(np.unique(a.labels)) - set(np.unique(b.labels)) for a, b in pairs]
    assert sorted(len(g) for g in gone) == [0, 0, 1]


def test_a_structure_that_one_slice_alone_shows_is_never_missed():
    assert labels(task("missed-3", k=1)) == labels(task("exact", k=1))


def test_a_wrong_slice_holds_the_labels_of_its_neighbour():
    truth = two_columns()
    for index in range(12):
        truth[index, 4, 4 : 4 + index + 1] = 1
        truth[index, 4, 4 + index + 1 : 20] = 0
    found = task("wrong-slice-1", truth=truth)
    off = [(e.ref.index, e.labels) for e in found.support.examples if not np.array_equal(e.labels, truth[e.ref.index])]
    ((index, painted),) = off
    assert any(np.array_equal(painted, truth[n]) for n in (index - 1, index + 1))


def test_scribbles_lie_inside_of_what_they_mark():
    truth = two_columns()
    for example in task("scribbles").support.examples:
        assert np.array_equal(example.labels[example.known], truth[example.ref.index][example.known])
        assert 0 < example.known.mean() < 0.25
        assert set(np.unique(example.labels[example.known])) == set(np.unique(truth[example.ref.index]))
        assert not example.labels[~example.known].any()


def test_an_empty_slice_gets_no_stroke():
    assert not scribbled(np.zeros((20, 20), np.uint8), (1.0, 1.0), seeded("x")).any()


def test_the_other_axes_follow_the_through_plane_one():
    assert [task(f"axis-{n}").axis for n in (0, 1, 2)] == [0, 1, 2]
    found = task("axis-1")
    assert found.structures == task("exact").structures
    assert found.support.examples[0].labels.shape == (12, 30)
    assert len(found.scored) == 30


def test_no_painting_leaves_a_way_back_to_the_truth():
    for slug in ("exact", "jitter-1", "shift-1", "missed-1", "wrong-slice-1", "scribbles", "axis-1"):
        found = task(slug)
        for example in found.support.examples:
            for array in (example.labels, example.known):
                assert array.base is None
                assert not np.shares_memory(array, found.truth)


def test_what_a_person_drew_is_known_and_nothing_else():
    strokes = np.full((12, 30, 30), 4, dtype=np.uint8)
    strokes[5, 6, 5:10] = 1
    strokes[5, 18, 17:20] = 2
    strokes[5, 0, :] = 0
    found = anatomy_of(two_columns(), GEOMETRY, strokes=strokes).task(k=1, painting=parse_painting("drawn"))
    (example,) = found.support.examples
    assert example.ref.index == 5
    assert int(example.known.sum()) == 5 + 3 + 30
    assert int((example.labels == 1).sum()) == 5
    assert int((example.labels == 2).sum()) == 3
    assert not example.is_complete


def test_strokes_are_taken_from_slices_that_hold_some():
    strokes = np.full((12, 30, 30), 4, dtype=np.uint8)
    strokes[[2, 9], 6, 5:10] = 1
    task = anatomy_of(two_columns(), GEOMETRY, strokes=strokes).task
    assert set(task(k=2, placement=Placement.RANDOM, painting=parse_painting("drawn")).painted) == {2, 9}


def test_strokes_that_nobody_drew_are_refused():
    with pytest.raises(InputError, match="Nobody drew"):
        task("drawn")


@pytest.mark.parametrize(
    ("slug", "painting"),
    [("exact", "exact"), ("jitter-0.5", "jitter-0.5"), ("missed-1", "missed"), ("wrong-slice-2", "wrong-slice-2")],
)
def test_a_slug_reads_back(slug, painting):
    assert parse_painting(slug).slug == painting
    assert parse_painting(painting).slug == painting


@pytest.mark.parametrize(
    "slug", ["", "magic", "jitter--1", "jitter-inf", "axis-0.5", "exact-1", "scribbles-2", "drawn-1", "-1"]
)
def test_a_slug_that_makes_no_sense_is_refused(slug):
    with pytest.raises(InputError, match="no way of painting"):
        parse_painting(slug)


def test_random_placement_is_kept_under_noise():
    truth, places = two_columns(), {}
    for slug in ("exact", "jitter-1"):
        places[slug] = make_task(
            truth, GEOMETRY, k=3, placement=Placement.RANDOM, painting=parse_painting(slug), case_id="a"
        ).painted
    assert places["exact"] == places["jitter-1"]


def test_a_painting_is_a_plain_value():
    assert Painting() == parse_painting("exact")
