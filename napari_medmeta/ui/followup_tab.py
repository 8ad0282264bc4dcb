"""The tab "Follow-up": choose a prior scan with labels, carry them here, and read how each structure has changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QLabel,
    QTableWidgetItem,
)

from napari_medmeta.session import Change, Topic
from napari_medmeta.ui.application_tab import ApplicationTab
from napari_medmeta.ui.boxes import button
from napari_medmeta.ui.case import Case
from napari_medmeta.ui.dialogs import ask_table
from napari_medmeta.ui.followup import Carrying, FollowUpDesk, Prior, prior_in_files, prior_in_memory
from napari_medmeta.ui.label_names import names_of_layer
from napari_medmeta.ui.readable_bar import ReadableBar
from napari_medmeta.ui.tab_parts import labelled_scans, line, named_choice, reading_table, table_texts

if TYPE_CHECKING:
    from napari_medmeta.tasks.registration_change import VolumeChange
    from napari_medmeta.ui.panel import MedmetaPanel

__all__ = ["COLUMNS", "FollowUpTab", "row_texts"]

COLUMNS = ("Structure", "ml before", "ml today", "Change", "%", "Dice")
"""Short enough for all of them to be in sight beside the scan."""
COLUMN_TIPS = (
    "As in the structure table",
    "Volume in the earlier segmentation, in ml",
    "Volume today in ml: painted, accepted, and still proposed",
    "By how many ml it has grown; below 0 where it has shrunk",
    "The same as a share of the volume before",
    "Expected Dice: how well the carried labels are expected to fit, before any correction",
)
KINDS = (
    ("Each place by itself", "deformable", "Organs that moved against each other, grew or shrank"),
    ("Stretched as a whole", "affine", "The whole scan may be stretched and sheared, not each place by itself"),
    ("Only moved", "rigid", "The patient lies elsewhere, and nothing has changed its size"),
)
NO_PRIOR = "No labelled scan is open"
POLL_MS = 200
"""How often the bar is moved on."""
MEASURE_MS = 300
"""Volumes are counted this long after the last change, so that a stroke never waits for them."""


class FollowUpTab(ApplicationTab):
    """Carry a prior segmentation to the open scan.

    Parameters
    ----------
    panel
        Whose open scan is worked on; labels on other scans in its viewer can be carried.
    carrying
        See `FollowUpDesk`.
    """

    def __init__(self, panel: MedmetaPanel, *, carrying: Carrying | None = None) -> None:
        super().__init__(panel)
        self._carrying = carrying
        self.desk: FollowUpDesk | None = None
        self._files: list[Prior] = []
        self._priors: list[Prior] = []
        self._poll = _timer(self, POLL_MS, self._show_progress)
        self._measure = _timer(self, MEASURE_MS, self._show_changes)
        self._measure.setSingleShot(True)
        self._build()
        self.follow()

    def take(self, case: Case) -> None:
        """Begin with a scan that was opened."""
        volume = case.controller.scan.volume(np.asarray(case.image.data))
        self.desk = FollowUpDesk(case.controller, volume, carried=case.carried, carrying=self._carrying)
        self.desk.changed.connect(self._refresh)
        case.controller.changed.connect(self._on_change)
        self.list_priors()
        self._refresh()

    def let_go(self, case: Case) -> None:
        """Let go of a scan that is closed."""
        case.controller.changed.disconnect(self._on_change)
        desk, self.desk = self.desk, None
        if desk is not None:
            desk.changed.disconnect(self._refresh)
            desk.close()
        self._poll.stop()
        self._measure.stop()
        self._table.setRowCount(0)

    def list_priors(self) -> None:
        """Offer what can be carried: files that were chosen, and labels on other scans in the window."""
        if self.case is None:
            return
        chosen = self._prior.currentText()
        self._priors = [*self._files, *self._in_window(self.case)]
        self._prior.clear()
        self._prior.addItems([p.name for p in self._priors] or [NO_PRIOR])
        self._prior.setCurrentIndex(max(0, self._prior.findText(chosen)))

    def use_files(self, scan: Path, labels: Path) -> None:
        """Offer a prior scan and its labels on disk, and choose them."""
        prior = prior_in_files(scan, labels)
        self._files = [p for p in self._files if p.name != prior.name] + [prior]
        self.list_priors()
        self._prior.setCurrentIndex(self._prior.findText(prior.name))

    def carry(self) -> bool:
        """Carry the chosen labels to the open scan."""
        number = self._prior.currentIndex()
        prior = self._priors[number] if 0 <= number < len(self._priors) else None
        return self.desk is not None and self.desk.carry(prior, kind=KINDS[self._kind.currentIndex()][1])

    def stop(self) -> None:
        """Stop carrying."""
        if self.desk is not None:
            self.desk.stop()

    def export(self, path: Path) -> bool:
        """Write the table as CSV or JSON."""
        return self.desk is not None and self.desk.export(path)

    def texts(self) -> list[tuple[str, ...]]:
        """Return what the cells of the table say, row by row."""
        return table_texts(self._table)

    # -- building -----------------------------------------------------------------------------

    def _build(self) -> None:
        self._prior = QComboBox()
        prior = named_choice("Earlier scan", "The earlier scan and its segmentation", self._prior)
        choose = button(
            "Choose files …", "Take an earlier scan (of DICOM any one file) and its labels from disk", self._ask_files
        )
        again = button("List again", "Look again for labels on other scans in this window", self.list_priors)
        self._kind = QComboBox()
        kind = named_choice("What may differ", "How much may have changed between the two scans", self._kind)
        for number, (text, _, tip) in enumerate(KINDS):
            self._kind.addItem(text)
            self._kind.setItemData(number, tip, Qt.ItemDataRole.ToolTipRole)
        self._carry = button("Carry to this scan", "Propose the earlier labels on the open scan", self._carry_chosen)
        self._stop = button("Stop", "Stop carrying; nothing is changed", self.stop)
        self._bar = ReadableBar()
        self._notes = QLabel()
        self._notes.setWordWrap(True)
        self._table = reading_table(COLUMNS, COLUMN_TIPS, name="Change of volume")
        self._export = button("Save table …", "Save the changes of volume as CSV or JSON", self._ask_and_export)
        note = QLabel("A proposal like any other: look at each slice, accept it (A) or correct it by painting.")
        note.setWordWrap(True)
        parts = (prior, line(choose, again), kind, line(self._carry, self._stop), self._bar)
        for part in (*parts, self._notes, self._table, line(self._export), note):
            self.column.addWidget(part)

    def _ask_files(self) -> None:
        scan, _ = QFileDialog.getOpenFileName(self, "The earlier scan")
        labels = QFileDialog.getOpenFileName(self, "Its segmentation", str(Path(scan).parent))[0] if scan else ""
        if labels:
            self.use_files(Path(scan), Path(labels))

    def _ask_and_export(self) -> None:
        path = ask_table(self.case.controller.scan, parent=self) if self.case is not None else None
        if path is not None:
            self.export(path)

    def _carry_chosen(self) -> None:
        self.carry()

    # -- showing ------------------------------------------------------------------------------

    def _refresh(self) -> None:
        desk = self.desk
        if desk is None:
            return
        self._carry.setEnabled(not desk.busy)
        self._stop.setEnabled(desk.busy)
        self._bar.setVisible(desk.busy)
        self._notes.setText("\n".join(f"{note}." for note in desk.notes))
        self._notes.setVisible(bool(desk.notes))
        if desk.busy:
            self._poll.start()
            self._show_progress()
        else:
            self._poll.stop()
        self._show_changes()

    def _show_progress(self) -> None:
        if self.desk is not None:
            fraction, stage = self.desk.progress
            self._bar.setValue(round(100 * fraction))
            self._bar.setFormat(f"{stage.capitalize()} … %p %")

    def _show_changes(self) -> None:
        changes = self.desk.changes() if self.desk is not None else ()
        expected = self.desk.expected_dice if self.desk is not None else {}
        self._table.setRowCount(len(changes))
        for number, change in enumerate(changes):
            for column, text in enumerate(row_texts(change, expected.get(change.structure))):
                item = QTableWidgetItem(text)
                if column:
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self._table.setItem(number, column, item)
        self._export.setEnabled(bool(changes))

    def _on_change(self, change: Change) -> None:
        if change.what & {Topic.LABELS, Topic.PROPOSAL, Topic.STRUCTURES} and self.desk is not None:
            self._measure.start()

    def _in_window(self, case: Case) -> list[Prior]:
        layers = self.panel.viewer.layers if self.panel.viewer is not None else ()
        return [
            prior_in_memory(s.name, s.volume, s.values, names_of_layer(s.labels), uncover=s.hide)
            for s in labelled_scans(layers, case)
        ]


def row_texts(change: VolumeChange, expected: float | None) -> tuple[str, ...]:
    """Return what the cells of one row say."""
    percent = "" if change.change_percent is None else f"{change.change_percent:+.0f}"
    volumes = (f"{change.prior_ml:.1f}", f"{change.today_ml:.1f}", f"{change.change_ml:+.1f}")
    return change.name, *volumes, percent, "" if expected is None else f"{expected:.2f}"


def _timer(tab: FollowUpTab, milliseconds: int, call: Callable[[], None]) -> QTimer:
    timer = QTimer(tab)
    timer.setInterval(milliseconds)
    timer.timeout.connect(call)
    return timer
