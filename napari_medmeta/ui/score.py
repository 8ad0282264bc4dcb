"""The honest score in the panel: one plain sentence, with the figures behind it as a tooltip."""

from __future__ import annotations

from typing import Protocol

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QLabel, QWidget

from napari_medmeta.session import Score
from napari_medmeta.ui.case import Case

__all__ = ["ScoreLine"]

DELAY_MS = 300
"""Strokes come in bursts; the score may wait until they are over."""


class HasCase(Protocol):
    """The panel, as far as this part needs it."""

    case: Case | None


class ScoreLine(QLabel):
    """What became of the proposals of the open scan, and whether they saved time."""

    def __init__(self, panel: HasCase, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._panel = panel
        self._case: Case | None = None
        self.setWordWrap(True)
        self.setAccessibleName("Honest score")
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(DELAY_MS)
        self._timer.timeout.connect(self._refresh)
        self.set_value(None)

    def set_value(self, score: Score | None) -> None:
        """Show ``score``; None while no scan is open."""
        self.setText(score.sentence if score is not None else "No scan is open.")
        self.setToolTip(score.details if score is not None else "")

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
