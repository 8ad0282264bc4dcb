"""From a box on one slice the whole volume follows, and all other answers are what they were."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_medmeta.core import Box, Cancelled, CancelToken, SliceExample, SliceRef, Support, label_slice
from napari_medmeta.core.phantoms import Phantom
from napari_medmeta.engine import Segmenter
from napari_medmeta.engine.explain import explain
from napari_medmeta.engine.request import Request
from napari_medmeta.session.boxes import DrawnBox, known_from

HERE = SliceRef(0, 12)


@pytest.fixture(scope="module")
def boxed(phantom: Phantom) -> Support:
    """A tight box around each blob on slice 12, as the session tells the engine of it."""
    truth = phantom.labels[12]
    drawn = []
    for structure in (1, 2):
        drawn.append(DrawnBox(structure, *_around(truth == structure)))
    labels, known = known_from(drawn, truth.shape)
    i, j, k = phantom.labels.shape
    # A third structure stands in the table, and nothing was said of it.
    return Support((i, j, k), (SliceExample(HERE, labels, known, frozenset({1, 2})),), (1, 2, 3))


def _around(mask: np.ndarray) -> tuple[tuple[int, int], tuple[int, int]]:
    rows, columns = np.nonzero(mask)
    return (int(rows.min()), int(columns.min())), (int(rows.max()) + 1, int(columns.max()) + 1)


def _dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def in_the_boxes(ready: Segmenter, boxed: Support) -> np.ndarray:
    """What the engine finds on the boxes' own slice, asked for nothing else."""
    maps = ready._require_maps()
    request = Request(maps, boxed, ready._config, ready._network, ready._seed, lambda _f, _s, /: None, None)
    *_, answer = request.outward(None)
    return label_slice(answer.volume(boxed.shape), HERE)


def test_a_box_on_one_slice_proposes_the_whole_volume(ready: Segmenter, boxed: Support, phantom: Phantom) -> None:
    found = ready.segment(boxed).volume(boxed.shape)
    elsewhere = np.arange(boxed.shape[0]) != HERE.index
    for structure in (1, 2):
        assert _dice(found[elsewhere] == structure, phantom.labels[elsewhere] == structure) > 0.7


def test_the_boxes_own_slice_is_outlined_as_without_the_others(ready: Segmenter, boxed: Support) -> None:
    expected = in_the_boxes(ready, boxed)
    assert set(np.unique(expected)) == {0, 1, 2}
    first, *_, last = ready.propose(boxed, focus=HERE)
    assert first.covered == Box.of_slice(HERE, boxed.shape)
    for answer in (first, last):
        np.testing.assert_array_equal(label_slice(answer.volume(boxed.shape), HERE), expected)
        assert answer.slice_dice[HERE] == first.slice_dice[HERE]


def test_a_box_promises_less_than_the_same_slice_painted(ready: Segmenter, boxed: Support, phantom: Phantom) -> None:
    painted = SliceExample(HERE, phantom.labels[12].copy(), np.ones(phantom.labels[12].shape, bool))
    drawn, sure = ready.segment(boxed), ready.segment(replace(boxed, examples=(painted,)))
    assert all(0 < drawn.expected_dice[s] < sure.expected_dice[s] for s in (1, 2))


def test_beside_a_painted_slice_a_box_is_an_example_as_it_ever_was(
    ready: Segmenter, boxed: Support, phantom: Phantom
) -> None:
    painted = SliceExample(SliceRef(0, 8), phantom.labels[8].copy(), np.ones(phantom.labels[8].shape, bool))
    both = replace(boxed, examples=(painted, *boxed.examples))
    maps = ready._require_maps()
    request = Request(maps, both, ready._config, ready._network, ready._seed, lambda _f, _s, /: None, None)
    *_, expected = request.outward(None)
    found = ready.segment(both)
    np.testing.assert_array_equal(found.volume(both.shape), expected.volume(both.shape))
    assert found.expected_dice == expected.expected_dice


def test_each_part_says_what_the_whole_says(ready: Segmenter, boxed: Support) -> None:
    first, *parts, whole = ready.propose(boxed, focus=SliceRef(0, 15))
    assert first.covered == Box.of_slice(SliceRef(0, 15), boxed.shape)
    assert parts
    for part in parts:
        np.testing.assert_array_equal(part.labels_in(part.covered), whole.labels_in(part.covered))


def test_an_answer_far_from_the_box_is_explained_by_its_slice(ready: Segmenter, boxed: Support) -> None:
    answer = ready.segment(boxed)
    voxel = tuple(int(v) for v in np.argwhere(answer.volume(boxed.shape)[15])[0])
    told = explain(ready, boxed, (15, *voxel), proposal=answer)  # type: ignore[arg-type]
    assert told.label == answer.volume(boxed.shape)[(15, *voxel)]
    assert {example.ref for example in told.examples} == {HERE}


@pytest.fixture(scope="module")
def box_and_click(boxed: Support, phantom: Phantom) -> Support:
    """The left blob in its box on slice 12; the right one clicked on slice 13."""
    (example,) = boxed.examples
    left = DrawnBox(1, *_around(phantom.labels[12] == 1))
    labels, known = known_from([left], phantom.labels[12].shape)
    clicked, where = np.zeros(labels.shape, np.uint8), np.zeros(labels.shape, bool)
    row, column = np.argwhere(phantom.labels[13] == 2).mean(0).astype(int)
    clicked[row, column], where[row, column] = 2, True
    marks = SliceExample(SliceRef(0, 13), clicked, where, frozenset({2}))
    return replace(boxed, examples=(replace(example, labels=labels, known=known, complete_for=frozenset({1})), marks))


def test_a_click_on_another_structure_leaves_what_followed_from_the_box(
    ready: Segmenter, box_and_click: Support, phantom: Phantom
) -> None:
    box, click = box_and_click.examples
    alone = ready.segment(replace(box_and_click, examples=(box,))).volume(box_and_click.shape) == 1
    clicked = ready.segment(replace(box_and_click, examples=(click,))).volume(box_and_click.shape) == 2
    both = ready.segment(box_and_click).volume(box_and_click.shape)
    assert np.count_nonzero((both == 1) != alone) < 0.1 * np.count_nonzero(alone)
    assert (both == 1).any(axis=(1, 2)).sum() > 5
    # What is surely of the boxed structure is no longer taken for the clicked one.
    assert _dice(both == 2, phantom.labels == 2) >= _dice(clicked, phantom.labels == 2)


def test_each_part_beside_a_click_says_what_the_whole_says(ready: Segmenter, box_and_click: Support) -> None:
    for focus in (HERE, SliceRef(0, 13), SliceRef(0, 16)):
        *parts, whole = ready.propose(box_and_click, focus=focus)
        # The slice on screen is answered before the sources are weighed.
        thick = [part for part in parts if part.covered.shape[0] > 1]
        assert 0 < len(thick) < len(parts)
        for part in thick:
            np.testing.assert_array_equal(part.labels_in(part.covered), whole.labels_in(part.covered))


def test_progress_only_grows_and_a_cancelled_answer_stops(
    ready: Segmenter, boxed: Support, box_and_click: Support
) -> None:
    for support in (boxed, box_and_click):
        seen: list[float] = []
        ready.segment(support, progress=lambda fraction, _stage, seen=seen: seen.append(fraction))
        assert seen == sorted(seen)
        assert seen[-1] == 1.0
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        ready.segment(boxed, cancel=cancel)
