from __future__ import annotations

import csv
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from napari_medmeta.core import MaskArray, SliceRef, StorageError
from napari_medmeta.session import Session
from napari_medmeta.session.audit import AUDIT_COLUMNS, audit_table, write_audit

Square = Callable[..., MaskArray]


def test_every_event_is_one_row_in_plain_words(session: Session, square: Square) -> None:
    session.paint(SliceRef(0, 2), square(1, 3), value=1)
    rows = audit_table(list(session.events()))
    assert [row[0] for row in rows] == ["1", "2", "3", "4"]
    assert rows[-1][2] == "paint the liver on axial slice 2"


def test_what_was_taken_back_is_marked_until_it_is_done_again(session: Session, square: Square) -> None:
    session.paint(SliceRef(0, 2), square(1, 3), value=1)
    session.undo()
    assert audit_table(list(session.events()))[3][4] == "yes"
    session.redo()
    assert audit_table(list(session.events()))[3][4] == ""


def test_the_file_can_be_read_back(session: Session, square: Square, tmp_path: Path) -> None:
    session.rename_structure(1, 'liver, "left" lobe')
    path = write_audit(tmp_path / "audit.csv", list(session.events()))
    with path.open(encoding="utf-8-sig", newline="") as file:
        found = list(csv.reader(file))
    assert tuple(found[0]) == AUDIT_COLUMNS
    assert found[-1][2] == 'rename liver to liver, "left" lobe'


def test_a_folder_that_is_not_there_is_said_so(session: Session, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="There is no folder"):
        write_audit(tmp_path / "nowhere" / "audit.csv", list(session.events()))


def test_a_disk_that_fills_up_leaves_the_audit_trail_that_was_there(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_audit(tmp_path / "audit.csv", list(session.events()))
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="disk is full"):
        write_audit(path, list(session.events()))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
