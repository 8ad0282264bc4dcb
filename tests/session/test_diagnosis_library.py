"""The library of cases: what is kept comes back, nothing else is in it, and damage is told."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from napari_medmeta.core import InputError, Modality, StorageError
from napari_medmeta.core.diagnosis import Feature, MeasuredCase, Quantity
from napari_medmeta.session.diagnosis_library import CaseLibrary, new_case
from napari_medmeta.session.library import Library

RATIO = Feature(Quantity.VOLUME, "left ventricle", "end-systole", "left ventricle", "end-diastole")


def measured(value: float = 0.25) -> MeasuredCase:
    return MeasuredCase(Modality.MR, {RATIO: -value, Feature(Quantity.BRIGHTNESS, "Ärgernis"): 1.5})


@pytest.fixture
def library(tmp_path: Path) -> CaseLibrary:
    made = CaseLibrary(tmp_path / "cases.medcases")
    made.add([new_case("normal", measured()), new_case("dilated", measured(0.1)), new_case("Normal", measured(0.3))])
    return made


def test_what_is_kept_comes_back(library: CaseLibrary) -> None:
    first = CaseLibrary(library.path).cases()[0]
    assert first.finding == "normal"
    assert first.measured.modality is Modality.MR
    assert dict(first.measured.values) == dict(measured().values)


def test_a_library_that_was_never_written_is_empty_and_leaves_no_file(tmp_path: Path) -> None:
    library = CaseLibrary(tmp_path / "none.medcases")
    assert library.cases() == library.findings() == ()
    assert library.remove(["x"]) == 0
    assert list(tmp_path.iterdir()) == []


def test_findings_are_listed_once_but_for_case(library: CaseLibrary) -> None:
    assert library.findings() == ("normal", "dilated")


def test_a_case_gets_another_finding(library: CaseLibrary) -> None:
    case = library.cases()[1]
    library.rename(case.id, "  dilated   heart ")
    assert library.cases()[1].finding == "dilated heart"
    with pytest.raises(InputError, match="no name"):
        library.rename(case.id, "")
    with pytest.raises(InputError, match="not in the library"):
        library.rename("gone", "x")


def test_a_removed_case_leaves_no_bytes_behind(library: CaseLibrary) -> None:
    secret = new_case("unmistakable finding", measured())
    library.add([secret])
    assert library.remove([secret.id, "unknown"]) == 1
    assert b"unmistakable" not in library.path.read_bytes()
    assert len(library.cases()) == 3


def test_export_and_import_carry_cases_once(library: CaseLibrary, tmp_path: Path) -> None:
    other = CaseLibrary(tmp_path / "other" / "cases.medcases")
    file = library.export(tmp_path / "out.medcases", [library.cases()[0].id])
    assert (other.import_from(file), other.import_from(file)) == (1, 0)
    assert other.cases()[0].id == library.cases()[0].id
    with pytest.raises(StorageError, match="library itself"):
        library.export(library.path)
    with pytest.raises(InputError, match="nothing to export"):
        CaseLibrary(tmp_path / "empty.medcases").export(tmp_path / "x.medcases")
    with pytest.raises(StorageError, match="no library of cases"):
        library.import_from(tmp_path / "missing.medcases")


def test_a_file_of_another_kind_is_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "notes.medcases"
    text.write_text("not a database")
    with pytest.raises(StorageError, match="not a library of cases"):
        CaseLibrary(text).cases()
    assert text.read_text() == "not a database"
    structures = tmp_path / "library.medlib"
    with Library(structures)._open():
        pass
    with pytest.raises(StorageError, match="not a library of cases"):
        CaseLibrary(structures).cases()


def test_a_changed_case_is_noticed(library: CaseLibrary) -> None:
    with closing(sqlite3.connect(library.path)) as connection, connection:
        connection.execute("UPDATE known SET finding = 'other' WHERE finding = 'dilated'")
    with pytest.raises(StorageError, match="damaged"):
        library.cases()


def test_a_cut_off_file_is_told_to_be_damaged(library: CaseLibrary) -> None:
    whole = library.path.read_bytes()
    library.path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StorageError, match="damaged"):
        library.cases()


def test_a_library_of_a_newer_program_is_not_touched(library: CaseLibrary) -> None:
    # Closing writes it from the log into the file.
    with closing(sqlite3.connect(library.path)) as connection:
        connection.execute("PRAGMA user_version=9")
    with pytest.raises(StorageError, match="newer version"):
        library.cases()
