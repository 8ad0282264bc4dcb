"""The kept cases with their findings, in a list: rename, remove, export, import."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_medmeta.core import MedmetaError
from napari_medmeta.core.diagnosis import KnownCase
from napari_medmeta.session.diagnosis_library import CASES_SUFFIX, CaseLibrary
from napari_medmeta.ui.boxes import button

__all__ = ["CasesDialog"]

COLUMNS = ("Finding", "Kind", "Structures", "Phases", "Kept on")
FILTER = f"Library of cases (*{CASES_SUFFIX})"


class CasesDialog(QDialog):
    """The library's cases; a finding is changed by typing over it."""

    def __init__(self, library: CaseLibrary, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Kept cases")
        self._library = library
        self._cases: tuple[KnownCase, ...] = ()
        self.table = QTableWidget(0, len(COLUMNS))
        self.table.setHorizontalHeaderLabels(list(COLUMNS))
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        header = self.table.horizontalHeader()
        if header is not None:
            header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
            header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.message = QLabel("Measurements are kept, no image and nothing of the patient.")
        self.message.setWordWrap(True)
        self._lay_out()
        self.table.itemChanged.connect(self._renamed)
        self.refresh()
        self.resize(640, 340)

    def refresh(self) -> None:
        """Read the library again."""
        self._try(self._read)
        self.table.blockSignals(True)
        self.table.setRowCount(len(self._cases))
        for row, case in enumerate(self._cases):
            measured = case.measured
            texts = (str(measured.modality), ", ".join(measured.structures), ", ".join(measured.phases), case.day)
            self.table.setItem(row, 0, QTableWidgetItem(case.finding))
            for column, text in enumerate(texts, start=1):
                item = QTableWidgetItem(text)
                item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsEditable)
                self.table.setItem(row, column, item)
        self.table.blockSignals(False)

    def chosen(self) -> list[str]:
        """Return the ids of the chosen cases."""
        model = self.table.selectionModel()
        rows = sorted({index.row() for index in model.selectedRows()}) if model is not None else []
        return [self._cases[row].id for row in rows]

    def remove(self) -> None:
        """Forget the chosen cases."""
        chosen = self.chosen()
        if self._try(lambda: self._library.remove(chosen)):
            self.message.setText(f"{len(chosen)} removed; nothing of it is left in the file.")
        self.refresh()

    def export(self, path: Path) -> None:
        """Write the chosen cases, or all, into one file."""
        chosen = self.chosen() or None
        if self._try(lambda: self._library.export(path, chosen)):
            self.message.setText(f"Exported as {path.name}.")

    def take_over(self, path: Path) -> None:
        """Take over the cases of another file."""
        if self._try(lambda: self._library.import_from(path)):
            self.message.setText(f"Imported {path.name}.")
        self.refresh()

    def _read(self) -> None:
        self._cases = ()
        self._cases = self._library.cases()

    def _try(self, call: Callable[[], object]) -> bool:
        try:
            call()
        except MedmetaError as error:
            self.message.setText(error.message)
            return False
        return True

    def _renamed(self, item: QTableWidgetItem) -> None:
        if item.column() == 0:
            case, finding = self._cases[item.row()], item.text()
            self._try(lambda: self._library.rename(case.id, finding))
            self.refresh()

    def _lay_out(self) -> None:
        buttons = QHBoxLayout()
        for text, tip, call in (
            ("Remove", "Forget the chosen cases; their bytes are overwritten", self.remove),
            ("Export …", "Write the chosen cases, or all, into one file", self._ask_export),
            ("Import …", "Take over the cases of another file", self._ask_import),
        ):
            widget = button(text, tip, call)
            widget.setAutoDefault(False)
            buttons.addWidget(widget)
        close = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        close.rejected.connect(self.reject)
        buttons.addWidget(close)
        layout = QVBoxLayout(self)
        layout.addWidget(self.table)
        layout.addWidget(self.message)
        layout.addLayout(buttons)

    def _ask_export(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Export cases", f"findings{CASES_SUFFIX}", FILTER)
        if name:
            path = Path(name)
            self.export(path if path.suffix else path.with_suffix(CASES_SUFFIX))

    def _ask_import(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Import cases", "", FILTER)
        if name:
            self.take_over(Path(name))
