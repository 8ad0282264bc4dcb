from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from napari_medmeta.core import MaskArray, SliceRef
from napari_medmeta.session import PaintMode, Session

Square = Callable[..., MaskArray]
AXIAL = SliceRef(0, 2)


def test_support_is_a_snapshot_that_later_painting_leaves_alone(session: Session, square: Square) -> None:
    session.paint(AXIAL, square(1, 3), value=1)
    support = session.support()
    session.paint(AXIAL, square(3, 5), value=1)
    assert np.array_equal(support.examples[0].labels == 1, square(1, 3))
    assert session.support() is not support
    with pytest.raises(ValueError, match="read-only"):
        support.examples[0].labels[0, 0] = 1


def test_support_is_not_built_again_while_nothing_changes(session: Session, square: Square) -> None:
    session.paint(AXIAL, square(1, 3), value=1)
    support = session.support()
    session.rename_structure(1, "hepar")
    session.set_active(2)
    assert session.support() is support


def test_unchanged_slices_keep_their_examples_with_all_that_was_found_out_about_them(
    session: Session, square: Square
) -> None:
    session.paint(AXIAL, square(1, 3), value=1)
    before = session.support().examples[0]
    session.paint(SliceRef(0, 4), square(1, 3), value=1)
    assert session.support().examples[0] is before


def test_an_example_that_is_told_otherwise_shares_its_array_only(session: Session, square: Square) -> None:
    session.paint(AXIAL, square(1, 3), value=1)
    before = session.support().examples[0]
    session.weigh_example(AXIAL, 0.5)
    after = session.support().examples[0]
    assert (before.weight, after.weight) == (1.0, 0.5)
    assert after.labels is before.labels


def test_a_structure_added_later_is_unknown_on_earlier_slices_until_they_are_painted_again(
    session: Session, square: Square
) -> None:
    session.paint(AXIAL, square(1, 3), value=1)
    session.add_structure("kidney")
    (example,) = session.support().examples
    assert example.complete_for == {1, 2}
    assert np.array_equal(example.negative(3), square(1, 3)), "where the liver is, no kidney is"
    session.paint(AXIAL, square(4, 5), value=3)
    assert session.support().examples[0].complete_for == {1, 2, 3}


def test_marking_complete_again_declares_a_later_structure_absent(session: Session, square: Square) -> None:
    session.paint(AXIAL, square(1, 3), value=1)
    session.add_structure("kidney")
    session.mark_complete(AXIAL)
    assert session.support().examples[0].negative(3).all()


def test_scribbles_are_grouped_by_slice_along_the_axis_of_the_complete_slices(session: Session, square: Square) -> None:
    session.mark_complete(SliceRef(1, 0))
    session.set_mode(PaintMode.SCRIBBLE)
    mask = np.zeros((6, 7), dtype=bool)
    mask[2:5, 3] = True
    session.paint(AXIAL, mask, value=1)
    refs = [e.ref for e in session.support().examples]
    assert refs == [SliceRef(1, 0), SliceRef(1, 2), SliceRef(1, 3), SliceRef(1, 4)]


def test_without_complete_slices_scribbles_are_grouped_through_the_plane(session: Session) -> None:
    session.set_mode(PaintMode.SCRIBBLE)
    mask = np.zeros((5, 7), dtype=bool)
    mask[1:3, 4] = True
    session.paint(SliceRef(1, 5), mask, value=1)
    examples = session.support().examples
    assert [e.ref for e in examples] == [SliceRef(0, 1), SliceRef(0, 2)]
    assert all(e.known.sum() == 1 and e.labels[5, 4] == 1 for e in examples)


def test_scribbles_inside_a_complete_slice_are_part_of_it(session: Session, square: Square) -> None:
    session.paint(AXIAL, square(1, 3), value=1)
    session.set_mode(PaintMode.SCRIBBLE)
    session.paint(AXIAL, square(2, 4), value=2)
    (example,) = session.support().examples
    assert example.is_complete
    assert example.labels[2, 2] == 2


def test_background_strokes_count_for_the_structures_of_their_time(session: Session, square: Square) -> None:
    session.set_mode(PaintMode.SCRIBBLE)
    session.paint(AXIAL, square(0, 1), value=0)
    session.add_structure("kidney")
    (example,) = session.support().examples
    assert not example.negative(3).any()
    assert np.array_equal(example.negative(1), square(0, 1))


def test_after_new_background_strokes_older_ones_on_that_slice_are_no_evidence(
    session: Session, square: Square
) -> None:
    session.set_mode(PaintMode.SCRIBBLE)
    session.paint(AXIAL, square(0, 1), value=0)
    session.add_structure("kidney")
    session.paint(AXIAL, square(5, 6), value=0)
    (example,) = session.support().examples
    assert np.array_equal(example.negative(3), square(5, 6))
    assert session.status[2, 0, 0] == 1, "it stays decided"


def test_rejecting_is_not_evidence(session: Session, square: Square, propose: Callable[..., object]) -> None:
    session.paint(AXIAL, square(1, 3), value=1)
    propose(session, np.ones((5, 6, 7)))
    support = session.support()
    session.reject_slice(SliceRef(0, 3))
    assert session.support() is support


def test_support_names_all_structures_of_the_table(session: Session) -> None:
    session.lock_structure(2)
    assert session.support().structures == (1, 2)
