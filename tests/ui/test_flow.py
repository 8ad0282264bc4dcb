"""The loop in a real viewer: paint, proposal, accept, correct, undo, save, reopen; with a quick engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from napari.utils.interactions import mouse_move_callbacks, mouse_press_callbacks, mouse_release_callbacks
from ui_fakes import SHAPE, make_volume

from napari_medmeta.core import SliceRef
from napari_medmeta.session import PaintMode, SliceState
from napari_medmeta.ui.scan import layer_arguments
from napari_medmeta.ui.strokes import BACKGROUND_STROKE


def show(panel: Any, index: int, axis: int = 0) -> None:
    panel.case.layers.go_to(SliceRef(axis, index))


def dab(panel: Any, row: int, column: int, *, size: int = 5, value: int = 1) -> None:
    """Paint once with the layer's own paint call."""
    layer = panel.case.layers.segmentation
    layer.brush_size = size
    ref = panel.case.layers.current()
    point = [row, column]
    point.insert(ref.axis, ref.index)
    layer.paint(point, value)


def drag(panel: Any, points: Sequence[tuple[int, int]], *, mode: str = "paint", size: int = 3) -> None:
    """Draw with the mouse, through the same callbacks that the canvas calls."""
    layer = panel.case.layers.segmentation
    layer.mode, layer.brush_size = mode, size
    ref = panel.case.layers.current()

    def world(row: int, column: int) -> tuple[float, ...]:
        voxel = [row, column]
        voxel.insert(ref.axis, ref.index)
        return tuple(layer.data_to_world(voxel))

    event = SimpleNamespace(
        type="mouse_press",
        button=1,
        modifiers=[],
        handled=False,
        is_dragging=True,
        pos=np.array(points[0], dtype=float),
        position=world(*points[0]),
        view_direction=None,
        dims_displayed=[a for a in range(3) if a != ref.axis],
        dims_point=[],
        camera_zoom=1.0,
    )
    mouse_press_callbacks(layer, event)
    event.type = "mouse_move"
    for point in points[1:]:
        event.pos, event.position = np.array(point, dtype=float), world(*point)
        mouse_move_callbacks(layer, event)
    event.type = "mouse_release"
    mouse_release_callbacks(layer, event)


def settle(qtbot: Any, panel: Any) -> None:
    """Wait for the proposal that answers the session as it is, and for the layers to show it."""
    session = panel.case.controller.session
    qtbot.waitUntil(
        lambda: session.proposal is not None and session.proposal.generation == session.generation, timeout=10_000
    )
    qtbot.wait(30)


def shown_equals_session(panel: Any) -> bool:
    seen = np.array(panel.case.layers.segmentation.data)
    seen[seen == BACKGROUND_STROKE] = 0
    return bool(np.array_equal(seen, panel.case.controller.session.labels))


def test_a_proposal_appears_by_itself_when_the_brush_lifts(panel: Any, qtbot: Any) -> None:
    show(panel, 2)
    dab(panel, 10, 12)
    settle(qtbot, panel)
    assert panel.case.layers.proposal.data[3, 10, 12] == 1
    assert panel.case.layers.segmentation.data[3, 10, 12] == 0


def test_no_proposal_appears_when_automatic_is_off(panel: Any, qtbot: Any, engine: Any) -> None:
    panel.case.controller.set_auto_propose(False)
    dab(panel, 10, 12)
    qtbot.wait(100)
    assert engine.asked == []
    panel.case.controller.propose()
    qtbot.waitUntil(lambda: len(engine.asked) == 1)


@pytest.mark.parametrize("mode", ["paint", "erase"])
def test_a_hint_is_left_out_by_the_brush_and_mended_by_the_eraser(panel: Any, qtbot: Any, mode: str) -> None:
    show(panel, 2)
    dab(panel, 10, 12)
    settle(qtbot, panel)
    panel.case.controller.confidence_floor = 0.95
    show(panel, 3)
    drag(panel, [(10, 12), (10, 13)], mode=mode, size=1)
    settle(qtbot, panel)
    assert panel.case.controller.labels[3, 8, 12] == (1 if mode == "erase" else 0)
    assert panel.case.controller.labels[3, 10, 12] == (0 if mode == "erase" else 1)
    assert ("left out" in panel.message()) == (mode == "paint")
    assert shown_equals_session(panel)
    panel.case.controller.undo()
    assert panel.case.controller.is_hint(SliceRef(0, 3))


def test_accept_correct_and_undo(panel: Any, qtbot: Any) -> None:
    show(panel, 2)
    dab(panel, 10, 12)
    settle(qtbot, panel)
    session = panel.case.controller.session
    show(panel, 3)
    panel.case.controller.accept_slice()
    assert session.slice_state(SliceRef(0, 3)) is SliceState.ACCEPTED
    assert panel.case.layers.segmentation.data[3, 10, 12] == 1
    settle(qtbot, panel)
    show(panel, 4)
    dab(panel, 10, 15)
    qtbot.wait(20)
    data = panel.case.layers.segmentation.data
    assert data[4, 10, 12] == 1
    assert data[4, 10, 16] == 1
    panel.case.controller.undo()
    qtbot.wait(20)
    assert not data[4].any()
    assert shown_equals_session(panel)


def test_one_mouse_stroke_is_one_undo_step(panel: Any, qtbot: Any) -> None:
    show(panel, 1)
    drag(panel, [(5, 5), (5, 9), (5, 14)])
    qtbot.wait(20)
    assert panel.case.controller.session.labels[1, 5, 5:15].all()
    panel.case.controller.undo()
    assert not panel.case.controller.session.labels.any()
    assert shown_equals_session(panel)


def test_the_eraser_corrects_a_proposal(panel: Any, qtbot: Any) -> None:
    show(panel, 2)
    dab(panel, 10, 12, size=7)
    settle(qtbot, panel)
    show(panel, 3)
    assert panel.case.layers.proposal.data[3, 10, 12] == 1
    drag(panel, [(10, 12), (10, 12)], mode="erase", size=1)
    qtbot.wait(20)
    labels = panel.case.controller.session.labels
    assert labels[3, 10, 12] == 0
    assert labels[3, 10, 14] == 1
    assert shown_equals_session(panel)


def test_a_stroke_that_changes_nothing_leaves_the_proposal_open(panel: Any, qtbot: Any) -> None:
    show(panel, 2)
    dab(panel, 10, 12, size=7)
    settle(qtbot, panel)
    show(panel, 3)
    drag(panel, [(10, 12), (10, 12)], mode="paint", size=1)
    qtbot.wait(20)
    assert panel.case.controller.session.slice_state(SliceRef(0, 3)) is SliceState.PROPOSED
    assert shown_equals_session(panel)


def test_painting_on_a_locked_structure_is_put_right_on_screen(panel: Any, qtbot: Any) -> None:
    controller = panel.case.controller
    show(panel, 2)
    dab(panel, 10, 12)
    controller.lock_structure(1, True)
    controller.add_structure("Spleen")
    dab(panel, 10, 12, value=2)
    qtbot.wait(30)
    assert panel.case.layers.segmentation.data[2, 10, 12] == 1
    assert shown_equals_session(panel)


def test_painting_before_naming_makes_a_structure(viewer: Any, make_panel: Callable[..., Any], qtbot: Any) -> None:
    panel = make_panel(viewer)
    data, arguments = layer_arguments(make_volume())
    viewer.add_image(data, **arguments)
    qtbot.waitUntil(lambda: panel.case is not None)
    dab(panel, 10, 12, value=1)
    qtbot.wait(20)
    assert [s.name for s in panel.case.controller.structures] == ["Structure 1"]
    assert panel.case.controller.session.labels.any()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_painting_works_on_every_axis(panel: Any, qtbot: Any, axis: int) -> None:
    show(panel, 3, axis)
    assert panel.case.layers.current() == SliceRef(axis, 3)
    drag(panel, [(4, 5), (4, 6)], size=1)
    qtbot.wait(20)
    expected = [4, 5]
    expected.insert(axis, 3)
    assert panel.case.controller.session.labels[tuple(expected)] == 1
    assert panel.case.controller.session.slice_state(SliceRef(axis, 3)) is SliceState.EXAMPLE


def test_a_background_scribble_is_seen_and_known(panel: Any, qtbot: Any) -> None:
    controller = panel.case.controller
    controller.set_mode(PaintMode.SCRIBBLE)
    show(panel, 2)
    panel.case.paint_background()
    drag(panel, [(3, 3), (3, 8)], size=1)
    qtbot.wait(30)
    assert panel.case.layers.segmentation.data[2, 3, 5] == BACKGROUND_STROKE
    assert controller.session.labels[2, 3, 5] == 0
    example = controller.session.support().examples[0]
    assert example.known[3, 5]
    assert not example.is_complete
    controller.undo()
    assert panel.case.layers.segmentation.data[2, 3, 5] == 0


def test_napari_undo_on_our_layer_is_the_sessions(panel: Any, qtbot: Any) -> None:
    show(panel, 2)
    dab(panel, 10, 12)
    panel.case.layers.segmentation.undo()
    qtbot.wait(30)
    assert shown_equals_session(panel)
    assert panel.case.controller.session.labels[2, 10, 12] == 1


def test_ctrl_z_on_the_segmentation_undoes_the_session(panel: Any, qtbot: Any, viewer: Any) -> None:
    show(panel, 2)
    dab(panel, 10, 12)
    layer = panel.case.layers.segmentation
    bound = {str(key): call for key, call in layer.keymap.items()}
    bound["Ctrl+Z"](layer)
    assert not panel.case.controller.session.labels.any()
    bound["Ctrl+Shift+Z"](layer)
    assert panel.case.controller.session.labels[2, 10, 12] == 1


def test_a_deleted_segmentation_is_put_back_and_the_session_goes_on(panel: Any, qtbot: Any, viewer: Any) -> None:
    show(panel, 2)
    dab(panel, 10, 12)
    settle(qtbot, panel)
    viewer.layers.remove(panel.case.layers.segmentation)
    viewer.layers.remove(panel.case.layers.proposal)
    qtbot.waitUntil(lambda: panel.case.layers.segmentation in viewer.layers and len(viewer.layers) == 3)
    qtbot.wait(30)
    assert panel.case.layers.segmentation.data[2, 10, 12] == 1
    assert panel.case.layers.proposal.data[3, 10, 12] == 1
    dab(panel, 3, 3)
    assert panel.case.controller.session.labels[2, 3, 3] == 1
    panel.case.controller.undo()
    assert panel.case.layers.segmentation.data[2, 3, 3] == 0


def test_renamed_layers_go_on(panel: Any, qtbot: Any, viewer: Any) -> None:
    for layer in list(viewer.layers):
        layer.name = "something else"
    dab(panel, 10, 12)
    settle(qtbot, panel)
    assert panel.case.layers.proposal.data.any()


def test_removing_the_scan_closes_the_case_and_reopening_goes_on(panel: Any, qtbot: Any, viewer: Any) -> None:
    dab(panel, 10, 12)
    painted = np.array(panel.case.controller.session.labels)
    viewer.layers.clear()
    qtbot.waitUntil(lambda: panel.case is None)
    assert len(viewer.layers) == 0
    data, arguments = layer_arguments(make_volume())
    viewer.add_image(data, **arguments)
    qtbot.waitUntil(lambda: panel.case is not None)
    assert np.array_equal(panel.case.controller.session.labels, painted)
    assert [s.name for s in panel.case.controller.structures] == ["Liver"]
    assert "Continued" in panel.message()


def test_two_viewers_are_independent(
    panel: Any, make_napari_viewer: Callable[..., Any], make_panel: Callable[..., Any], qtbot: Any
) -> None:
    other_viewer = make_napari_viewer()
    other = make_panel(other_viewer)
    data, arguments = layer_arguments(make_volume((5, 12, 14), name="other"))
    other_viewer.add_image(data, **arguments)
    qtbot.waitUntil(lambda: other.case is not None)
    dab(panel, 10, 12)
    settle(qtbot, panel)
    assert panel.case.controller.session.labels.shape == SHAPE
    assert not other.case.controller.session.labels.any()
    assert other.case.controller.structures == ()
    other.case.controller.add_structure("Spleen")
    dab(other, 3, 3)
    settle(qtbot, other)
    other_viewer.layers.clear()
    qtbot.waitUntil(lambda: other.case is None)
    assert panel.case is not None
    panel.case.controller.undo()
    assert not panel.case.controller.session.labels.any()


def test_closing_the_viewer_stops_the_engine_and_closes_the_session(
    make_napari_viewer: Callable[..., Any], make_panel: Callable[..., Any], qtbot: Any
) -> None:
    viewer = make_napari_viewer()
    panel = make_panel(viewer)
    data, arguments = layer_arguments(make_volume())
    viewer.add_image(data, **arguments)
    qtbot.waitUntil(lambda: panel.case is not None)
    worker = panel.case.controller._runner
    viewer.close()
    qtbot.waitUntil(lambda: not worker.alive)
    assert panel.case is None


def test_taking_the_panel_out_of_the_viewer_closes_the_case(panel: Any, viewer: Any, qtbot: Any) -> None:
    worker = panel.case.controller._runner
    viewer.window.remove_dock_widget(panel)
    assert panel.case is None
    assert not worker.alive
    assert [layer.name for layer in viewer.layers] == ["scan"]
    panel.deleteLater()


def test_a_stroke_that_repeats_the_proposal_says_so_and_another_does_not(panel: Any, qtbot: Any) -> None:
    show(panel, 2)
    dab(panel, 10, 12, size=9)
    settle(qtbot, panel)
    show(panel, 3)
    before = panel.message()
    drag(panel, [(10, 12), (10, 13)])
    qtbot.wait(20)
    assert "proposed already" in panel.message()
    assert not panel.case.controller.labels[3].any()
    panel.body.footer.set_message(before)
    drag(panel, [(10, 12), (10, 20)])
    qtbot.wait(20)
    assert "proposed already" not in panel.message()
    assert panel.case.controller.labels[3, 10, 19] == 1


def test_one_key_hides_everything_on_the_scan_and_what_was_hidden_by_hand_stays_hidden(panel: Any, viewer: Any) -> None:
    case = panel.case
    case.controller.click((2, 4, 5), background=False)
    case.layers.proposal.visible = False
    case.layers.show_uncertainty(True)
    shown = [layer for layer in viewer.layers if layer.visible]
    assert not case.layers.toggle_overlay()
    assert [layer for layer in viewer.layers if layer.visible] == [case.image]
    assert case.layers.toggle_overlay()
    assert [layer for layer in viewer.layers if layer.visible] == shown
