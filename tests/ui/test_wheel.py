"""The wheel over the canvas goes through the slices, and zooms where it should."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtWidgets import QApplication
from ui_fakes import make_volume

from napari_medmeta.core import SliceRef
from napari_medmeta.ui.panel import MedmetaPanel
from napari_medmeta.ui.planes import Planes
from napari_medmeta.ui.preferences import Preferences
from napari_medmeta.ui.scan import layer_arguments
from napari_medmeta.ui.wheel import WheelSteps


class FakePlanes:
    """Slices without a window."""

    def __init__(self, index: int) -> None:
        self.ref = SliceRef(0, index)

    def current(self) -> SliceRef:
        return self.ref

    def go_to(self, ref: SliceRef) -> None:
        self.ref = ref


def steps(index: int, *notches: float, modifiers: tuple[str, ...] = (), ndisplay: int = 2, in_use: bool = True) -> Any:
    """Return the index after these turns of the wheel on 10 slices, and whether the last one was handled."""
    viewer: Any = SimpleNamespace(mouse_wheel_callbacks=[], dims=SimpleNamespace(ndisplay=ndisplay))
    planes: Any = FakePlanes(index)
    wheel = WheelSteps(viewer, planes, shape=(10, 20, 20))
    wheel.in_use = in_use
    event = SimpleNamespace(handled=False)
    for notch in notches:
        event = SimpleNamespace(delta=(0.0, notch), modifiers=modifiers, handled=False)
        viewer.mouse_wheel_callbacks[0](viewer, event)
    return planes.ref.index, event.handled


def test_a_notch_is_a_slice() -> None:
    assert steps(4, -1.0) == (5, True)
    assert steps(4, 1.0) == (3, True)
    assert steps(4, -1.0, -1.0, 1.0) == (5, True)


def test_a_fast_wheel_skips_no_slice() -> None:
    assert steps(4, -3.0) == (5, True)


def test_a_touchpad_sends_parts_of_a_notch() -> None:
    assert steps(4, -0.25, -0.25, -0.25) == (4, True)
    assert steps(4, -0.25, -0.25, -0.25, -0.25) == (5, True)


def test_turning_back_begins_anew() -> None:
    assert steps(4, -0.75, 0.5) == (4, True)
    assert steps(4, -0.75, 0.5, 0.5) == (3, True)


def test_at_the_ends_it_stays() -> None:
    assert steps(0, 1.0) == (0, True)
    assert steps(9, -1.0) == (9, True)


@pytest.mark.parametrize("what", [{"modifiers": ("Control",)}, {"ndisplay": 3}, {"in_use": False}])
def test_elsewhere_it_is_naparis(what: dict[str, Any]) -> None:
    assert steps(4, -1.0, **what) == (4, False)


def test_the_viewer_is_let_go_of() -> None:
    viewer: Any = SimpleNamespace(mouse_wheel_callbacks=[])
    planes: Any = FakePlanes(0)
    WheelSteps(viewer, planes, shape=(10, 20, 20)).close()
    assert viewer.mouse_wheel_callbacks == []


def zoomed(notch: float, position: tuple[float, float, float]) -> Any:
    """Return the camera after a turn with Shift held."""
    camera = SimpleNamespace(zoom=2.0, center=(0.0, 10.0, 20.0))
    dims = SimpleNamespace(ndisplay=2, displayed=(1, 2))
    viewer: Any = SimpleNamespace(mouse_wheel_callbacks=[], dims=dims, scene=SimpleNamespace(camera=camera))
    planes: Any = FakePlanes(4)
    WheelSteps(viewer, planes, shape=(10, 20, 20))
    event = SimpleNamespace(delta=(0.0, notch), modifiers=("Shift",), position=position, handled=False)
    viewer.mouse_wheel_callbacks[0](viewer, event)
    assert planes.ref.index == 4
    return camera


def test_shift_zooms_about_what_the_mouse_points_at() -> None:
    nearer, farther = (zoomed(notch, (0.0, 10.0, 50.0)) for notch in (1.0, -1.0))
    assert nearer.zoom == pytest.approx(2.4)
    assert farther.zoom == pytest.approx(2 / 1.2)
    for camera in (nearer, farther):
        # The place under the mouse keeps its distance from the middle on screen.
        assert (50.0 - camera.center[1]) * camera.zoom == pytest.approx((50.0 - 20.0) * 2.0)
        assert camera.center[0] == pytest.approx(10.0)


def turn(panel: Any, notches: int, modifiers: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> None:
    (canvas,) = panel.window().findChildren(QOpenGLWidget)
    middle = QPointF(canvas.width() / 2, canvas.height() / 2)
    event = QWheelEvent(
        middle,
        canvas.mapToGlobal(middle),
        QPoint(),
        QPoint(0, 120 * notches),
        Qt.MouseButton.NoButton,
        modifiers,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(canvas, event)


@pytest.fixture
def shown(make_napari_viewer: Any) -> Any:
    # The canvas finds what lies under the mouse only once it is on screen.
    return make_napari_viewer(show=True)


@pytest.fixture
def open_scan(shown: Any, make_panel: Any, qtbot: Any) -> Callable[..., MedmetaPanel]:
    def opened(**preferences: Any) -> MedmetaPanel:
        panel: MedmetaPanel = make_panel(shown, preferences=Preferences(**preferences))
        data, arguments = layer_arguments(make_volume())
        shown.add_image(data, **arguments)
        qtbot.waitUntil(lambda: panel.case is not None, timeout=5000)
        # What the wheel does to the canvas is known once it is drawn.
        shown.screenshot(canvas_only=False, flash=False)
        return panel

    return opened


@pytest.mark.gui
def test_in_the_window_the_wheel_changes_the_slice_and_shift_zooms(open_scan: Any, shown: Any) -> None:
    panel = open_scan()
    planes: Planes = panel.case.layers.planes
    before, zoom = planes.current(), shown.scene.camera.zoom
    turn(panel, -1)
    shown.screenshot(canvas_only=False, flash=False)
    assert planes.current() == SliceRef(before.axis, before.index + 1)
    assert shown.scene.camera.zoom == zoom
    turn(panel, 1, Qt.KeyboardModifier.ShiftModifier)
    assert planes.current() == SliceRef(before.axis, before.index + 1)
    assert shown.scene.camera.zoom > zoom


@pytest.mark.gui
def test_by_preference_the_wheel_zooms(open_scan: Any, shown: Any) -> None:
    panel = open_scan(wheel=False)
    planes: Planes = panel.case.layers.planes
    before, zoom = planes.current(), shown.scene.camera.zoom
    turn(panel, 1)
    shown.screenshot(canvas_only=False, flash=False)
    assert planes.current() == before
    assert shown.scene.camera.zoom > zoom
