"""A widget beside the canvas that lets go of the viewer when it is taken away or the window closes."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QWidget

__all__ = ["DockedWidget"]


class DockedWidget(QWidget):
    """Call `release` once when the dock or its window goes away."""

    def __init__(self) -> None:
        super().__init__()
        self._dock_window: QWidget | None = None
        self._docked = False

    def release(self) -> None:
        """Let go of the viewer; may be called more than once."""
        raise NotImplementedError

    def is_released(self) -> bool:
        """Return whether nothing is held any more."""
        raise NotImplementedError

    def forget_window(self) -> None:
        """Stop watching the window."""
        if self._dock_window is not None:
            self._dock_window.removeEventFilter(self)
            self._dock_window = None

    def event(self, event: QEvent | None) -> bool:
        """Notice when the widget is put into a viewer's window, or taken out of it."""
        if event is not None and event.type() == QEvent.Type.ParentChange:
            if self.parent() is not None:
                self._docked = True
                # The dock itself joins the window a moment later.
                QTimer.singleShot(0, self._watch_window)
            elif self._docked:
                self.release()
        return bool(super().event(event))

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Let go of the viewer when its window closes."""
        if watched is self._dock_window and event is not None and event.type() == QEvent.Type.Close:
            self.release()
        return False

    def closeEvent(self, event: Any) -> None:
        """Let go of the viewer."""
        self.release()
        super().closeEvent(event)

    def _watch_window(self) -> None:
        window = self.window()
        if not self.is_released() and window is not None and window is not self and self._dock_window is None:
            self._dock_window = window
            window.installEventFilter(self)
