"""The lines at the bottom of the panel: the last message, where the session is kept, what the engine runs on."""

from __future__ import annotations

from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget
from superqt import QElidingLabel

from napari_medmeta.ui.contrast import error_style, mixed, style, with_contrast
from napari_medmeta.ui.wrapped import WrappedLabel

__all__ = ["Footer"]

ELISION_ROOM = 8
"""Pixels that Qt draws an elided path wider than it says: without them its last letter is cut off."""

QUIET_SHARE = 0.6
"""How much of the text's colour small print has."""


class Footer(QWidget):
    """Device, memory and the last message."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._message = WrappedLabel()
        self._message.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._message.setAccessibleName("Last message")
        self._session = QElidingLabel()
        self._session.setElideMode(Qt.TextElideMode.ElideMiddle)
        self._session.setEllipsesWidth(ELISION_ROOM)
        self._machine = QLabel()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        for label in (self._message, self._session, self._machine):
            layout.addWidget(label)
        self._is_error = False
        self._recolour()

    def message(self) -> str:
        """Return the last message."""
        return self._message.text()

    def set_message(self, text: str, *, is_error: bool = False) -> None:
        """Show ``text``."""
        self._message.setText(text)
        self._is_error = is_error
        self._recolour()

    def changeEvent(self, event: QEvent | None) -> None:
        """Follow napari's theme."""
        super().changeEvent(event)
        if event is not None and event.type() in (QEvent.Type.StyleChange, QEvent.Type.PaletteChange):
            self._recolour()

    def _recolour(self) -> None:
        ground, ink = self.palette().window().color(), self.palette().windowText().color()
        quiet = f"color: {with_contrast(mixed(ink, ground, QUIET_SHARE), ground).name()};"
        style(self._message, error_style(ground) if self._is_error else "")
        style(self._session, quiet)
        style(self._machine, quiet)

    def take_back(self, text: str) -> None:
        """Show ``text`` no longer, where it is still the last message."""
        if self.message() == text:
            self.set_message("")

    def set_session(self, text: str) -> None:
        """Show where the session is kept."""
        self._session.setText(text)
        self._session.setToolTip(text)

    def set_machine(self, text: str) -> None:
        """Show what the engine runs on."""
        self._machine.setText(text)
