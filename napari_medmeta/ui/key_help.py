"""The list of keys, made from the one table."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import QSize, Qt, QTimer
from qtpy.QtGui import QKeySequence, QShowEvent
from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_medmeta.ui.keys import KEYS, Act
from napari_medmeta.ui.slice_strip import STATE_COLOURS, STATE_WORDS

__all__ = ["KeyHelp", "shown_key"]

GAP = 24
NOTE_WIDTH = 320
SCREEN_SHARE = 0.9
"""The window's own frame and the desktop's bars need room too."""


class KeyHelp(QDialog):
    """List every key and every colour of the slice strip."""

    def __init__(self, keys: Mapping[Act, str], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keys")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._room = _Room(_content(keys))
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.close)
        layout = QVBoxLayout(self)
        layout.addWidget(self._room)
        layout.addWidget(buttons)

    def showEvent(self, event: QShowEvent | None) -> None:
        """Take the room that the list needs, as far as the screen has it; the rest is scrolled to."""
        super().showEvent(event)
        # napari's theme, and with it the size of the letters, comes only now.
        QTimer.singleShot(0, self._take_room)

    def _take_room(self) -> None:
        screen = self.screen()
        if screen is not None:
            self._room.updateGeometry()
            self.resize(self.sizeHint().boundedTo(screen.availableSize() * SCREEN_SHARE))

    def lines(self) -> list[str]:
        """Return the text of every label, for tests and for screen readers."""
        return [label.text() for label in self.findChildren(QLabel)]


class _Room(QScrollArea):
    """Wants to be as large as what it holds."""

    def __init__(self, content: QWidget) -> None:
        super().__init__()
        self._content = content
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setWidgetResizable(True)
        self.setWidget(content)

    def sizeHint(self) -> QSize:
        """Return the size at which nothing need be scrolled, with room for the bar all the same."""
        bar = self.verticalScrollBar()
        wanted = self._content.sizeHint()
        room = bar.sizeHint().width() if bar is not None else 0
        height = max(wanted.height(), self._content.heightForWidth(wanted.width()))
        return QSize(wanted.width() + room, height + room)


def shown_key(key: str) -> str:
    """Return a key as this computer's keyboard names it."""
    return QKeySequence(key).toString(QKeySequence.SequenceFormat.NativeText) or key


def _content(keys: Mapping[Act, str]) -> QWidget:
    note = QLabel(
        "Keys work while the mouse is over the scan and the scan or its segmentation is selected.\n\n"
        "Painting is napari's own: 1 or E eraser, 2 or P brush, 3 polygon, 4 or F fill, [ and ] brush size.\n\n"
        "Change our keys under Preferences, Plugins."
    )
    note.setWordWrap(True)
    note.setFixedWidth(NOTE_WIDTH)
    side = QVBoxLayout()
    side.addWidget(_heading("Slice strip"))
    side.addLayout(_colour_grid())
    side.addSpacing(GAP)
    side.addWidget(note)
    side.addStretch(1)
    content = QWidget()
    row = QHBoxLayout(content)
    row.setContentsMargins(0, 0, 0, 0)
    row.addLayout(_key_grid(keys))
    row.addSpacing(GAP)
    row.addLayout(side)
    return content


def _key_grid(keys: Mapping[Act, str]) -> QGridLayout:
    grid = QGridLayout()
    grid.setHorizontalSpacing(18)
    for number, row in enumerate(KEYS):
        key = QLabel(f"<b>{shown_key(keys[row.act])}</b>")
        does = QLabel(row.does)
        if row.instead_of:
            does.setToolTip(f"Not the first letter, because {row.instead_of}")
        grid.addWidget(key, number, 0)
        grid.addWidget(does, number, 1)
    return grid


def _colour_grid() -> QGridLayout:
    grid = QGridLayout()
    grid.setHorizontalSpacing(18)
    for number, (state, colour) in enumerate(STATE_COLOURS.items()):
        patch = QLabel()
        patch.setFixedSize(28, 12)
        patch.setStyleSheet(f"background: {colour};")
        grid.addWidget(patch, number, 0)
        grid.addWidget(QLabel(STATE_WORDS[state].capitalize()), number, 1)
    grid.setColumnStretch(1, 1)
    return grid


def _heading(text: str) -> QLabel:
    return QLabel(f"<b>{text}</b>")
