from __future__ import annotations

import json
import random
import resource
import shutil
import sqlite3
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

import numpy as np
import pytest

from napari_medmeta.core import Geometry, GeometryMismatchError, MaskArray, MedmetaError, SliceRef, StorageError
from napari_medmeta.session import PaintMode, Session, storage
from napari_medmeta.session.storage import file_uri, seal

Square = Callable[..., MaskArray]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "case 1.medmeta"


@pytest.fixture
def kept(geometry: Geometry, path: Path) -> Iterator[Session]:
    """A session in a file, with a liver."""
    session = Session.create(geometry, fingerprint="a scan", path=path)
    session.add_structure("liver")
    yield session
    session.retry_storage()
    session.close()


def draw(session: Session, number: int) -> None:
    """Paint something that depends on ``number``."""
    mask = np.zeros((6, 7), dtype=bool)
    mask[number % 6, number % 7] = True
    session.paint(SliceRef(0, number % 5), mask, value=number % 3 != 0)


def state_of(session: Session) -> tuple[object, ...]:
    state = session._state
    return (
        session.labels.tobytes(),
        session.status.tobytes(),
        state.structures,
        state.records,
        state.rejected,
        (state.active, state.mode, state.auto_propose, state.generation),
        session._history.done,
        session._history.undone,
        [(e.number, e.sentence, e.parameters) for e in session.events()],
    )


def reopened(session: Session, path: Path) -> Session:
    session.close()
    return Session.open(path, fingerprint="a scan", geometry=session.geometry)


# -- keeping -----------------------------------------------------------------------------------------


def test_a_reopened_session_is_the_same_and_goes_on(kept: Session, path: Path) -> None:
    for number in range(8):
        draw(kept, number)
    kept.undo()
    kept.set_mode(PaintMode.SCRIBBLE)
    kept.auto_propose = False
    with closing(reopened(kept, path)) as again:
        assert state_of(again) == state_of(kept)
        assert again.opening_note == ""
        again.redo()
        kept.redo()
        while again.can_undo:
            again.undo()
        assert not again.labels.any()
        assert not again.structures


def test_a_session_is_opened_again_and_again(kept: Session, path: Path) -> None:
    session = kept
    for number in range(5):
        draw(session, number)
        session = reopened(session, path)
    assert len(list(session.events())) == 6
    session.close()


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        (PureWindowsPath("C:/scans/a b.medmeta"), "file:///C:/scans/a%20b.medmeta"),
        (PureWindowsPath("//server/share/50%.medmeta"), "file:////server/share/50%25.medmeta"),
        (PurePosixPath("/scans/why?#1.medmeta"), "file:///scans/why%3F%231.medmeta"),
    ],
)
def test_a_file_is_named_to_sqlite_without_a_server_in_front(path: PurePath, uri: str) -> None:
    assert file_uri(path) == uri


def test_sqlite_opens_what_lies_behind_four_slashes(tmp_path: Path) -> None:
    # On Windows the two more than usual make a network path; here they are as good as one.
    uri = file_uri(tmp_path / "case").replace("file:///", "file:////", 1)
    with closing(sqlite3.connect(f"{uri}?mode=rwc", uri=True)) as connection:
        connection.execute("CREATE TABLE made (n)")
    assert (tmp_path / "case").is_file()


def test_after_a_checkpoint_only_the_later_events_are_replayed(
    kept: Session, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(130):
        draw(kept, number)
    with closing(sqlite3.connect(reading_copy(kept, path))) as copy:
        (number,) = copy.execute("SELECT number FROM checkpoint").fetchone()
    assert number == 100
    with closing(reopened(kept, path)) as again:
        assert state_of(again) == state_of(kept)
        for _ in range(130):
            again.undo()
        assert not again.labels.any()


def reading_copy(session: Session, path: Path) -> Path:
    """Copy the file as it lies on the disk, with its log."""
    folder = path.parent / "copy"
    folder.mkdir()
    for file in path.parent.glob(f"{path.name}*"):
        shutil.copy(file, folder / file.name)
    return folder / path.name


def test_old_steps_leave_memory_and_can_still_be_undone(kept: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_medmeta.session.history._KEPT_STEPS", 5)
    for number in range(30):
        draw(kept, number)
    assert len(kept._history._steps) <= 5
    while kept.can_undo:
        kept.undo()
    assert not kept.labels.any()


def test_the_file_tells_nothing_but_the_session(geometry: Geometry, path: Path) -> None:
    session = Session.create(geometry, fingerprint="0123abcd", path=path, name="Doe^Jane")
    session.add_structure("liver")
    session.close()
    assert b"Doe" not in path.read_bytes()
    with closing(Session.open(path)) as again:
        assert again.name == "case 1"
        assert again.fingerprint == "0123abcd"


def test_every_commit_is_synced_before_the_verb_returns(kept: Session) -> None:
    connection = kept._journal._connection  # type: ignore[union-attr]
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


# -- refusing ----------------------------------------------------------------------------------------


def test_a_session_of_another_scan_is_refused(kept: Session, path: Path) -> None:
    kept.close()
    with pytest.raises(GeometryMismatchError, match="made on another scan"):
        Session.open(path, fingerprint="another scan")
    with pytest.raises(GeometryMismatchError, match="does not lie on the scan's grid"):
        Session.open(path, geometry=Geometry.from_parts((5, 6, 8)))


def test_a_session_that_is_open_elsewhere_is_refused(kept: Session, path: Path) -> None:
    with pytest.raises(StorageError, match="open in another window"):
        Session.open(path)


def test_an_existing_file_is_never_overwritten(geometry: Geometry, path: Path) -> None:
    path.write_text("mine")
    with pytest.raises(StorageError, match="a file case 1.medmeta already"):
        Session.create(geometry, fingerprint="a scan", path=path)
    assert path.read_text() == "mine"


def test_a_folder_that_is_not_there_is_named(geometry: Geometry, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="Check the folder"):
        Session.create(geometry, fingerprint="a scan", path=tmp_path / "none" / "case.medmeta")


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0", b"\x1f\x8b" + bytes(500)], ids=["empty", "cut", "gz"])
def test_a_file_that_is_no_session_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StorageError, match="not a session file"):
        Session.open(path)
    assert path.read_bytes() == content


def test_a_missing_file_and_a_folder_are_refused(path: Path, tmp_path: Path) -> None:
    for place in (path, tmp_path):
        with pytest.raises(StorageError, match="cannot be read"):
            Session.open(place)
    assert not path.exists()


def test_the_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE event (number INTEGER)")
        other.commit()
    before = path.read_bytes()
    with pytest.raises(StorageError, match="belongs to another program"):
        Session.open(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("PRAGMA user_version=2", "newer version"),
        ("CREATE TRIGGER t AFTER INSERT ON event BEGIN DELETE FROM event; END", "damaged"),
        ("CREATE VIEW v AS SELECT 1", "damaged"),
        ("ALTER TABLE event ADD COLUMN more", "damaged"),
        ("DELETE FROM scan", "damaged"),
        ("UPDATE scan SET shape = '[100000, 100000, 100000]'", "damaged"),
        ("UPDATE scan SET affine = '[[1]]'", "damaged"),
    ],
)
def test_a_file_that_was_tampered_with_is_refused(kept: Session, path: Path, statement: str, words: str) -> None:
    kept.close()
    with closing(sqlite3.connect(path)) as other:
        other.execute(statement)
        other.commit()
    with pytest.raises(StorageError, match=words):
        Session.open(path)


def test_a_scan_larger_than_any_is_refused_before_memory_is_taken(kept: Session, path: Path) -> None:
    kept.close()
    with closing(sqlite3.connect(path)) as other:
        row = other.execute("SELECT fingerprint, shape, affine, program FROM scan").fetchone()
        row = (row[0], "[100000, 100000, 100000]", *row[2:])
        other.execute("UPDATE scan SET shape = ?, seal = ?", (row[1], seal(b"", row, None)))
        other.commit()
    with pytest.raises(MedmetaError, match="claims a scan of 100000 x 100000 x 100000"):
        Session.open(path)


def forge(path: Path, payload: bytes, kind: str = "step", parameters: str = "{}") -> None:
    """Append an event with a right seal, as only someone who wants to do harm would."""
    with closing(sqlite3.connect(path)) as other:
        number, last = other.execute("SELECT number, seal FROM event ORDER BY number DESC LIMIT 1").fetchone()
        fields = (number + 1, 1.0, kind, "paint", "paint", parameters)
        other.execute("INSERT INTO event VALUES (?,?,?,?,?,?,?,?)", (*fields, seal(last, fields, payload), payload))
        other.commit()


def container(header: dict[str, object], *chunks: bytes) -> bytes:
    text = json.dumps({**header, "chunks": [len(c) for c in chunks]}).encode()
    return struct.pack("<I", len(text)) + text + b"".join(chunks)


BOMB = b"z" + zlib.compress(bytes(200_000_000), 9)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff\xff\xff\xff{}",
        container({"patches": [["labels", [0, 0, 0], [1, 6, 7], 0, 0]]}, BOMB),
        container({"patches": [["labels", [0, 0, 0], [10**9, 10**9, 10**9], 0, 0]]}, b"=\0"),
        container({"patches": [["labels", [0, 0, 0], [5, 6, 7], 0, 0]] * 50_000}, b"=\0"),
        container({"patches": [["labels", [0, 0, 0], [1, 6, 7], 0, 9]]}, b"=\0"),
        container({"patches": [["labels", [0, 0, 0], [1, 6, 7], 0, 0]]}, b"=\xff"),
        container({"patches": [["status", [0, 0, 0], [1, 6, 7], 0, 0]]}, b"=\x09"),
        container({"patches": [["voxels", [0, 0, 0], [1, 6, 7], 0, 0]]}, b"=\0"),
        container({"records": [[0, 99, None, None]]}),
        container({"records": [[0, 0, None, [True, [1], "painted", [[5, [0, 0], [999, 999], 0, 0, True]]]]]}, b"=\0"),
        container({"table": [[], [[300, "liver", "#ffffff", False]]]}),
        container({"table": [[], [[1, "", "#ffffff", False]]]}),
        container({"selection": [1, "liver"]}),
        b"\x05\x00\x00\x00" + b"[" * 5,
        struct.pack("<I", 100_000) + b"[" * 100_000,
    ],
    ids=lambda p: f"{len(p)} bytes",
)
def test_an_event_made_to_do_harm_is_refused_without_taking_memory(kept: Session, path: Path, payload: bytes) -> None:
    kept.close()
    forge(path, payload)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(StorageError, match="damaged"):
        Session.open(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kilobytes"


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [("redo", "{}"), ("setting", "{}"), ("setting", '{"value": 7}'), ("note", "[]"), ("note", "{")],
)
def test_an_event_that_cannot_follow_is_refused(kept: Session, path: Path, kind: str, parameters: str) -> None:
    kept.close()
    forge(path, b"", kind, parameters)
    with pytest.raises(StorageError, match="damaged"):
        Session.open(path)


# -- rescuing ----------------------------------------------------------------------------------------


def test_a_truncated_file_gives_back_what_can_be_read_and_says_so(kept: Session, path: Path) -> None:
    rng = np.random.default_rng(1)
    for number in range(80):
        kept.paint(SliceRef(0, number % 5), rng.random((6, 7)) < 0.5, value=number // 5 % 2)
    kept.close()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    with closing(Session.open(path, fingerprint="a scan")) as again:
        events = list(again.events())
        assert 1 <= len(events) < 81
        assert f"{len(events)} changes could be read" in again.opening_note
        assert "kept as case 1.medmeta.damaged" in again.opening_note
        assert [(e.number, e.sentence) for e in events] == [
            (e.number, e.sentence) for e in list(kept.events())[: len(events)]
        ]
        again.rename_structure(1, "hepar")
    assert path.with_name("case 1.medmeta.damaged").read_bytes() == content[: len(content) * 6 // 10]
    with closing(Session.open(path)) as third:
        assert third.opening_note == ""
        assert len(list(third.events())) == len(events) + 1


def test_a_damaged_file_keeps_its_name_where_no_sound_one_can_take_it(
    kept: Session, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        draw(kept, number)
    kept.close()
    cut = path.read_bytes()[: path.stat().st_size * 6 // 10]
    path.write_bytes(cut)
    replace = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if self.name.endswith(".rescued"):
            raise PermissionError(13, "Access is denied")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(StorageError, match="cannot be opened"):
        Session.open(path)
    assert path.read_bytes() == cut
    assert not path.with_name("case 1.medmeta.damaged").exists()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE event SET sentence = 'something else' WHERE number = 6",
        "UPDATE event SET payload = zeroblob(length(payload)) WHERE number = 6",
        "UPDATE event SET time = 'yesterday' WHERE number = 6",
        "DELETE FROM event WHERE number = 6",
    ],
)
def test_a_damaged_event_ends_what_is_read(kept: Session, path: Path, statement: str) -> None:
    for number in range(10):
        draw(kept, number)
        if number == 3:
            labels = kept.labels.copy()
    kept.close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("DELETE FROM checkpoint")
        other.execute(statement)
        other.commit()
    with closing(Session.open(path)) as again:
        assert np.array_equal(again.labels, labels)
        assert "5 changes could be read" in again.opening_note


def test_a_damaged_checkpoint_is_not_needed(kept: Session, path: Path) -> None:
    for number in range(10):
        draw(kept, number)
    kept.close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("UPDATE checkpoint SET payload = zeroblob(50)")
        other.commit()
    with closing(Session.open(path)) as again:
        assert state_of(again) == state_of(kept)


@pytest.mark.slow
def test_500_mutated_files_never_open_as_something_else(kept: Session, path: Path, tmp_path: Path) -> None:
    labels = [kept.labels.copy()]
    for number in range(25):
        draw(kept, number)
        labels.append(kept.labels.copy())
    kept.close()
    content, chance = path.read_bytes(), random.Random(7)
    opened = 0
    for _ in range(500):
        mutated = bytearray(content)
        for _ in range(chance.choice([1, 1, 4, 40])):
            mutated[chance.randrange(len(mutated))] = chance.randrange(256)
        if chance.random() < 0.2:
            del mutated[chance.randrange(len(mutated)) :]
        folder = tmp_path / "mutated"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "case.medmeta").write_bytes(mutated)
        try:
            again = Session.open(folder / "case.medmeta", fingerprint="a scan")
        except MedmetaError:
            continue
        with closing(again):
            events = len(list(again.events()))
            assert np.array_equal(again.labels, labels[events - 1] if events else np.zeros((5, 6, 7)))
            assert events == 26 or again.opening_note
            opened += 1
    assert opened > 50


# -- when the disk fails -----------------------------------------------------------------------------


@contextmanager
def full_disk() -> Iterator[None]:
    """Let nothing be written beyond the first bytes of any file."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_on_a_full_disk_work_goes_on_and_nothing_is_lost(kept: Session, path: Path) -> None:
    told: list[str] = []
    kept.storage_failed.connect(told.append)
    with full_disk():
        for number in range(5):
            draw(kept, number)
        assert len(told) == 5
        assert "full" in told[0]
        assert told[-1].endswith("The last 5 changes are kept in memory and tried again.")
        assert kept.storage_problem == told[-1]
        assert not kept.retry_storage()
        with pytest.raises(StorageError, match="then close the session again"):
            kept.close()
        kept.undo()
    assert kept.retry_storage()
    assert kept.storage_problem == ""
    draw(kept, 9)
    assert len(told) == 6
    with closing(reopened(kept, path)) as again:
        assert state_of(again) == state_of(kept)


def test_the_next_event_takes_the_waiting_ones_along_in_order(kept: Session, path: Path) -> None:
    with full_disk():
        draw(kept, 1)
        draw(kept, 2)
    change = draw_and_tell(kept, 4)
    assert change == ""
    with closing(reopened(kept, path)) as again:
        assert state_of(again) == state_of(kept)


def draw_and_tell(session: Session, number: int) -> str:
    mask = np.zeros((6, 7), dtype=bool)
    mask[number, number] = True
    return session.paint(SliceRef(0, 0), mask, value=1).note


def test_without_permission_the_change_says_so(kept: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    kept._journal._connection.execute("PRAGMA query_only=ON")  # type: ignore[union-attr]
    note = draw_and_tell(kept, 1)
    assert note.startswith("case 1.medmeta may not be written to. Restore the permission")
    assert kept.labels[0, 1, 1] == 1
    assert kept.retry_storage()


def test_a_file_that_disappears_is_reported_and_not_made_anew(kept: Session, path: Path) -> None:
    with full_disk():
        draw(kept, 1)
    moved = path.with_name("moved")
    path.rename(moved)
    log = path.with_name(f"{path.name}-wal")
    log_moved = moved.with_name("moved-wal")
    if log.exists():
        log.rename(log_moved)
    draw(kept, 2)
    assert "cannot be opened" in kept.storage_problem
    assert not path.exists()
    moved.rename(path)
    if log_moved.exists():
        log_moved.rename(log)
    assert kept.retry_storage()


def test_a_commit_that_was_reported_as_failed_is_not_written_twice(
    kept: Session, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = storage.transaction

    @contextmanager
    def forgetful(connection: sqlite3.Connection) -> Iterator[None]:
        with real(connection):
            yield
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(storage, "transaction", forgetful)
        draw(kept, 1)
        assert kept.storage_problem
    draw(kept, 2)
    assert kept.storage_problem == ""
    with closing(reopened(kept, path)) as again:
        assert state_of(again) == state_of(kept)
