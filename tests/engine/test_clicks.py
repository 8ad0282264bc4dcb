"""Clicks and strokes alone: a compact piece around each mark, that ends at edges and before the region does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_medmeta.core import (
    Box,
    Cancelled,
    CancelToken,
    Proposal,
    SliceExample,
    SliceRef,
    Support,
    label_slice,
)
from napari_medmeta.core.phantoms import Phantom
from napari_medmeta.engine import Segmenter
from napari_medmeta.engine.clicks import ClickConfig, answer_clicks, split_support
from napari_medmeta.engine.explain import explain
from napari_medmeta.engine.features import FeatureMaps
from napari_medmeta.engine.joining import joined, part_of
from napari_medmeta.engine.region import RegionConfig

SHAPE = (3, 300, 300)
MIDDLE = 1
CONFIG = ClickConfig()


def disc(radius: float, *, centre: tuple[int, int] = (150, 150)) -> np.ndarray:
    rows, columns = np.ogrid[: SHAPE[1], : SHAPE[2]]
    return np.asarray((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2)


def maps(image: np.ndarray, *, noise: float = 0.02) -> FeatureMaps:
    """A scan of three equal slices, 1 mm voxels, without learnt embedding."""
    noisy = np.broadcast_to(image, SHAPE) + noise * np.random.default_rng(0).standard_normal(SHAPE)
    return FeatureMaps(torch.zeros(1, *SHAPE), torch.from_numpy(noisy).float(), (1.0, 1.0, 1.0))


def clicked(
    marks: dict[tuple[int, int], int], *, index: int = MIDDLE, shape: tuple[int, int] = (SHAPE[1], SHAPE[2])
) -> SliceExample:
    labels, known = np.zeros(shape, np.uint8), np.zeros(shape, bool)
    for place, label in marks.items():
        labels[place], known[place] = label, True
    return SliceExample(SliceRef(0, index), labels, known)


def answer(scan: FeatureMaps, *examples: SliceExample, structures: tuple[int, ...] = (1,)) -> Proposal:
    return answer_clicks(scan, Support(SHAPE, examples, structures), CONFIG, RegionConfig())


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))


def on_faces(proposal: Proposal) -> int:
    """Count proposed voxels on the faces of the box in the plane of the slices."""
    labels = proposal.labels
    return int(sum((np.take(labels, end, axis=axis) > 0).sum() for axis in (1, 2) for end in (0, -1)))


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_where_no_edge_stops_it_a_proposal_still_ends_before_the_box(noise: float) -> None:
    found = answer(maps(np.full((300, 300), 0.5), noise=noise), clicked({(150, 150): 1}))
    assert (found.labels == 1).any()
    assert found.box.start[1] > 0
    assert on_faces(found) == 0


def test_a_structure_that_the_scan_cuts_off_is_proposed_up_to_there() -> None:
    truth = disc(25, centre=(5, 150))
    found = answer(maps(0.2 + 0.5 * truth), clicked({(8, 150): 1}))
    assert on_faces(found) > 20
    assert dice(found.volume(SHAPE)[MIDDLE] == 1, truth) > 0.95


# Of a disc of 4 voxels one voxel of its rim is a quarter.
@pytest.mark.parametrize(("radius", "least"), [(4, 0.85), (15, 0.95), (45, 0.95)])
def test_one_click_finds_a_piece_with_edges_around_it(radius: int, least: float) -> None:
    truth = disc(radius)
    found = answer(maps(0.2 + 0.5 * truth), clicked({(150, 150): 1}))
    assert dice(found.volume(SHAPE)[MIDDLE] == 1, truth) > least


def test_a_click_on_background_takes_back_what_is_nearer_to_it() -> None:
    two = disc(12, centre=(150, 140)) | disc(12, centre=(150, 160))
    scan = maps(0.2 + 0.5 * two)
    one = answer(scan, clicked({(150, 138): 1})).volume(SHAPE)[MIDDLE]
    both = answer(scan, clicked({(150, 138): 1, (150, 162): 0})).volume(SHAPE)[MIDDLE]
    assert one[150, 165] == 1
    assert both[150, 165] == 0
    assert both[150, 135] == 1


def test_two_structures_share_what_lies_between_their_clicks() -> None:
    scan = maps(0.2 + 0.5 * disc(20))
    found = answer(scan, clicked({(150, 140): 1, (150, 160): 2}), structures=(1, 2)).volume(SHAPE)[MIDDLE]
    assert set(np.unique(found[disc(19)])) == {1, 2}
    assert (found[:, :148][disc(19)[:, :148]] == 1).all()
    assert (found[:, 152:][disc(19)[:, 152:]] == 2).all()


def test_what_was_clicked_comes_back_as_it_was_clicked() -> None:
    marks = {(150, 150): 1, (151, 150): 0, (150, 151): 2}
    found = answer(maps(np.full((300, 300), 0.5)), clicked(marks), structures=(1, 2))
    assert {place: int(found.volume(SHAPE)[(MIDDLE, *place)]) for place in marks} == marks
    sure = found.confidence_in(Box.whole(SHAPE))
    assert all(sure[(MIDDLE, *place)] == 1.0 for place in marks)


def test_it_is_the_less_sure_the_farther_from_the_click() -> None:
    sure = answer(maps(np.full((300, 300), 0.5)), clicked({(150, 150): 1})).confidence_in(Box.whole(SHAPE))
    on_the_way = sure[MIDDLE, 150, 152:200:8]
    assert (np.diff(on_the_way) < 0).all()


def test_clicks_on_two_slices_propose_the_slices_between_as_well() -> None:
    truth = disc(15)
    found = answer(maps(0.2 + 0.5 * truth), clicked({(150, 150): 1}, index=0), clicked({(150, 150): 1}, index=2))
    assert dice(found.volume(SHAPE)[MIDDLE] == 1, truth) > 0.95
    assert set(found.slice_dice) == {SliceRef(0, z) for z in range(3)}


def test_large_regions_are_pooled_and_the_marks_survive() -> None:
    truth = disc(30)
    support = Support(SHAPE, (clicked({(150, 150): 1, (150, 200): 0}),), (1,))
    found = answer_clicks(maps(0.2 + 0.5 * truth), support, CONFIG, RegionConfig(max_voxels=4_000))
    assert dice(found.volume(SHAPE)[MIDDLE] == 1, truth) > 0.9


def test_more_clicks_promise_more_and_none_promises_nothing() -> None:
    scan = maps(0.2 + 0.5 * disc(20))
    places = [(150, 150), (150, 140), (150, 160), (140, 150), (160, 150)]
    expected = [answer(scan, clicked(dict.fromkeys(places[:n], 1))).expected_dice[1] for n in (1, 2, 5)]
    assert 0.3 < expected[0] < expected[1] < expected[2] <= 1.0


def test_a_cancelled_answer_stops() -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        answer_clicks(
            maps(disc(9)), Support(SHAPE, (clicked({(150, 150): 1}),), (1,)), CONFIG, RegionConfig(), cancel=token
        )


# -- who is drawn, and who is marked alone ----------------------------------------------------------------------------


def whole(labels: np.ndarray, index: int, *, asked: frozenset[int] | None = None) -> SliceExample:
    return SliceExample(SliceRef(0, index), labels.astype(np.uint8), np.ones(labels.shape, bool), asked)


def test_whole_slices_and_boxes_are_left_as_they_are() -> None:
    painted = Support(SHAPE, (whole(disc(9), 0), clicked({(3, 3): 1}, index=2)), (1,))
    assert split_support(painted) == (painted, None)
    known = ~disc(20) | disc(10)
    box = Support(SHAPE, (SliceExample(SliceRef(0, 0), disc(10).astype(np.uint8), known, frozenset({1})),), (1,))
    assert split_support(box) == (box, None)


def test_a_structure_on_no_whole_slice_is_marked_alone_also_where_it_was_clicked_on_one_of_another() -> None:
    labels = np.where(disc(9), 1, 0)
    labels[200, 200] = 2
    support = Support(SHAPE, (whole(labels, 0, asked=frozenset({1})), clicked({(9, 9): 2}, index=2)), (1, 2))
    drawn, marked = split_support(support)
    assert drawn is not None
    assert marked is not None
    assert (drawn.structures, marked.structures) == ((1,), (2,))
    assert [e.ref.index for e in drawn.examples] == [0]
    assert drawn.examples[0].labels[200, 200] == 0
    assert marked.examples == support.examples


# -- through the engine -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def beside(phantom: Phantom) -> Support:
    """The left blob accepted on slice 12; the right one clicked on the same slice, and on none before."""
    shape = phantom.labels.shape
    labels = np.where(phantom.labels[12] == 1, 1, 0).astype(np.uint8)
    row, column = np.argwhere(phantom.labels[12] == 2).mean(0).astype(int)
    labels[row, column] = 2
    accepted = SliceExample(SliceRef(0, 12), labels, np.ones(labels.shape, bool), frozenset({1}))
    return Support((shape[0], shape[1], shape[2]), (accepted,), (1, 2))


def without_click(beside: Support) -> Support:
    (accepted,) = beside.examples
    kept = replace(accepted, labels=np.where(accepted.labels == 1, 1, 0).astype(np.uint8))
    return replace(beside, examples=(kept,), structures=(1,))


def test_a_click_beside_an_accepted_structure_yields_a_proposal(
    ready: Segmenter, beside: Support, phantom: Phantom
) -> None:
    found = label_slice(ready.segment(beside).volume(beside.shape), SliceRef(0, 12))
    assert dice(found == 2, phantom.labels[12] == 2) > 0.7
    assert np.array_equal(found == 1, phantom.labels[12] == 1)


def test_the_accepted_structure_is_proposed_as_without_the_click(ready: Segmenter, beside: Support) -> None:
    both, alone = ready.segment(beside), ready.segment(without_click(beside))
    found, expected = both.volume(beside.shape), alone.volume(beside.shape)
    # But for what the click is surer of.
    found[12], expected[12] = 0, 0
    assert np.array_equal(found[found != 2], expected[found != 2])
    assert both.expected_dice[1] == alone.expected_dice[1]
    assert both.trust[1] == alone.trust[1]
    assert set(both.trust[2]) == set(both.trust[1])


def test_the_clicked_slice_on_screen_comes_first_and_says_what_the_whole_says(
    ready: Segmenter, phantom: Phantom
) -> None:
    row, column = (int(n) for n in np.argwhere(phantom.labels[12] == 1).mean(0))
    shape = phantom.labels.shape
    example = clicked({(row, column): 1}, index=12, shape=(shape[1], shape[2]))
    support = Support((shape[0], shape[1], shape[2]), (example,), (1,))
    first, *_, last = ready.propose(support, focus=SliceRef(0, 12))
    assert first.covered == Box.of_slice(SliceRef(0, 12), support.shape)
    assert np.array_equal(first.labels_in(first.covered), last.labels_in(first.covered))
    # Beyond the region of the whole answer background is certain.
    shared = last.box.intersection(first.covered)
    assert np.array_equal(first.confidence_in(shared), last.confidence_in(shared))
    assert last.covered == Box.whole(shape)


def test_each_part_beside_clicks_says_what_the_whole_says(ready: Segmenter, beside: Support) -> None:
    *parts, last = ready.propose(beside, focus=SliceRef(0, 12))
    for part in parts[1:]:
        assert np.array_equal(part.labels_in(part.covered), last.labels_in(part.covered))
    assert (label_slice(parts[0].volume(beside.shape), SliceRef(0, 12)) == 2).any()


def test_a_clicked_answer_is_explained_by_its_clicks(ready: Segmenter, beside: Support, phantom: Phantom) -> None:
    row, column = np.argwhere(phantom.labels[12] == 2).mean(0).astype(int)
    found = explain(ready, beside, (12, int(row) + 1, int(column)), names={2: "right blob"})
    assert (found.label, found.decided) == (2, False)
    assert [share.ref for share in found.examples] == [SliceRef(0, 12)]
    assert found.examples[0].voxels[0].voxel == (12, row, column)
    assert "right blob was marked on slice 12" in found.summary


# -- joining ----------------------------------------------------------------------------------------------------------


def says(label: int, sure: float, *, start: int, stop: int) -> Proposal:
    box = Box((0, 0, start), (1, 1, stop))
    labels = np.full(box.shape, label, np.uint8)
    return Proposal(0, box, labels, np.full(box.shape, sure, np.float32), Box.whole((1, 1, 9)), {label: sure})


def test_of_two_structures_the_surer_one_is_kept() -> None:
    both = joined(says(1, 0.7, start=0, stop=4), says(2, 0.8, start=3, stop=6))
    assert both.volume((1, 1, 9)).ravel().tolist() == [1, 1, 1, 2, 2, 2, 0, 0, 0]
    held = joined(says(1, 0.9, start=0, stop=4), says(2, 0.8, start=3, stop=6))
    assert held.volume((1, 1, 9)).ravel().tolist() == [1, 1, 1, 1, 2, 2, 0, 0, 0]
    assert dict(held.expected_dice) == {1: 0.9, 2: 0.8}


def test_a_part_holds_nothing_from_outside_of_it() -> None:
    part = part_of(says(1, 0.7, start=0, stop=4), Box((0, 0, 2), (1, 1, 9)))
    assert part.volume((1, 1, 9)).ravel().tolist() == [0, 0, 1, 1, 0, 0, 0, 0, 0]
    assert part_of(part, Box((0, 0, 6), (1, 1, 9))).labels.size == 0
