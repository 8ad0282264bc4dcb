from __future__ import annotations

import numpy as np
import pytest

from napari_medmeta.core import Box, GeometryMismatchError, Proposal, SliceRef

SHAPE = (4, 5, 6)
BOX = Box((1, 1, 1), (3, 4, 5))


def proposal() -> Proposal:
    labels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    confidence = np.linspace(0, 0.5, 24, dtype=np.float32).reshape(2, 3, 4)
    return Proposal(3, BOX, labels, confidence, Box.whole(SHAPE), expected_dice={1: 0.9})


def test_labels_on_the_whole_grid_are_background_outside_of_the_box() -> None:
    whole = proposal().volume(SHAPE)
    assert whole.shape == SHAPE
    assert np.array_equal(whole[BOX.slices], proposal().labels)
    assert np.count_nonzero(whole) == 23


@pytest.mark.parametrize(
    "box",
    [Box((0, 0, 0), (2, 2, 2)), Box((2, 2, 2), (4, 5, 6)), Box((1, 2, 2), (2, 3, 3)), Box((0, 0, 0), (1, 1, 1))],
)
def test_any_window_shows_what_the_whole_volume_holds_there(box: Box) -> None:
    assert np.array_equal(proposal().labels_in(box), proposal().volume(SHAPE)[box.slices])


def test_outside_of_the_box_background_is_sure() -> None:
    confidence = proposal().confidence_in(Box.whole(SHAPE))
    assert confidence.dtype == np.float32
    assert confidence[0, 0, 0] == 1
    assert np.array_equal(confidence[BOX.slices], proposal().confidence)


def test_arrays_and_mappings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        proposal().labels[0, 0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        proposal().confidence[0, 0, 0] = 1
    with pytest.raises(TypeError):
        proposal().expected_dice[1] = 0.1  # type: ignore[index]


def test_later_changes_of_the_given_mapping_do_not_reach_it() -> None:
    dice = {SliceRef(0, 1): 0.5}
    shown = Proposal(0, BOX, np.zeros(BOX.shape, np.uint8), np.ones(BOX.shape, np.float32), BOX, slice_dice=dice)
    dice.clear()
    assert shown.slice_dice == {SliceRef(0, 1): 0.5}


def test_arrays_that_do_not_fill_the_box_are_refused() -> None:
    labels, confidence = np.zeros(BOX.shape, np.uint8), np.ones(BOX.shape, np.float32)
    with pytest.raises(GeometryMismatchError, match="labels have the shape"):
        Proposal(0, BOX, labels[:1], confidence, BOX)
    with pytest.raises(GeometryMismatchError, match="confidence"):
        Proposal(0, BOX, labels, confidence[:, :1], BOX)


def test_the_window_may_lie_outside_of_the_box() -> None:
    assert not proposal().labels_in(Box((3, 4, 5), (4, 5, 6))).any()
