"""The measurements in the panel: one row a structure, to be copied into a report or saved as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_medmeta import io
from napari_medmeta.core import MedmetaError
from napari_medmeta.core.measurements import Diameter, Measurement
from napari_medmeta.session import Change
from napari_medmeta.ui.boxes import button
from napari_medmeta.ui.case import Case
from napari_medmeta.ui.dialogs import ask_table
from napari_medmeta.ui.measurements import LiveMeasurements
from napari_medmeta.ui.tab_parts import reading_table

__all__ = ["MeasurementsBox", "MeasurementsSection"]

Measured = Sequence[tuple[str, Measurement]]

COLUMNS = ("Structure", "ml", "Mean ± SD", "Diameters (mm)")
NAME, VOLUME, VALUES, DIAMETERS = range(len(COLUMNS))
HEADER_TIPS = (
    "Double-click a row to go to the slice of its longest diameter.\nOnly what is painted or accepted is measured.",
    "Volume in millilitres",
    "Mean and standard deviation of the scan's values inside (HU for CT)",
    "Longest diameter on an axial slice × the longest line at a right angle to it, as in RECIST 1.1",
)
VISIBLE_ROWS = 3


class HasCase(Protocol):
    """The panel, as far as this part needs it."""

    case: Case | None


class MeasurementsBox(QWidget):
    """Show measurements; say what the user wants with them."""

    copy_wanted = Signal()
    export_wanted = Signal()
    chosen = Signal(int)
    """The row whose longest diameter is to be shown."""
    opened = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._measured: Measured = ()
        self._toggle = QToolButton()
        self._toggle.setText("Volume, values, diameters")
        self._toggle.setToolTip("Show or hide the measurements")
        self._toggle.setCheckable(True)
        self._toggle.setChecked(True)
        self._toggle.setAutoRaise(True)
        self._toggle.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._toggle.toggled.connect(self._open)
        self._table = _make_table()
        self._table.cellDoubleClicked.connect(lambda row, _: self.chosen.emit(row))
        self._copy = button("Copy", "Copy all numbers, for a report or a spreadsheet", self.copy_wanted.emit)
        self._export = button("Export …", "Save all numbers as CSV or JSON", self.export_wanted.emit)
        self._body = QWidget()
        buttons = QHBoxLayout()
        buttons.addWidget(self._copy)
        buttons.addWidget(self._export)
        body = QVBoxLayout(self._body)
        body.setContentsMargins(0, 0, 0, 0)
        body.addWidget(self._table)
        body.addLayout(buttons)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self._toggle)
        layout.addWidget(self._body)
        self._open(True)
        self.set_value(())

    def value(self) -> Measured:
        """Return what is shown."""
        return self._measured

    def set_value(self, measured: Measured) -> None:
        """Show one row for each (name, measurement)."""
        self._measured = tuple(measured)
        self._table.setRowCount(len(self._measured))
        for row, (name, found) in enumerate(self._measured):
            for column, text in enumerate(row_texts(name, found)):
                item = QTableWidgetItem(text)
                item.setToolTip(row_tip(name, found))
                if column != NAME:
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self._table.setItem(row, column, item)
        for wanted in (self._copy, self._export):
            wanted.setEnabled(bool(self._measured))

    def is_open(self) -> bool:
        """Whether the table is unfolded."""
        return self._toggle.isChecked()

    def _open(self, on: bool) -> None:
        self._toggle.setArrowType(Qt.ArrowType.DownArrow if on else Qt.ArrowType.RightArrow)
        self._body.setVisible(on)
        self.opened.emit(on)


class MeasurementsSection(MeasurementsBox):
    """The measurements of the panel's open scan; nothing is measured while they are folded away."""

    def __init__(self, panel: HasCase, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._panel = panel
        self._case: Case | None = None
        self._live: LiveMeasurements | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._step)
        self.copy_wanted.connect(self.copy)
        self.export_wanted.connect(self._ask_and_export)
        self.chosen.connect(self._show_diameter)
        self.opened.connect(self._start)

    def follow_case(self) -> None:
        """Turn to the scan that is open now, if any."""
        if self._case is not None:
            self._case.controller.changed.disconnect(self._changed)
        self._timer.stop()
        self._case, self._live = self._panel.case, None
        self.set_value(())
        if self._case is not None:
            self._case.controller.changed.connect(self._changed)
            self._live = LiveMeasurements(self._case.controller, np.asarray(self._case.image.data))
            self._start()

    def copy(self) -> None:
        """Put all columns on the clipboard, divided by tabs."""
        rows = io.measurement_rows(self._finished())
        lines = [list(rows[0]), *([_cell(v) for v in row.values()] for row in rows)] if rows else []
        clipboard = QGuiApplication.clipboard()
        if clipboard is not None:
            clipboard.setText("\n".join("\t".join(line) for line in lines))

    def export(self, path: Path) -> bool:
        """Write the table as CSV or JSON."""
        if self._case is None:
            return False
        try:
            written = io.write_measurements(path, self._finished())
        except MedmetaError as error:
            self._case.controller.failed.emit(error)
            return False
        self._case.controller.told.emit(f"Saved as {written.name} in {written.parent}.")
        return True

    def _ask_and_export(self) -> None:
        path = ask_table(self._case.controller.scan, parent=self) if self._case is not None else None
        if path is not None:
            self.export(path)

    def _show_diameter(self, row: int) -> None:
        measured = self.value()
        ref = measured[row][1].ref if row < len(measured) else None
        if self._case is not None and ref is not None:
            self._case.layers.go_to(ref)

    def _finished(self) -> Measured:
        if self._live is None:
            return ()
        self._live.finish()
        self.set_value(self._live.value())
        return self.value()

    def _changed(self, change: Change) -> None:
        if self._live is not None:
            self._live.note(change)
            self._start()

    def _start(self, *_: object) -> None:
        if self._live is not None and self.is_open():
            self._timer.start()

    def _step(self) -> None:
        if self._live is None or not self._live.step():
            self._timer.stop()
            self.set_value(self._live.value() if self._live is not None else ())


def row_texts(name: str, found: Measurement) -> tuple[str, str, str, str]:
    """Return what the cells of one row say."""
    values = (
        "–" if found.mean is None or found.sd is None else f"{found.mean:.4g} ± {found.sd:.3g} {found.unit}".strip()
    )
    return name, _volume(found.volume_ml), values, f"{_mm(found.longest)} × {_mm(found.perpendicular)}"


def row_tip(name: str, found: Measurement) -> str:
    """Return the numbers that have no column of their own."""
    if found.extent_mm is None:
        return f"{name}: nothing is painted or accepted yet"
    left_right, front_back, head_foot = (f"{v:.1f}" for v in found.extent_mm)
    percentiles = ", ".join(f"{p} %: {v:.4g}" for p, v in found.percentiles.items())
    return (
        f"{name}: {found.voxels:,} voxels on {found.slices} axial slices\n"
        f"Percentiles {percentiles} {found.unit}\n"
        f"Extent {left_right} mm left-right, {front_back} mm front-back, {head_foot} mm head-foot"
    )


def _volume(ml: float) -> str:
    return f"{ml:.1f}" if ml >= 1 or ml == 0 else f"{ml:.2g}"


def _mm(diameter: Diameter | None) -> str:
    return "–" if diameter is None else f"{diameter.length_mm:.1f}"


def _cell(value: object) -> str:
    return "" if value is None else str(value)


def _make_table() -> QTableWidget:
    table = reading_table(COLUMNS, HEADER_TIPS, name="Measurements")
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    table.setShowGrid(False)
    header, rows = table.horizontalHeader(), table.verticalHeader()
    if header is not None:
        header.setHighlightSections(False)
        header.setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
    if rows is not None:
        height = header.sizeHint().height() if header is not None else 0
        table.setFixedHeight(height + rows.defaultSectionSize() * VISIBLE_ROWS + 2 * table.frameWidth())
    return table
