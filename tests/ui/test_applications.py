"""The dock with one tab for each further use of the examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from qtpy.QtWidgets import QLabel, QPushButton, QWidget
from ui_fakes import make_volume

from napari_medmeta.core import InputError, SliceRef
from napari_medmeta.ui.application_tab import ApplicationTab
from napari_medmeta.ui.applications import APPLICATIONS, Application, ApplicationsWidget, dock_applications
from napari_medmeta.ui.boxes import APPLICATIONS_NAME
from napari_medmeta.ui.commands import ApplicationsDock, panel_of
from napari_medmeta.ui.scan import layer_arguments


class NotingTab(ApplicationTab):
    def __init__(self, panel: Any) -> None:
        super().__init__(panel, nothing="Open a scan to note it.")
        self.noted: list[tuple[str, Any]] = []
        self.column.addWidget(QLabel("a scan"))
        self.follow()

    def take(self, case: Any) -> None:
        self.noted.append(("take", case))

    def let_go(self, case: Any) -> None:
        self.noted.append(("let go", case))


NOTING = (
    Application("Noting", "Notes scans", NotingTab),
    Application("Plain", "Does nothing", lambda panel: QLabel("")),
)


def test_a_tab_says_what_to_do_until_a_scan_is_open(panel_only: Any, viewer: Any, qtbot: Any) -> None:
    widget = ApplicationsWidget(panel_only, applications=NOTING)
    qtbot.addWidget(widget)
    tab: Any = widget.tab("Noting")
    assert tab.says_what_to_do()
    assert tab.noted == []
    data, arguments = layer_arguments(make_volume())
    viewer.add_image(data, **arguments)
    qtbot.waitUntil(lambda: panel_only.case is not None, timeout=5000)
    assert not tab.says_what_to_do()
    assert tab.noted == [("take", panel_only.case)]
    widget.release()


def test_a_tab_lets_go_of_a_scan_before_it_is_gone(panel: Any, qtbot: Any) -> None:
    widget = ApplicationsWidget(panel, applications=NOTING)
    qtbot.addWidget(widget)
    tab: Any = widget.tab("Noting")
    case = panel.case
    panel.close_case()
    assert tab.noted == [("take", case), ("let go", case)]
    assert tab.says_what_to_do()
    widget.release()


def test_released_tabs_follow_no_longer(panel: Any, qtbot: Any) -> None:
    widget = ApplicationsWidget(panel, applications=NOTING)
    qtbot.addWidget(widget)
    tab: Any = widget.tab("Noting")
    case = panel.case
    widget.release()
    widget.release()
    panel.close_case()
    assert tab.noted == [("take", case), ("let go", case)]


def test_what_is_told_is_read_below_the_tabs_too(panel: Any, qtbot: Any) -> None:
    widget = ApplicationsWidget(panel, applications=NOTING)
    qtbot.addWidget(widget)
    assert widget.news.isHidden()
    controller = panel.case.controller
    controller.told.emit("Paint one.")
    assert widget.news.text() == "Paint one."
    assert not widget.news.isHidden()
    controller.withdrawn.emit("Paint another.")
    assert widget.news.text() == "Paint one."
    controller.withdrawn.emit("Paint one.")
    assert widget.news.isHidden()
    controller.failed.emit(InputError("The list is empty"))
    assert widget.news.text().startswith("The list is empty")
    panel.close_case()
    assert widget.news.isHidden()
    widget.release()


def test_why_a_slice_is_suggested_is_read_below_the_tabs_which_hide_the_panel_s_hint(panel: Any, qtbot: Any) -> None:
    widget = ApplicationsWidget(panel, applications=NOTING)
    qtbot.addWidget(widget)
    controller, before = panel.case.controller, panel.message()
    controller.advice.lead(SliceRef(0, 2), "Here two structures touch")
    controller.led.emit(SliceRef(0, 2), None)
    assert widget.news.text() == "Here two structures touch."
    assert panel.message() == before
    controller.look_at(SliceRef(0, 3))
    assert widget.news.isHidden()
    widget.release()


def test_a_released_line_of_news_hears_nothing(panel: Any, qtbot: Any) -> None:
    widget = ApplicationsWidget(panel, applications=NOTING)
    qtbot.addWidget(widget)
    widget.release()
    panel.case.controller.told.emit("Paint one.")
    assert widget.news.text() == ""


def test_an_unknown_tab_is_refused(panel_only: Any, qtbot: Any) -> None:
    widget = ApplicationsWidget(panel_only, applications=NOTING)
    qtbot.addWidget(widget)
    with pytest.raises(KeyError):
        widget.tab("Weather")
    widget.release()


def test_the_panels_button_docks_the_applications_once(panel: Any, viewer: Any) -> None:
    (button,) = [b for b in panel.body.save_box.findChildren(QPushButton) if APPLICATIONS_NAME in b.text()]
    button.click()
    button.click()
    docked = [w for w in viewer.window.dock_widgets.values() if isinstance(w, ApplicationsWidget)]
    assert len(docked) == 1
    assert docked[0].tabs.count() == len(APPLICATIONS)
    viewer.window.remove_dock_widget(docked[0])
    assert docked[0].is_released()
    again = dock_applications(viewer, panel)
    assert again is not docked[0]
    again.release()


def test_from_napari_s_menu_the_panel_comes_along(
    viewer: Any, make_panel: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_medmeta.ui.commands.MedmetaPanel", lambda v: make_panel(v))
    monkeypatch.setattr("napari_medmeta.ui.commands.panel_of", lambda v: None)
    widget = ApplicationsDock(viewer)
    assert isinstance(widget, QWidget)
    assert widget.tabs.count() == len(APPLICATIONS)
    monkeypatch.undo()
    assert panel_of(viewer) is not None
    widget.release()
