from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from napari_medmeta.core import AnnotationError, Box, MaskArray, MissingExamplesError, Origin, SliceRef
from napari_medmeta.session import PaintMode, Session, SliceState, Topic
from napari_medmeta.session.model import ACCEPTED, PAINTED, UNDECIDED

Square = Callable[..., MaskArray]
AXIAL = SliceRef(0, 2)


def test_a_stroke_makes_its_slice_a_complete_example(session: Session, square: Square) -> None:
    change = session.paint(AXIAL, square(1, 4), value=1)
    assert np.array_equal(session.labels[2] == 1, square(1, 4))
    assert (session.status[2] == PAINTED).all()
    assert (session.status[[0, 1, 3, 4]] == UNDECIDED).all()
    assert session.slice_state(AXIAL) is SliceState.EXAMPLE
    assert change.what >= {Topic.LABELS, Topic.EXAMPLES, Topic.HISTORY}
    assert change.box is not None
    assert change.box.start == (2, 0, 0)


def test_a_second_stroke_changes_only_its_own_box(session: Session, square: Square) -> None:
    session.paint(AXIAL, square(1, 3), value=1)
    change = session.paint(AXIAL, square(3, 5), value=1)
    assert change.box is not None
    assert (change.box.start, change.box.stop) == ((2, 3, 3), (3, 5, 5))


def test_a_scribble_makes_known_only_what_it_covers(session: Session, square: Square) -> None:
    session.set_mode(PaintMode.SCRIBBLE)
    session.paint(AXIAL, square(1, 3), value=1)
    session.paint(AXIAL, square(4, 5), value=0)
    assert np.array_equal(session.status[2] == PAINTED, square(1, 3) | square(4, 5))
    assert session.slice_state(AXIAL) is SliceState.SCRIBBLED


def test_an_empty_stroke_changes_nothing(session: Session) -> None:
    generation = session.generation
    assert not session.paint(AXIAL, np.zeros((6, 7), dtype=bool), value=1)
    assert session.generation == generation
    assert session.slice_state(AXIAL) is SliceState.UNTOUCHED


def test_painting_the_same_again_is_no_step(session: Session, square: Square) -> None:
    session.paint(AXIAL, square(1, 4), value=1)
    steps, generation = len(list(session.events())), session.generation
    assert not session.paint(AXIAL, square(2, 3), value=1)
    assert (len(list(session.events())), session.generation) == (steps, generation)


def test_the_first_stroke_on_a_proposed_slice_takes_the_proposal_over_in_one_step(
    session: Session, square: Square, propose: Callable[..., object]
) -> None:
    session.paint(AXIAL, square(1, 3), value=1)
    labels = np.zeros((5, 6, 7))
    labels[3, 1:4, 1:4] = 1
    labels[3, 5, 5] = 2
    propose(session, labels)
    session.paint(SliceRef(0, 3), square(3, 5), value=0)
    expected = labels[3].copy()
    expected[3:5, 3:5] = 0
    assert np.array_equal(session.labels[3], expected)
    assert (session.status[3] == PAINTED).all()
    session.undo()
    assert not session.status[3].any()
    assert session.slice_state(SliceRef(0, 3)) is SliceState.PROPOSED


def test_a_stroke_that_leaves_the_proposal_out_keeps_what_was_accepted_and_nothing_else(
    session: Session, square: Square, propose: Callable[..., object]
) -> None:
    session.paint(AXIAL, square(1, 3), value=1)
    labels = np.zeros((5, 6, 7))
    labels[2:5, 1:4, 1:4] = 1
    labels[3, 5, 5] = 2
    propose(session, labels)
    session.accept_component((3, 5, 5))
    session.paint(SliceRef(0, 3), square(3, 5), value=1, over_proposal=False)
    expected = np.zeros((6, 7))
    expected[3:5, 3:5] = 1
    expected[5, 5] = 2
    assert np.array_equal(session.labels[3], expected)
    assert session.slice_state(SliceRef(0, 3)) is SliceState.EXAMPLE
    session.undo()
    assert session.labels[3, 5, 5] == 2
    assert np.count_nonzero(session.labels[3]) == 1
    assert session.proposed_labels(Box.of_slice(SliceRef(0, 3), (5, 6, 7)))[0, 1, 1] == 1


def test_a_scribble_on_a_proposed_slice_takes_nothing_over(
    session: Session, square: Square, propose: Callable[..., object]
) -> None:
    session.paint(AXIAL, square(1, 3), value=1)
    propose(session, np.ones((5, 6, 7)))
    session.set_mode(PaintMode.SCRIBBLE)
    session.paint(SliceRef(0, 3), square(0, 1), value=0)
    assert np.count_nonzero(session.status[3]) == 1


def test_voxels_of_a_locked_structure_are_kept_and_the_note_says_so(session: Session, square: Square) -> None:
    session.paint(AXIAL, square(1, 3), value=1)
    session.lock_structure(1)
    change = session.paint(AXIAL, square(2, 4), value=2)
    assert session.labels[2, 2, 2] == 1
    assert session.labels[2, 3, 3] == 2
    assert change.note == "1 voxel belongs to the locked liver and was kept; unlock it to change it."


def test_a_locked_structure_cannot_be_painted(session: Session, square: Square) -> None:
    session.lock_structure(2)
    with pytest.raises(AnnotationError, match="spleen is locked"):
        session.paint(AXIAL, square(1, 3), value=2)


def test_painting_keeps_accepted_voxels_of_another_structure(
    session: Session, square: Square, propose: Callable[..., object]
) -> None:
    session.paint(AXIAL, square(1, 3), value=1)
    labels = np.zeros((5, 6, 7))
    labels[3, 1:3, 1:3] = 1
    propose(session, labels)
    session.accept_slice(SliceRef(0, 3))
    change = session.paint(SliceRef(0, 3), square(2, 4), value=2)
    assert session.labels[3, 2, 2] == 1
    assert session.status[3, 2, 2] == ACCEPTED
    assert session.labels[3, 3, 3] == 2
    assert "accepted liver" in change.note


def test_the_eraser_changes_accepted_voxels_of_the_active_structure_only(
    session: Session, square: Square, propose: Callable[..., object]
) -> None:
    session.paint(AXIAL, square(1, 3), value=1)
    labels = np.zeros((5, 6, 7))
    labels[3, 1, 1] = 1
    labels[3, 2, 2] = 2
    propose(session, labels)
    session.accept_slice(SliceRef(0, 3))
    session.paint(SliceRef(0, 3), square(1, 3), value=0)
    assert session.labels[3, 1, 1] == 0
    assert session.labels[3, 2, 2] == 2


def test_a_click_makes_one_voxel_known_even_where_slices_are_painted_whole(session: Session) -> None:
    session.click((2, 3, 4), value=1, axis=0)
    assert session.labels[2, 3, 4] == 1
    assert np.count_nonzero(session.status) == 1
    session.click((2, 0, 0), value=0, axis=0)
    assert np.count_nonzero(session.status) == 2
    assert session.slice_state(AXIAL) is SliceState.SCRIBBLED


def test_a_clicked_slice_that_is_painted_later_becomes_complete(session: Session, square: Square) -> None:
    session.click((2, 5, 5), value=1, axis=0)
    session.paint(AXIAL, square(1, 3), value=1)
    assert session.slice_state(AXIAL) is SliceState.EXAMPLE
    assert session.labels[2, 5, 5] == 1
    (example,) = session.support().examples
    assert example.is_complete


def test_an_empty_slice_can_be_marked_as_nothing_here(session: Session) -> None:
    assert session.mark_complete(AXIAL)
    assert session.slice_state(AXIAL) is SliceState.EMPTY_EXAMPLE
    (example,) = session.support().examples
    assert example.is_complete
    assert not example.labels.any()
    assert not session.mark_complete(AXIAL)


def test_marking_complete_does_not_take_the_proposal_over(
    session: Session, square: Square, propose: Callable[..., object]
) -> None:
    session.paint(AXIAL, square(1, 3), value=1)
    propose(session, np.ones((5, 6, 7)))
    session.mark_complete(SliceRef(0, 3))
    assert not session.labels[3].any()


def test_paint_slice_replaces_what_was_painted(session: Session, square: Square) -> None:
    session.paint(AXIAL, square(1, 3), value=1)
    labels = np.zeros((6, 7), dtype=np.uint8)
    labels[4, 4] = 2
    session.paint_slice(AXIAL, labels)
    assert np.array_equal(session.labels[2], labels)


def test_crossing_slices_share_their_line_and_the_newest_stroke_wins(session: Session) -> None:
    session.paint(AXIAL, np.ones((6, 7), dtype=bool), value=1)
    session.paint(SliceRef(1, 3), np.ones((5, 7), dtype=bool), value=2)
    assert (session.labels[2, 3] == 2).all()
    assert (session.labels[2, 2] == 1).all()
    examples = {e.ref: e for e in session.support().examples}
    assert (examples[AXIAL].labels[3] == 2).all()


def test_removing_a_crossing_slice_brings_back_what_was_painted_below_it(session: Session) -> None:
    session.paint(AXIAL, np.ones((6, 7), dtype=bool), value=1)
    labels = session.labels.copy()
    session.paint(SliceRef(1, 3), np.ones((5, 7), dtype=bool), value=2)
    session.remove_example(SliceRef(1, 3))
    assert np.array_equal(session.labels, labels)


def test_removing_a_slice_keeps_what_a_crossing_slice_says_there(session: Session) -> None:
    session.paint(AXIAL, np.ones((6, 7), dtype=bool), value=1)
    session.paint(SliceRef(1, 3), np.ones((5, 7), dtype=bool), value=2)
    session.remove_example(AXIAL)
    assert (session.labels[2, 3] == 2).all()
    assert not session.status[2, 2].any()


@pytest.mark.parametrize("between", [0, 1, 2, 3])
def test_a_removed_example_leaves_the_support_as_if_it_had_never_been_painted(
    session: Session, square: Square, between: int
) -> None:
    def others(session: Session, start: int, stop: int) -> None:
        moves = [
            lambda: session.paint(SliceRef(0, 1), square(1, 4), value=1),
            lambda: session.paint(SliceRef(1, 3), np.ones((5, 7), dtype=bool), value=2),
            lambda: session.paint(SliceRef(0, 1), square(2, 6), value=2),
        ]
        for move in moves[start:stop]:
            move()

    plain = Session.create(session.geometry, fingerprint="a scan")
    plain.add_structure("liver")
    plain.add_structure("spleen")
    others(plain, 0, 3)
    others(session, 0, between)
    session.paint(SliceRef(2, 3), np.eye(5, 6, dtype=bool), value=1)
    others(session, between, 3)
    session.remove_example(SliceRef(2, 3))
    ours, theirs = session.support().examples, plain.support().examples
    assert [e.ref for e in ours] == [e.ref for e in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert np.array_equal(one.labels, other.labels)
        assert np.array_equal(one.known, other.known)
        assert (one.complete_for, one.origin) == (other.complete_for, other.origin)


def test_an_example_with_locked_voxels_cannot_be_removed(session: Session, square: Square) -> None:
    session.paint(AXIAL, square(1, 3), value=1)
    session.lock_structure(1)
    with pytest.raises(AnnotationError, match="locked liver"):
        session.remove_example(AXIAL)
    with pytest.raises(AnnotationError, match="Nothing was painted"):
        session.remove_example(SliceRef(0, 0))


def test_imported_labels_become_examples_in_one_step(session: Session) -> None:
    labels = np.zeros((5, 6, 7), dtype=np.int16)
    labels[1, 2, 2] = 1
    labels[3, 2, 2] = 7
    labels[3, 0, 0] = 255
    session.import_labels(labels, axis=0, slices=[4])
    assert [s.name for s in session.structures] == ["liver", "spleen", "structure 7"]
    assert session.axis_overview(0) == (
        SliceState.UNTOUCHED,
        SliceState.EXAMPLE,
        SliceState.UNTOUCHED,
        SliceState.SCRIBBLED,
        SliceState.EMPTY_EXAMPLE,
    )
    assert session.status[3, 0, 0] == UNDECIDED
    session.undo()
    assert not session.status.any()
    assert len(session.structures) == 2


@pytest.mark.parametrize(
    "labels",
    [
        np.zeros((5, 6, 7), dtype=np.uint8),
        np.ones((5, 6, 8), dtype=np.uint8),
        np.ones((5, 6, 7), dtype=np.float32),
        np.full((5, 6, 7), 300),
        np.full((5, 6, 7), -1),
    ],
    ids=["empty", "other grid", "not whole", "too high", "negative"],
)
def test_labels_that_cannot_be_examples_are_refused(session: Session, labels: np.ndarray) -> None:
    with pytest.raises((AnnotationError, MissingExamplesError)):
        session.import_labels(labels, axis=0)
    assert not session.support().examples


@pytest.mark.parametrize(
    ("ref", "mask", "value", "words"),
    [
        (SliceRef(0, 5), np.ones((6, 7), dtype=bool), 1, "no axial slice 5"),
        (SliceRef(3, 0), np.ones((6, 7), dtype=bool), 1, "no axis 3"),
        (SliceRef(0, 2), np.ones((7, 6), dtype=bool), 1, "does not fit the slice"),
        (SliceRef(0, 2), np.ones((6, 7), dtype=np.uint8), 1, "does not fit the slice"),
        (SliceRef(0, 2), np.ones((6, 7), dtype=bool), 9, "no structure 9"),
    ],
)
def test_a_stroke_that_cannot_be_is_refused_and_changes_nothing(
    session: Session, ref: SliceRef, mask: np.ndarray, value: int, words: str
) -> None:
    text = session.undo_text
    with pytest.raises(AnnotationError, match=words):
        session.paint(ref, mask, value=value)
    assert not session.status.any()
    assert session.undo_text == text


def test_without_a_structure_nothing_can_be_painted(square: Square, session: Session) -> None:
    empty = Session.create(session.geometry, fingerprint="a scan")
    with pytest.raises(MissingExamplesError, match="no structure yet"):
        empty.paint(AXIAL, square(1, 3), value=0)


def test_correcting_an_accepted_slice_makes_it_a_painted_one(
    session: Session, square: Square, propose: Callable[..., object]
) -> None:
    session.paint(AXIAL, square(1, 3), value=1)
    labels = np.zeros((5, 6, 7))
    labels[3, 1:3, 1:3] = 1
    propose(session, labels)
    session.accept_slice(SliceRef(0, 3))
    session.paint(SliceRef(0, 3), square(4, 5), value=1)
    assert session.slice_state(SliceRef(0, 3)) is SliceState.EXAMPLE
    assert {e.ref.index: e.origin for e in session.support().examples}[3] is Origin.PAINTED


def test_a_stroke_elsewhere_on_a_slice_does_not_bring_back_what_was_painted_over(
    session: Session, square: Square
) -> None:
    session.paint(AXIAL, np.ones((6, 7), dtype=bool), value=1)
    session.paint(SliceRef(1, 3), np.ones((5, 7), dtype=bool), value=2)
    session.paint(AXIAL, square(0, 2), value=0)
    session.paint(SliceRef(2, 6), np.ones((5, 6), dtype=bool), value=1)
    session.remove_example(SliceRef(2, 6))
    assert session.labels[2, 3, 6] == 2
