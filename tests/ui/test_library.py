"""From one patient to the next: keep, propose from the library, and walk a folder of cases."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QItemSelectionModel
from ui_fakes import SHAPE, InlineRunner, NearestSliceEngine, make_volume

from napari_medmeta import io
from napari_medmeta.core import (
    Box,
    CancelToken,
    Geometry,
    InputError,
    LabelArray,
    Progress,
    Proposal,
    SliceRef,
    Structure,
    Volume,
)
from napari_medmeta.core.library import Expected, KeptSamples, LibraryEntry
from napari_medmeta.core.phantoms import torso_ct
from napari_medmeta.core.proposal import FROM_LIBRARY
from napari_medmeta.session import Session, SliceState
from napari_medmeta.session.library import Library
from napari_medmeta.ui.controller import Controller
from napari_medmeta.ui.library import LibraryDesk, blended
from napari_medmeta.ui.library_dialog import LibraryDialog
from napari_medmeta.ui.scan import scan_of
from napari_medmeta.ui.worker import EngineWorker
from napari_medmeta.ui.worklist import CaseState, Worklist, scans_in


def learnt(engine: Any, volume: Volume, labels: LabelArray, structure: Structure, cancel: CancelToken) -> LibraryEntry:
    n = 8
    samples = KeptSamples(
        features=np.zeros((n, 2), np.float32),
        places=np.zeros((n, 3), np.float32),
        offsets_mm=np.zeros((n, 3), np.float32),
        inside=np.arange(n) < 4,
        ml=np.ones(n, np.float32),
    )
    return LibraryEntry(
        id=f"{structure.name}-{np.count_nonzero(labels == structure.id)}",
        structure=structure.name,
        colour=structure.colour,
        modality=volume.modality,
        spacing_mm=(1.0, 1.0, 5.0),
        day="2026-01-02",
        features="f",
        volume_ml=1.0,
        extent_mm=(1.0, 1.0, 1.0),
        largest_share=1.0,
        samples=samples,
        trust={"shape": 2.0} if structure.name == "Liver" else {},
    )


def recalled(
    engine: Any,
    volume: Volume,
    entries: Mapping[int, Sequence[LibraryEntry]],
    /,
    *,
    generation: int,
    axis: int,
    progress: Progress,
    cancel: CancelToken,
) -> Proposal:
    """Every structure is a bar of its own."""
    labels = np.zeros(volume.geometry.shape, np.uint8)
    for n, structure in enumerate(entries):
        labels[1:4, 4 * n : 4 * n + 3, 5:9] = structure
    whole = Box.whole(labels.shape)
    return Proposal(
        generation=generation,
        box=whole,
        labels=labels,
        confidence=np.full(labels.shape, 0.7, np.float32),
        covered=whole,
        expected_dice=dict.fromkeys(entries, 0.7),
        slice_dice={SliceRef(0, i): 0.7 for i in (1, 2, 3)},
        trust={structure: {FROM_LIBRARY: 1.0} for structure in entries},
    )


def case(library: Library) -> tuple[Controller, LibraryDesk, list[str]]:
    volume = make_volume()
    scan = scan_of(volume)
    session = Session.create(scan.grid.working, fingerprint=scan.fingerprint)
    controller = Controller(session, scan=scan, volume=volume, runner=InlineRunner())
    told: list[str] = []
    controller.told.connect(told.append)
    return controller, LibraryDesk(controller, volume, library, learning=learnt, recalling=recalled), told


def mask() -> np.ndarray:
    found = np.zeros(SHAPE[1:], dtype=bool)
    found[5:10, 6:12] = True
    return found


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "library.medlib")


@pytest.fixture
def full(library: Library) -> Library:
    """A library with a liver and a spleen."""
    controller, desk, _ = case(library)
    for number, name in ((1, "Liver"), (2, "Spleen")):
        controller.session.add_structure(name)
        controller.session.paint(SliceRef(0, number), mask(), value=number)
    assert desk.keep()
    return library


def test_what_is_on_the_scan_is_kept(full: Library) -> None:
    assert full.names() == ("Liver", "Spleen")


def test_an_empty_scan_keeps_nothing_and_says_so(library: Library) -> None:
    controller, desk, told = case(library)
    controller.add_structure("Liver")
    assert not desk.keep()
    assert told[-1].startswith("There is nothing to keep yet")
    assert not library.path.exists()


def test_on_a_new_scan_everything_is_proposed_before_the_first_stroke(full: Library) -> None:
    controller, desk, told = case(full)
    assert desk.propose()
    assert [s.name for s in controller.structures] == ["Liver", "Spleen"]
    assert controller.session.slice_state(SliceRef(0, 2)) in (SliceState.PROPOSED, SliceState.TO_REVIEW)
    assert "Liver (expected Dice 0.70)" in told[-1]
    controller.look_at(SliceRef(0, 2))
    assert "from the library" in controller.hint()


def test_only_the_structures_of_the_table_are_proposed_where_it_has_some(full: Library) -> None:
    controller, desk, _ = case(full)
    controller.add_structure("spleen")
    assert desk.propose()
    assert [s.name for s in controller.structures] == ["spleen"]
    assert set(np.unique(controller.proposed_labels(Box.whole(SHAPE)))) == {0, 1}


def test_a_new_scan_begins_with_the_trust_that_is_kept(full: Library) -> None:
    controller, desk, _ = case(full)
    assert controller.session.support().trust == {}
    assert desk.propose()
    assert controller.session.support().trust == {1: {"shape": 2.0}}
    assert controller.session.proposal is not None


def test_a_structure_that_the_library_does_not_know_keeps_the_usual_trust(full: Library) -> None:
    controller, desk, _ = case(full)
    controller.add_structure("Pancreas")
    controller.add_structure("Spleen")
    assert desk.propose()
    assert controller.session.support().trust == {}


def test_nothing_known_is_said(full: Library) -> None:
    controller, desk, told = case(full)
    controller.add_structure("Pancreas")
    assert not desk.propose()
    assert "none of these structures" in told[-1]
    assert not desk.propose(quiet=True)


def test_a_recalled_proposal_is_accepted_rejected_and_undone_like_any(full: Library) -> None:
    controller, desk, _ = case(full)
    controller.set_auto_propose(False)
    desk.propose()
    controller.look_at(SliceRef(0, 2))
    assert controller.accept_slice()
    assert controller.labels[2].any()
    controller.undo()
    assert not controller.labels.any()
    assert controller.reject_slice()
    assert controller.session.slice_state(SliceRef(0, 2)) is SliceState.REJECTED


def test_what_has_no_example_yet_stays_proposed_after_the_first_stroke(full: Library) -> None:
    controller, desk, _ = case(full)
    desk.propose()
    controller.session.paint(SliceRef(0, 5), mask(), value=1)
    assert controller.session.proposal is not None
    assert controller.session.proposal.generation == controller.session.generation
    shown = controller.proposed_labels(Box.whole(SHAPE))
    assert (shown == 2).any()


def test_a_late_answer_is_dropped_with_a_word(full: Library) -> None:
    controller, desk, told = case(full)

    def painted_meanwhile(*arguments: Any, **options: Any) -> Proposal:
        controller.session.paint(SliceRef(0, 5), mask(), value=1)
        return recalled(*arguments, **options)

    desk._recalling = painted_meanwhile
    desk.propose()
    assert told[-1].startswith("Something was painted meanwhile")


def test_a_damaged_library_is_told_not_raised(full: Library) -> None:
    full.path.write_bytes(b"no library")
    controller, desk, _ = case(full)
    errors: list[Any] = []
    controller.failed.connect(errors.append)
    assert not desk.propose()
    assert "not a library" in errors[0].message


def test_two_proposals_are_blended_for_open_structures_only() -> None:
    whole = Box.whole((1, 1, 4))
    sure = np.full((1, 1, 4), 0.9, np.float32)
    new = Proposal(3, whole, np.array([[[1, 0, 0, 0]]], np.uint8), sure, whole)
    old = Proposal(2, whole, np.array([[[2, 2, 1, 0]]], np.uint8), sure, whole, expected_dice={1: 0.4, 2: 0.5})
    both = blended(new, old, frozenset({2}))
    assert both.labels.tolist() == [[[1, 2, 0, 0]]]
    assert dict(both.expected_dice) == {2: 0.5}
    assert both.generation == 3


def test_the_list_renames_judges_exports_and_removes(full: Library, qtbot: Any, tmp_path: Path) -> None:
    dialog = LibraryDialog(full, usefulness=lambda entry, others: Expected(0.5, 1))
    qtbot.addWidget(dialog)
    assert dialog.table.rowCount() == 2
    dialog.table.item(0, 0).setText("Left lobe")
    assert full.names() == ("Left lobe", "Spleen")
    dialog.judge()
    qtbot.waitUntil(lambda: dialog.message.text() == "Compared.")
    assert dialog.table.item(1, 4).text() == "Dice 0.50 from 1"
    # By the model: selectRow asks which modifier keys are down, and other tests in this process press some.
    model = dialog.table.selectionModel()
    flags = QItemSelectionModel.SelectionFlag
    model.select(dialog.table.model().index(1, 0), flags.ClearAndSelect | flags.Rows)
    dialog.export(tmp_path / "spleen.medlib")
    assert Library(tmp_path / "spleen.medlib").names() == ("Spleen",)
    dialog.remove()
    assert full.names() == ("Left lobe",)
    dialog.take_over(tmp_path / "spleen.medlib")
    assert full.names() == ("Left lobe", "Spleen")
    dialog.take_over(tmp_path / "none.medlib")
    assert "no library file" in dialog.message.text()


def test_entries_are_compared_in_the_background_and_that_can_be_stopped(full: Library, qtbot: Any) -> None:
    gate, threads = threading.Event(), []

    def slowly(entry: LibraryEntry, others: tuple[LibraryEntry, ...]) -> Expected:
        threads.append(threading.current_thread().name)
        gate.wait(10)
        return Expected(0.5, 1)

    dialog = LibraryDialog(full, usefulness=slowly)
    qtbot.addWidget(dialog)
    dialog.judge()
    # The window goes on: this very line runs while the first entry is being compared.
    qtbot.waitUntil(lambda: len(threads) == 1)
    assert dialog.judge_button.text() == "Stop comparing"
    assert dialog.message.text() == "Comparing 1 of 2 …"
    dialog.judge()
    assert dialog.message.text() == "Comparing was stopped."
    gate.set()
    dialog.judge()
    qtbot.waitUntil(lambda: dialog.message.text() == "Compared.")
    # What the stopped comparison still found was dropped, and its second entry never begun.
    assert len(threads) == 3
    assert threading.current_thread().name not in threads
    dialog.done(0)


def test_entries_that_cannot_be_compared_are_told(full: Library, qtbot: Any) -> None:
    def refuse(entry: LibraryEntry, others: tuple[LibraryEntry, ...]) -> Expected:
        raise InputError("These entries cannot be compared")

    dialog = LibraryDialog(full, usefulness=refuse)
    qtbot.addWidget(dialog)
    dialog.judge()
    qtbot.waitUntil(lambda: "cannot be compared" in dialog.message.text())
    assert dialog.judge_button.text() == "Usefulness"


def test_renaming_while_entries_are_compared_drops_what_is_out_of_date(full: Library, qtbot: Any) -> None:
    gate = threading.Event()
    dialog = LibraryDialog(full, usefulness=lambda entry, others: Expected(0.5, int(gate.wait(10))))
    qtbot.addWidget(dialog)
    dialog.judge()
    dialog.table.item(0, 0).setText("Left lobe")
    assert not dialog.judging.running
    gate.set()
    qtbot.wait(50)
    assert dialog.table.item(0, 4).text() == ""


def test_a_proposal_from_the_library_shows_progress_and_can_be_stopped(full: Library, qtbot: Any) -> None:
    volume = make_volume()
    scan = scan_of(volume)
    session = Session.create(scan.grid.working, fingerprint=scan.fingerprint)
    controller = Controller(session, scan=scan, volume=volume, runner=EngineWorker(NearestSliceEngine))
    threads: list[str] = []

    def slowly(*arguments: Any, progress: Progress, cancel: CancelToken, **options: Any) -> Proposal:
        threads.append(threading.current_thread().name)
        progress(0.5, "recalling Liver")
        while not cancel.cancelled:
            time.sleep(0.01)
        cancel.raise_if_cancelled()
        raise AssertionError

    desk = LibraryDesk(controller, volume, full, learning=learnt, recalling=slowly)
    assert desk.propose()
    qtbot.waitUntil(lambda: controller.work.stage == "recalling Liver")
    assert controller.work.fraction == 0.5
    controller.cancel()
    qtbot.waitUntil(lambda: not controller.work.busy)
    assert session.proposal is None
    # A stroke stops it as well, and its own proposal comes.
    assert desk.propose()
    qtbot.waitUntil(lambda: len(threads) == 2)
    session.paint(SliceRef(0, 2), mask(), value=1)
    qtbot.waitUntil(lambda: session.proposal is not None)
    assert threading.current_thread().name not in threads
    desk.close()
    controller.close()


def test_the_list_says_before_the_click_what_is_exported(full: Library, qtbot: Any, tmp_path: Path) -> None:
    dialog = LibraryDialog(full, usefulness=lambda entry, others: Expected(0.5, 1))
    qtbot.addWidget(dialog)
    assert dialog.export_button.text() == "Export all 2 …"
    assert not dialog.remove_button.isEnabled()
    model = dialog.table.selectionModel()
    flags = QItemSelectionModel.SelectionFlag
    model.select(dialog.table.model().index(1, 0), flags.ClearAndSelect | flags.Rows)
    assert dialog.export_button.text() == "Export 1 chosen …"
    assert dialog.remove_button.isEnabled()
    dialog.export(tmp_path / "one.medlib")
    assert dialog.message.text() == "1 chosen exported as one.medlib."
    dialog.table.clearSelection()
    dialog.export(tmp_path / "all.medlib")
    assert dialog.message.text() == "All 2 exported as all.medlib."
    assert len(Library(tmp_path / "all.medlib").names()) == 2


@pytest.fixture
def folder(tmp_path: Path, write_ct_series: Callable[..., Path]) -> Path:
    """Three cases, one of them a DICOM series, and a label file."""
    made = tmp_path / "cases"
    made.mkdir()
    grid = Geometry.from_parts(SHAPE, spacing_mm=(5.0, 1.0, 1.0))
    for number, name in enumerate(("a.nii.gz", "b.nii.gz")):
        array = np.random.default_rng(number).normal(100, 20, SHAPE).astype(np.float32)
        io.write_image(made / name, array, grid)
    io.write_image(made / "a_label.nii.gz", np.zeros(SHAPE, np.uint8), grid)
    write_ct_series(made / "Doe_Jane", np.random.default_rng(0).integers(0, 40, SHAPE))
    return made


def test_a_folders_scans_are_found_and_its_labels_are_not(folder: Path) -> None:
    assert [p.name for p in scans_in(folder)] == ["a.nii.gz", "b.nii.gz", "Doe_Jane"]


def test_a_folder_without_scans_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no scan"):
        scans_in(tmp_path)


def test_the_worklist_remembers_its_states_and_goes_round(folder: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    first, second, third = Worklist(folder, kept_in=kept).scans
    worklist = Worklist(folder, kept_in=kept)
    assert worklist.next_after(None) == first
    worklist.mark(first, CaseState.FINISHED)
    worklist.mark(first, CaseState.IN_PROGRESS)
    worklist.mark(second, CaseState.IN_PROGRESS)
    again = Worklist(folder, kept_in=kept)
    states = [again.state(s) for s in again.scans]
    assert states == [CaseState.FINISHED, CaseState.IN_PROGRESS, CaseState.NOT_BEGUN]
    assert again.next_after(second) == third
    assert again.next_after(third) == second
    assert again.sentence(second) == "Case 2 of 3: 1 finished, 1 in progress, 1 not begun"


def test_when_all_others_are_finished_there_is_no_next(folder: Path, tmp_path: Path) -> None:
    worklist = Worklist(folder, kept_in=tmp_path / "kept")
    for scan in worklist.scans:
        worklist.mark(scan, CaseState.FINISHED)
    assert worklist.next_after(worklist.scans[0]) is None


def test_the_worklist_names_no_patient_and_a_damaged_one_begins_anew(folder: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    worklist = Worklist(folder, kept_in=kept)
    worklist.mark(worklist.scans[2], CaseState.FINISHED)
    (file,) = kept.iterdir()
    assert b"Doe" not in file.read_bytes()
    assert "Doe" not in file.name
    file.write_bytes(b"{")
    assert Worklist(folder, kept_in=kept).state(worklist.scans[2]) is CaseState.NOT_BEGUN


def test_the_next_case_comes_with_structures_and_a_proposal(
    viewer: Any, panel_only: Any, folder: Path, tmp_path: Path, qtbot: Any
) -> None:
    section = panel_only.library
    section.learning, section.recalling = learnt, recalled
    assert section.open_folder(folder)
    controller = panel_only.case.controller
    controller.session.add_structure("Liver", colour="#123456")
    controller.session.paint(SliceRef(0, 2), mask(), value=1)
    section.keep()
    qtbot.waitUntil(lambda: section.library.names() == ("Liver",), timeout=10_000)
    assert controller.save(tmp_path / "out.nii.gz", with_proposals=False)
    section.saved()
    assert section.next_case()
    after = panel_only.case.controller
    assert after is not controller
    assert [(s.name, s.colour) for s in after.structures] == [("Liver", "#123456")]
    qtbot.waitUntil(after.open_proposals, timeout=10_000)
    assert section.worklist.sentence(section._scan) == "Case 2 of 3: 1 finished, 1 in progress, 1 not begun"
    panel_only.case.layers.go_to(SliceRef(0, 2))
    assert after.accept_slice()
    assert after.labels[2].any()
    assert len([layer for layer in viewer.layers if type(layer).__name__ == "Image"]) == 1


@pytest.mark.slow
def test_the_real_engine_goes_from_one_patient_to_the_next(
    viewer: Any, make_panel: Callable[..., Any], tmp_path: Path, qtbot: Any
) -> None:
    engine = pytest.importorskip("napari_medmeta.engine")
    folder = tmp_path / "cases"
    folder.mkdir()
    truths = []
    for seed in (0, 2):
        phantom = torso_ct(shape=(24, 56, 56), seed=seed)
        io.write_image(folder / f"{seed}.nii.gz", phantom.volume.array, phantom.volume.geometry)
        truths.append(phantom.volume.geometry.reoriented().labels_to_working(phantom.labels) == 1)
    panel = make_panel(viewer, make_engine=lambda: engine.Segmenter(device="cpu"))
    panel.library.open_folder(folder)
    controller = panel.case.controller
    controller.set_auto_propose(False)
    controller.use_labels(truths[0].astype(np.uint8), names={1: "Liver"})
    panel.library.keep()
    qtbot.waitUntil(lambda: panel.library.library.names() == ("Liver",), timeout=60_000)
    panel.library.next_case()
    after = panel.case.controller
    qtbot.waitUntil(lambda: after.session.proposal is not None, timeout=60_000)
    found = after.proposed_labels(Box.whole(after.shape)) == 1
    assert 2 * (found & truths[1]).sum() / (found.sum() + truths[1].sum()) > 0.6
    file = panel.library.library.path
    data = b"".join(p.read_bytes() for p in file.parent.glob(f"{file.name}*"))
    plane = np.asarray(panel.case.image.data)[12]
    assert all(row.tobytes() not in data for row in plane)
    assert truths[0][12].any()
    assert truths[0][12].astype(np.uint8).tobytes() not in data


def test_the_next_case_fills_the_window_and_begins_in_its_middle(
    viewer: Any, panel_only: Any, folder: Path, qtbot: Any
) -> None:
    section = panel_only.library
    section.open_folder(folder)
    case = panel_only.case
    case.layers.go_to(SliceRef(0, case.controller.shape[0] - 1))
    viewer.reset_view()
    camera = viewer.scene.camera
    fitted, centre = camera.zoom, camera.center
    camera.zoom, camera.center = 10 * fitted, (0.0, 500.0, 500.0)
    assert section.next_case()
    after = panel_only.case
    assert after.layers.current() == SliceRef(0, after.controller.shape[0] // 2)
    assert camera.zoom == pytest.approx(fitted)
    assert camera.center[1:] == pytest.approx(centre[1:])


def test_a_case_that_cannot_be_opened_is_passed_by(panel_only: Any, folder: Path) -> None:
    section = panel_only.library
    section.open_folder(folder)
    _, broken, third = section.worklist.scans
    (broken if broken.is_file() else next(broken.iterdir())).write_bytes(b"no scan")
    assert not section.next_case()
    assert "left out for now" in panel_only.message()
    assert section.next_case()
    assert panel_only.case.controller.scan.source.resolve() == third
