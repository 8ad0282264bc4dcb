"""The further uses of a few examples, one tab each, in a dock of their own beside the panel.

`APPLICATIONS` lists them. A tab is built from the panel when the dock is opened; it follows
``panel.case_changed`` (most simply as a subclass of `ApplicationTab`). A tab that holds on to anything
has a method ``release()``, called once when the dock or the window goes away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QDockWidget, QTabWidget, QVBoxLayout, QWidget

from napari_medmeta.ui.boxes import APPLICATIONS_NAME
from napari_medmeta.ui.detection_tab import DetectionTab
from napari_medmeta.ui.diagnosis_tab import DiagnosisTab
from napari_medmeta.ui.docked import DockedWidget
from napari_medmeta.ui.followup_tab import FollowUpTab
from napari_medmeta.ui.news_line import NewsLine

if TYPE_CHECKING:
    from napari_medmeta.ui.panel import MedmetaPanel

__all__ = ["APPLICATIONS", "Application", "ApplicationsWidget", "dock_applications"]


@dataclass(frozen=True, slots=True)
class Application:
    """One tab: its name, what it is for, and how it is built from the open panel."""

    name: str
    tip: str
    build: Callable[[MedmetaPanel], QWidget]


APPLICATIONS: tuple[Application, ...] = (
    Application("Lesions", "Find what looks like a few painted lesions, and go through it one by one", DetectionTab),
    Application("Diagnosis", "What a patient is most like among cases that you kept (a research aid)", DiagnosisTab),
    Application("Follow-up", "Carry an earlier scan's segmentation to this one, and measure the change", FollowUpTab),
)


class ApplicationsWidget(DockedWidget):
    """One tab for each application, about the scan that is open in ``panel``."""

    def __init__(self, panel: MedmetaPanel, *, applications: Sequence[Application] = APPLICATIONS) -> None:
        super().__init__()
        self._released = False
        self._built: list[QWidget] = []
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        for application in applications:
            self._add(application, panel)
        self.news = NewsLine(panel)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.tabs, 1)
        layout.addWidget(self.news)

    def tab(self, name: str) -> QWidget:
        """Return the tab of the application ``name``.

        Raises
        ------
        KeyError
            When there is no such tab.
        """
        for number, widget in enumerate(self._built):
            if self.tabs.tabText(number) == name:
                return widget
        raise KeyError(name)

    def release(self) -> None:
        """Let every tab let go of the scan."""
        if self._released:
            return
        self._released = True
        for widget in self._built:
            release = getattr(widget, "release", None)
            if release is not None:
                release()
        self.news.release()
        self.forget_window()

    def is_released(self) -> bool:
        """Return whether the tabs have let go."""
        return self._released

    def _add(self, application: Application, panel: MedmetaPanel) -> None:
        widget = application.build(panel)
        number = self.tabs.addTab(widget, application.name)
        self.tabs.setTabToolTip(number, application.tip)
        self._built.append(widget)


def dock_applications(viewer: Any, panel: MedmetaPanel) -> ApplicationsWidget:
    """Return the applications of ``panel``, docked in the window of ``viewer`` and in front."""
    for docked in viewer.window.dock_widgets.values():
        if isinstance(docked, ApplicationsWidget) and not docked.is_released():
            _bring_to_front(docked)
            return docked
    fresh = ApplicationsWidget(panel)
    viewer.window.add_dock_widget(fresh, name=APPLICATIONS_NAME, area="right", tabify=True)
    _bring_to_front(fresh)
    return fresh


def _bring_to_front(widget: QWidget) -> None:
    dock = widget.parentWidget()
    while dock is not None and not isinstance(dock, QDockWidget):
        dock = dock.parentWidget()
    if dock is not None:
        dock.show()
        dock.raise_()
