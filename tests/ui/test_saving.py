"""Files are written in the background, all of them, as the labels were when saving was wanted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtWidgets import QPushButton
from ui_fakes import SHAPE

from napari_medmeta import io
from napari_medmeta.core import MedmetaError, SliceRef
from napari_medmeta.ui import panel as panel_module
from napari_medmeta.ui import saving
from napari_medmeta.ui.dialogs import SaveAnswer
from napari_medmeta.ui.saving import SaveEnd, Saver

WAIT_S = 20.0


@dataclass(eq=False)
class FakeJob:
    """Writes when it is let; notes on which thread."""

    path: Path
    gate: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None
    thread: str = ""

    def write(self) -> Path:
        self.thread = threading.current_thread().name
        assert self.gate.wait(WAIT_S)
        if self.error is not None:
            raise self.error
        self.path.write_text("written")
        return self.path


@pytest.fixture
def saver(qtbot: Any) -> Iterator[Saver]:
    made = Saver()
    yield made
    made.close()


def heard(saver: Saver) -> list[SaveEnd]:
    ends: list[SaveEnd] = []
    saver.ended.connect(ends.append)
    return ends


def open_job(path: Path, error: Exception | None = None) -> FakeJob:
    job = FakeJob(path, error=error)
    job.gate.set()
    return job


def test_the_window_goes_on_while_a_file_is_written(saver: Saver, qtbot: Any, tmp_path: Path) -> None:
    ends, job = heard(saver), FakeJob(tmp_path / "a")
    saver.save(job)
    # The event loop turns while the job cannot end.
    qtbot.wait(50)
    assert saver.running == 1
    assert not ends
    job.gate.set()
    qtbot.waitUntil(lambda: len(ends) == 1)
    assert ends[0].written == tmp_path / "a"
    assert job.thread != threading.current_thread().name
    assert saver.running == 0


def test_two_files_wanted_in_a_row_are_both_written_in_order(saver: Saver, qtbot: Any, tmp_path: Path) -> None:
    ends, first, second = heard(saver), FakeJob(tmp_path / "a"), open_job(tmp_path / "b")
    saver.save(first)
    saver.save(second)
    assert saver.running == 2
    first.gate.set()
    qtbot.waitUntil(lambda: len(ends) == 2)
    assert [end.written for end in ends] == [tmp_path / "a", tmp_path / "b"]


def test_an_error_in_words_arrives_as_it_is(saver: Saver, qtbot: Any, tmp_path: Path) -> None:
    ends = heard(saver)
    saver.save(open_job(tmp_path / "a", MedmetaError("The disk is full")))
    qtbot.waitUntil(lambda: len(ends) == 1)
    assert ends[0].written is None
    assert "The disk is full" in str(ends[0].error)


def test_an_unforeseen_error_becomes_a_sentence_and_the_next_file_is_written(
    saver: Saver, qtbot: Any, tmp_path: Path
) -> None:
    ends = heard(saver)
    saver.save(open_job(tmp_path / "a", ZeroDivisionError()))
    saver.save(open_job(tmp_path / "b"))
    qtbot.waitUntil(lambda: len(ends) == 2)
    assert "a could not be saved" in str(ends[0].error)
    assert ends[1].written == tmp_path / "b"


def test_closing_waits_for_what_is_written_and_tells_how_it_ended(qtbot: Any, tmp_path: Path) -> None:
    saver, job = Saver(), FakeJob(tmp_path / "a")
    ends = heard(saver)
    saver.save(job)
    threading.Timer(0.1, job.gate.set).start()
    saver.close()
    assert (tmp_path / "a").exists()
    assert [end.written for end in ends] == [tmp_path / "a"]


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A disk that writes only once the event is set."""
    gate, write = threading.Event(), io.save_labels

    def save_labels(*arguments: Any, **options: Any) -> Path:
        assert gate.wait(WAIT_S)
        return write(*arguments, **options)

    monkeypatch.setattr(saving.io, "save_labels", save_labels)
    yield gate
    gate.set()


def answer_with(monkeypatch: pytest.MonkeyPatch, *paths: Path) -> None:
    answers = iter(paths)

    def ask(scan: Any, *, open_proposals: bool, parent: Any) -> SaveAnswer:
        return SaveAnswer(next(answers), with_proposals=False)

    monkeypatch.setattr(panel_module, "ask_save", ask)


def paint(panel: Any, index: int) -> None:
    mask = np.zeros(SHAPE[1:], dtype=bool)
    mask[4:9, 4:10] = True
    panel.case.controller.session.paint(SliceRef(0, index), mask, value=1)


def voxels(path: Path) -> int:
    return int(np.count_nonzero(io.read_labels(path)[0]))


@pytest.fixture
def quiet_panel(panel: Any) -> Any:
    """The panel with one painted slice, and no proposal on its way."""
    panel.case.controller.set_auto_propose(False)
    paint(panel, 2)
    return panel


def test_what_is_painted_after_the_click_is_not_in_the_file(
    quiet_panel: Any, slow_disk: threading.Event, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_with(monkeypatch, tmp_path / "first.nrrd", tmp_path / "second.nrrd")
    quiet_panel.save()
    assert quiet_panel.message() == "Saving first.nrrd …"
    paint(quiet_panel, 3)
    quiet_panel.save()
    slow_disk.set()
    qtbot.waitUntil(lambda: quiet_panel.saver.running == 0)
    assert (voxels(tmp_path / "first.nrrd"), voxels(tmp_path / "second.nrrd")) == (30, 60)
    assert "Saved as second.nrrd" in quiet_panel.message()


def button_texts(panel: Any) -> list[str]:
    return [button.text() for button in panel.body.save_box.findChildren(QPushButton)]


def test_the_button_says_that_a_file_is_being_written(
    quiet_panel: Any, slow_disk: threading.Event, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_with(monkeypatch, tmp_path / "a.nrrd", tmp_path / "b.nrrd")
    before = button_texts(quiet_panel)
    quiet_panel.save()
    assert "Saving …" in button_texts(quiet_panel)
    quiet_panel.save()
    assert "Saving (2 files) …" in button_texts(quiet_panel)
    slow_disk.set()
    qtbot.waitUntil(lambda: quiet_panel.saver.running == 0)
    assert button_texts(quiet_panel) == before


def test_a_place_that_cannot_be_written_is_said_in_the_panel(
    quiet_panel: Any, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_with(monkeypatch, tmp_path / "no" / "folder" / "out.nii.gz")
    quiet_panel.save()
    qtbot.waitUntil(lambda: quiet_panel.saver.running == 0)
    assert "out.nii.gz" in quiet_panel.message() or "folder" in quiet_panel.message()
    assert "Saved" not in quiet_panel.message()


@pytest.mark.parametrize("leave", ["close_case", "release"])
def test_a_closed_scan_is_still_written(
    leave: str,
    quiet_panel: Any,
    slow_disk: threading.Event,
    qtbot: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer_with(monkeypatch, tmp_path / "out.nrrd")
    quiet_panel.save()
    threading.Timer(0.1, slow_disk.set).start()
    go: Callable[[], None] = getattr(quiet_panel, leave)
    go()
    qtbot.waitUntil(lambda: quiet_panel.saver.running == 0)
    assert voxels(tmp_path / "out.nrrd") == 30
