"""A progress bar whose text can be read on both of its halves, in every theme."""

from __future__ import annotations

from qtpy.QtCore import QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent
from qtpy.QtWidgets import QProgressBar, QWidget

from napari_medmeta.ui.contrast import mixed, readable_on

__all__ = ["DONE_COLOUR", "ReadableBar"]

DONE_COLOUR = "#3b7dd8"
"""The blue of accepted slices, in the slice strip too."""

REST_SHARE = 0.18
"""How much of the text's colour is in the empty half: enough to see where the bar ends."""

CORNER = 2
TEXT_MARGIN = 4


class ReadableBar(QProgressBar):
    """Draws its text twice, each half in the colour that can be read there.

    Parameters
    ----------
    colour
        Of the half that is done.
    """

    def __init__(self, parent: QWidget | None = None, *, colour: str = DONE_COLOUR) -> None:
        super().__init__(parent)
        self._colour = QColor(colour)
        self.setTextVisible(True)

    def colours(self) -> tuple[QColor, QColor]:
        """Return the colours of the half that is done and of the rest."""
        ground, ink = self.palette().window().color(), self.palette().windowText().color()
        return self._colour, mixed(ink, ground, REST_SHARE)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw both halves with their text."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        whole = QRectF(self.rect())
        span = max(1, self.maximum() - self.minimum())
        share = min(max((self.value() - self.minimum()) / span, 0.0), 1.0)
        done = QRectF(whole.left(), whole.top(), share * whole.width(), whole.height())
        rest = QRectF(done.right(), whole.top(), whole.width() - done.width(), whole.height())
        for half, colour in zip((done, rest), self.colours(), strict=True):
            painter.setClipRect(half)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(colour)
            painter.drawRoundedRect(whole, CORNER, CORNER)
            painter.setPen(readable_on(colour))
            painter.drawText(whole, Qt.AlignmentFlag.AlignCenter, self._shown_text())

    def _shown_text(self) -> str:
        room = self.width() - 2 * TEXT_MARGIN
        return str(self.fontMetrics().elidedText(self.text(), Qt.TextElideMode.ElideRight, room))
