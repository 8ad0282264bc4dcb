"""Which session belongs to a scan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ui_fakes import make_volume

from napari_medmeta.core import SliceRef, StorageError
from napari_medmeta.session import Session
from napari_medmeta.ui import opening
from napari_medmeta.ui.opening import begin_session, open_session
from napari_medmeta.ui.scan import Scan, scan_of


def scan_at(source: Path | None) -> Scan:
    if source is not None:
        source.parent.mkdir(parents=True, exist_ok=True)
    return scan_of(make_volume(source=source))


def painted(session: Session) -> Session:
    session.add_structure("Liver")
    rows, columns = session.geometry.shape[1:]
    session.paint(SliceRef(0, 1), np.eye(rows, columns, dtype=bool), value=1)
    return session


def test_a_session_lies_beside_its_scan(tmp_path: Path) -> None:
    session = open_session(scan_at(tmp_path / "patient.nii.gz")).session
    assert session.path == tmp_path / "patient.medmeta"
    session.close()


def test_a_dicom_folders_session_lies_beside_the_folder(tmp_path: Path) -> None:
    session = open_session(scan_at(tmp_path / "series.3")).session
    assert session.path == tmp_path / "series.3.medmeta"
    session.close()


def test_opening_again_goes_on(tmp_path: Path) -> None:
    scan = scan_at(tmp_path / "patient.nii.gz")
    painted(open_session(scan).session).close()
    opened = open_session(scan)
    assert "Continued the session patient.medmeta with 1 example slice." in opened.note
    assert opened.session.labels.any()
    opened.session.close()


def test_a_session_with_nothing_in_it_is_not_mentioned(tmp_path: Path) -> None:
    scan = scan_at(tmp_path / "patient.nii.gz")
    open_session(scan).session.close()
    opened = open_session(scan)
    assert opened.note == ""
    opened.session.close()


def test_starting_over_keeps_the_old_file(tmp_path: Path) -> None:
    scan = scan_at(tmp_path / "patient.nii.gz")
    painted(open_session(scan).session).close()
    session = begin_session(scan).session
    assert session.path == tmp_path / "patient-2.medmeta"
    assert not session.labels.any()
    session.close()
    again = open_session(scan).session
    assert again.path == tmp_path / "patient-2.medmeta"
    again.close()


def test_the_session_of_another_scan_is_left_alone(tmp_path: Path) -> None:
    scan = scan_at(tmp_path / "patient.nii.gz")
    painted(open_session(scan).session).close()
    other = replace(scan, fingerprint="another scan under the same name")
    opened = open_session(other)
    assert opened.session.path == tmp_path / "patient-2.medmeta"
    assert "A new session was begun" in opened.note
    opened.session.close()


def test_a_damaged_session_does_not_keep_the_scan_from_opening(tmp_path: Path) -> None:
    (tmp_path / "patient.medmeta").write_bytes(b"this is no session" * 10)
    opened = open_session(scan_at(tmp_path / "patient.nii.gz"))
    assert opened.session.path == tmp_path / "patient-2.medmeta"
    assert opened.note
    opened.session.close()


def test_a_session_that_is_open_elsewhere_is_not_shared(tmp_path: Path) -> None:
    scan = scan_at(tmp_path / "patient.nii.gz")
    first = painted(open_session(scan).session)
    second = open_session(scan).session
    assert second.path != first.path
    first.close()
    second.close()


def test_where_nothing_can_be_written_the_session_is_kept_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = Session.create

    def refuse(geometry: object, *, path: Path | None = None, **rest: object) -> Session:
        if path is not None:
            raise StorageError("The disk is full")
        return create(geometry, path=None, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(opening.Session, "create", refuse)
    opened = open_session(scan_at(tmp_path / "patient.nii.gz"))
    assert opened.session.path is None
    assert "memory only" in opened.note


def test_in_a_shared_folder_two_scans_of_one_name_are_told_apart(tmp_path: Path) -> None:
    first = scan_at(tmp_path / "a" / "image.nii.gz")
    second = replace(scan_at(tmp_path / "b" / "image.nii.gz"), fingerprint="0123456789")
    sessions = [open_session(scan, folder=tmp_path / "all").session for scan in (first, second)]
    assert sessions[0].path != sessions[1].path
    for session in sessions:
        session.close()


def test_a_scan_without_a_file_has_its_session_in_the_users_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "user_folder", lambda: tmp_path / "user")
    session = open_session(scan_at(None)).session
    assert session.path is not None
    assert session.path.parent == tmp_path / "user"
    session.close()
