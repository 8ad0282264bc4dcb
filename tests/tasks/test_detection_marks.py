"""What was said to candidates lasts as long as the session file, and no longer than the structure."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from napari_medmeta.core import Box, Geometry, SliceRef
from napari_medmeta.session import Session
from napari_medmeta.tasks.detection_candidates import Candidate
from napari_medmeta.tasks.detection_marks import Said, marks_of, write_mark

GEOMETRY = Geometry.from_parts((6, 10, 12), spacing_mm=(3.0, 1.0, 1.0))


def candidate(corner: tuple[int, int, int]) -> Candidate:
    i, j, k = corner
    mask = np.ones((2, 3, 3), bool)
    mask[0, 0, 0] = False
    return Candidate(
        score=0.75,
        likelihood=0.5,
        contrast=0.25,
        volume_ml=0.051,
        longest_mm=4.2,
        centre_mm=(1.0, -2.5, 3.0),
        voxel=(i, j + 1, k + 1),
        ref=SliceRef(0, i),
        box=Box(corner, (i + 2, j + 3, k + 3)),
        mask=mask,
    )


ONE, OTHER = candidate((0, 0, 0)), candidate((3, 5, 6))


@pytest.fixture
def session() -> Session:
    made = Session.create(GEOMETRY, fingerprint="scan")
    made.add_structure("Lesion")
    return made


def numbers(found: Candidate) -> list[object]:
    return [getattr(found, f.name) for f in fields(found) if f.name != "mask"]


def test_marks_come_back_from_the_file_with_outline_and_numbers(tmp_path: Path) -> None:
    path = tmp_path / "scan.medmeta"
    session = Session.create(GEOMETRY, fingerprint="scan", path=path)
    session.add_structure("Lesion")
    write_mark(session, ONE, structure=1, said=Said.DISMISSED)
    write_mark(session, OTHER, structure=1, said=Said.ACCEPTED)
    session.close()
    opened = Session.open(path)
    marks = marks_of(opened, 1)
    opened.close()
    for kept, said in ((marks.dismissed, ONE), (marks.accepted, OTHER)):
        (found,) = kept
        assert numbers(found) == numbers(said)
        np.testing.assert_array_equal(found.mask, said.mask)


def test_the_last_word_counts(session: Session) -> None:
    write_mark(session, ONE, structure=1, said=Said.DISMISSED)
    write_mark(session, OTHER, structure=1, said=Said.DISMISSED)
    write_mark(session, ONE, structure=1, said=Said.BROUGHT_BACK)
    write_mark(session, OTHER, structure=1, said=Said.ACCEPTED)
    marks = marks_of(session, 1)
    assert marks.dismissed == ()
    assert [c.box for c in marks.accepted] == [OTHER.box]


def test_marks_are_of_one_structure(session: Session) -> None:
    session.add_structure("Cyst")
    write_mark(session, ONE, structure=1, said=Said.DISMISSED)
    assert not marks_of(session, 2)


def test_a_structure_that_takes_over_a_number_takes_over_no_marks(session: Session) -> None:
    write_mark(session, ONE, structure=1, said=Said.DISMISSED)
    session.remove_structure(1)
    session.undo()
    assert marks_of(session, 1)
    session.remove_structure(1)
    session.add_structure("Cyst")
    assert not marks_of(session, 1)


def test_a_mark_is_no_undo_step_and_changes_no_voxel(session: Session) -> None:
    before = session.generation
    write_mark(session, ONE, structure=1, said=Said.DISMISSED)
    assert session.undo_text == "add the structure Lesion"
    assert session.generation == before
    assert not session.labels.any()
    assert list(session.events())[-1].sentence == "dismissed a candidate for Lesion"


@pytest.mark.parametrize(
    "damage",
    [
        {"box": [[0, 0, 0], [2, 3, 99]]},
        {"box": [[0, 0, 0], [2, 3]]},
        {"mask": "no base64"},
        {"mask": "PQA="},
        {"voxel": [0, 1, -1]},
        {"slice": [3, 0]},
        {"score": float("nan")},
        {"score": "much"},
        {"centre_mm": [1.0]},
    ],
)
def test_a_note_that_cannot_be_read_is_passed_over(session: Session, damage: dict[str, object]) -> None:
    write_mark(session, ONE, structure=1, said=Said.DISMISSED)
    whole = dict(list(session.events())[-1].parameters)
    assert isinstance(whole["candidate"], dict)
    session.note(Said.DISMISSED, "dismissed", {**whole, "candidate": {**whole["candidate"], **damage}})  # type: ignore[dict-item]
    session.note(Said.DISMISSED, "dismissed", {"of": 1, "candidate": 5})
    assert [c.box for c in marks_of(session, 1).dismissed] == [ONE.box]
