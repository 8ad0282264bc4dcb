"""The tab of few-shot diagnosis: measure a patient, compare, keep. A research aid, and it says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_medmeta.core.diagnosis import RESEARCH_AID
from napari_medmeta.session.diagnosis_library import CASES_SUFFIX, CaseLibrary
from napari_medmeta.ui.application_tab import ApplicationTab
from napari_medmeta.ui.boxes import HintLine, button, heading
from napari_medmeta.ui.case import Case
from napari_medmeta.ui.diagnosis import DiagnosisDesk
from napari_medmeta.ui.diagnosis_answer import AnswerBox
from napari_medmeta.ui.diagnosis_dialog import CasesDialog

if TYPE_CHECKING:
    from napari_medmeta.ui.panel import MedmetaPanel

__all__ = ["DiagnosisTab"]


KEEP = "Keep as this finding"


class DiagnosisTab(ApplicationTab):
    """What a patient's segmented scans are most like, among the cases that were kept.

    Parameters
    ----------
    panel
        Whose open scan is measured; the cases are kept beside its library of structures.
    library
        Another library of cases.
    """

    def __init__(self, panel: MedmetaPanel, *, library: CaseLibrary | None = None) -> None:
        super().__init__(panel)
        beside = panel.library.library.path.with_name(f"cases{CASES_SUFFIX}")
        self.desk = DiagnosisDesk(library or CaseLibrary(beside))
        self.notice = HintLine()
        self.notice.set_text(RESEARCH_AID)
        self.notice.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self.phase = _chooser("Phase, such as end-systole", "Phase")
        self.phase.setToolTip("Only when a patient has several scans: what tells them apart, the same for all patients")
        self.measure = button("Measure this scan", "Measure all structures as they are shown", self._measure)
        self.again = button("New patient", "Forget the measurements of this patient", self._new_patient)
        self.tray = QLabel()
        self.tray.setWordWrap(True)
        self.tray.setAccessibleName("Measured scans of this patient")
        self.ask = button("Which finding?", "Compare this patient with the kept cases", self._compare)
        self.answer = AnswerBox()
        self.finding = _chooser("Finding, such as normal", "Finding")
        self.keep = button(KEEP, "Keep the measurements: no image, no name", self._keep)
        self.cases = button("Cases …", "List, rename, remove, export and import what is kept", self._manage)
        self._lay_out()
        self.desk.changed.connect(self._show)
        self.desk.compared.connect(self.answer.set_value)
        self._list_words()
        self._show()
        self.follow()

    def take(self, case: Case) -> None:
        """Begin with a scan that was opened."""
        self.desk.take(case)
        self._show()

    def let_go(self, case: Case) -> None:
        """Let go of a scan that is closed; the patient's measurements stay."""
        self.desk.let_go()

    def release(self) -> None:
        """Follow no longer."""
        super().release()
        self.desk.changed.disconnect(self._show)
        self.desk.compared.disconnect(self.answer.set_value)

    def _measure(self) -> None:
        self.desk.measure(self.phase.currentText())

    def _new_patient(self) -> None:
        self.desk.new_patient()
        # The last one's phase and finding are not this one's.
        self.phase.setEditText("")
        self.finding.setEditText("")

    def _compare(self) -> None:
        self.desk.compare()

    def _keep(self) -> None:
        if self.desk.keep(self.finding.currentText()):
            self._list_words()

    def _manage(self) -> None:
        CasesDialog(self.desk.library, self).exec()
        self._list_words()

    def _show(self) -> None:
        scans = [f"{phase or 'one scan'} ({_counted(count)})" for phase, count in self.desk.measured]
        self.tray.setText(self.desk.busy or (f"Measured: {', '.join(scans)}." if scans else "Nothing is measured yet."))
        self.measure.setEnabled(not self.desk.busy)
        for widget in (self.ask, self.keep):
            widget.setEnabled(bool(scans) and not self.desk.busy)
        self.keep.setText("Kept" if self.desk.is_kept else KEEP)

    def _list_words(self) -> None:
        findings, phases = self.desk.words()
        for combo, words in ((self.finding, findings), (self.phase, phases)):
            text = combo.currentText()
            combo.clear()
            combo.addItems(list(words))
            combo.setEditText(text)

    def _lay_out(self) -> None:
        patient = QGridLayout()
        patient.addWidget(self.phase, 0, 0, 1, 2)
        patient.addWidget(self.measure, 1, 0)
        patient.addWidget(self.again, 1, 1)
        known = QHBoxLayout()
        known.addWidget(self.keep)
        known.addWidget(self.cases)
        page = QVBoxLayout()
        page.setContentsMargins(0, 0, 0, 0)
        page.addWidget(heading("This patient"))
        page.addLayout(patient)
        for widget in (self.tray, heading("Compare"), self.ask, self.answer, heading("The finding is known")):
            page.addWidget(widget)
        page.addWidget(self.finding)
        page.addLayout(known)
        page.addStretch(1)
        # The notice stays in sight, however long the answer is.
        self.column.addWidget(self.notice)
        self.column.addWidget(_scrolled(page), 1)


def _scrolled(page: QVBoxLayout) -> QScrollArea:
    content = QWidget()
    content.setLayout(page)
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(content)
    return area


def _chooser(hint: str, name: str) -> QComboBox:
    combo = QComboBox()
    combo.setEditable(True)
    combo.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
    combo.setAccessibleName(name)
    edit = combo.lineEdit()
    if isinstance(edit, QLineEdit):
        edit.setPlaceholderText(hint)
    return combo


def _counted(structures: int) -> str:
    return f"{structures} structure{'' if structures == 1 else 's'}"
