from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from napari_medmeta.core import (
    AnnotationError,
    Box,
    LabelArray,
    MaskArray,
    MissingExamplesError,
    Origin,
    Proposal,
    SliceRef,
)
from napari_medmeta.session import Session, SliceState, Topic
from napari_medmeta.session.model import ACCEPTED, PAINTED

Propose = Callable[..., Proposal]
THREE = SliceRef(0, 3)


@pytest.fixture
def begun(session: Session, square: Callable[..., MaskArray]) -> Session:
    """Liver and spleen painted on axial slice 2."""
    session.paint(SliceRef(0, 2), square(1, 3), value=1)
    session.paint(SliceRef(0, 2), square(4, 5), value=2)
    return session


def organs() -> LabelArray:
    """Liver on slices 1 to 4 in two parts, spleen on slice 3."""
    labels = np.zeros((5, 6, 7), dtype=np.uint8)
    labels[1:5, 1:3, 1:3] = 1
    labels[3, 5, 5] = 1
    labels[3, 0, 6] = 2
    return labels


def test_a_late_proposal_is_dropped(begun: Session) -> None:
    box = Box.whole((5, 6, 7))
    late = Proposal(begun.generation - 1, box, organs(), np.ones(box.shape, np.float32), box)
    assert not begun.set_proposal(late)
    assert begun.proposal is None


def test_a_proposal_never_touches_the_labels_and_is_no_undo_step(begun: Session, propose: Propose) -> None:
    labels, text = begun.labels.copy(), begun.undo_text
    proposal = propose(begun, organs())
    assert begun.proposal is proposal
    assert np.array_equal(begun.labels, labels)
    assert begun.undo_text == text
    assert [e.verb for e in begun.events()][-1] == "set_proposal"


def test_the_preview_shows_only_what_nobody_decided(begun: Session, propose: Propose) -> None:
    propose(begun, organs())
    shown = begun.proposed_labels(Box.whole((5, 6, 7)))
    expected = organs()
    expected[2] = 0
    assert np.array_equal(shown, expected)


def test_accepting_a_slice_makes_it_an_example(begun: Session, propose: Propose) -> None:
    propose(begun, organs())
    change = begun.accept_slice(THREE)
    assert np.array_equal(begun.labels[3], organs()[3])
    assert (begun.status[3] == ACCEPTED).all()
    assert begun.slice_state(THREE) is SliceState.ACCEPTED
    assert change.what >= {Topic.LABELS, Topic.EXAMPLES}
    example = {e.ref: e for e in begun.support().examples}[THREE]
    assert example.is_complete
    assert example.origin is Origin.ACCEPTED
    assert example.complete_for == {1, 2}


def test_a_structure_without_an_example_is_not_declared_absent_by_accepting(begun: Session, propose: Propose) -> None:
    begun.add_structure("kidney")
    propose(begun, organs())
    begun.accept_slice(THREE)
    example = {e.ref: e for e in begun.support().examples}[THREE]
    assert example.complete_for == {1, 2}
    assert not example.negative(3)[example.labels == 0].any()


def test_accepting_keeps_every_painted_voxel(begun: Session, propose: Propose) -> None:
    begun.click((3, 1, 1), value=2, axis=0)
    propose(begun, organs())
    begun.accept_slice(THREE)
    assert begun.labels[3, 1, 1] == 2
    assert begun.status[3, 1, 1] == PAINTED


def test_some_structures_can_be_accepted_and_the_slice_stays_open(begun: Session, propose: Propose) -> None:
    propose(begun, organs())
    begun.accept_slice(THREE, structures=[2])
    assert np.count_nonzero(begun.status[3]) == 1
    assert begun.proposed_labels(Box.of_slice(THREE, (5, 6, 7))).any()
    with pytest.raises(MissingExamplesError, match="No spleen is proposed"):
        begun.accept_slice(THREE, structures=[2])


def test_a_slice_without_a_proposal_cannot_be_accepted_or_rejected(begun: Session, propose: Propose) -> None:
    with pytest.raises(MissingExamplesError, match="no proposal"):
        begun.accept_slice(THREE)
    with pytest.raises(MissingExamplesError, match="no proposal yet"):
        begun.accept_confident(0.5)
    propose(begun, organs())
    with pytest.raises(AnnotationError, match="example already"):
        begun.accept_slice(SliceRef(0, 2))
    with pytest.raises(MissingExamplesError, match="Nothing is proposed"):
        begun.reject_slice(SliceRef(0, 0))


def test_accepting_a_component_takes_only_that_part(begun: Session, propose: Propose) -> None:
    propose(begun, organs())
    begun.accept_component((4, 1, 1))
    expected = organs() == 1
    expected[3, 5, 5] = False
    assert np.array_equal(begun.status == ACCEPTED, expected & (np.arange(5) != 2)[:, None, None])
    assert begun.slice_state(THREE) is SliceState.SCRIBBLED
    known = {e.ref: e.known for e in begun.support().examples}
    assert known[THREE].sum() == 4
    with pytest.raises(MissingExamplesError, match="Nothing is proposed here"):
        begun.accept_component((0, 0, 0))


def test_components_connect_over_corners(begun: Session, propose: Propose) -> None:
    labels = np.zeros((5, 6, 7), dtype=np.uint8)
    labels[3, 1, 1] = labels[4, 2, 2] = 1
    labels[4, 4, 4] = 1
    propose(begun, labels)
    begun.accept_component((3, 1, 1))
    assert begun.labels[4, 2, 2] == 1
    assert begun.labels[4, 4, 4] == 0


def test_all_confident_slices_are_accepted_in_one_step(begun: Session, propose: Propose) -> None:
    propose(begun, organs(), dice={1: 0.95, 2: 0.99, 3: 0.7, 4: 0.9})
    begun.accept_confident(0.9)
    states = begun.axis_overview(0)
    assert [states[i] for i in (1, 3, 4)] == [SliceState.ACCEPTED, SliceState.TO_REVIEW, SliceState.ACCEPTED]
    begun.undo()
    assert not begun.status[[1, 4]].any()
    assert begun.accept_confident(1.0).note == "No open slice has an expected Dice of 1.00 or more."
    with pytest.raises(AnnotationError, match="no confidence"):
        begun.accept_confident(1.5)


def test_a_rejected_slice_shows_no_proposal_until_it_is_undone(begun: Session, propose: Propose) -> None:
    propose(begun, organs())
    generation = begun.generation
    begun.reject_slice(THREE)
    assert begun.slice_state(THREE) is SliceState.REJECTED
    assert not begun.proposed_labels(Box.of_slice(THREE, (5, 6, 7))).any()
    assert begun.generation == generation
    assert not begun.accept_confident(0.0)
    begun.undo()
    assert begun.slice_state(THREE) is SliceState.PROPOSED


def test_a_rejected_slice_stays_rejected_under_the_next_proposal(begun: Session, propose: Propose) -> None:
    propose(begun, organs())
    begun.reject_slice(THREE)
    begun.click((1, 5, 0), value=0, axis=0)
    propose(begun, organs())
    assert begun.slice_state(THREE) is SliceState.REJECTED


def test_painting_or_accepting_ends_a_rejection(
    begun: Session, propose: Propose, square: Callable[..., MaskArray]
) -> None:
    propose(begun, organs())
    begun.reject_slice(THREE)
    begun.paint(THREE, square(4, 5), value=1)
    assert begun.slice_state(THREE) is SliceState.EXAMPLE
    assert np.count_nonzero(begun.labels[3]) == 1
    begun.undo()
    begun.accept_slice(THREE)
    assert begun.slice_state(THREE) is SliceState.ACCEPTED
    assert np.array_equal(begun.labels[3], organs()[3])


def test_nothing_is_proposed_for_a_locked_structure(begun: Session, propose: Propose) -> None:
    propose(begun, organs())
    begun.lock_structure(2)
    assert not (begun.proposed_labels(Box.whole((5, 6, 7))) == 2).any()
    begun.accept_slice(THREE)
    assert begun.labels[3, 0, 6] == 0
    assert {e.ref: e.complete_for for e in begun.support().examples}[THREE] == {1}


def test_the_proposal_around_a_quick_answer_for_one_slice_stays(begun: Session, propose: Propose) -> None:
    propose(begun, organs())
    quick = np.zeros((5, 6, 7))
    quick[3, 4, 4] = 1
    propose(begun, quick, covered=Box.of_slice(THREE, (5, 6, 7)))
    shown = begun.proposed_labels(Box.whole((5, 6, 7)))
    assert np.array_equal(shown[3], quick[3])
    assert np.array_equal(shown[4], organs()[4])


def test_a_structure_added_later_is_proposed_on_slices_accepted_before(begun: Session, propose: Propose) -> None:
    propose(begun, organs())
    begun.accept_slice(THREE)
    begun.add_structure("kidney")
    labels = np.zeros((6, 7), dtype=np.uint8)
    labels[4, 0] = 3
    begun.paint_slice(SliceRef(0, 0), labels)
    kidney = np.zeros((5, 6, 7))
    kidney[3, 1, 1] = kidney[3, 4, 0] = 3
    propose(begun, kidney)
    shown = begun.proposed_labels(Box.of_slice(THREE, (5, 6, 7)))[0]
    assert shown[4, 0] == 3
    assert shown[1, 1] == 0, "the liver there was accepted"
    assert begun.slice_state(THREE) is SliceState.PROPOSED
    begun.accept_slice(THREE)
    assert begun.labels[3, 4, 0] == 3
    assert begun.labels[3, 1, 1] == 1
    assert {e.ref: e.complete_for for e in begun.support().examples}[THREE] == {1, 2, 3}
