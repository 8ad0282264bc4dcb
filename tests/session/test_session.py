from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from napari_medmeta.core import Box, Geometry, MaskArray, SliceRef
from napari_medmeta.session import Change, Session

Square = Callable[..., MaskArray]
AXIAL = SliceRef(0, 2)


def test_two_sessions_are_independent(session: Session, geometry: Geometry, square: Square) -> None:
    other = Session.create(geometry, fingerprint="another scan")
    heard: list[Change] = []
    other.changed.connect(heard.append)
    session.paint(AXIAL, square(1, 3), value=1)
    assert not other.labels.any()
    assert not other.structures
    assert not heard


def test_every_verb_that_changes_something_tells_so_once(session: Session, square: Square) -> None:
    heard: list[Change] = []
    session.changed.connect(heard.append)
    change = session.paint(AXIAL, square(1, 3), value=1)
    assert heard == [change]
    assert change.generation == session.generation
    session.paint(AXIAL, square(0, 0), value=1)
    assert heard == [change]


def test_labels_and_status_cannot_be_written_to(session: Session) -> None:
    for array in (session.labels, session.status):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0, 0] = 1


def test_labels_are_live(session: Session, square: Square) -> None:
    labels = session.labels
    session.paint(AXIAL, square(1, 3), value=1)
    assert labels[2, 1, 1] == 1


def test_a_new_step_discards_what_could_be_redone(session: Session, square: Square) -> None:
    session.paint(AXIAL, square(1, 3), value=1)
    session.undo()
    assert session.redo_text == "paint the liver on axial slice 2"
    session.paint(AXIAL, square(3, 5), value=2)
    assert not session.can_redo
    assert session.redo().note == "Nothing to redo."


def test_undo_reaches_back_to_the_empty_session(session: Session, square: Square) -> None:
    session.paint(AXIAL, square(1, 3), value=1)
    while session.can_undo:
        session.undo()
    assert not session.structures
    assert not session.labels.any()
    assert session.undo().note == "Nothing to undo."
    assert session.undo_text == ""


def test_the_generation_never_goes_back(session: Session, square: Square) -> None:
    session.paint(AXIAL, square(1, 3), value=1)
    generation = session.generation
    session.undo()
    assert session.generation > generation


def test_the_audit_trail_tells_what_happened_in_plain_words(session: Session, square: Square) -> None:
    session.paint(AXIAL, square(1, 3), value=1)
    session.undo()
    records = list(session.events())
    assert [r.number for r in records] == list(range(1, len(records) + 1))
    assert [r.sentence for r in records[-2:]] == [
        "paint the liver on axial slice 2",
        "undid: paint the liver on axial slice 2",
    ]
    assert records[-1].time.tzinfo is not None


def test_hints_lead_from_nothing_to_a_finished_segmentation(
    geometry: Geometry, square: Square, propose: Callable[..., object]
) -> None:
    session = Session.create(geometry, fingerprint="a scan")
    assert session.hint() == "Add a structure: type what you look for."
    session.add_structure("liver")
    assert session.hint() == "Paint the liver on one slice, click on it, or draw a box around it."
    session.click((2, 2, 2), value=1, axis=0)
    assert session.hint().startswith("Paint background beside the liver")
    session.click((2, 0, 0), value=0, axis=0)
    assert session.hint() == "Ask for a proposal (P)."
    session.add_structure("kidney")
    assert session.hint() == "kidney has no example yet: paint it on one slice."
    session.paint(SliceRef(0, 1), square(1, 3), value=2)
    labels = np.zeros((5, 6, 7))
    labels[3, 1, 1] = 1
    propose(session, labels)
    assert session.hint() == "Accept the proposal (A), or correct it by painting."
    session.accept_slice(SliceRef(0, 3))
    assert session.hint() == "Nothing is left to review: look through the slices and save."


def test_the_overview_needs_no_look_at_the_volume(
    session: Session, square: Square, propose: Callable[..., object]
) -> None:
    session.paint(AXIAL, square(1, 3), value=1)
    labels = np.zeros((5, 6, 7))
    labels[3:, 4, 4] = 1
    propose(session, labels)
    for axis in range(3):
        overview = session.axis_overview(axis)
        assert len(overview) == session.geometry.shape[axis]
        assert overview == tuple(session.slice_state(SliceRef(axis, i)) for i in range(len(overview)))
    assert session.proposed_labels(Box.whole((5, 6, 7)))[3:, 4, 4].all()


def test_importing_the_session_loads_no_torch_no_qt_and_no_napari() -> None:
    code = (
        "import sys, napari_medmeta.session; "
        "print([m for m in ('torch', 'qtpy', 'PyQt6', 'napari', 'monai', 'SimpleITK') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
