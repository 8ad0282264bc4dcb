"""What the example library keeps, in a list: rename, remove, export, import, and how useful each entry is."""

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
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_medmeta.core import MedmetaError
from napari_medmeta.core.library import Expected, LibraryEntry
from napari_medmeta.session.library import LIBRARY_SUFFIX, Library
from napari_medmeta.ui.library_judging import Judged, Judging, JudgingEnded, Usefulness

__all__ = ["LibraryDialog"]

COLUMNS = ("Structure", "Kind", "Kept on", "Volume (ml)", "Usefulness")
FILTER = f"Library of structures (*{LIBRARY_SUFFIX})"


class LibraryDialog(QDialog):
    """The library's entries; a name is changed by typing over it.

    Parameters
    ----------
    usefulness
        Tells how well the others would have predicted an entry; None: the engine's own way.
    """

    def __init__(
        self, library: Library, parent: QWidget | None = None, *, usefulness: Usefulness | None = None
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Kept structures")
        self._library = library
        self.judging = Judging(usefulness, self)
        self.judging.told.connect(self._told)
        self._entries: tuple[LibraryEntry, ...] = ()
        self.table = QTableWidget(0, len(COLUMNS))
        self.table.setHorizontalHeaderLabels(list(COLUMNS))
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        header = self.table.horizontalHeader()
        if header is not None:
            header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
            header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.message = QLabel("Samples and a few numbers are kept, no image and nothing of the patient.")
        self.message.setWordWrap(True)
        self._lay_out()
        self.table.itemChanged.connect(self._renamed)
        self.table.itemSelectionChanged.connect(self._name_buttons)
        self.refresh()
        self.resize(620, 340)

    def refresh(self) -> None:
        """Read the library again."""
        self._try(self._read)
        self.table.blockSignals(True)
        self.table.setRowCount(len(self._entries))
        for row, entry in enumerate(self._entries):
            self._fill(row, entry)
        self.table.blockSignals(False)
        self._name_buttons()

    def judge(self) -> None:
        """Find out in the background how well the other entries would have predicted each, or stop that."""
        if self.judging.running:
            self.judging.stop()
            return
        if not self._entries:
            self.message.setText("The library is empty: there is nothing to compare.")
            return
        self.message.setText(f"Comparing 1 of {len(self._entries)} …")
        self.judge_button.setText("Stop comparing")
        self.judging.start(self._entries)

    def done(self, result: int) -> None:
        """Close; what is still being compared is dropped."""
        self.judging.close()
        super().done(result)

    def remove(self) -> None:
        """Forget the chosen entries."""
        chosen = self.chosen()
        if self._try(lambda: self._library.remove(chosen)):
            self.message.setText(f"{len(chosen)} removed; nothing of it is left in the file.")
        self.refresh()

    def export(self, path: Path) -> None:
        """Write the chosen entries, or all where none is chosen, into one file, and say which."""
        chosen = self.chosen()
        if self._try(lambda: self._library.export(path, chosen or None)):
            what = f"{len(chosen)} chosen" if chosen else f"All {len(self._entries)}"
            self.message.setText(f"{what} exported as {path.name}.")

    def take_over(self, path: Path) -> None:
        """Take over the entries of another library file."""
        if self._try(lambda: self._library.import_from(path)):
            self.message.setText(f"Imported {path.name}.")
        self.refresh()

    def chosen(self) -> list[str]:
        """Return the ids of the chosen entries."""
        model = self.table.selectionModel()
        rows = sorted({index.row() for index in model.selectedRows()}) if model is not None else []
        return [self._entries[row].id for row in rows]

    def _told(self, event: Judged | JudgingEnded) -> None:
        if isinstance(event, Judged):
            self._show_judged(event)
            return
        self.judge_button.setText("Usefulness")
        told = "Comparing was stopped." if event.stopped else "Compared."
        self.message.setText(told if event.error is None else event.error.message)

    def _show_judged(self, judged: Judged) -> None:
        rows = [row for row, entry in enumerate(self._entries) if entry.id == judged.entry]
        self.table.blockSignals(True)
        for row in rows:
            self.table.setItem(row, len(COLUMNS) - 1, _fixed(_in_words(judged.expected)))
        self.table.blockSignals(False)
        if judged.number < judged.count:
            self.message.setText(f"Comparing {judged.number + 1} of {judged.count} …")

    def _name_buttons(self) -> None:
        """Say before the click what exporting would write, and offer removing only where something is chosen."""
        chosen, known = len(self.chosen()), len(self._entries)
        self.export_button.setText(f"Export {chosen} chosen …" if chosen else f"Export all {known} …")
        self.export_button.setToolTip(
            "Write the chosen structures into one file" if chosen else "None is chosen: all are written into one file"
        )
        self.export_button.setEnabled(known > 0)
        self.remove_button.setEnabled(chosen > 0)
        self.remove_button.setToolTip("Forget the chosen structures" if chosen else "Choose a structure first")

    def _read(self) -> None:
        self._entries = ()
        self._entries = self._library.entries()

    def _try(self, call: Callable[[], object]) -> bool:
        # What is being compared may be out of date afterwards.
        self.judging.stop()
        try:
            call()
        except MedmetaError as error:
            self.message.setText(error.message)
            return False
        return True

    def _fill(self, row: int, entry: LibraryEntry) -> None:
        self.table.setItem(row, 0, QTableWidgetItem(entry.structure))
        for column, text in enumerate((str(entry.modality), entry.day, f"{entry.volume_ml:.1f}", ""), start=1):
            self.table.setItem(row, column, _fixed(text))

    def _renamed(self, item: QTableWidgetItem) -> None:
        if item.column() == 0:
            entry, name = self._entries[item.row()], item.text()
            self._try(lambda: self._library.rename(entry.id, name))
            self.refresh()

    def _lay_out(self) -> None:
        buttons = QHBoxLayout()
        self.export_button, self.remove_button = QPushButton(), QPushButton("Remove")
        self.judge_button = QPushButton("Usefulness")
        self.judge_button.setToolTip("How well the other structures of its name would have predicted each")
        for button, call in (
            (self.judge_button, self.judge),
            (self.remove_button, self.remove),
            (self.export_button, self._ask_export),
            (QPushButton("Import …"), self._ask_import),
        ):
            button.setAutoDefault(False)
            button.clicked.connect(lambda _, call=call: call())
            buttons.addWidget(button)
        close = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        close.rejected.connect(self.reject)
        buttons.addWidget(close)
        layout = QVBoxLayout(self)
        layout.addWidget(self.table)
        layout.addWidget(self.message)
        layout.addLayout(buttons)

    def _ask_export(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Export structures", f"structures{LIBRARY_SUFFIX}", FILTER)
        if name:
            path = Path(name)
            self.export(path if path.suffix else path.with_suffix(LIBRARY_SUFFIX))

    def _ask_import(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Import structures", "", FILTER)
        if name:
            self.take_over(Path(name))


def _in_words(expected: Expected) -> str:
    return "no other to compare" if expected.dice is None else f"Dice {expected.dice:.2f} from {expected.others}"


def _fixed(text: str) -> QTableWidgetItem:
    item = QTableWidgetItem(text)
    item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsEditable)
    return item
