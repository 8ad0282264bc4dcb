"""The tab "Lesions": learn from a few, list what looks alike, go to each, accept or dismiss it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QBrush, QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHeaderView,
    QLabel,
    QTableWidget,
    QTableWidgetItem,
)

from napari_medmeta.core import MedmetaError, SliceRef
from napari_medmeta.ui.application_tab import ApplicationTab
from napari_medmeta.ui.boxes import button
from napari_medmeta.ui.case import Case
from napari_medmeta.ui.detection import DetectionDesk, Row, Standing
from napari_medmeta.ui.detection_points import CandidatePoints
from napari_medmeta.ui.detection_request import Detecting, Elsewhere, from_library, from_other_scan
from napari_medmeta.ui.dialogs import ask_table
from napari_medmeta.ui.readable_bar import ReadableBar
from napari_medmeta.ui.tab_parts import labelled_scans, line, named_choice, reading_table, table_texts

if TYPE_CHECKING:
    from napari_medmeta.tasks.detection import Candidate
    from napari_medmeta.ui.panel import MedmetaPanel

__all__ = ["COLUMNS", "DetectionTab", "row_of", "row_texts", "row_tip"]

COLUMNS = ("", "Score", "ml", "mm", "Slice", "Centre (mm)", "")
COLUMN_TIPS = (
    "The number beside its point",
    "How much it looks like the examples, 0 to 1; to compare candidates of one list, no probability",
    "Volume in millilitres",
    "Longest diameter on an axial slice, as in RECIST 1.1",
    "The slice through its centre, in the plane on screen, counted from 0",
    "Its centre: mm to the patient's left, back and head",
    "What you said to it",
)
CENTRE = 5
HERE = "Lesions painted on this scan"
POLL_MS = 200
"""How often the bar is moved on; the work reports every few seconds."""
FADED = "#8c8c8c"


class DetectionTab(ApplicationTab):
    """Candidates on the open scan.

    Parameters
    ----------
    panel
        Whose open scan is worked on; its library, and other scans in its viewer, can be learnt from.
    detecting
        See `DetectionDesk`.
    """

    def __init__(self, panel: MedmetaPanel, *, detecting: Detecting | None = None) -> None:
        super().__init__(panel)
        self._detecting = detecting
        self.desk: DetectionDesk | None = None
        self._points: CandidatePoints | None = None
        self._on_screen: Candidate | None = None
        self._axis = 0
        self._sources: list[Elsewhere | None] = [None]
        self._poll = QTimer(self)
        self._poll.setInterval(POLL_MS)
        self._poll.timeout.connect(self._show_progress)
        self._build()
        self.follow()

    def take(self, case: Case) -> None:
        """Begin with a scan that was opened."""
        volume = case.controller.scan.volume(np.asarray(case.image.data))
        self.desk = DetectionDesk(case.controller, volume, detecting=self._detecting)
        self.desk.changed.connect(self._refresh)
        case.controller.changed.connect(self._name_structure)
        case.controller.looked.connect(self._looked)
        self._axis = case.controller.focus.axis
        if self.panel.viewer is not None:
            self._points = CandidatePoints(self.panel.viewer, case.image)
        self.list_sources()
        self._name_structure()
        self._refresh()

    def let_go(self, case: Case) -> None:
        """Let go of a scan that is closed."""
        case.controller.changed.disconnect(self._name_structure)
        case.controller.looked.disconnect(self._looked)
        desk, self.desk, self._on_screen = self.desk, None, None
        points, self._points = self._points, None
        if desk is not None:
            desk.changed.disconnect(self._refresh)
            desk.close()
        if points is not None:
            points.clear()
        self._poll.stop()

    def look(self) -> None:
        """Look for what resembles the lesions chosen."""
        number = self._source.currentIndex()
        source = self._sources[number] if 0 <= number < len(self._sources) else None
        if self.desk is not None and self.desk.find(source) and source is not None and source.uncover is not None:
            source.uncover()

    def export(self, path: Path) -> bool:
        """Write the list as CSV or JSON."""
        return self.desk is not None and self.desk.export(path)

    def list_sources(self) -> None:
        """Offer what can be learnt from: this scan, the library, and labels on other scans in the window."""
        if self.case is None:
            return
        chosen = self._source.currentText()
        self._sources = [None, *self._from_library(), *self._from_other_scans(self.case)]
        self._source.clear()
        self._source.addItems([HERE if s is None else s.name for s in self._sources])
        self._source.setCurrentIndex(max(0, self._source.findText(chosen)))

    def texts(self) -> list[tuple[str, ...]]:
        """Return what the cells of the list say, row by row."""
        return table_texts(self._table)

    def choose(self, row: int) -> None:
        """Choose a row, as a click on it does: the viewer goes there."""
        self._table.selectRow(row)

    # -- building -----------------------------------------------------------------------------

    def _build(self) -> None:
        self._what = QLabel()
        self._what.setWordWrap(True)
        self._source = _SourceBox(self.list_sources)
        source = named_choice(
            "Learn from", "Which lesions to learn from; those painted on this scan always count as well", self._source
        )
        self._find = button("Find candidates", "Look for what resembles these lesions on the whole scan", self.look)
        self._stop = button("Stop", "Stop looking; the list stays as it was", lambda: self._say(DetectionDesk.stop))
        self._bar = ReadableBar()
        self._table = _make_table()
        self._table.itemSelectionChanged.connect(self._go_to_chosen)
        # A click on the row that is chosen already leads back to it.
        self._table.cellClicked.connect(self._go_to_chosen)
        self._accept = button(
            "Accept", "It is a lesion: take it over into the segmentation (can be undone)", lambda: self._act("accept")
        )
        self._dismiss = button("Dismiss", "It is none: look again without its like", lambda: self._act("dismiss"))
        self._back = button("Bring back", "Take the dismissal back", lambda: self._act("bring_back"))
        self._export = button("Save list …", "Save the list as CSV or JSON", self._ask_and_export)
        note = QLabel("Candidates are a hint, to be looked at by a person. Lesions may be missed.")
        note.setWordWrap(True)
        for part in (self._what, source, line(self._find, self._stop), self._bar, self._table):
            self.column.addWidget(part)
        self.column.addWidget(line(self._accept, self._dismiss, self._back))
        self.column.addWidget(line(self._export))
        self.column.addWidget(note)

    def _ask_and_export(self) -> None:
        if self.case is not None:
            path = ask_table(self.case.controller.scan, parent=self)
            if path is not None:
                self.export(path)

    # -- showing ------------------------------------------------------------------------------

    def _name_structure(self, *_: object) -> None:
        if self.case is None:
            return
        session = self.case.controller.session
        name = next((s.name for s in session.structures if s.id == session.active), None)
        self._what.setText(
            f"Looks for: <b>{name}</b>, the structure chosen in the panel."
            if name is not None
            else "Add a structure such as Lesion in the panel, and paint one lesion on a whole slice."
        )
        self._find.setEnabled(name is not None)

    def _looked(self, ref: SliceRef) -> None:
        # Slices are counted, and candidates marked, across the plane on screen.
        if ref.axis != self._axis:
            self._axis = ref.axis
            self._refresh()

    def _refresh(self) -> None:
        desk = self.desk
        if desk is None:
            return
        rows = desk.rows
        self._fill(rows)
        # What is marked is what is on screen: a list made anew may hold it elsewhere, or not any more.
        self._mark(row_of(rows, self._on_screen))
        if self._points is not None:
            self._points.show(rows, self._axis)
        self._stop.setEnabled(desk.busy)
        self._export.setEnabled(any(row.standing is not Standing.DISMISSED for row in rows))
        self._bar.setVisible(desk.busy)
        if desk.busy:
            self._poll.start()
            self._show_progress()
        else:
            self._poll.stop()
        self._show_verbs()

    def _show_progress(self) -> None:
        if self.desk is not None:
            fraction, stage = self.desk.progress
            self._bar.setValue(round(100 * fraction))
            self._bar.setFormat(f"{stage.capitalize()} … %p %")

    def _fill(self, rows: Sequence[Row]) -> None:
        blocked = self._table.blockSignals(True)
        self._table.setRowCount(len(rows))
        for number, row in enumerate(rows):
            for column, text in enumerate(row_texts(number + 1, row, self._axis)):
                item = QTableWidgetItem(text)
                item.setToolTip(row_tip(row))
                if row.standing is Standing.DISMISSED:
                    item.setForeground(QBrush(QColor(FADED)))
                if column not in (0, CENTRE, len(COLUMNS) - 1):
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self._table.setItem(number, column, item)
        self._table.blockSignals(blocked)

    def _mark(self, row: int) -> None:
        """Show the row as chosen, none for -1, without going there."""
        blocked = self._table.blockSignals(True)
        self._table.clearSelection()
        if row >= 0:
            self._table.selectRow(row)
        self._table.blockSignals(blocked)

    def _show_verbs(self) -> None:
        rows = self.desk.rows if self.desk is not None else ()
        number = self._chosen()
        standing = rows[number].standing if 0 <= number < len(rows) else None
        self._accept.setEnabled(standing is Standing.OPEN)
        self._dismiss.setEnabled(standing is Standing.OPEN)
        self._back.setEnabled(standing is Standing.DISMISSED)

    # -- what the user wants ------------------------------------------------------------------

    def _chosen(self) -> int:
        selected = self._table.selectionModel()
        rows = selected.selectedRows() if selected is not None else []
        return rows[0].row() if rows else -1

    def _go_to_chosen(self, *_: int) -> None:
        number = self._chosen()
        if self.desk is not None and self.desk.go_to(number):
            self._on_screen = self.desk.rows[number].candidate
        self._show_verbs()

    def _act(self, verb: str) -> None:
        number = self._chosen()
        if self.desk is None or not getattr(self.desk, verb)(number):
            return
        still_open = sum(row.standing is Standing.OPEN for row in self.desk.rows)
        if verb != "bring_back" and still_open:
            # On to the next one, which now stands in its place.
            self.choose(min(number, still_open - 1))

    def _say(self, call: Callable[[DetectionDesk], Any]) -> None:
        if self.desk is not None:
            call(self.desk)

    def _from_library(self) -> list[Elsewhere]:
        if self.case is None:
            return []
        kind = self.case.controller.scan.modality
        try:
            entries = [e for e in self.panel.library.library.entries() if e.modality is kind]
        except MedmetaError as error:
            self.case.controller.failed.emit(error)
            return []
        names = dict.fromkeys(e.structure for e in entries)
        return [from_library(name, [e for e in entries if e.structure == name]) for name in names]

    def _from_other_scans(self, case: Case) -> list[Elsewhere]:
        layers = self.panel.viewer.layers if self.panel.viewer is not None else ()
        return [from_other_scan(s.name, s.volume, s.values, uncover=s.hide) for s in labelled_scans(layers, case)]


class _SourceBox(QComboBox):
    """Lists anew what there is whenever it is opened."""

    def __init__(self, list_anew: Callable[[], None]) -> None:
        super().__init__()
        self._list_anew = list_anew

    def showPopup(self) -> None:
        """Open the list."""
        self._list_anew()
        super().showPopup()


def row_of(rows: Sequence[Row], candidate: Candidate | None) -> int:
    """Return the row of a candidate, or of the one that holds its centre in a list made anew; -1 for none."""
    if candidate is None:
        return -1
    same = (n for n, row in enumerate(rows) if row.candidate is candidate)
    there = (n for n, row in enumerate(rows) if row.standing is Standing.OPEN and row.candidate.holds(candidate.voxel))
    return next(same, next(there, -1))


def row_texts(number: int, row: Row, axis: int) -> tuple[str, ...]:
    """Return what the cells of one row say; the slice is that along array axis ``axis``."""
    found = row.candidate
    size = f"{found.volume_ml:.1f}" if found.volume_ml >= 1 else f"{found.volume_ml:.2g}"
    centre = ", ".join(f"{v:.0f}" for v in found.centre_mm)
    standing = "" if row.standing is Standing.OPEN else str(row.standing)
    slice_text = str(found.voxel[axis])
    return str(number), f"{found.score:.2f}", size, f"{found.longest_mm:.0f}", slice_text, centre, standing


def row_tip(row: Row) -> str:
    """Return the numbers that have no column of their own."""
    found = row.candidate
    return (
        f"Mean likelihood inside {found.likelihood:.2f}, {found.contrast:.2f} above its surroundings\n"
        f"{found.voxels:,} voxels; longest diameter on axial slice {found.ref.index}"
    )


def _make_table() -> QTableWidget:
    table = reading_table(COLUMNS, COLUMN_TIPS, name="Candidates")
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setShowGrid(False)
    header = table.horizontalHeader()
    if header is not None:
        header.setHighlightSections(False)
        header.setSectionResizeMode(CENTRE, QHeaderView.ResizeMode.Stretch)
    return table
