"""What follows from clicks and strokes on the slices that they do not lie on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_medmeta.core import Box, Cancelled, CancelToken, Proposal, SliceExample, SliceRef, Support, label_slice
from napari_medmeta.core.phantoms import Phantom
from napari_medmeta.engine import Segmenter
from napari_medmeta.engine.explain import explain
from napari_medmeta.engine.outlining import TOGETHER, Outlines
from napari_medmeta.io import read_labels, read_volume

HERE, THERE = SliceRef(0, 2), SliceRef(0, 4)


def said(ref: SliceRef, marks: dict[tuple[int, int], int], *, side: int = 4) -> SliceExample:
    labels, known = np.zeros((side, side), np.uint8), np.zeros((side, side), bool)
    for place, label in marks.items():
        labels[place], known[place] = label, True
    return SliceExample(ref, labels, known)


def answered(*outlines: tuple[SliceRef, int, tuple[slice, slice]], worth: float = 0.5, depth: int = 6) -> Proposal:
    shape = (depth, 4, 4)
    labels = np.zeros(shape, np.uint8)
    for ref, structure, place in outlines:
        label_slice(labels, ref)[place] = structure
    whole = Box.whole(shape)
    expected = {int(s): worth for s in np.unique(labels) if s}
    slices = {ref: 0.6 for ref, *_ in outlines}
    return Proposal(0, whole, labels, np.full(shape, 0.9, np.float32), whole, expected, slices)


TOP, LEFT = (slice(0, 2), slice(0, 4)), (slice(2, 4), slice(0, 2))


def test_a_marked_slice_stands_in_as_it_was_outlined() -> None:
    support = Support((6, 4, 4), (said(HERE, {(0, 0): 1, (3, 3): 0}),), (1,))
    (painted,) = Outlines(support, support, answered((HERE, 1, TOP))).painted.examples
    assert painted.is_complete
    assert painted.complete_for == frozenset({1})
    assert np.array_equal(painted.labels, label_slice(answered((HERE, 1, TOP)).labels, HERE))


def test_a_structure_that_was_not_marked_on_a_slice_stays_open_there() -> None:
    support = Support((6, 4, 4), (said(HERE, {(0, 0): 1}), said(THERE, {(3, 0): 2})), (1, 2))
    both = answered((HERE, 1, TOP), (HERE, 2, LEFT), (THERE, 2, LEFT))
    here, there = Outlines(support, support, both).painted.examples
    assert (here.complete_for, there.complete_for) == (frozenset({1}), frozenset({2}))
    assert set(np.unique(here.labels)) == {0, 1}
    assert not here.negative(2)[3, 3]


def test_what_was_accepted_beside_a_mark_is_kept() -> None:
    accepted = SliceExample(HERE, np.zeros((4, 4), np.uint8), np.ones((4, 4), bool), frozenset({1}))
    accepted.labels[TOP] = 1
    accepted.labels[3, 3] = 2
    support = Support((6, 4, 4), (accepted,), (1, 2))
    (painted,) = Outlines(support, replace(support, structures=(2,)), answered((HERE, 2, LEFT))).painted.examples
    assert (painted.labels[TOP] == 1).all()
    assert (painted.labels[LEFT] == 2).all()
    assert painted.labels[3, 3] == 2
    assert painted.complete_for == frozenset({1, 2})


def test_slices_with_background_alone_and_marks_on_other_axes_are_left_as_they_are() -> None:
    examples = (
        said(HERE, {(0, 0): 1}),
        said(SliceRef(0, 3), {(0, 0): 1}),
        said(THERE, {(0, 0): 0}),
        SliceExample(SliceRef(1, 0), np.ones((6, 4), np.uint8), np.eye(6, 4, dtype=bool)),
    )
    support = Support((6, 4, 4), examples, (1,))
    outlines = Outlines(support, support, answered((HERE, 1, TOP), (SliceRef(0, 3), 1, TOP)))
    assert outlines.slices == (HERE, SliceRef(0, 3))
    assert outlines.painted.examples[2:] == examples[2:]


def test_where_nothing_but_the_marks_was_found_nothing_stands_in() -> None:
    support = Support((6, 4, 4), (said(HERE, {(0, 0): 1}),), (1,))
    outlines = Outlines(support, support, answered())
    assert outlines.slices == ()
    assert outlines.on(HERE) is None
    assert outlines.decide((5, 0, 0))


def test_no_answer_is_surer_than_the_outlines_it_comes_from() -> None:
    support = Support((6, 4, 4), (said(HERE, {(0, 0): 1}),), (1,))
    outlines = Outlines(support, support, answered((HERE, 1, TOP)))
    certain = np.ones((6, 4, 4), np.float32)
    labels = np.zeros((6, 4, 4), np.uint8)
    labels[:, 0] = 1
    whole = Box.whole((6, 4, 4))
    slices = {HERE: 1.0, THERE: 1.0}
    found = outlines.settled(Proposal(0, whole, labels, certain, whole, {1: 1.0}, slices))
    assert found.confidence[4, 0, 0] == pytest.approx(0.5**TOGETHER)
    assert found.confidence[4, 3, 3] == 1.0
    assert found.confidence[2] == pytest.approx(0.9)
    assert found.expected_dice[1] == pytest.approx(0.5**TOGETHER)
    assert found.slice_dice == {HERE: 0.6, THERE: pytest.approx(0.5**TOGETHER)}


def test_what_is_said_of_a_structure_that_was_not_marked_is_left_out() -> None:
    support = Support((6, 4, 4), (said(HERE, {(0, 0): 1}),), (1, 2))
    outlines = Outlines(support, replace(support, structures=(1,)), answered((HERE, 1, TOP)))
    found = outlines.settled(answered((THERE, 1, TOP), (THERE, 2, LEFT)))
    assert set(np.unique(found.labels)) == {0, 1}
    assert set(found.expected_dice) == {1}


# -- through the engine -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clicks(phantom: Phantom) -> Support:
    """One click into the middle of each blob on slice 12, and one between them and the border."""
    i, j, k = phantom.labels.shape
    labels, known = np.zeros((j, k), np.uint8), np.zeros((j, k), bool)
    for structure in (1, 2):
        row, column = np.argwhere(phantom.labels[12] == structure).mean(0).astype(int)
        labels[row, column], known[row, column] = structure, True
    known[1, 1] = True
    return Support((i, j, k), (SliceExample(SliceRef(0, 12), labels, known),), (1, 2))


def test_one_click_a_structure_proposes_the_whole_volume(ready: Segmenter, clicks: Support, phantom: Phantom) -> None:
    found = ready.segment(clicks).volume(clicks.shape)
    elsewhere = np.arange(clicks.shape[0]) != 12
    for structure in (1, 2):
        a, b = found[elsewhere] == structure, phantom.labels[elsewhere] == structure
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.6


def test_a_persons_strokes_on_three_slices_of_a_heart_give_the_rest(shared_data: Path) -> None:
    case = shared_data / "scribbles" / "acdc_patient001"
    scan = read_volume(case / "image.nii.gz")
    strokes, _ = read_labels(case / "scribble.nii.gz", like=scan.geometry)
    truth, _ = read_labels(case / "label.nii.gz", like=scan.geometry)
    unsaid, painted = 4, (1, 4, 7)
    examples = tuple(
        SliceExample(SliceRef(0, z), np.where(strokes[z] == unsaid, 0, strokes[z]), strokes[z] != unsaid)
        for z in painted
    )
    segmenter = Segmenter(device="cpu")
    segmenter.set_volume(scan)
    found = segmenter.segment(Support(scan.geometry.shape, examples, (1, 2, 3))).volume(scan.geometry.shape)
    rest = [z for z in range(len(truth)) if z not in painted]
    for structure in (1, 2, 3):
        a, b = found[rest] == structure, truth[rest] == structure
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.65


def test_clicks_promise_less_than_the_same_slice_painted(ready: Segmenter, clicks: Support, phantom: Phantom) -> None:
    painted = SliceExample(SliceRef(0, 12), phantom.labels[12].copy(), np.ones(phantom.labels[12].shape, bool))
    clicked, sure = ready.segment(clicks), ready.segment(replace(clicks, examples=(painted,)))
    assert all(clicked.expected_dice[s] < sure.expected_dice[s] for s in (1, 2))


def test_progress_only_grows_with_marks_and_beside_painted_structures(
    ready: Segmenter, clicks: Support, phantom: Phantom
) -> None:
    labels = np.where(phantom.labels[7] == 1, 1, 0).astype(np.uint8)
    painted = SliceExample(SliceRef(0, 7), labels, np.ones(labels.shape, bool), frozenset({1}))
    for support in (clicks, replace(clicks, examples=(painted, *clicks.examples))):
        seen: list[float] = []
        ready.segment(support, progress=lambda fraction, _stage, seen=seen: seen.append(fraction))
        assert seen == sorted(seen)
        assert seen[-1] == 1.0


def test_an_answer_that_goes_on_from_clicks_can_be_stopped(ready: Segmenter, clicks: Support) -> None:
    token = CancelToken()
    answers = ready.propose(clicks, focus=SliceRef(0, 12), cancel=token)
    next(answers)
    token.cancel()
    with pytest.raises(Cancelled):
        list(answers)


def test_what_goes_on_from_clicks_is_explained_by_the_outlined_slice(
    ready: Segmenter, clicks: Support, phantom: Phantom
) -> None:
    row, column = np.argwhere(phantom.labels[14] == 1).mean(0).astype(int)
    found = explain(ready, clicks, (14, int(row), int(column)), proposal=ready.segment(clicks))
    assert found.label == 1
    assert {share.ref for share in found.examples} == {SliceRef(0, 12)}
    assert len(found.sources) > 1
