"""Examples that count less, or not at all, while their voxels stay."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_medmeta.core import AnnotationError, Geometry, MaskArray, SliceRef
from napari_medmeta.session import PaintMode, Session, Topic

Square = Callable[..., MaskArray]
AXIAL, OTHER = SliceRef(0, 2), SliceRef(0, 4)


@pytest.fixture
def painted(session: Session, square: Square) -> Session:
    session.paint(AXIAL, square(1, 3), value=1)
    session.paint(OTHER, square(2, 4), value=1)
    return session


def test_an_example_counts_fully_unless_something_else_is_said(painted: Session) -> None:
    assert [e.weight for e in painted.support().examples] == [1.0, 1.0]
    assert painted.example_weight(AXIAL) == 1.0
    assert painted.example_weight(SliceRef(0, 0)) is None


def test_an_example_that_counts_less_carries_its_weight_into_the_support(painted: Session) -> None:
    before = painted.generation
    change = painted.weigh_example(AXIAL, 0.5)
    assert {e.ref: e.weight for e in painted.support().examples} == {AXIAL: 0.5, OTHER: 1.0}
    assert Topic.EXAMPLES in change.what
    assert painted.generation == before + 1


def test_an_example_not_used_leaves_the_support_but_keeps_its_voxels(painted: Session) -> None:
    labels, status = painted.labels.copy(), painted.status.copy()
    painted.weigh_example(AXIAL, 0.0)
    assert [e.ref for e in painted.support().examples] == [OTHER]
    assert np.array_equal(painted.labels, labels)
    assert np.array_equal(painted.status, status)


def test_undo_uses_the_example_again(painted: Session) -> None:
    painted.weigh_example(AXIAL, 0.0)
    assert painted.undo_text == "do not use the example on axial slice 2"
    painted.undo()
    assert [e.ref for e in painted.support().examples] == [AXIAL, OTHER]
    painted.redo()
    assert [e.ref for e in painted.support().examples] == [OTHER]


def test_painting_on_it_makes_it_count_again(painted: Session, square: Square) -> None:
    painted.weigh_example(AXIAL, 0.0)
    painted.paint(AXIAL, square(3, 4), value=1)
    assert painted.example_weight(AXIAL) == 1.0


def test_marking_it_complete_makes_it_count_again(painted: Session) -> None:
    painted.weigh_example(AXIAL, 0.0)
    painted.mark_complete(AXIAL)
    assert painted.example_weight(AXIAL) == 1.0


def test_scribbles_can_be_left_unused_too(session: Session, square: Square) -> None:
    session.set_mode(PaintMode.SCRIBBLE)
    session.paint(AXIAL, square(1, 3), value=1)
    session.paint(OTHER, square(1, 3), value=1)
    session.weigh_example(AXIAL, 0.0)
    session.weigh_example(OTHER, 0.25)
    assert [(e.ref, e.weight) for e in session.support().examples] == [(OTHER, 0.25)]


def test_the_weight_it_has_already_is_no_step(painted: Session) -> None:
    assert not painted.weigh_example(AXIAL, 1.0)


def test_with_no_example_in_use_the_hint_says_so(painted: Session) -> None:
    painted.weigh_example(AXIAL, 0.0)
    assert "No slice is used" not in painted.hint()
    painted.weigh_example(OTHER, 0.0)
    assert painted.hint().startswith("No slice is used as an example")


@pytest.mark.parametrize("weight", [-0.1, 1.5, float("nan")])
def test_a_weight_out_of_range_is_refused(painted: Session, weight: float) -> None:
    with pytest.raises(AnnotationError, match="no weight"):
        painted.weigh_example(AXIAL, weight)


def test_a_slice_without_an_example_cannot_be_weighed(painted: Session) -> None:
    with pytest.raises(AnnotationError, match="Nothing was painted"):
        painted.weigh_example(SliceRef(0, 0), 0.5)


@pytest.mark.parametrize("closed", [True, False])
def test_weights_survive_reopening(tmp_path: Path, geometry: Geometry, square: Square, closed: bool) -> None:
    path = tmp_path / "case.medmeta"
    session = Session.create(geometry, fingerprint="a scan", path=path)
    session.add_structure("liver")
    session.paint(AXIAL, square(1, 3), value=1)
    session.paint(OTHER, square(1, 3), value=1)
    session.weigh_example(AXIAL, 0.5)
    session.weigh_example(OTHER, 0.0)
    if closed:
        session.close()
    else:  # let go without the checkpoint that closing writes
        session._journal._connection.close()  # type: ignore[union-attr]
    again = Session.open(path)
    assert (again.example_weight(AXIAL), again.example_weight(OTHER)) == (0.5, 0.0)
    again.undo()
    assert again.example_weight(OTHER) == 1.0
    again.close()
