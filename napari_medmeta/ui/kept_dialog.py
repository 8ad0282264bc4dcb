"""What a library keeps, in a list: rename, remove, export, import."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

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
from napari_medmeta.session.sealed import Item, SealedFile

__all__ = ["KeptDialog", "Wording", "fixed"]


@dataclass(frozen=True)
class Wording:
    """What one kind of library is called, and the columns of its list; the first is the name, which can be changed.

    Parameters
    ----------
    what
        What is kept, in the plural.
    note
        What is told before anything is done.
    file
        The name proposed for an export, with the suffix that every such file has.
    """

    title: str
    what: str
    note: str
    file: str
    columns: tuple[str, ...]

    @property
    def suffix(self) -> str:
        """What a file's name ends with."""
        return Path(self.file).suffix

    @property
    def file_filter(self) -> str:
        """Which files are offered."""
        return f"Library of {self.what} (*{self.suffix})"


class KeptDialog(QDialog, Generic[Item]):
    """All that a library keeps; a name is changed by typing over it.

    A subclass says in `cells` what a row shows and in `buttons` what can be done, and calls `refresh` once it is built.
    """

    def __init__(self, library: SealedFile[Item], wording: Wording, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(wording.title)
        self._library, self._wording = library, wording
        self._kept: tuple[Item, ...] = ()
        self.table = QTableWidget(0, len(wording.columns))
        self.table.setHorizontalHeaderLabels(list(wording.columns))
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        header = self.table.horizontalHeader()
        if header is not None:
            header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
            header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.message = QLabel(wording.note)
        self.message.setWordWrap(True)
        self._lay_out()
        self.table.itemChanged.connect(self._renamed)

    def cells(self, item: Item) -> tuple[str, ...]:
        """Return what the columns say of ``item``, its name first."""
        raise NotImplementedError

    def buttons(self) -> Sequence[QPushButton]:
        """Make the buttons below the list."""
        raise NotImplementedError

    def refresh(self) -> None:
        """Read the library again."""
        self._try(self._read)
        self.table.blockSignals(True)
        self.table.setRowCount(len(self._kept))
        for row, item in enumerate(self._kept):
            name, *others = self.cells(item)
            self.table.setItem(row, 0, QTableWidgetItem(name))
            for column, text in enumerate(others, start=1):
                self.table.setItem(row, column, fixed(text))
        self.table.blockSignals(False)

    def chosen(self) -> list[str]:
        """Return the ids of the chosen rows."""
        model = self.table.selectionModel()
        rows = sorted({index.row() for index in model.selectedRows()}) if model is not None else []
        return [self._kept[row].id for row in rows]

    def remove(self) -> None:
        """Forget what is chosen."""
        chosen = self.chosen()
        if self._try(lambda: self._library.remove(chosen)):
            self.message.setText(f"{len(chosen)} removed; nothing of it is left in the file.")
        self.refresh()

    def export(self, path: Path) -> None:
        """Write what is chosen, or all, into one file."""
        chosen = self.chosen()
        if self._try(lambda: self._library.export(path, chosen or None)):
            self.message.setText(self._exported(path, len(chosen)))

    def take_over(self, path: Path) -> None:
        """Take over what another file keeps."""
        if self._try(lambda: self._library.import_from(path)):
            self.message.setText(f"Imported {path.name}.")
        self.refresh()

    def ask_export(self) -> None:
        """Ask for a file, and export to it."""
        wording = self._wording
        name, _ = QFileDialog.getSaveFileName(self, f"Export {wording.what}", wording.file, wording.file_filter)
        if name:
            path = Path(name)
            self.export(path if path.suffix else path.with_suffix(wording.suffix))

    def ask_import(self) -> None:
        """Ask for a file, and take over what it keeps."""
        name, _ = QFileDialog.getOpenFileName(self, f"Import {self._wording.what}", "", self._wording.file_filter)
        if name:
            self.take_over(Path(name))

    def _exported(self, path: Path, chosen: int) -> str:
        return f"Exported as {path.name}."

    def _read(self) -> None:
        self._kept = ()
        self._kept = self._library.kept()

    def _try(self, call: Callable[[], object]) -> bool:
        try:
            call()
        except MedmetaError as error:
            self.message.setText(error.message)
            return False
        return True

    def _renamed(self, item: QTableWidgetItem) -> None:
        if item.column() == 0:
            kept, name = self._kept[item.row()], item.text()
            self._try(lambda: self._library.rename(kept.id, name))
            self.refresh()

    def _lay_out(self) -> None:
        line = QHBoxLayout()
        for button in self.buttons():
            button.setAutoDefault(False)
            line.addWidget(button)
        close = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        close.rejected.connect(self.reject)
        line.addWidget(close)
        layout = QVBoxLayout(self)
        layout.addWidget(self.table)
        layout.addWidget(self.message)
        layout.addLayout(line)


def fixed(text: str) -> QTableWidgetItem:
    """Return a cell that cannot be typed over."""
    item = QTableWidgetItem(text)
    item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsEditable)
    return item
