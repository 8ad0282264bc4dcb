"""What a box says about a slice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_medmeta.core import AnnotationError, Geometry, SliceRef
from napari_medmeta.session import Session, SliceState
from napari_medmeta.session.boxes import DrawnBox, known_from

REF = SliceRef(0, 2)
BOX = DrawnBox(1, (1, 1), (5, 6))
OTHER = DrawnBox(2, (0, 3), (4, 7))


def test_outside_of_a_box_is_background_and_its_middle_the_structure(session: Session) -> None:
    session.draw_boxes(REF, (BOX,))
    (example,) = session.support().examples
    outside = ~BOX.inside((6, 7))
    assert example.negative(1)[outside].all()
    assert example.positive(1)[2:4, 2:5].all()
    assert not example.known[1, 1]
    assert not example.positive(1)[~BOX.inside((6, 7))].any()


def test_a_box_says_nothing_of_other_structures(session: Session) -> None:
    session.draw_boxes(REF, (BOX,))
    (example,) = session.support().examples
    assert not example.negative(2)[~BOX.inside((6, 7))].any()


def test_between_two_boxes_nothing_is_known_but_their_middles() -> None:
    labels, known = known_from((BOX, OTHER), (6, 7))
    union = BOX.inside((6, 7)) | OTHER.inside((6, 7))
    np.testing.assert_array_equal(known[~union], True)
    assert not known[1, 1]
    assert set(np.unique(labels[known & union])) == {1, 2}


def test_a_smaller_box_inside_of_a_larger_one_keeps_its_middle() -> None:
    large, small = DrawnBox(1, (0, 0), (20, 20)), DrawnBox(2, (8, 8), (12, 12))
    labels, _ = known_from((small, large), (20, 20))
    assert labels[10, 10] == 2
    assert labels[5, 10] == 1


def test_drawing_again_replaces_what_the_box_said(session: Session) -> None:
    session.draw_boxes(REF, (BOX,))
    moved = DrawnBox(1, (0, 0), (4, 4))
    session.draw_boxes(REF, (moved,))
    fresh = Session.create(session.geometry, fingerprint="another")
    fresh.add_structure("liver")
    fresh.draw_boxes(REF, (moved,))
    np.testing.assert_array_equal(session.labels, fresh.labels)
    np.testing.assert_array_equal(session.status, fresh.status)
    assert session.boxes_on(REF) == (moved,)


def test_without_its_boxes_the_slice_is_as_if_never_drawn_on(session: Session) -> None:
    session.draw_boxes(REF, (BOX,))
    session.draw_boxes(REF, ())
    assert session.support().examples == ()
    assert not session.labels.any()
    assert session.slice_state(REF) is SliceState.UNTOUCHED


def test_undo_and_redo_bring_the_boxes_back(session: Session) -> None:
    session.draw_boxes(REF, (BOX,))
    session.draw_boxes(REF, (BOX, OTHER))
    session.undo()
    assert session.boxes_on(REF) == (BOX,)
    session.undo()
    assert session.boxes_on(REF) == ()
    session.redo()
    session.redo()
    assert session.boxes_on(REF) == (BOX, OTHER)


def test_a_reopened_session_knows_its_boxes(geometry: Geometry, tmp_path: Path) -> None:
    session = Session.create(geometry, fingerprint="a scan", path=tmp_path / "boxes.medmeta")
    session.add_structure("liver")
    session.draw_boxes(REF, (BOX,))
    session.close()
    again = Session.open(tmp_path / "boxes.medmeta")
    assert again.boxes_on(REF) == (BOX,)
    np.testing.assert_array_equal(again.labels, session.labels)
    again.close()


def test_once_painted_on_it_is_no_box_any_more(session: Session, square: Callable[..., np.ndarray]) -> None:
    session.draw_boxes(REF, (BOX,))
    session.paint(REF, square(2, 4), value=1)
    assert session.boxes_on(REF) == ()


def test_an_accepted_proposal_in_a_box_is_a_complete_example(session: Session, propose: Callable[..., object]) -> None:
    session.draw_boxes(REF, (BOX,))
    labels = np.zeros(session.geometry.shape, dtype=np.uint8)
    labels[2, 1:5, 2:5] = 1
    propose(session, labels)
    session.accept_slice(REF)
    assert session.slice_state(REF) is SliceState.ACCEPTED
    (example,) = session.support().complete
    assert example.labels[1, 2] == 1
    assert session.boxes_on(REF) == ()


def test_accepted_voxels_of_crossing_slices_are_kept(session: Session, propose: Callable[..., object]) -> None:
    labels = np.zeros(session.geometry.shape, dtype=np.uint8)
    labels[:, 0, :] = 2
    propose(session, labels)
    session.accept_slice(SliceRef(1, 0))
    session.draw_boxes(REF, (BOX,))
    assert (session.labels[2, 0] == 2).all()


@pytest.mark.parametrize("box", [DrawnBox(1, (1, 1), (3, 6)), DrawnBox(1, (1, 1), (9, 6)), DrawnBox(3, (1, 1), (5, 6))])
def test_a_box_that_cannot_be_is_refused_and_nothing_changes(session: Session, box: DrawnBox) -> None:
    with pytest.raises(AnnotationError):
        session.draw_boxes(REF, (box,))
    assert not session.status.any()


def test_a_painted_slice_takes_no_box(session: Session, square: Callable[..., np.ndarray]) -> None:
    session.paint(REF, square(2, 4), value=1)
    with pytest.raises(AnnotationError, match="example already"):
        session.draw_boxes(REF, (BOX,))


def test_a_locked_structure_takes_no_box(session: Session) -> None:
    session.lock_structure(1)
    with pytest.raises(AnnotationError, match="locked"):
        session.draw_boxes(REF, (BOX,))
