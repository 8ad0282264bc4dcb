"""The last message about the open scan, in a dock that hides the panel's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_medmeta.core import MedmetaError, SliceRef
from napari_medmeta.ui.contrast import error_style, style
from napari_medmeta.ui.controller import Controller
from napari_medmeta.ui.wrapped import WrappedLabel

if TYPE_CHECKING:
    from napari_medmeta.ui.panel import MedmetaPanel

__all__ = ["NewsLine"]

MARGIN = 8


class NewsLine(QWidget):
    """Say what is told of the scan that is open in ``panel``; out of the way while there is nothing to say."""

    def __init__(self, panel: MedmetaPanel) -> None:
        super().__init__()
        self._panel = panel
        self._followed: Controller | None = None
        self._is_error = False
        self._label = WrappedLabel()
        self._label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._label.setAccessibleName("Last message")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(MARGIN, 0, MARGIN, MARGIN)
        layout.addWidget(self._label)
        panel.case_changed.connect(self._turn_to_the_open_scan)
        self._turn_to_the_open_scan()

    def text(self) -> str:
        """Return what is said."""
        return self._label.text()

    def release(self) -> None:
        """Follow no longer."""
        self._panel.case_changed.disconnect(self._turn_to_the_open_scan)
        self._follow(None)

    def changeEvent(self, event: QEvent | None) -> None:
        """Follow napari's theme."""
        super().changeEvent(event)
        if event is not None and event.type() in (QEvent.Type.StyleChange, QEvent.Type.PaletteChange):
            self._recolour()

    def _turn_to_the_open_scan(self) -> None:
        case = self._panel.case
        self._follow(None if case is None else case.controller)

    def _follow(self, controller: Controller | None) -> None:
        if self._followed is not None:
            self._followed.told.disconnect(self._tell)
            self._followed.failed.disconnect(self._show_error)
            self._followed.withdrawn.disconnect(self._take_back)
            self._followed.led.disconnect(self._lead)
        self._followed = controller
        self._say("")
        if controller is not None:
            controller.told.connect(self._tell)
            controller.failed.connect(self._show_error)
            controller.withdrawn.connect(self._take_back)
            controller.led.connect(self._lead)

    def _tell(self, text: str) -> None:
        self._say(text)

    def _show_error(self, error: MedmetaError) -> None:
        self._say(error.message, is_error=True)

    def _lead(self, ref: SliceRef, region: object) -> None:
        # The panel says so in its line of what to do next, which this dock hides.
        reason = self._followed.advice.reason_for(ref) if self._followed is not None else ""
        if reason:
            self._say(reason)

    def _take_back(self, text: str) -> None:
        if self.text() == text:
            self._say("")

    def _say(self, text: str, *, is_error: bool = False) -> None:
        self._label.setText(text)
        self._is_error = is_error
        self._recolour()
        self.setVisible(bool(text))

    def _recolour(self) -> None:
        style(self._label, error_style(self.palette().window().color()) if self._is_error else "")
