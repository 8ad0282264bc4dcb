"""The example library: what is kept comes back, nothing else is in it, and damage is told."""

from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

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
    others = [f.name for f in fields(LibraryEntry) if f.name != "samples"]
    assert [getattr(found, name) for name in others] == [getattr(kept, name) for name in others]


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


def test_windows_that_begin_the_library_at_once_keep_what_each_adds(tmp_path: Path) -> None:
    for attempt in range(10):
        path, together = tmp_path / f"{attempt}.medlib", threading.Barrier(4, timeout=20)

        def keep(number: int, path: Path = path, together: threading.Barrier = together) -> int:
            together.wait()
            return Library(path).add([entry(number)])

        with ThreadPoolExecutor(4) as windows:
            assert list(windows.map(keep, range(4))) == [1, 1, 1, 1]
        assert {e.id for e in Library(path).entries()} == {entry(n).id for n in range(4)}


def test_an_empty_file_is_a_library_that_was_not_begun_yet(tmp_path: Path) -> None:
    path = tmp_path / "begun.medlib"
    path.touch()
    library = Library(path)
    assert library.entries() == ()
    assert path.read_bytes() == b""
    assert library.add([entry(1)]) == 1
    assert [e.id for e in library.entries()] == [entry(1).id]


def test_an_empty_file_is_nothing_to_take_over(library: Library, tmp_path: Path) -> None:
    empty = tmp_path / "empty.medlib"
    empty.touch()
    with pytest.raises(StorageError, match="not a library"):
        library.import_from(empty)


def test_a_damaged_library_is_let_go_of(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Watched] = []
    real = sqlite3.connect

    def connect(path: Path, **options: Any) -> Watched:
        made.append(real(path, **options, factory=Watched))
        return made[-1]

    data = library.path.read_bytes()
    # Page size, journal versions and the rest of the header stand between the magic text and the numbers that are ours.
    library.path.write_bytes(data[:16] + bytes(44) + data[60:])
    monkeypatch.setattr(sqlite3, "connect", connect)
    with pytest.raises(StorageError, match="damaged"):
        library.entries()
    assert [connection.let_go for connection in made] == [True]


class Watched(sqlite3.Connection):
    let_go = False

    def close(self) -> None:
        self.let_go = True
        super().close()


@pytest.mark.parametrize("content", [b"hello", b"SQLite format 3\0" + bytes(200)])
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
