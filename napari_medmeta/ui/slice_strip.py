"""The whole stack at a glance: one row a slice, coloured by what is known about it; click to go there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QHelpEvent, QImage, QMouseEvent, QPainter, QPaintEvent, QPen, QPolygonF, QWheelEvent
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from napari_medmeta.session import SliceState

__all__ = ["STATE_COLOURS", "STATE_WORDS", "UNUSED_WORDS", "SliceStrip", "StripValue"]

STATE_COLOURS: Mapping[SliceState, str] = {
    SliceState.EXAMPLE: "#2f9e6e",
    SliceState.EMPTY_EXAMPLE: "#24684c",
    SliceState.SCRIBBLED: "#8ccf9f",
    SliceState.ACCEPTED: "#3b7dd8",
    SliceState.REJECTED: "#8a4b52",
    SliceState.PROPOSED: "#e0b23c",
    SliceState.TO_REVIEW: "#e2703a",
    SliceState.UNTOUCHED: "#4a4f57",
}
"""One colour a state; they differ in lightness too, for eyes that do not tell red from green."""

STATE_WORDS: Mapping[SliceState, str] = {
    SliceState.EXAMPLE: "painted, a complete example",
    SliceState.EMPTY_EXAMPLE: "marked as empty, a complete example",
    SliceState.SCRIBBLED: "a few strokes or clicks",
    SliceState.ACCEPTED: "accepted",
    SliceState.REJECTED: "proposal rejected",
    SliceState.PROPOSED: "proposed",
    SliceState.TO_REVIEW: "proposed, please look at it",
    SliceState.UNTOUCHED: "nothing painted or proposed",
}

UNUSED_WORDS = "not used as an example"

SHADED = (SliceState.PROPOSED, SliceState.TO_REVIEW)
FAINTEST = 0.45
"""Strength of the colour of a proposal that is expected to be useless; 1.0 for a perfect one."""

IMPORTANCE = (
    SliceState.UNTOUCHED,
    SliceState.PROPOSED,
    SliceState.ACCEPTED,
    SliceState.REJECTED,
    SliceState.TO_REVIEW,
    SliceState.SCRIBBLED,
    SliceState.EMPTY_EXAMPLE,
    SliceState.EXAMPLE,
)
"""Where several slices share one row of pixels, the last of these is shown."""

WIDTH = 26
MARKER = 7


@dataclass(frozen=True, eq=False)
class StripValue:
    """What the strip shows: a state for each slice, expected Dice where known, the slice on screen.

    ``unused`` are painted or accepted slices from which nothing is learnt, as the user wanted.
    """

    states: Sequence[SliceState] = ()
    dice: Mapping[int, float] = field(default_factory=dict)
    current: int = 0
    unused: frozenset[int] = frozenset()


class SliceStrip(QWidget):
    """Paint a `StripValue`; slice 0 is on top."""

    slice_chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._value = StripValue()
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Expanding)
        self.setAccessibleName("Slices of the scan")
        self.setCursor(Qt.CursorShape.PointingHandCursor)

    def value(self) -> StripValue:
        """Return what is shown."""
        return self._value

    def set_value(self, value: StripValue) -> None:
        """Show ``value``."""
        self._value = value
        self.update()

    def sizeHint(self) -> QSize:
        """Return a narrow, tall size."""
        return QSize(WIDTH, 240)

    def minimumSizeHint(self) -> QSize:
        """Return the least size at which slices can still be told apart."""
        return QSize(WIDTH, 80)

    def slice_at(self, y: float) -> int:
        """Return the slice drawn at the height ``y`` in pixels."""
        count = len(self._value.states)
        row = int(y / max(1.0, float(self.height())) * count)
        return min(max(row, 0), max(0, count - 1))

    def row_colours(self, rows: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        """Return (rows, 2, 3) uint8 colours of the left and the right half of each row of pixels.

        Where there are more slices than rows, a row stands for several. Of an unused example only the
        left half has its colour.
        """
        states, dice, unused = self._value.states, self._value.dice, self._value.unused
        left = np.array([_colour(s, dice.get(i)) for i, s in enumerate(states)], dtype=np.uint8)
        right = left.copy()
        right[sorted(i for i in unused if i < len(states))] = _colour(SliceState.UNTOUCHED, None)
        weight = np.array([IMPORTANCE.index(s) for s in states])
        edges = np.linspace(0, len(states), rows + 1)
        chosen = []
        for first, last in zip(edges[:-1].astype(int), np.ceil(edges[1:]).astype(int), strict=True):
            chosen.append(first + int(np.argmax(weight[first : max(last, first + 1)])))
        return np.stack([left[chosen], right[chosen]], axis=1)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw one line a slice and a marker at the slice on screen."""
        painter = QPainter(self)
        if not self._value.states:
            return
        rows = min(len(self._value.states), max(1, int(self.height() * self.devicePixelRatioF())))
        pixels = np.ascontiguousarray(self.row_colours(rows))
        image = QImage(pixels.tobytes(), 2, rows, 6, QImage.Format.Format_RGB888)
        painter.drawImage(QRectF(MARKER, 0, self.width() - MARKER, self.height()), image)
        self._draw_gaps(painter, rows)
        self._draw_marker(painter)

    def _draw_gaps(self, painter: QPainter, rows: int) -> None:
        height = self.height() / rows
        if height < 4 or rows != len(self._value.states):
            return
        painter.setPen(QPen(self.palette().window().color(), 1))
        for row in range(1, rows):
            painter.drawLine(QPointF(MARKER, row * height), QPointF(self.width(), row * height))

    def _draw_marker(self, painter: QPainter) -> None:
        height = self.height() / len(self._value.states)
        middle = (self._value.current + 0.5) * height
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        colour = self.palette().windowText().color()
        painter.setPen(QPen(colour, 2))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        top = min(max(1.0, middle - max(height, 4) / 2), self.height() - 5.0)
        painter.drawRect(QRectF(MARKER + 1, top, self.width() - MARKER - 2, max(height, 4)))
        painter.setBrush(colour)
        tip = QPointF(MARKER, middle)
        painter.drawPolygon(QPolygonF([tip, tip + QPointF(-MARKER + 1, -4), tip + QPointF(-MARKER + 1, 4)]))

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Go to the slice under the mouse."""
        self._choose(event)

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Follow the mouse while its button is held."""
        self._choose(event)

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        """Go one slice up or down."""
        if event is None or not self._value.states:
            return
        step = -1 if event.angleDelta().y() > 0 else 1
        last = len(self._value.states) - 1
        self.slice_chosen.emit(min(max(self._value.current + step, 0), last))
        event.accept()

    def event(self, event: QEvent | None) -> bool:
        """Show a tooltip for the slice under the mouse."""
        if isinstance(event, QHelpEvent) and self._value.states:
            QToolTip.showText(event.globalPos(), self.words(self.slice_at(event.pos().y())), self)
            return True
        return bool(super().event(event))

    def words(self, index: int) -> str:
        """Say in words what is known about slice ``index``, counted from 0 as napari's slider does."""
        text = f"Slice {index}: {STATE_WORDS[self._value.states[index]]}"
        dice = self._value.dice.get(index)
        if dice is not None and self._value.states[index] in SHADED:
            text += f", expected Dice {dice:.2f}"
        return f"{text}, {UNUSED_WORDS}" if index in self._value.unused else text

    def _choose(self, event: QMouseEvent | None) -> None:
        if event is not None and self._value.states:
            self.slice_chosen.emit(self.slice_at(event.position().y()))


def _colour(state: SliceState, dice: float | None) -> tuple[int, int, int]:
    colour = QColor(STATE_COLOURS[state])
    if state in SHADED and dice is not None:
        strength = FAINTEST + (1 - FAINTEST) * min(max(dice, 0.0), 1.0)
        empty = QColor(STATE_COLOURS[SliceState.UNTOUCHED])
        mixed = (
            round(strength * full + (1 - strength) * none)
            for full, none in zip(colour.getRgb()[:3], empty.getRgb()[:3], strict=True)
        )
        red, green, blue = mixed
        return red, green, blue
    return colour.red(), colour.green(), colour.blue()
