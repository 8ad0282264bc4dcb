from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from napari_medmeta.core import AnnotationError, Geometry, InputError, MaskArray, SliceRef, Structure
from napari_medmeta.session import PaintMode, Session, Topic

AXIAL = SliceRef(0, 2)


def test_a_new_structure_gets_the_lowest_free_number_a_colour_and_is_active(session: Session) -> None:
    session.remove_structure(1)
    change = session.add_structure("  left   kidney ")
    assert session.structures[0] == Structure(1, "left kidney", "#e69f00")
    assert session.active == 1
    assert change.what == {Topic.HISTORY, Topic.STRUCTURES, Topic.PROPOSAL, Topic.SETTINGS}


@pytest.mark.parametrize("name", ["", "   ", "LIVER", "x" * 65, "a\x00b"])
def test_a_name_that_cannot_be_is_refused(session: Session, name: str) -> None:
    with pytest.raises(AnnotationError):
        session.add_structure(name)
    assert len(session.structures) == 2


def test_a_structure_can_be_renamed_and_recoloured(session: Session) -> None:
    session.rename_structure(1, "Liver")
    session.recolour_structure(1, "#ABCDEF")
    assert session.structures[0] == Structure(1, "Liver", "#abcdef")
    with pytest.raises(AnnotationError, match="no colour"):
        session.recolour_structure(1, "red")
    with pytest.raises(AnnotationError, match="already holds spleen"):
        session.rename_structure(1, "Spleen")


def test_the_table_holds_at_most_254_structures(geometry: Geometry) -> None:
    session = Session.create(geometry, fingerprint="a scan")
    for number in range(254):
        session.add_structure(f"organ {number}")
    with pytest.raises(AnnotationError, match="table is full"):
        session.add_structure("one more")


def test_removing_a_structure_removes_its_voxels_and_undo_brings_them_back(
    session: Session, square: Callable[..., MaskArray]
) -> None:
    session.paint(AXIAL, square(1, 3), value=1)
    session.paint(SliceRef(2, 2), np.eye(5, 6, dtype=bool), value=2)
    labels = session.labels.copy()
    session.remove_structure(1)
    assert not (session.labels == 1).any()
    assert (session.status[2] > 0).all(), "the slice stays complete"
    assert {e.complete_for for e in session.support().examples} == {frozenset({2})}
    session.undo()
    assert np.array_equal(session.labels, labels)


def test_scribbles_of_a_removed_structure_were_never_made(session: Session, square: Callable[..., MaskArray]) -> None:
    session.set_mode(PaintMode.SCRIBBLE)
    session.paint(AXIAL, square(1, 3), value=1)
    session.remove_structure(1)
    assert not session.status.any()
    assert not session.support().examples


def test_a_proposal_is_not_kept_when_its_structure_is_removed(
    session: Session, square: Callable[..., MaskArray], propose: Callable[..., object]
) -> None:
    session.paint(AXIAL, square(1, 3), value=1)
    propose(session, np.ones((5, 6, 7)))
    session.remove_structure(1)
    session.add_structure("kidney")
    assert session.proposal is None


def test_a_locked_structure_is_neither_removed_nor_changed_by_undoing_something_else(
    session: Session, square: Callable[..., MaskArray]
) -> None:
    session.paint(AXIAL, square(1, 3), value=1)
    session.lock_structure(1)
    with pytest.raises(AnnotationError, match="liver is locked"):
        session.remove_structure(1)
    session.undo()
    assert not session.structures[0].locked, "the lock itself is the first step to be taken back"
    assert (session.labels == 1).any()


def test_choosing_a_structure_keeps_what_can_be_redone(session: Session, square: Callable[..., MaskArray]) -> None:
    session.paint(AXIAL, square(1, 3), value=1)
    session.undo()
    change = session.set_active(2)
    assert change.what == {Topic.SETTINGS}
    assert session.can_redo
    session.set_mode(PaintMode.SCRIBBLE)
    session.redo()
    assert (session.labels == 1).any()
    with pytest.raises(AnnotationError, match="no structure 7"):
        session.set_active(7)


KEPT = {1: {"trees": 2.0, "shape": 0.5}}


def test_what_earlier_scans_taught_reaches_the_support_and_is_one_undo_step(session: Session) -> None:
    before = session.generation
    session.trust_sources(KEPT)
    assert session.support().trust == KEPT
    assert session.generation > before
    assert not session.trust_sources(KEPT), "nothing new"
    session.undo()
    assert session.support().trust == {}
    session.redo()
    assert session.support().trust == KEPT


def test_what_earlier_scans_taught_stays_with_the_structure_and_goes_with_it(session: Session) -> None:
    session.trust_sources(KEPT)
    session.rename_structure(1, "Something else")
    assert session.support().trust == KEPT
    session.remove_structure(1)
    assert session.support().trust == {}
    session.add_structure("new one")
    assert session.support().trust == {}


def test_trust_of_no_structure_or_with_impossible_numbers_changes_nothing(session: Session) -> None:
    with pytest.raises(AnnotationError, match="no structure 9"):
        session.trust_sources({9: {"trees": 1.0}})
    with pytest.raises(InputError, match="cannot be"):
        session.trust_sources({1: {"trees": -1.0}})
    assert session.support().trust == {}


@pytest.mark.parametrize("checkpoint", [True, False])
def test_a_reopened_session_begins_with_what_earlier_scans_taught(
    geometry: Geometry, tmp_path: Path, checkpoint: bool
) -> None:
    path = tmp_path / "case.medmeta"
    session = Session.create(geometry, fingerprint="a scan", path=path)
    session.add_structure("liver")
    session.trust_sources(KEPT)
    session.close()
    if not checkpoint:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("DELETE FROM checkpoint")
            connection.commit()
    again = Session.open(path)
    assert again.support().trust == KEPT
    again.close()
