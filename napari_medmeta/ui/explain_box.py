"""Shows an explanation: a sentence, the example slices as small pictures, and what every source said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_medmeta.core import SliceRef
from napari_medmeta.core.explanation import SourceShare
from napari_medmeta.ui.boxes import button
from napari_medmeta.ui.readable_bar import ReadableBar

__all__ = ["ExampleCard", "ExplainBox", "ExplainValue"]

FOR_COLOUR, AGAINST_COLOUR = "#56b4e9", "#e69f00"
"""Blue speaks for the answer, orange against it: told apart by colour-blind people too (Okabe and Ito, 2008)."""

BAR_HEIGHT = 12


@dataclass(frozen=True, eq=False)
class ExampleCard:
    """One example slice: its name, its share in [0, 1], how much it counts, and its picture (rows, columns, 3)."""

    ref: SliceRef
    name: str
    share: float
    weight: float
    picture: npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class ExplainValue:
    """All that the box shows.

    Parameters
    ----------
    title
        What the voxel is, and how sure that is.
    unused
        Examples that do not count fully, with their names and weights.
    """

    title: str
    summary: str
    cards: tuple[ExampleCard, ...]
    sources: tuple[SourceShare, ...]
    unused: tuple[tuple[SliceRef, str, float], ...]


class ExplainBox(QWidget):
    """The explanation of one voxel, with what can be done about its examples."""

    go_wanted = Signal(object)
    less_wanted = Signal(object)
    drop_wanted = Signal(object)
    again_wanted = Signal(object)
    close_wanted = Signal()

    def __init__(self, key: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._hint = f"Point at a voxel and press {key} to see which examples caused it."
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._content: QWidget | None = None
        self.set_value(None)

    def set_value(self, value: ExplainValue | None) -> None:
        """Show ``value``, or how to ask when there is none."""
        if self._content is not None:
            self._column.removeWidget(self._content)
            self._content.hide()
            self._content.deleteLater()
        self._content = _wrapped(self._hint) if value is None else self._full(value)
        self._column.addWidget(self._content)

    def texts(self) -> list[str]:
        """Return every text shown."""
        return [label.text() for label in self.findChildren(QLabel) if label.text()]

    def _full(self, value: ExplainValue) -> QWidget:
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(0, 0, 0, 0)
        head = QHBoxLayout()
        head.addWidget(_wrapped(f"<b>{value.title}</b>"), 1)
        close = button("×", "Close the explanation", self.close_wanted.emit)
        close.setMaximumWidth(28)
        close.setAccessibleName("Close the explanation")
        head.addWidget(close)
        column.addLayout(head)
        column.addWidget(_wrapped(value.summary))
        for card in value.cards:
            column.addWidget(self._card(card))
        if value.sources:
            column.addWidget(_bars(value.sources))
        for ref, name, weight in value.unused:
            column.addWidget(self._unused(ref, name, weight))
        return content

    def _card(self, card: ExampleCard) -> QWidget:
        widget = QWidget()
        grid = QGridLayout(widget)
        grid.setContentsMargins(0, 2, 0, 2)
        picture = QLabel()
        picture.setPixmap(_pixmap(card.picture))
        picture.setToolTip("The example around the voxel that counted most")
        picture.setAccessibleName(f"Picture of {card.name}")
        grid.addWidget(picture, 0, 0, 3, 1)
        counted = "" if card.weight == 1.0 else f", counts {card.weight:.0%}"
        grid.addWidget(QLabel(f"{card.name}{counted}"), 0, 1, 1, 3)
        grid.addWidget(_bar(card.share, FOR_COLOUR, f"{card.share:.0%} of the answer"), 1, 1, 1, 3)
        for column, made in enumerate(self._buttons(card.ref), start=1):
            grid.addWidget(made, 2, column)
        return widget

    def _buttons(self, ref: SliceRef) -> tuple[QPushButton, ...]:
        return (
            button("Go there", "Show this slice", lambda: self.go_wanted.emit(ref)),
            button("Use less", "Let this example count half as much", lambda: self.less_wanted.emit(ref)),
            button(
                "Do not use",
                "Learn nothing from this slice any more; what is painted on it stays",
                lambda: self.drop_wanted.emit(ref),
            ),
        )

    def _unused(self, ref: SliceRef, name: str, weight: float) -> QWidget:
        widget = QWidget()
        row = QHBoxLayout(widget)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(QLabel(f"{name} counts {weight:.0%}" if weight else f"{name} is not used"), 1)
        row.addWidget(button("Use fully", "Let this example count fully again", lambda: self.again_wanted.emit(ref)))
        return widget


def _bars(sources: Sequence[SourceShare]) -> QWidget:
    widget = QWidget()
    grid = QGridLayout(widget)
    grid.setContentsMargins(0, 2, 0, 2)
    grid.setVerticalSpacing(2)
    grid.addWidget(_wrapped("What each source of evidence said"), 0, 0, 1, 2)
    for row, source in enumerate(sources, start=1):
        stance = "for it" if source.share >= 0 else "against it"
        colour = FOR_COLOUR if source.share >= 0 else AGAINST_COLOUR
        text = f"{abs(source.share):.0%} {stance}"
        bar = _bar(abs(source.share), colour, text)
        bar.setToolTip(f"Alone it finds this answer {source.probability:.0%} likely")
        grid.addWidget(QLabel(source.name.capitalize()), row, 0)
        grid.addWidget(bar, row, 1)
    grid.setColumnStretch(1, 1)
    return widget


def _bar(share: float, colour: str, text: str) -> ReadableBar:
    bar = ReadableBar(colour=colour)
    bar.setRange(0, 1000)
    bar.setValue(round(1000 * min(share, 1.0)))
    bar.setFormat(text)
    bar.setMinimumHeight(BAR_HEIGHT)
    bar.setAccessibleName(text)
    return bar


def _pixmap(picture: npt.NDArray[np.uint8]) -> QPixmap:
    rows, columns, _ = picture.shape
    data = np.ascontiguousarray(picture).tobytes()
    # A copy, as the image does not keep the bytes alive.
    return QPixmap.fromImage(QImage(data, columns, rows, 3 * columns, QImage.Format.Format_RGB888).copy())


def _wrapped(text: str) -> QLabel:
    label = QLabel(text)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label
