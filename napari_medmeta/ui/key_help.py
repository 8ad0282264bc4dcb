"""The list of keys, made from the one table."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QDialog, QDialogButtonBox, QGridLayout, QLabel, QVBoxLayout, QWidget

from napari_medmeta.ui.keys import KEYS, Act
from napari_medmeta.ui.slice_strip import STATE_COLOURS, STATE_WORDS

__all__ = ["KeyHelp", "shown_key"]


class KeyHelp(QDialog):
    """List every key and every colour of the slice strip."""

    def __init__(self, keys: Mapping[Act, str], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keys")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        layout = QVBoxLayout(self)
        layout.addLayout(_key_grid(keys))
        layout.addWidget(_heading("Slice strip"))
        layout.addLayout(_colour_grid())
        note = QLabel(
            "Keys work while the mouse is over the scan and the scan or its segmentation is selected. "
            "Painting is napari's own: 1 or E eraser, 2 or P brush, 3 polygon, 4 or F fill, [ and ] brush size. "
            "Change our keys under Preferences, Plugins."
        )
        note.setWordWrap(True)
        layout.addWidget(note)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.close)
        layout.addWidget(buttons)

    def lines(self) -> list[str]:
        """Return the text of every label, for tests and for screen readers."""
        return [label.text() for label in self.findChildren(QLabel)]


def shown_key(key: str) -> str:
    """Return a key as this computer's keyboard names it."""
    return QKeySequence(key).toString(QKeySequence.SequenceFormat.NativeText) or key


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
