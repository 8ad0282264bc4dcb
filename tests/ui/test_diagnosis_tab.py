"""The tab of few-shot diagnosis: measure, compare, keep, and what happens in between."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtWidgets import QTableWidgetItem
from ui_fakes import SHAPE, InlineRunner, make_volume

from napari_medmeta.core import Modality, SliceRef
from napari_medmeta.core.diagnosis import Feature, MeasuredCase, Quantity
from napari_medmeta.session import Session
from napari_medmeta.session.diagnosis_library import CaseLibrary, new_case
from napari_medmeta.ui.applications import APPLICATIONS
from napari_medmeta.ui.controller import Controller
from napari_medmeta.ui.diagnosis import DiagnosisDesk
from napari_medmeta.ui.diagnosis_dialog import CasesDialog
from napari_medmeta.ui.diagnosis_tab import DiagnosisTab
from napari_medmeta.ui.scan import layer_arguments, scan_of


class FakeCase:
    """A controller with its image, without layers."""

    def __init__(self, runner: Any = None) -> None:
        volume = make_volume()
        scan = scan_of(volume)
        session = Session.create(scan.grid.working, fingerprint=scan.fingerprint)
        self.controller = Controller(session, scan=scan, volume=volume, runner=runner or InlineRunner())
        self.image = type("Image", (), {"data": volume.array})()
        self.told: list[str] = []
        self.failed: list[str] = []
        self.controller.told.connect(self.told.append)
        self.controller.failed.connect(lambda error: self.failed.append(error.message))

    def paint(self, voxels: int, name: str = "Liver") -> None:
        """Paint ``voxels`` rows on three slices; the rest stays empty."""
        if not self.controller.structures:
            self.controller.add_structure(name)
        mask = np.zeros(SHAPE[1:], dtype=bool)
        mask[2 : 2 + voxels, 4:14] = True
        for index in (1, 2, 3):
            self.controller.session.paint_slice(SliceRef(0, index), mask.astype(np.uint8))


def known(ml: float, finding: str, structure: str = "liver") -> Any:
    return new_case(finding, MeasuredCase(Modality.OTHER, {Feature(Quantity.VOLUME, structure): float(np.log(ml))}))


@pytest.fixture
def library(tmp_path: Path) -> CaseLibrary:
    made = CaseLibrary(tmp_path / "cases.medcases")
    made.add([known(0.5, "small"), known(0.45, "small"), known(3.0, "large"), known(2.8, "large")])
    return made


def desk_with(case: FakeCase, library: CaseLibrary) -> tuple[DiagnosisDesk, list[Any]]:
    desk, answers = DiagnosisDesk(library), []
    desk.compared.connect(answers.append)
    desk.take(case)  # type: ignore[arg-type]
    return desk, answers


def test_a_painted_scan_is_measured_and_compared(library: CaseLibrary) -> None:
    case = FakeCase()
    case.paint(14)
    desk, answers = desk_with(case, library)
    assert desk.measure()
    assert desk.measured == (("", 1),)
    assert desk.compare()
    assert answers[-1].diagnosis.likely[0].finding == "large"
    assert answers[-1].check.startswith("Each left out in turn, 4 of 4")


def test_nothing_is_measured_on_an_empty_scan(library: CaseLibrary) -> None:
    case = FakeCase()
    desk, _ = desk_with(case, library)
    assert not desk.measure()
    assert case.told[-1].startswith("There is nothing to measure yet")
    assert not desk.compare()
    assert desk.measured == ()


def test_open_proposals_are_measured_too_and_it_says_so(library: CaseLibrary) -> None:
    case = FakeCase()
    case.paint(14)
    case.controller.propose()
    desk, _ = desk_with(case, library)
    desk.measure()
    assert case.told[-1] == "Measured. Part of it was still an open proposal."


def test_phases_wait_until_all_are_measured(library: CaseLibrary) -> None:
    first, second = FakeCase(), FakeCase()
    first.paint(14)
    second.paint(5)
    desk, _ = desk_with(first, library)
    desk.measure("End-Diastole")
    desk.let_go()
    desk.take(second)  # type: ignore[arg-type]
    desk.measure("end-systole")
    assert desk.measured == (("end-diastole", 1), ("end-systole", 1))
    assert desk.keep("weak heart")
    kept = library.cases()[-1]
    assert kept.finding == "weak heart"
    ratio = Feature(Quantity.VOLUME, "liver", "end-systole", "liver", "end-diastole")
    assert np.exp(kept.measured.values[ratio]) == pytest.approx(5 / 14)


def test_a_patient_is_kept_once_and_not_compared_with_itself(library: CaseLibrary) -> None:
    case = FakeCase()
    case.paint(14)
    desk, answers = desk_with(case, library)
    desk.measure()
    assert not desk.keep("  ")
    assert case.told[-1] == "Type the finding first, such as normal."
    assert not desk.is_kept
    assert desk.keep("huge")
    assert desk.is_kept
    assert not desk.keep("huge")
    assert case.told[-1].startswith("This patient is kept already, as huge.")
    assert len(library.cases()) == 5
    desk.compare()
    assert {x.finding for x in answers[-1].diagnosis.likely} == {"large", "small"}


def test_what_is_measured_anew_can_be_kept_again_and_so_can_the_next_patient(library: CaseLibrary) -> None:
    case = FakeCase()
    case.paint(14)
    desk, _ = desk_with(case, library)
    desk.measure()
    desk.keep("large")
    desk.measure("end-systole")
    assert not desk.is_kept
    assert desk.keep("large")
    desk.new_patient()
    desk.measure()
    assert desk.keep("large")
    assert len(library.cases()) == 7


def test_a_phase_that_is_measured_twice_says_that_it_replaces_the_first(library: CaseLibrary) -> None:
    case = FakeCase()
    case.paint(14)
    desk, _ = desk_with(case, library)
    desk.measure("end-systole")
    assert not any("replaces" in words for words in case.told)
    desk.measure("End-systole")
    assert "This replaces end-systole of before" in case.told[-1]
    desk.measure("end-diastole")
    assert sum("replaces" in words for words in case.told) == 1


class Waiting(InlineRunner):
    """Answers a question when it is told to."""

    held: Any = None

    def ask(self, question: Any, /) -> None:
        self.held = question

    def answer(self) -> None:
        InlineRunner.ask(self, self.held)


def test_a_new_patient_begins_with_nothing_and_drops_late_answers(library: CaseLibrary) -> None:
    runner = Waiting()
    case = FakeCase(runner)
    case.paint(14)
    desk, _ = desk_with(case, library)
    desk.measure()
    assert desk.busy
    desk.new_patient()
    runner.answer()
    assert desk.measured == ()
    desk.measure()
    runner.answer()
    assert desk.measured == (("", 1),)


def test_stopping_the_work_lets_go_on_without_an_answer(library: CaseLibrary) -> None:
    runner = Waiting()
    case = FakeCase(runner)
    case.paint(14)
    desk, _ = desk_with(case, library)
    desk.measure()
    assert desk.busy == "Measuring …"
    case.controller.cancel()
    assert desk.busy == ""


def test_another_scan_of_the_patient_makes_the_last_answer_void(library: CaseLibrary) -> None:
    case = FakeCase()
    case.paint(14)
    desk, answers = desk_with(case, library)
    desk.measure()
    desk.compare()
    assert answers[-1] is not None
    desk.measure("later")
    assert answers[-1] is None


def test_keeping_needs_a_name_for_the_finding(library: CaseLibrary) -> None:
    case = FakeCase()
    case.paint(14)
    desk, _ = desk_with(case, library)
    desk.measure()
    assert not desk.keep("   ")
    assert case.told[-1].startswith("Type the finding first")
    assert not desk.keep("x" * 101)
    assert "no name for a finding" in case.failed[-1]
    assert len(library.cases()) == 4


def tab_of(panel: Any, library: CaseLibrary, qtbot: Any) -> DiagnosisTab:
    tab = DiagnosisTab(panel, library=library)
    qtbot.addWidget(tab)
    return tab


def painted(panel: Any) -> None:
    """Paint 2.8 ml, and let nothing be proposed beyond."""
    panel.case.controller.set_auto_propose(False)
    mask = np.zeros(panel.case.controller.shape[1:], dtype=np.uint8)
    mask[2:16, 4:14] = 1
    for index in range(1, 5):
        panel.case.controller.session.paint_slice(SliceRef(0, index), mask)


def test_the_tab_is_listed_and_says_that_it_is_a_research_aid(panel: Any, library: CaseLibrary, qtbot: Any) -> None:
    assert "Diagnosis" in [application.name for application in APPLICATIONS]
    tab = tab_of(panel, library, qtbot)
    assert "not for diagnosis" in tab.notice.text()
    tab.release()


def test_a_scan_in_the_window_is_measured_compared_and_kept(panel: Any, library: CaseLibrary, qtbot: Any) -> None:
    tab = tab_of(panel, library, qtbot)
    painted(panel)
    assert not tab.ask.isEnabled()
    tab.measure.click()
    qtbot.waitUntil(lambda: tab.ask.isEnabled(), timeout=20_000)
    assert tab.tray.text() == "Measured: one scan (1 structure)."
    tab.ask.click()
    qtbot.waitUntil(lambda: tab.answer.value() is not None, timeout=20_000)
    assert "Most like large" in tab.answer.text()
    assert "liver, volume" in tab.answer.text()
    tab.finding.setEditText("fatty liver")
    tab.keep.click()
    assert library.findings() == ("small", "large", "fatty liver")
    assert tab.finding.findText("fatty liver") >= 0
    tab.again.click()
    assert tab.answer.value() is None
    assert not tab.ask.isEnabled()
    tab.release()


def test_measuring_does_not_run_in_the_windows_thread(
    panel: Any, library: CaseLibrary, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_medmeta.tasks import diagnosis_features

    threads: list[str] = []
    real: Callable[..., Any] = diagnosis_features.measure_scan

    def noting(*arguments: Any) -> Any:
        threads.append(threading.current_thread().name)
        return real(*arguments)

    monkeypatch.setattr(diagnosis_features, "measure_scan", noting)
    tab = tab_of(panel, library, qtbot)
    painted(panel)
    tab.measure.click()
    qtbot.waitUntil(lambda: tab.ask.isEnabled(), timeout=20_000)
    assert threads == ["napari-medmeta engine"]
    tab.release()


def test_a_comparison_that_fails_says_why_and_lets_go_on(panel: Any, tmp_path: Path, qtbot: Any) -> None:
    tab = tab_of(panel, CaseLibrary(tmp_path / "none.medcases"), qtbot)
    painted(panel)
    tab.measure.click()
    qtbot.waitUntil(lambda: tab.ask.isEnabled(), timeout=20_000)
    tab.ask.click()
    qtbot.waitUntil(lambda: "No case is kept yet" in panel.message(), timeout=20_000)
    assert tab.ask.isEnabled()
    assert tab.answer.value() is None
    tab.release()


def test_a_new_patient_begins_without_the_last_one_s_words(panel: Any, library: CaseLibrary, qtbot: Any) -> None:
    tab = tab_of(panel, library, qtbot)
    painted(panel)
    tab.phase.setEditText("end-systole")
    tab.measure.click()
    qtbot.waitUntil(lambda: tab.keep.isEnabled(), timeout=20_000)
    tab.finding.setEditText("large")
    tab.keep.click()
    assert tab.keep.text() == "Kept"
    tab.again.click()
    assert (tab.phase.currentText(), tab.finding.currentText()) == ("", "")
    assert tab.keep.text() == "Keep as this finding"
    tab.release()


def test_measurements_wait_while_no_scan_is_open(panel: Any, library: CaseLibrary, qtbot: Any) -> None:
    tab = tab_of(panel, library, qtbot)
    painted(panel)
    tab.measure.click()
    qtbot.waitUntil(lambda: tab.ask.isEnabled(), timeout=20_000)
    panel.close_case()
    assert tab.says_what_to_do()
    assert tab.desk.measured == (("", 1),)
    tab.release()


def test_the_kept_cases_are_listed_renamed_and_removed(library: CaseLibrary, tmp_path: Path, qtbot: Any) -> None:
    dialog = CasesDialog(library)
    qtbot.addWidget(dialog)
    assert dialog.table.rowCount() == 4
    dialog.table.setItem(0, 0, QTableWidgetItem("tiny"))
    assert library.cases()[0].finding == "tiny"
    dialog.table.selectRow(0)
    dialog.export(tmp_path / "one.medcases")
    dialog.remove()
    assert len(library.cases()) == 3
    dialog.take_over(tmp_path / "one.medcases")
    assert dialog.table.rowCount() == 4
    assert [c.finding for c in library.cases()].count("tiny") == 1


def test_a_name_that_cannot_be_is_refused_in_the_list(library: CaseLibrary, qtbot: Any) -> None:
    dialog = CasesDialog(library)
    qtbot.addWidget(dialog)
    dialog.table.setItem(0, 0, QTableWidgetItem(""))
    assert "no name for a finding" in dialog.message.text()
    assert library.cases()[0].finding == "small"


@pytest.mark.slow
def test_a_real_patient_is_recognised_in_the_window(
    panel_only: Any, viewer: Any, shared_data: Path, tmp_path: Path, qtbot: Any
) -> None:
    from napari_medmeta.io import read_labels, read_volume
    from napari_medmeta.tasks.diagnosis_features import measure_case

    names = {1: "right ventricle", 2: "myocardium", 3: "left ventricle"}
    phases = {"end-diastole": "ed", "end-systole": "es"}

    def scans(patient: str) -> dict[str, Any]:
        folders = {phase: shared_data / "cases" / f"acdc_{patient}_{short}" for phase, short in phases.items()}
        return {p: (read_volume(f / "image.nii.gz"), read_labels(f / "label.nii.gz")[0]) for p, f in folders.items()}

    library = CaseLibrary(tmp_path / "hearts.medcases")
    for patient, finding in (("001", "dilated"), ("081", "right ventricle")):
        library.add([new_case(finding, measure_case(scans(patient), names))])
    tab = tab_of(panel_only, library, qtbot)
    for number, (phase, (volume, labels)) in enumerate(scans("003").items(), start=1):
        for layer in list(viewer.layers):
            viewer.layers.remove(layer)
        data, arguments = layer_arguments(volume)
        assert panel_only.open_layer(viewer.add_image(data, **arguments))
        controller = panel_only.case.controller
        controller.set_auto_propose(False)
        for name in names.values():
            controller.add_structure(name.capitalize())
        for index, plane in enumerate(volume.geometry.reoriented().labels_to_working(labels)):
            if plane.any():
                controller.session.paint_slice(SliceRef(0, index), plane)
        tab.phase.setEditText(phase)
        tab.measure.click()
        qtbot.waitUntil(lambda number=number: len(tab.desk.measured) == number, timeout=60_000)
    tab.ask.click()
    qtbot.waitUntil(lambda: tab.answer.value() is not None, timeout=20_000)
    assert "Most like dilated" in tab.answer.text()
    tab.release()
