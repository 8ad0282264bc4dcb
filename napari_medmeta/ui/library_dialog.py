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
from napari_medmeta.core.library import Expected, LibraryEntry, same_name
from napari_medmeta.session.library import LIBRARY_SUFFIX, Library

__all__ = ["LibraryDialog", "Usefulness"]

Usefulness = Callable[[LibraryEntry, tuple[LibraryEntry, ...]], Expected]

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
        self._library, self._usefulness = library, usefulness or _by_the_engine
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

    def judge(self) -> None:
        """Fill in how well the other entries would have predicted each."""
        self.setCursor(Qt.CursorShape.WaitCursor)
        self.table.blockSignals(True)
        for row, entry in enumerate(self._entries):
            others = tuple(e for e in self._entries if same_name(e.structure, entry.structure))
            found = self._usefulness(entry, others)
            text = "no other to compare" if found.dice is None else f"Dice {found.dice:.2f} from {found.others}"
            self.table.setItem(row, len(COLUMNS) - 1, _fixed(text))
        self.table.blockSignals(False)
        self.unsetCursor()

    def remove(self) -> None:
        """Forget the chosen entries."""
        chosen = self.chosen()
        if self._try(lambda: self._library.remove(chosen)):
            self.message.setText(f"{len(chosen)} removed; nothing of it is left in the file.")
        self.refresh()

    def export(self, path: Path) -> None:
        """Write the chosen entries, or all, into one file."""
        chosen = self.chosen() or None
        if self._try(lambda: self._library.export(path, chosen)):
            self.message.setText(f"Exported as {path.name}.")

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

    def _read(self) -> None:
        self._entries = ()
        self._entries = self._library.entries()

    def _try(self, call: Callable[[], object]) -> bool:
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
        for text, call in (
            ("Usefulness", self.judge),
            ("Remove", self.remove),
            ("Export …", self._ask_export),
            ("Import …", self._ask_import),
        ):
            button = QPushButton(text)
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


def _fixed(text: str) -> QTableWidgetItem:
    item = QTableWidgetItem(text)
    item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsEditable)
    return item


def _by_the_engine(entry: LibraryEntry, others: tuple[LibraryEntry, ...]) -> Expected:
    # Imported when asked for: the libraries behind it take seconds to load.
    from napari_medmeta.engine.recall import usefulness

    return usefulness(entry, others)
