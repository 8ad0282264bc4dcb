"""What every application's tab has in common: it follows the open scan, and says what to do without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QStackedLayout, QVBoxLayout, QWidget

from napari_medmeta.ui.case import Case

if TYPE_CHECKING:
    from napari_medmeta.ui.panel import MedmetaPanel

__all__ = ["ApplicationTab"]

NOTHING_OPEN = "Open a scan first: drop a NIfTI, NRRD or MHA file or a DICOM folder onto the window."


class ApplicationTab(QWidget):
    """A tab that works on the open scan.

    A subclass puts its widgets into `column`, and says in `take` and `let_go` what it needs of a scan;
    it calls `follow` once it is built.

    Parameters
    ----------
    panel
        Whose open scan is worked on.
    nothing
        What to do while no scan is open.
    """

    def __init__(self, panel: MedmetaPanel, *, nothing: str = NOTHING_OPEN) -> None:
        super().__init__()
        self.panel: MedmetaPanel = panel
        self.case: Case | None = None
        self._nothing = QLabel(nothing)
        self._nothing.setWordWrap(True)
        self._nothing.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        self._nothing.setMargin(8)
        self._content = QWidget()
        self.column = QVBoxLayout(self._content)
        self._pages = QStackedLayout(self)
        self._pages.addWidget(self._nothing)
        self._pages.addWidget(self._content)

    def follow(self) -> None:
        """Follow the panel from now on."""
        self.panel.case_changed.connect(self.turn_to_the_open_scan)
        self.turn_to_the_open_scan()

    def take(self, case: Case) -> None:
        """Begin with a scan that was opened."""
        raise NotImplementedError

    def let_go(self, case: Case) -> None:
        """Let go of a scan that is closed; called before the next one is taken."""
        raise NotImplementedError

    def turn_to_the_open_scan(self) -> None:
        """Let go of the last scan and take the one that is open now, if any."""
        self._leave()
        self.case = self.panel.case
        self._pages.setCurrentWidget(self._content if self.case is not None else self._nothing)
        if self.case is not None:
            self.take(self.case)

    def release(self) -> None:
        """Follow no longer: the dock or the window goes away."""
        self.panel.case_changed.disconnect(self.turn_to_the_open_scan)
        self._leave()

    def says_what_to_do(self) -> bool:
        """Return whether the tab shows what to do first, since no scan is open."""
        return self._pages.currentWidget() is self._nothing

    def _leave(self) -> None:
        case, self.case = self.case, None
        if case is not None:
            self.let_go(case)
