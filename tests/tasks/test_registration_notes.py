"""What was carried is kept in the session: it comes back as it was, and what cannot be read is passed over."""

from __future__ import annotations

import json
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_medmeta.core import Box, Geometry, SliceRef
from napari_medmeta.session import Session
from napari_medmeta.tasks.registration import Carried
from napari_medmeta.tasks.registration_expectation import Expected
from napari_medmeta.tasks.registration_map import Alignment, Carrying
from napari_medmeta.tasks.registration_notes import VERB, Landed, landed, landed_in, write_landed

SHAPE = (5, 6, 7)
BOX = Box((1, 1, 2), (4, 5, 6))


def carried() -> Carried:
    """Two structures; of a third one nothing arrived."""
    share = np.zeros((3, *BOX.shape), np.float32)
    share[0, :2, :2], share[1, 2:, 1:3] = 0.8, 0.7
    expected = Expected({2: 0.8, 5: 0.6}, {SliceRef(0, 1): 0.75, SliceRef(0, 3): 0.1 + 0.2})
    return Carried(Carrying(BOX, (2, 5, 9), share), SHAPE, Alignment(), expected, (), ("It was left out",))


def session_at(path: Path | None = None) -> Session:
    session = Session.create(Geometry.from_parts(SHAPE), fingerprint="a scan", path=path)
    for name in ("Liver", "Spleen", "Cyst"):
        session.add_structure(name)
    return session


def written(session: Session) -> Landed:
    found = replace(landed(carried(), {2: 10.0, 5: 20.0, 9: 1 / 3}), numbers={2: 1, 5: 2, 9: 3})
    write_landed(session, found)
    return found


def same(one: Landed, other: Landed) -> bool:
    return all(getattr(one, name) == getattr(other, name) for name in Landed.__dataclass_fields__)


def test_the_proposal_is_what_was_carried_under_the_table_s_numbers() -> None:
    found = written(session_at()).proposal(SHAPE, generation=7)
    original = carried().proposal(generation=7)
    np.testing.assert_array_equal(found.labels, np.choose(np.searchsorted([0, 2, 5], original.labels), [0, 1, 2]))
    np.testing.assert_allclose(found.confidence, original.confidence, atol=0.5 / 255)
    assert (found.generation, found.box, found.covered) == (7, BOX, Box.whole(SHAPE))
    assert found.expected_dice == {1: 0.8, 2: 0.6}
    assert found.slice_dice == original.slice_dice
    assert found.trust == {n: {"prior scan": 1.0} for n in (1, 2, 3)}


def test_it_is_there_again_bit_for_bit_after_the_program_was_killed(tmp_path: Path) -> None:
    session = session_at(tmp_path / "scan.medmeta")
    found = written(session)
    session.set_proposal(found.proposal(SHAPE, generation=session.generation))
    session.accept_slice(SliceRef(0, 1))
    labels, status = np.array(session.labels), np.array(session.status)
    assert labels.any()
    # What a kill leaves on the disk: the file and its log, never closed.
    for end in ("", "-wal"):
        shutil.copy(tmp_path / f"scan.medmeta{end}", tmp_path / f"killed.medmeta{end}")
    again = Session.open(tmp_path / "killed.medmeta")
    np.testing.assert_array_equal(again.labels, labels)
    np.testing.assert_array_equal(again.status, status)
    kept = landed_in(again)
    assert kept is not None
    assert same(kept, found)
    again.close()
    session.close()


def test_what_was_carried_last_counts() -> None:
    session = session_at()
    written(session)
    write_landed(session, replace(landed(carried(), {2: 1.0}), numbers={2: 3}))
    kept = landed_in(session)
    assert kept is not None
    assert kept.numbers == {2: 3}


def test_nothing_carried_is_nothing() -> None:
    assert landed_in(session_at()) is None


def test_a_structure_that_left_the_table_is_left_out_also_when_its_number_is_given_anew() -> None:
    session = session_at()
    written(session)
    session.remove_structure(1)
    session.add_structure("Kidney")
    kept = landed_in(session)
    assert kept is not None
    assert kept.numbers == {5: 2, 9: 3}
    assert set(np.unique(kept.proposal(SHAPE, generation=0).labels)) == {0, 2}
    for number in (2, 3):
        session.remove_structure(number)
    assert landed_in(session) is None


def test_a_removal_that_was_undone_takes_nothing_away() -> None:
    session = session_at()
    found = written(session)
    session.remove_structure(1)
    session.undo()
    kept = landed_in(session)
    assert kept is not None
    assert same(kept, found)


def test_neither_the_audit_trail_nor_where_one_was_last_is_misled() -> None:
    session = session_at()
    written(session)
    record = list(session.events())[-1]
    assert record.verb == VERB
    assert record.sentence == "carried an earlier segmentation to this scan: Liver, Spleen, Cyst"
    assert session.last_slice() is None
    assert session.score().finished == 0
    assert not session.can_undo or session.undo_text.startswith("add the structure")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("box", [[0, 0, 0], [9, 9, 9]]),
        ("labels", "AAAA"),
        ("sureness", "not base 64"),
        ("structures", [[0, 1, 2.0]]),
        ("slice_dice", [[0, 99, 0.5]]),
        ("expected_dice", [[2, 1.5]]),
        ("notes", None),
    ],
)
def test_a_note_that_does_not_fit_the_scan_is_passed_over(name: str, value: object) -> None:
    session = session_at()
    written(session)
    good = dict(list(session.events())[-1].parameters["carried"])  # type: ignore[arg-type, call-overload]
    assert landed_in(session) is not None
    session.note(VERB, "carried", {"carried": {**good, name: value}})  # type: ignore[dict-item]
    assert landed_in(session) is None


def test_no_name_of_the_earlier_scan_is_written(tmp_path: Path) -> None:
    session = session_at(tmp_path / "scan.medmeta")
    written(session)
    session.close()
    with sqlite3.connect(tmp_path / "scan.medmeta") as connection:
        (text,) = connection.execute("SELECT parameters FROM event WHERE verb = ?", (VERB,)).fetchone()
    assert set(json.loads(text)["carried"]) == {
        "box", "labels", "sureness", "structures", "expected_dice", "slice_dice", "notes",
    }  # fmt: skip
