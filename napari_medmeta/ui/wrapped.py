"""A label that takes as many lines as its text needs."""

from __future__ import annotations

from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import QLabel, QWidget

__all__ = ["WrappedLabel"]


class WrappedLabel(QLabel):
    """Wrap words, and claim the height that they need at the label's width.

    In a column that is scrolled, Qt gives a wrapping label only the height that it guesses before the width
    is known, and cuts off what does not fit.
    """

    def __init__(self, text: str = "", parent: QWidget | None = None) -> None:
        super().__init__(text, parent)
        self.setWordWrap(True)

    def setText(self, text: str | None) -> None:
        """Show ``text``."""
        super().setText(text)
        self._claim_height()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Wrap anew."""
        super().resizeEvent(event)
        self._claim_height()

    def _claim_height(self) -> None:
        before = self.minimumHeight()
        # Qt counts the least height into the height for a width: without this the label would only ever grow.
        self.setMinimumHeight(0)
        needed = self.heightForWidth(self.width()) if self.text() else 0
        self.setMinimumHeight(needed if needed >= 0 else before)
