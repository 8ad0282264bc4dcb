"""A progress bar whose text can be read on both of its halves, in every theme."""

from __future__ import annotations

from qtpy.QtCore import QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent
from qtpy.QtWidgets import QProgressBar, QWidget

__all__ = ["DONE_COLOUR", "ReadableBar", "contrast", "readable_on"]

DONE_COLOUR = "#3b7dd8"
"""The blue of accepted slices, in the slice strip too."""

REST_SHARE = 0.18
"""How much of the text's colour is in the empty half: enough to see where the bar ends."""

CORNER = 2
TEXT_MARGIN = 4


def contrast(one: QColor, other: QColor) -> float:
    """Return the contrast of two colours, 1 to 21.

    Source: WCAG 2.1, "contrast ratio" and "relative luminance"; text needs 4.5 (success criterion 1.4.3).
    """
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def readable_on(background: QColor) -> QColor:
    """Return black or white, whichever stands out more; its contrast is 4.58 at least, on every colour."""
    return max(QColor("black"), QColor("white"), key=lambda ink: contrast(ink, background))


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
        mixed = (
            round(REST_SHARE * a + (1 - REST_SHARE) * b)
            for a, b in zip(ink.getRgb()[:3], ground.getRgb()[:3], strict=True)
        )
        return self._colour, QColor(*mixed)

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


def _luminance(colour: QColor) -> float:
    red, green, blue = (_linear(v / 255) for v in colour.getRgb()[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)
