from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from napari_medmeta.core import Box, Proposal, SliceExample, SliceRef, Support
from napari_medmeta.engine import suggest
from napari_medmeta.engine.suggest import Suggestion, rank_slices

SHAPE = (12, 16, 16)


def block(*, first: int = 2, last: int = 9) -> np.ndarray:
    """A square of 6 x 6 voxels on the slices ``first`` to ``last`` of axis 0."""
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[first : last + 1, 5:11, 5:11] = 1
    return labels


def proposal(
    labels: np.ndarray, confidence: np.ndarray | None = None, *, dice: Mapping[SliceRef, float] | None = None
) -> Proposal:
    sure = np.ones(labels.shape, dtype=np.float32)
    whole = Box.whole(SHAPE)
    return Proposal(1, whole, labels, confidence if confidence is not None else sure, whole, slice_dice=dice or {})


def support(labels: np.ndarray, *painted: int, axis: int = 0) -> Support:
    examples = tuple(
        SliceExample(SliceRef(axis, i), np.take(labels, i, axis), np.ones_like(np.take(labels, i, axis), dtype=bool))
        for i in painted
    )
    return Support(SHAPE, examples, (1, 2), 1)


def places(found: tuple[Suggestion, ...]) -> list[int]:
    return [s.ref.index for s in found]


def test_the_slice_furthest_from_the_examples_comes_first_when_all_is_equally_sure() -> None:
    labels = block(first=0, last=11)
    found = rank_slices(proposal(labels), support(labels, 0, 11), axis=0)
    assert found[0].ref in (SliceRef(0, 5), SliceRef(0, 6))
    assert "nearest example" in found[0].reason


def test_a_slice_with_an_unsure_edge_comes_first() -> None:
    labels, confidence = block(), np.ones(SHAPE, dtype=np.float32)
    confidence[4] = 0.5
    found = rank_slices(proposal(labels, confidence), support(labels, 2, 9), axis=0)
    assert found[0].ref == SliceRef(0, 4)
    assert "unsure" in found[0].reason


def test_a_slice_with_a_low_expected_dice_comes_first() -> None:
    labels = block()
    dice = {SliceRef(0, i): 0.4 if i == 7 else 0.95 for i in range(2, 10)}
    found = rank_slices(proposal(labels, dice=dice), support(labels, 2, 9), axis=0)
    assert found[0].ref == SliceRef(0, 7)
    assert "0.40" in found[0].reason


def test_slices_with_a_complete_example_are_never_suggested() -> None:
    labels = block()
    found = rank_slices(proposal(labels), support(labels, 2, 5, 9), axis=0)
    assert {2, 5, 9}.isdisjoint(places(found))
    assert {3, 4, 6, 7, 8} <= set(places(found))


def test_a_slice_with_a_few_strokes_is_still_suggested() -> None:
    labels = block()
    known = np.zeros((16, 16), dtype=bool)
    known[6, 6] = True
    scribble = SliceExample(SliceRef(0, 5), np.where(known, labels[5], 0).astype(np.uint8), known)
    painted = support(labels, 2)
    found = rank_slices(proposal(labels), Support(SHAPE, (*painted.examples, scribble), (1,), 1), axis=0)
    assert 5 in places(found)


def test_with_clicks_alone_the_way_is_counted_from_the_clicked_slice() -> None:
    labels = block(first=0, last=11)
    known = np.zeros(SHAPE[1:], dtype=bool)
    known[7, 7] = True
    clicked = Support(SHAPE, (SliceExample(SliceRef(0, 2), known.astype(np.uint8), known),), (1,), 1)
    found = rank_slices(proposal(labels), clicked, axis=0)
    away = abs(found[0].ref.index - 2)
    assert f"{away} slices away" in found[0].reason
    assert 2 < away < SHAPE[0]


def test_past_an_end_that_has_grown_thin_only_the_next_slices_are_suggested() -> None:
    labels = block(first=5, last=8)
    for end in (5, 8):
        labels[end][labels[end] > 0] = 0
        labels[end, 4, 4] = 1
    found = {s.ref.index: s for s in rank_slices(proposal(labels), support(labels, 5, 8), axis=0)}
    assert {3, 4, 9, 10} <= set(found)
    assert {0, 1, 2, 11}.isdisjoint(found)
    assert "go on" in found[9].reason


def test_where_nothing_says_that_it_ends_the_search_goes_further() -> None:
    labels = block(first=5, last=8)
    found = places(rank_slices(proposal(labels), support(labels, 6), axis=0))
    assert {0, 1, 2, 3, 4, 9, 10, 11} <= set(found)


def test_a_wide_structure_is_sought_past_its_end_in_steps_of_its_width() -> None:
    labels = block(first=10, last=10)
    # Six voxels of 1 mm are two slices of 3 mm wide, and seven of 1 mm.
    thick, thin = (
        places(rank_slices(proposal(labels), support(labels, 10), axis=0, spacing_mm=(mm, 1.0, 1.0))) for mm in (3, 1)
    )
    assert min(thick) >= 5
    assert min(thin) == 0
    assert thin[0] < thick[0] < 10


def test_organs_that_come_into_sight_one_by_one_are_not_followed_slice_by_slice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    labels = block(first=4, last=11)
    for number, column in ((2, 0), (3, 12), (4, 14)):
        labels[10:, 1:3, column : column + 2] = number
    painted = support(labels, 11)
    asked = proposal(labels), replace(painted, structures=(1, 2, 3, 4))
    together = rank_slices(*asked, axis=0)[0].ref.index
    monkeypatch.setattr(suggest, "TOGETHER", 0.0)
    alone = rank_slices(*asked, axis=0)[0].ref.index
    assert together < alone


def test_past_the_examples_the_search_goes_in_steps_that_grow() -> None:
    shape, column = (60, 8, 8), np.zeros((60, 8, 8), dtype=np.uint8)
    column[:, 3:5, 3:5] = 1
    steps = []
    for first in (58, 52, 40):
        examples = tuple(
            SliceExample(SliceRef(0, i), column[i], np.ones((8, 8), dtype=bool)) for i in range(first, 60, 2)
        )
        # A proposal tapers: two slices past the last example there is nothing.
        labels = np.where(np.arange(60)[:, None, None] >= first - 2, column, np.uint8(0))
        whole, sure = Box.whole(shape), np.ones(shape, dtype=np.float32)
        asked = Proposal(1, whole, labels, sure, whole, slice_dice={}), Support(shape, examples, (1,), 1)
        steps.append(first - rank_slices(*asked, axis=0)[0].ref.index)
    assert 1 <= steps[0] < steps[1] < steps[2]


def test_behind_an_empty_example_the_structure_has_ended() -> None:
    labels = block(first=5, last=8)
    found = places(rank_slices(proposal(labels), support(labels, 6, 9), axis=0))
    assert 10 not in found
    assert 4 in found


def test_a_small_structure_counts_as_much_as_a_large_one() -> None:
    labels, confidence = block(), np.ones(SHAPE, dtype=np.float32)
    labels[6:8, 1:3, 1:3] = 2
    confidence[7, 0:4, 0:4] = 0.5
    confidence[3, 4:12, 5] = 0.5
    found = rank_slices(proposal(labels, confidence), support(labels, 2, 9), axis=0)
    assert found[0].ref == SliceRef(0, 7)
    assert found[0].structure == 2
    assert "structure 2" in found[0].reason


def test_a_slice_helps_its_neighbours_only_up_to_the_next_example() -> None:
    labels, confidence = block(first=0, last=11), np.ones(SHAPE, dtype=np.float32)
    confidence[[1, 7, 8, 9]] = 0.6
    found = rank_slices(proposal(labels, confidence), support(labels, 0, 2), axis=0)
    assert found[0].ref.index in (7, 8, 9)


def test_doubt_in_one_corner_is_pointed_at() -> None:
    labels, confidence = block(), np.ones(SHAPE, dtype=np.float32)
    confidence[4, 5:7, 9:11] = 0.3
    found = {s.ref.index: s for s in rank_slices(proposal(labels, confidence), support(labels, 2, 9), axis=0)}
    assert found[4].region == Box((4, 5, 9), (5, 7, 11))
    assert found[5].region is None


def test_doubt_all_around_names_no_region() -> None:
    labels, confidence = block(), np.ones(SHAPE, dtype=np.float32)
    confidence[4] = 0.5
    assert rank_slices(proposal(labels, confidence), support(labels, 2, 9), axis=0)[0].region is None


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_every_axis_can_be_asked(axis: int) -> None:
    labels = np.moveaxis(block(), 0, axis).reshape(np.moveaxis(block(), 0, axis).shape)
    shape = labels.shape
    confidence = np.ones(shape, dtype=np.float32)
    np.moveaxis(confidence, axis, 0)[4, 5:7, 9:11] = 0.3
    whole = Box.whole(shape)
    painted = SliceExample(SliceRef(axis, 2), np.take(labels, 2, axis), np.ones((16, 16), dtype=bool))
    given = Proposal(1, whole, np.ascontiguousarray(labels), confidence, whole)
    first = rank_slices(given, Support(shape, (painted,), (1,), 1), axis=axis)[0]
    assert first.ref.axis == axis
    assert first.score > 0


def test_a_part_of_the_volume_answers_for_this_part_only() -> None:
    labels = block()
    part = Box((4, 4, 4), (7, 12, 12))
    given = Proposal(
        1, part, labels[part.slices], np.full(part.shape, 0.8, dtype=np.float32), Box((4, 0, 0), (7, 16, 16))
    )
    found = rank_slices(given, support(labels, 2), axis=0)
    assert set(places(found)) == {4, 5, 6}


def test_nothing_proposed_means_nothing_suggested() -> None:
    empty = np.zeros(SHAPE, dtype=np.uint8)
    assert rank_slices(proposal(empty), support(empty, 3), axis=0) == ()


def test_scores_fall_and_the_answer_is_the_same_again() -> None:
    labels, confidence = block(), np.random.default_rng(0).uniform(0.5, 1, SHAPE).astype(np.float32)
    asked = proposal(labels, confidence), support(labels, 2, 9)
    found = rank_slices(*asked, axis=0)
    scores = [s.score for s in found]
    assert scores == sorted(scores, reverse=True)
    assert found == rank_slices(*asked, axis=0)
