"""The structures that are looked for: one row each, and a line to add another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qtpy.QtCore import QPoint, QSize, Qt, Signal
from qtpy.QtGui import QAction, QColor, QIcon, QKeyEvent, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QCompleter,
    QHBoxLayout,
    QHeaderView,
    QLineEdit,
    QMenu,
    QPushButton,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

__all__ = ["COMMON_STRUCTURES", "StructureRow", "StructureTable"]

COMMON_STRUCTURES: tuple[str, ...] = (
    "Aorta", "Bladder", "Brainstem", "Cerebellum", "Colon", "Duodenum", "Esophagus", "Gallbladder", "Heart",
    "Hippocampus left", "Hippocampus right", "Inferior vena cava", "Kidney left", "Kidney right",
    "Left atrium", "Left ventricle", "Lesion", "Liver", "Lung left", "Lung right", "Lymph node", "Myocardium",
    "Pancreas", "Portal vein", "Prostate", "Rectum", "Right atrium", "Right ventricle", "Small bowel",
    "Spinal cord", "Spleen", "Stomach", "Thyroid", "Trachea", "Tumour", "Uterus", "Vertebra", "White matter",
)  # fmt: skip
"""Offered while typing; any other name may be typed too."""

COLUMNS = ("", "Structure", "Key", "Lock", "ml", "Dice")
COLOUR, NAME, KEY, LOCK, VOLUME, DICE = range(len(COLUMNS))
HEADER_TIPS = (
    "Colour: double-click to change it",
    "Name: double-click to change it",
    "Press this key to paint the structure",
    "Locked structures are never changed",
    "Volume of what is painted and accepted, in millilitres",
    "How well the proposal is expected to match what you would paint (1 is perfect).\n"
    "Measured by leaving out each of your examples in turn.",
)
SWATCH = 14
LEAST_ROWS, MOST_ROWS = 2, 8
"""The table is as high as its rows between these: what stands below it is needed as often."""


@dataclass(frozen=True, slots=True)
class StructureRow:
    """What one row shows; ``number`` is that of its key, ``expected_dice`` None until there is a proposal."""

    id: int
    name: str
    colour: str
    number: int | None = None
    locked: bool = False
    volume_ml: float = 0.0
    expected_dice: float | None = None


class StructureTable(QWidget):
    """Show rows; say what the user wants. It never changes a row by itself."""

    added = Signal(str)
    chosen = Signal(int)
    renamed = Signal(int, str)
    recoloured = Signal(int, str)
    locked = Signal(int, bool)
    removed = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.key_prefix = ""
        self._rows: tuple[StructureRow, ...] = ()
        self._table = self._make_table()
        self._entry = QLineEdit()
        self._entry.setPlaceholderText("Add a structure, such as Liver")
        self._entry.setAccessibleName("Name of the structure to add")
        self._entry.setToolTip("Type a name and press Enter; common organs are offered while you type")
        self._entry.setCompleter(_completer(self._entry))
        self._entry.returnPressed.connect(self._add)
        self._button = QPushButton("Add")
        self._button.setToolTip("Add the structure to the table")
        self._button.clicked.connect(self._add)
        line = QHBoxLayout()
        line.addWidget(self._entry, 1)
        line.addWidget(self._button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._table)
        layout.addLayout(line)

    def value(self) -> tuple[StructureRow, ...]:
        """Return the rows shown."""
        return self._rows

    def set_value(self, rows: Sequence[StructureRow], *, active: int | None) -> None:
        """Show ``rows`` with the structure ``active`` chosen."""
        self._table.blockSignals(True)
        try:
            if tuple(rows) != self._rows:
                self._rows = tuple(rows)
                self._table.setRowCount(len(self._rows))
                for number, row in enumerate(self._rows):
                    self._fill(number, row)
                self._table.updateGeometry()
            self._choose_row(active)
        finally:
            self._table.blockSignals(False)

    def active(self) -> int | None:
        """Return the id of the chosen structure."""
        row = self._table.currentRow()
        return self._rows[row].id if 0 <= row < len(self._rows) else None

    def focus_entry(self) -> None:
        """Put the cursor into the line that adds a structure."""
        self._entry.setFocus()

    def _make_table(self) -> QTableWidget:
        table = _Table(0, len(COLUMNS))
        table.setHorizontalHeaderLabels(list(COLUMNS))
        table.setAccessibleName("Structures")
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setTabKeyNavigation(False)
        table.setShowGrid(False)
        table.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        table.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        table.customContextMenuRequested.connect(self._open_menu)
        table.itemChanged.connect(self._item_changed)
        table.itemSelectionChanged.connect(self._selection_changed)
        table.cellClicked.connect(self._cell_clicked)
        table.cellDoubleClicked.connect(self._cell_double_clicked)
        for column, tip in enumerate(HEADER_TIPS):
            item = table.horizontalHeaderItem(column)
            if item is not None:
                item.setToolTip(tip)
        header = table.horizontalHeader()
        if header is not None:
            header.setHighlightSections(False)
            header.setMinimumSectionSize(SWATCH + 8)
            header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
            header.setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
        rows = table.verticalHeader()
        if rows is not None:
            rows.setVisible(False)
        return table

    def _fill(self, number: int, row: StructureRow) -> None:
        colour = _item("", editable=False)
        colour.setIcon(_swatch(row.colour))
        lock = _item("", editable=False)
        lock.setCheckState(Qt.CheckState.Checked if row.locked else Qt.CheckState.Unchecked)
        lock.setToolTip(HEADER_TIPS[LOCK])
        dice = _item("–" if row.expected_dice is None else f"{row.expected_dice:.2f}", editable=False, right=True)
        dice.setToolTip(HEADER_TIPS[DICE])
        volume = _item(f"{row.volume_ml:.1f}", editable=False, right=True)
        volume.setToolTip(HEADER_TIPS[VOLUME])
        items = {
            COLOUR: colour,
            NAME: _item(row.name, editable=not row.locked),
            KEY: _item(self._key_of(row), editable=False),
            LOCK: lock,
            VOLUME: volume,
            DICE: dice,
        }
        for column, item in items.items():
            self._table.setItem(number, column, item)

    def _key_of(self, row: StructureRow) -> str:
        return "" if row.number is None else f"{self.key_prefix}{row.number}"

    def _choose_row(self, active: int | None) -> None:
        for number, row in enumerate(self._rows):
            font_of = self._table.item(number, NAME)
            if font_of is not None:
                font = font_of.font()
                font.setBold(row.id == active)
                font_of.setFont(font)
            if row.id == active and self._table.currentRow() != number:
                self._table.selectRow(number)
        if active is None:
            self._table.clearSelection()

    def _add(self) -> None:
        name = self._entry.text().strip()
        if name:
            self._entry.clear()
            self.added.emit(name)

    def _selection_changed(self) -> None:
        active = self.active()
        if active is not None:
            self.chosen.emit(active)

    def _item_changed(self, item: QTableWidgetItem) -> None:
        row, wanted = self._rows[item.row()], item.text().strip()
        if item.column() != NAME or wanted == row.name:
            return
        # The name on screen changes only once the session has taken it.
        self._table.blockSignals(True)
        item.setText(row.name)
        self._table.blockSignals(False)
        self.renamed.emit(row.id, wanted)

    def _cell_clicked(self, number: int, column: int) -> None:
        if column == LOCK:
            row = self._rows[number]
            self.locked.emit(row.id, not row.locked)

    def _cell_double_clicked(self, number: int, column: int) -> None:
        if column == COLOUR:
            self._ask_colour(self._rows[number])

    def _ask_colour(self, row: StructureRow) -> None:
        colour = QColorDialog.getColor(QColor(row.colour), self, f"Colour of {row.name}")
        if colour.isValid():
            self.recoloured.emit(row.id, colour.name())

    def _open_menu(self, position: QPoint) -> None:
        item = self._table.itemAt(position)
        if item is None:
            return
        row = self._rows[item.row()]
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        for text, act in (
            ("Change the colour …", lambda: self._ask_colour(row)),
            ("Unlock" if row.locked else "Lock", lambda: self.locked.emit(row.id, not row.locked)),
            ("Remove from the table", lambda: self.removed.emit(row.id)),
        ):
            action = QAction(text, menu)
            action.triggered.connect(act)
            menu.addAction(action)
        viewport = self._table.viewport()
        if viewport is not None:
            menu.popup(viewport.mapToGlobal(position))


class _Table(QTableWidget):
    """A table as high as its rows that leaves letters to the viewer's keys instead of searching its rows by them."""

    def sizeHint(self) -> QSize:
        """Return the room for all rows, within limits; napari's theme sets how high one is."""
        header, rows = self.horizontalHeader(), self.verticalHeader()
        if header is None or rows is None:
            return super().sizeHint()
        shown = min(max(self.rowCount(), LEAST_ROWS), MOST_ROWS)
        height = header.sizeHint().height() + shown * rows.defaultSectionSize() + 2 * self.frameWidth()
        return QSize(super().sizeHint().width(), height)

    def minimumSizeHint(self) -> QSize:
        """Return the same height: the boxes scroll together, not each for itself."""
        return QSize(super().minimumSizeHint().width(), self.sizeHint().height())

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Keep only the keys that move in the table."""
        if event is not None and event.text().isprintable() and event.text().strip():
            event.ignore()
        else:
            super().keyPressEvent(event)


def _completer(parent: QWidget) -> QCompleter:
    completer = QCompleter(list(COMMON_STRUCTURES), parent)
    completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
    completer.setFilterMode(Qt.MatchFlag.MatchContains)
    return completer


def _item(text: str, *, editable: bool, right: bool = False) -> QTableWidgetItem:
    item = QTableWidgetItem(text)
    flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
    item.setFlags(flags | Qt.ItemFlag.ItemIsEditable if editable else flags)
    if right:
        item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
    return item


def _swatch(colour: str) -> QIcon:
    pixmap = QPixmap(SWATCH, SWATCH)
    pixmap.fill(QColor(colour))
    icon = QIcon(pixmap)
    # Without its own picture a chosen row would tint the colour.
    icon.addPixmap(pixmap, QIcon.Mode.Selected)
    return icon
