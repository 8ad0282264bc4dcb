"""The honest score in the panel: one plain sentence, the figures behind it as a tooltip, and the audit trail."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QFileDialog, QLabel, QVBoxLayout, QWidget

from napari_medmeta.core import MedmetaError
from napari_medmeta.session import Score
from napari_medmeta.session.audit import write_audit
from napari_medmeta.ui.boxes import button
from napari_medmeta.ui.case import Case

__all__ = ["ScoreLine", "ask_audit"]

DELAY_MS = 300
"""Strokes come in bursts; the score may wait until they are over."""


class HasCase(Protocol):
    """The panel, as far as this part needs it."""

    case: Case | None


def ask_audit(case: Case, parent: QWidget | None = None) -> Path | None:
    """Ask where to write the audit trail."""
    path = case.controller.session.path
    start = path.with_suffix(".audit.csv") if path is not None else Path.home() / "audit.csv"
    name, _ = QFileDialog.getSaveFileName(parent, "Save the audit trail", str(start), "Table (*.csv)")
    return Path(name) if name else None


class ScoreLine(QWidget):
    """What became of the proposals of the open scan, and whether they saved time."""

    def __init__(self, panel: HasCase, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._panel = panel
        self._case: Case | None = None
        self._label = QLabel()
        self._label.setWordWrap(True)
        self._label.setAccessibleName("Honest score")
        self._audit = button(
            "Save audit trail …", "Everything that was done, with times, as a table in plain words", self.save_audit
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._label)
        layout.addWidget(self._audit)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(DELAY_MS)
        self._timer.timeout.connect(self._refresh)
        self.set_value(None)

    def set_value(self, score: Score | None) -> None:
        """Show ``score``; None while no scan is open."""
        self._label.setText(score.sentence if score is not None else "No scan is open.")
        self._label.setToolTip(score.details if score is not None else "")
        self._audit.setEnabled(score is not None)

    def text(self) -> str:
        """Return the sentence shown."""
        return self._label.text()

    def details(self) -> str:
        """Return the figures behind it."""
        return self._label.toolTip()

    def save_audit(self) -> None:
        """Ask where to write the audit trail of the open scan, and write it."""
        case = self._case
        path = ask_audit(case, self) if case is not None else None
        if case is None or path is None:
            return
        try:
            written = write_audit(path, list(case.controller.session.events()))
        except MedmetaError as error:
            case.controller.failed.emit(error)
            return
        case.controller.told.emit(f"The audit trail is in {written.name} in {written.parent}.")

    def follow_case(self) -> None:
        """Turn to the scan that is open now, if any."""
        if self._case is not None:
            self._case.controller.changed.disconnect(self._changed)
        self._case = self._panel.case
        if self._case is not None:
            self._case.controller.changed.connect(self._changed)
        self._timer.stop()
        self._refresh()

    def _changed(self, change: object) -> None:
        self._timer.start()

    def _refresh(self) -> None:
        self.set_value(self._case.controller.session.score() if self._case is not None else None)
