"""Which slice is suggested next, without a window."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_medmeta.core import Box, Proposal, SliceExample, SliceRef, Support
from napari_medmeta.engine.suggest import Suggestion
from napari_medmeta.ui.guide import Guide, named
from napari_medmeta.ui.region_mark import frame

SHAPE = (9, 8, 8)


def labels() -> np.ndarray:
    out = np.zeros(SHAPE, dtype=np.uint8)
    out[1:8, 2:6, 2:6] = 1
    return out


def proposal() -> Proposal:
    confidence = np.full(SHAPE, 0.9, dtype=np.float32)
    dice = {SliceRef(0, i): 0.9 for i in range(1, 8)}
    return Proposal(1, Box.whole(SHAPE), labels(), confidence, Box.whole(SHAPE), slice_dice=dice)


def support(painted: Sequence[int] = (1,)) -> Support:
    known = np.ones(SHAPE[1:], dtype=bool)
    return Support(SHAPE, tuple(SliceExample(SliceRef(0, i), labels()[i], known) for i in painted), (1,), 1)


def place(found: Suggestion | None) -> int:
    assert found is not None
    return found.ref.index


def test_without_a_proposal_nothing_is_suggested() -> None:
    guide = Guide()
    assert guide.next(support(), SliceRef(0, 0)) is None
    guide.learn(proposal())
    guide.forget()
    assert guide.next(support(), SliceRef(0, 0)) is None


def test_no_slice_is_suggested_twice_until_all_were() -> None:
    guide, focus, seen = Guide(), SliceRef(0, 1), []
    guide.learn(proposal())
    for _ in range(8):
        seen.append(place(guide.next(support(), focus)))
        focus = SliceRef(0, seen[-1])
    assert len(set(seen)) == 8
    assert place(guide.next(support(), focus)) in seen


def test_the_slice_on_screen_and_slices_not_worth_it_are_left_out() -> None:
    guide = Guide()
    guide.learn(proposal())
    best = place(guide.next(support(), SliceRef(0, 1)))
    again = Guide()
    again.learn(proposal())
    assert place(again.next(support(), SliceRef(0, best))) != best
    other = Guide()
    other.learn(proposal())
    assert place(other.next(support(), SliceRef(0, 1), worth_it=lambda ref: ref.index == 3)) == 3


def test_the_suggestions_follow_the_examples_axis_whatever_is_on_screen() -> None:
    guide = Guide()
    guide.learn(proposal())
    found = guide.next(support(), SliceRef(2, 4))
    assert found is not None
    assert found.ref.axis == 0
    assert guide.back() == SliceRef(2, 4)
    assert guide.back() is None


def test_a_reason_names_the_structure() -> None:
    plain = Suggestion(SliceRef(0, 1), 1.0, "The edge of structure 12 is unsure here", None, 12)
    assert named(plain, {12: "Liver", 1: "Spleen"}).reason == "The edge of the Liver is unsure here"
    assert named(plain, {1: "Spleen"}).reason == plain.reason


def test_a_frame_lies_on_its_slice_around_the_region() -> None:
    corners = frame(Box((2, 4, 3), (5, 5, 9)), 1)
    assert set(corners[:, 1]) == {4.0}
    assert corners.min(axis=0).tolist() == [-0.5, 4, 0.5]
    assert corners.max(axis=0).tolist() == [6.5, 4, 10.5]


def test_of_one_structure_it_is_not_said_that_it_is_mostly_about_this_one() -> None:
    low = Suggestion(SliceRef(0, 2), 1.0, "The expected Dice here is only 0.46, mostly for structure 1", None, 1)
    assert named(low, {1: "Lesion"}).reason == "The expected Dice here is only 0.46"
    assert named(low, {1: "Lesion", 2: "Liver"}).reason.endswith("mostly for the Lesion")
