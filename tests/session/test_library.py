"""The example library: what is kept comes back, nothing else is in it, and damage is told."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_medmeta.core import InputError, Modality, StorageError
from napari_medmeta.core.library import KeptSamples, LibraryEntry, same_name
from napari_medmeta.session.library import Library


def entry(number: int = 1, name: str = "Liver") -> LibraryEntry:
    n = 40
    draw = np.random.default_rng(number)
    samples = KeptSamples(
        features=draw.normal(size=(n, 5)).astype(np.float16).astype(np.float32),
        places=draw.random((n, 3)).astype(np.float32),
        offsets_mm=draw.normal(size=(n, 3)).astype(np.float32),
        inside=np.arange(n) % 3 == 0,
        ml=np.full(n, 0.5, np.float32),
    )
    return LibraryEntry(
        id=f"{number:032x}",
        structure=name,
        colour="#aa0000",
        modality=Modality.CT,
        spacing_mm=(1.0, 1.0, 5.0),
        day="2026-01-02",
        features="f",
        volume_ml=1200.0,
        extent_mm=(200.0, 150.0, 120.0),
        largest_share=1.0,
        samples=samples,
    )


@pytest.fixture
def library(tmp_path: Path) -> Library:
    made = Library(tmp_path / "library.medlib")
    made.add([entry(1), entry(2), entry(3, "Spleen")])
    return made


def test_what_is_kept_comes_back(library: Library) -> None:
    found, kept = Library(library.path).entries()[0], entry(1)
    for name in ("features", "places", "offsets_mm", "inside", "ml"):
        assert np.array_equal(getattr(found.samples, name), getattr(kept.samples, name))
    assert replace(found, samples=kept.samples) == pytest.approx(kept) or found.extent_mm == kept.extent_mm
    assert (found.modality, found.volume_ml, found.day) == (kept.modality, kept.volume_ml, kept.day)


def test_trust_is_kept_exported_and_imported(tmp_path: Path) -> None:
    trust = {"shape": 0.5, "trees": 2.25}
    library = Library(tmp_path / "one.medlib")
    library.add([replace(entry(1), trust=trust)])
    library.rename(entry(1).id, "Left lobe")
    other = Library(tmp_path / "other.medlib")
    other.import_from(library.export(tmp_path / "carried.medlib"))
    assert [dict(e.trust) for e in other.entries()] == [trust]


def test_a_library_from_before_trust_was_kept_still_opens(library: Library) -> None:
    with sqlite3.connect(library.path) as connection:
        texts = [about for (about,) in connection.execute("SELECT about FROM entry")]
    connection.close()
    assert not any("trust" in text for text in texts), "written as an earlier version did"
    assert [dict(e.trust) for e in library.entries()] == [{}, {}, {}]


def test_trust_that_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be"):
        replace(entry(), trust={"shape": -1.0})


def test_a_library_that_was_never_written_is_empty_and_leaves_no_file(tmp_path: Path) -> None:
    library = Library(tmp_path / "none.medlib")
    assert library.entries() == library.names() == ()
    assert library.remove(["x"]) == 0
    assert list(tmp_path.iterdir()) == []


def test_entries_are_found_by_name_but_for_case_and_spaces(library: Library) -> None:
    assert len(library.entries(" liver ")) == 2
    assert library.entries("kidney") == ()
    assert library.names() == ("Liver", "Spleen")
    assert same_name("left  Kidney", "Left kidney")


def test_keeping_the_same_entry_twice_changes_nothing(library: Library) -> None:
    assert library.add([entry(1)]) == 0
    assert len(library.entries()) == 3


def test_an_entry_can_be_renamed(library: Library) -> None:
    library.rename(entry(1).id, "Left lobe")
    assert [e.structure for e in library.entries()] == ["Left lobe", "Liver", "Spleen"]


def test_no_name_and_an_unknown_entry_are_refused(library: Library) -> None:
    with pytest.raises(InputError, match="needs a name"):
        library.rename(entry(1).id, " ")
    with pytest.raises(InputError, match="not in the library"):
        library.rename("unknown", "Liver")


def test_a_removed_entry_leaves_no_byte_behind(library: Library) -> None:
    places = entry(2).samples.places.tobytes()
    assert places in every_byte(library.path)
    assert library.remove([entry(2).id]) == 1
    assert places not in every_byte(library.path)
    assert [e.id for e in library.entries()] == [entry(1).id, entry(3).id]


def every_byte(path: Path) -> bytes:
    return b"".join(p.read_bytes() for p in path.parent.glob(f"{path.name}*"))


def test_an_export_is_one_file_that_another_library_takes_over(library: Library, tmp_path: Path) -> None:
    folder = tmp_path / "carried"
    folder.mkdir()
    file = library.export(folder / "liver.medlib", [e.id for e in library.entries("Liver")])
    other = Library(tmp_path / "other.medlib")
    assert other.import_from(file) == 2
    assert other.import_from(file) == 0
    assert np.array_equal(other.entries()[0].samples.features, entry(1).samples.features)
    assert [p.name for p in folder.iterdir() if not p.name.endswith(("-wal", "-shm"))] == ["liver.medlib"]


def test_an_export_of_nothing_or_onto_itself_is_refused(library: Library, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to export"):
        library.export(tmp_path / "x.medlib", ["unknown"])
    with pytest.raises(StorageError, match="library itself"):
        library.export(library.path)


def test_two_windows_can_use_one_library(library: Library) -> None:
    Library(library.path).add([entry(4)])
    assert len(library.entries()) == 4


@pytest.mark.parametrize("content", [b"", b"hello", b"SQLite format 3\0" + bytes(200)])
def test_other_files_are_refused_and_stay_as_they_are(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.medlib"
    path.write_bytes(content)
    with pytest.raises(StorageError, match="not a library"):
        Library(path).add([entry()])
    assert path.read_bytes() == content


def test_a_newer_library_is_refused(library: Library) -> None:
    with sqlite3.connect(library.path) as connection:
        connection.execute("PRAGMA user_version=2")
    connection.close()
    with pytest.raises(StorageError, match="newer version"):
        library.entries()


@pytest.mark.parametrize("column", ["structure", "about", "samples"])
def test_a_changed_entry_is_noticed(library: Library, column: str) -> None:
    with sqlite3.connect(library.path) as connection:
        connection.execute(f"UPDATE entry SET {column} = replace({column}, '1', '2') || '2'")
    connection.close()
    with pytest.raises(StorageError, match="damaged"):
        library.entries()


def test_a_cut_off_library_is_noticed(library: Library) -> None:
    data = library.path.read_bytes()
    library.path.write_bytes(data[: len(data) // 2])
    with pytest.raises(StorageError):
        library.entries()


def test_samples_that_do_not_fit_are_refused() -> None:
    kept = entry().samples
    with pytest.raises(InputError, match="fit"):
        replace(kept, places=kept.places[:-1])
    with pytest.raises(InputError, match="cannot be"):
        replace(kept, ml=np.full(40, np.nan, np.float32))
    with pytest.raises(InputError, match="surroundings"):
        replace(kept, inside=np.ones(40, bool))
