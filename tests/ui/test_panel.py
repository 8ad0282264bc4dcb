"""The panel and its layers in a real viewer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from napari.layers import Image
from napari.utils.interactions import mouse_press_callbacks, mouse_release_callbacks
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QLineEdit
from ui_fakes import SHAPE, NearestSliceEngine, make_volume

from napari_medmeta import io
from napari_medmeta.core import Box, SliceRef
from napari_medmeta.session import PaintMode, SliceState
from napari_medmeta.ui import commands, demo, series
from napari_medmeta.ui import panel as panel_module
from napari_medmeta.ui.dialogs import SaveAnswer
from napari_medmeta.ui.key_help import KeyHelp
from napari_medmeta.ui.keys import STRUCTURE_KEYS, Act, chosen_keys
from napari_medmeta.ui.preferences import Preferences
from napari_medmeta.ui.scan import layer_arguments


def paint(panel: Any, index: int = 2) -> None:
    mask = np.zeros(SHAPE[1:], dtype=bool)
    mask[5:10, 6:12] = True
    panel.case.controller.session.paint(SliceRef(0, index), mask, value=1)


def settle(qtbot: Any, panel: Any) -> None:
    session = panel.case.controller.session
    qtbot.waitUntil(
        lambda: session.proposal is not None and session.proposal.generation == session.generation, timeout=10_000
    )
    qtbot.wait(30)


def press(viewer: Any, key: str) -> None:
    bound = {str(name): call for name, call in viewer.keymap.items()}
    bound[key](viewer)


def test_every_key_is_bound_while_a_scan_is_open_and_no_longer(panel: Any, viewer: Any) -> None:
    expected = {str(key) for act, key in chosen_keys({}).items() if act not in (Act.HELP, Act.STRUCTURE)}
    expected |= {f"Ctrl+{n}" for n in range(1, STRUCTURE_KEYS + 1)}
    assert {str(key) for key in viewer.keymap} == expected
    panel.close_case()
    assert viewer.keymap == {}


def test_keys_do_what_the_table_says(panel: Any, viewer: Any, qtbot: Any) -> None:
    controller, layers = panel.case.controller, panel.case.layers
    paint(panel)
    settle(qtbot, panel)
    layers.go_to(SliceRef(0, 3))
    press(viewer, "R")
    assert controller.session.slice_state(SliceRef(0, 3)) is SliceState.REJECTED
    press(viewer, "Ctrl+Z")
    press(viewer, "A")
    assert controller.session.slice_state(SliceRef(0, 3)) is SliceState.ACCEPTED
    settle(qtbot, panel)
    press(viewer, "Shift+A")
    assert controller.session.slice_state(SliceRef(0, 4)) is SliceState.ACCEPTED
    layers.go_to(SliceRef(0, 0))
    press(viewer, "H")
    assert not layers.segmentation.visible
    press(viewer, "H")
    assert layers.proposal.visible
    controller.add_structure("Spleen")
    press(viewer, "Ctrl+1")
    assert controller.session.active == 1
    assert layers.segmentation.selected_label == 1


def test_an_empty_slice_is_marked_by_a_key(panel: Any, viewer: Any) -> None:
    panel.case.layers.go_to(SliceRef(0, 5))
    press(viewer, "Shift+M")
    assert panel.case.controller.session.slice_state(SliceRef(0, 5)) is SliceState.EMPTY_EXAMPLE


def test_the_uncertainty_map_comes_and_goes(panel: Any, viewer: Any, qtbot: Any) -> None:
    paint(panel)
    settle(qtbot, panel)
    press(viewer, "U")
    qtbot.wait(50)
    layer = panel.case.layers.uncertainty
    assert layer in viewer.layers
    # The fake engine is 0.8 sure.
    assert layer.data[3, 6, 7] == pytest.approx(51)
    assert viewer.layers.selection.active is panel.case.layers.segmentation
    press(viewer, "U")
    assert layer not in viewer.layers


def test_the_help_opens_from_the_keyboard_and_lists_changed_keys(panel: Any, qtbot: Any) -> None:
    panel.show_help()
    (found,) = [w for w in QApplication.topLevelWidgets() if isinstance(w, KeyHelp)]
    assert any("Accept the proposal" in line for line in found.lines())
    found.close()
    qtbot.waitUntil(lambda: not [w for w in QApplication.topLevelWidgets() if isinstance(w, KeyHelp)])


def test_typing_a_name_in_the_panel_makes_a_structure_and_hands_the_brush(panel: Any, qtbot: Any) -> None:
    (entry,) = panel.body.table.findChildren(QLineEdit)
    entry.setText("Spleen")
    qtbot.keyClick(entry, Qt.Key.Key_Return)
    assert [s.name for s in panel.case.controller.structures] == ["Liver", "Spleen"]
    assert str(panel.case.layers.segmentation.mode) == "paint"
    assert panel.case.layers.segmentation.selected_label == 2


def test_choosing_a_structure_in_napari_chooses_it_in_the_panel(panel: Any) -> None:
    panel.case.controller.add_structure("Spleen")
    panel.case.layers.segmentation.selected_label = 1
    assert panel.case.controller.session.active == 1
    assert panel.body.table.active() == 1


def test_the_panel_says_what_is_missing(panel: Any, qtbot: Any) -> None:
    assert "Paint the Liver on one slice" in panel.hint()
    paint(panel)
    settle(qtbot, panel)
    panel.case.layers.go_to(SliceRef(0, 2))
    assert "Go to a yellow or orange slice" in panel.hint()
    panel.case.layers.go_to(SliceRef(0, 3))
    assert "Accept the proposal (A)" in panel.hint()


def test_without_a_scan_the_panel_says_how_to_open_one(viewer: Any, make_panel: Callable[..., Any]) -> None:
    panel = make_panel(viewer)
    assert "Open a scan" in panel.hint()
    panel.body.proposal_box.accept_wanted.emit()
    assert "Open a scan first" in panel.message()


def test_a_two_dimensional_image_is_refused_in_words(viewer: Any, make_panel: Callable[..., Any], qtbot: Any) -> None:
    panel = make_panel(viewer)
    viewer.add_image(np.zeros((20, 20)), name="photo")
    qtbot.waitUntil(lambda: "2 dimensions" in panel.message())
    assert panel.case is None
    assert "2 dimensions" in notification_manager.records[-1].message


def test_preferences_are_applied_to_a_new_session(viewer: Any, make_panel: Callable[..., Any], qtbot: Any) -> None:
    panel = make_panel(viewer, preferences=Preferences(automatic=False, contour=False, keys={"accept_slice": "Q"}))
    data, arguments = layer_arguments(make_volume())
    viewer.add_image(data, **arguments)
    qtbot.waitUntil(lambda: panel.case is not None)
    assert not panel.case.controller.session.auto_propose
    assert panel.case.layers.proposal.contour == 0
    bound = {str(key) for key in viewer.keymap}
    assert "Q" in bound
    assert "A" not in bound


def test_a_second_scan_can_be_chosen(panel: Any, viewer: Any, qtbot: Any) -> None:
    paint(panel)
    first = panel.case.controller.session.path
    data, arguments = layer_arguments(make_volume((5, 12, 14), name="other"))
    viewer.add_image(data, **arguments)
    qtbot.wait(20)
    assert panel.case.controller.session.path == first
    panel.body.scan_box.scan_chosen.emit(1)
    assert panel.case.controller.shape == (5, 12, 14)
    panel.body.scan_box.scan_chosen.emit(0)
    assert panel.case.controller.session.path == first
    assert panel.case.controller.labels.any()
    names = [layer.name for layer in viewer.layers]
    assert names.count("Segmentation") == 1


def test_a_window_preset_changes_the_contrast(panel: Any) -> None:
    wanted = panel._windows[1]
    panel.body.scan_box.window_chosen.emit(1)
    assert panel.case.image.contrast_limits == [wanted.low, wanted.high]


def test_keys_step_through_the_windows_and_say_which(panel: Any, viewer: Any) -> None:
    press(viewer, "W")
    assert panel.body.scan_box.chosen_window() == 1
    assert panel._windows[1].name in panel.message()
    press(viewer, "Shift+W")
    press(viewer, "Shift+W")
    last = panel._windows[-1]
    assert panel.case.image.contrast_limits == [last.low, last.high]


def test_turning_shows_each_plane_with_its_examples(panel: Any, viewer: Any, qtbot: Any) -> None:
    paint(panel)
    settle(qtbot, panel)
    panel.case.layers.go_to(SliceRef(0, 2))
    for axis in (1, 2, 0):
        press(viewer, "T")
        assert panel.case.controller.focus.axis == axis
        assert panel.case.layers.segmentation.data[2, 6, 7] == 1
    assert panel.case.controller.session.slice_state(SliceRef(0, 2)) is SliceState.EXAMPLE
    press(viewer, "Shift+T")
    assert panel.case.controller.focus.axis == 2
    panel.body.scan_box.plane_chosen.emit(0)
    assert panel.case.controller.focus == SliceRef(0, 2)


def test_while_everything_is_hidden_the_panel_says_so(panel: Any, viewer: Any) -> None:
    press(viewer, "H")
    assert not panel.case.layers.segmentation.visible
    assert "is hidden" in panel.message()
    press(viewer, "H")
    assert panel.case.layers.segmentation.visible
    assert panel.message() == ""


def test_what_was_undone_is_told_until_the_next_step(panel: Any, viewer: Any, qtbot: Any) -> None:
    paint(panel)
    press(viewer, "Ctrl+Z")
    assert panel.message().startswith("Undone: paint")
    panel.case.controller.set_auto_propose(False)
    assert panel.message().startswith("Undone: paint")
    paint(panel)
    assert panel.message() == ""


def test_the_question_for_a_series_has_the_windows_theme(panel_only: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    parents: list[Any] = []

    class Chooser:
        def __init__(self, found: Any, parent: Any = None) -> None:
            parents.append(parent)

        def exec(self) -> Any:
            return None

    monkeypatch.setattr(series, "SeriesChooser", Chooser)
    found = [SimpleNamespace(uid=uid, series_uid=uid, problem=None) for uid in "ab"]
    monkeypatch.setattr(series.io, "list_series", lambda folder: found)
    assert series.choose_series(Path(__file__).parent) is None
    assert parents == [panel_only]


def test_turning_goes_through_what_the_mouse_points_at(panel: Any, viewer: Any) -> None:
    layers = panel.case.layers
    layers.go_to(SliceRef(0, 2))
    viewer.mouse_over_canvas = True
    viewer.cursor.position = layers.image.data_to_world((2, 4, 20))
    for expected in (SliceRef(1, 4), SliceRef(2, 20), SliceRef(0, 2)):
        press(viewer, "T")
        assert panel.case.controller.focus == expected
    viewer.mouse_over_canvas = False
    panel.body.scan_box.plane_chosen.emit(1)
    assert panel.case.controller.focus == SliceRef(1, 4)


@pytest.mark.parametrize("over_canvas", [True, False])
def test_turning_with_the_mouse_elsewhere_shows_the_middle(panel: Any, viewer: Any, over_canvas: bool) -> None:
    layers = panel.case.layers
    viewer.mouse_over_canvas = over_canvas
    # Beside the scan, or where it was when it left the canvas.
    viewer.cursor.position = layers.image.data_to_world((2, 400, 20) if over_canvas else (2, 4, 20))
    press(viewer, "T")
    assert panel.case.controller.focus.axis == 1
    assert abs(panel.case.controller.focus.index - SHAPE[1] // 2) <= 1


def why(panel: Any) -> str:
    """Return why the slice on screen was suggested."""
    reason: str = panel.case.controller.advice.reason_for(panel.case.controller.focus)
    assert reason
    return reason


def test_n_goes_to_the_most_doubtful_slice_says_why_and_back(panel: Any, viewer: Any, qtbot: Any) -> None:
    press(viewer, "N")
    assert "no slice to suggest" in panel.message()
    paint(panel)
    settle(qtbot, panel)
    panel.case.layers.go_to(SliceRef(0, 2))
    press(viewer, "N")
    first = panel.case.controller.focus
    assert first.index != 2
    assert why(panel) in panel.hint()
    press(viewer, "N")
    assert panel.case.controller.focus not in (first, SliceRef(0, 2))
    press(viewer, "Shift+N")
    assert panel.case.controller.focus == first
    press(viewer, "Shift+N")
    assert panel.case.controller.focus == SliceRef(0, 2)
    press(viewer, "Shift+N")
    assert "no slice to go back to" in panel.message()
    press(viewer, "N")
    said = why(panel)
    assert said in panel.hint()
    panel.case.layers.go_to(SliceRef(0, 5) if panel.case.controller.focus.index != 5 else SliceRef(0, 4))
    assert said not in panel.hint()
    assert panel.message() == ""


def test_a_doubtful_corner_is_framed_until_another_slice_is_shown(panel: Any, viewer: Any) -> None:
    before = viewer.layers.selection.active
    panel.case.controller.led.emit(SliceRef(0, 3), Box((3, 5, 6), (4, 9, 12)))
    (mark,) = [layer for layer in viewer.layers if layer.name == "Look here"]
    assert mark.data[0].min(axis=0).tolist() == [3, 2.5, 3.5]
    assert mark.data[0].max(axis=0).tolist() == [3, 10.5, 13.5]
    assert viewer.layers.selection.active is before
    panel.case.layers.go_to(SliceRef(0, 4))
    assert mark not in viewer.layers


def test_keys_reach_the_name_of_a_structure_and_the_save_dialog(
    panel: Any, viewer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(panel_module, "ask_save", lambda scan, *, open_proposals, parent: asked.append(True))
    press(viewer, "Shift+S")
    assert asked == [True]
    focused: list[bool] = []
    (entry,) = panel.body.table.findChildren(QLineEdit)
    monkeypatch.setattr(entry, "setFocus", lambda: focused.append(True))
    press(viewer, "Shift+L")
    assert focused == [True]


def test_saving_asks_and_writes(panel: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, qtbot: Any) -> None:
    paint(panel)
    settle(qtbot, panel)
    asked: list[bool] = []

    def ask(scan: Any, *, open_proposals: bool, parent: Any) -> SaveAnswer:
        asked.append(open_proposals)
        return SaveAnswer(tmp_path / "out.nrrd", with_proposals=False)

    monkeypatch.setattr(panel_module, "ask_save", ask)
    panel.save()
    assert asked == [True]
    qtbot.waitUntil(lambda: panel.saver.running == 0)
    labels, _ = io.read_labels(tmp_path / "out.nrrd")
    assert np.count_nonzero(labels) == 30
    assert "Saved as out.nrrd" in panel.message()


def test_a_label_layer_gives_the_first_examples(
    panel: Any, viewer: Any, monkeypatch: pytest.MonkeyPatch, qtbot: Any
) -> None:
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[1, 4:8, 4:8] = 1
    layers = panel.case.layers
    viewer.add_labels(labels, name="mine", scale=layers.image.scale, translate=layers.image.translate)
    monkeypatch.setattr(panel_module, "ask_label_layer", lambda names, parent: 0)
    panel.use_labels()
    assert panel.case.controller.session.slice_state(SliceRef(0, 1)) is SliceState.EXAMPLE
    settle(qtbot, panel)


def test_a_label_layer_on_another_grid_is_refused(panel: Any, viewer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    viewer.add_labels(np.ones((3, 4, 5), dtype=np.uint8), name="elsewhere")
    monkeypatch.setattr(panel_module, "ask_label_layer", lambda names, parent: 0)
    panel.use_labels()
    assert "elsewhere" in panel.message()
    assert not panel.case.controller.labels.any()


def test_starting_over_and_reopening_the_old_session(panel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    paint(panel)
    first = panel.case.controller.session.path
    panel.body.save_box.restart_wanted.emit()
    assert not panel.case.controller.labels.any()
    monkeypatch.setattr(panel_module, "ask_session", lambda current, parent: first)
    panel.body.save_box.reopen_wanted.emit()
    assert panel.case.controller.session.path == first
    assert panel.case.controller.labels.any()


def test_an_error_of_the_engine_is_a_sentence(panel: Any, engine: Any, qtbot: Any) -> None:
    engine.fail_with = ZeroDivisionError("secret detail")
    paint(panel)
    qtbot.waitUntil(lambda: "nothing you painted is lost" in panel.message())
    assert "Traceback" not in panel.message()
    assert not panel.case.controller.work.busy


def test_a_full_disk_is_said_and_tried_again(panel: Any, monkeypatch: pytest.MonkeyPatch, qtbot: Any) -> None:
    session = panel.case.controller.session
    panel._retry.setInterval(10)
    monkeypatch.setattr(type(session), "retry_storage", lambda self: True)
    session.storage_failed.emit("The disk is full.")
    assert "disk is full" in panel.message()
    qtbot.waitUntil(lambda: "on disk again" in panel.message())


def test_progress_is_shown_and_can_be_stopped(viewer: Any, make_panel: Callable[..., Any], qtbot: Any) -> None:
    import threading

    engine = NearestSliceEngine(gate=threading.Event())
    panel = make_panel(viewer, make_engine=lambda: engine)
    data, arguments = layer_arguments(make_volume())
    viewer.add_image(data, **arguments)
    qtbot.waitUntil(lambda: panel.case is not None)
    panel.case.controller.add_structure("Liver")
    paint(panel)
    qtbot.waitUntil(lambda: panel.case.controller.work.proposing)
    assert "Proposing the rest" in panel.hint()
    press(viewer, "Shift+G")
    qtbot.waitUntil(lambda: not panel.case.controller.work.busy)
    assert panel.case.controller.session.proposal is None


def test_a_click_marks_a_voxel_and_alt_click_background(panel: Any, viewer: Any) -> None:
    layers = panel.case.layers
    layers.go_to(SliceRef(0, 2))
    layers.set_click_tool(True)
    assert str(layers.segmentation.mode) == "pan_zoom"

    def click(row: int, column: int, modifiers: list[str]) -> None:
        viewer.cursor.position = tuple(layers.image.data_to_world((2, row, column)))
        event = SimpleNamespace(
            type="mouse_press",
            button=1,
            modifiers=modifiers,
            pos=np.array([row, column]),
            position=viewer.cursor.position,
            view_direction=None,
            dims_displayed=[1, 2],
            handled=False,
        )
        mouse_press_callbacks(viewer, event)
        event.type = "mouse_release"
        mouse_release_callbacks(viewer, event)

    click(4, 5, [])
    click(12, 15, ["Alt"])
    (example,) = panel.case.controller.session.support().examples
    assert example.labels[4, 5] == 1
    assert example.known[12, 15]
    assert example.labels[12, 15] == 0
    layers.segmentation.mode = "paint"
    assert not layers.click_tool


def test_scribble_mode_hands_the_brush_and_opens_the_background_brush(panel: Any) -> None:
    panel.body.paint_box.mode_chosen.emit(PaintMode.SCRIBBLE)
    assert panel.case.controller.session.mode is PaintMode.SCRIBBLE
    panel.body.paint_box.background_wanted.emit()
    assert panel.case.layers.segmentation.selected_label == 255


def test_the_canvas_tells_plane_and_direction(panel: Any, viewer: Any) -> None:
    overlays = viewer.canvas.overlays

    def letters() -> str:
        return "".join(overlays[f"medmeta_{edge}"].text for edge in ("top", "bottom", "left", "right"))

    panel.case.layers.go_to(SliceRef(0, 2))
    assert "Axial slice 2 (0–5)" in overlays.text.text
    assert letters() == "APRL"
    panel.case.layers.go_to(SliceRef(2, 4))
    assert "Sagittal slice 4 (0–23)" in overlays.text.text
    assert letters() == "SIAP"
    viewer.dims.transpose()
    assert letters() == "APSI"
    panel.case.layers.show_as_contour(False)  # napari warns of outlines in 3D
    viewer.dims.ndisplay = 3
    assert letters() == ""
    viewer.dims.ndisplay = 2
    panel.close_case()
    assert overlays.text.text == ""
    assert "medmeta_top" not in overlays


def test_somebody_elses_text_is_left_alone(viewer: Any, make_panel: Callable[..., Any], qtbot: Any) -> None:
    viewer.canvas.overlays.text.text = "mine"
    panel = make_panel(viewer)
    data, arguments = layer_arguments(make_volume())
    viewer.add_image(data, **arguments)
    qtbot.waitUntil(lambda: panel.case is not None)
    assert viewer.canvas.overlays.text.text == "mine"


def test_a_weak_proposal_is_only_hinted_at(viewer: Any, make_panel: Callable[..., Any], qtbot: Any) -> None:
    panel = make_panel(viewer, make_engine=lambda: NearestSliceEngine(dice=0.3))
    data, arguments = layer_arguments(make_volume())
    viewer.add_image(data, **arguments)
    qtbot.waitUntil(lambda: panel.case is not None)
    panel.case.controller.add_structure("Liver")
    paint(panel)
    settle(qtbot, panel)
    panel.case.layers.go_to(SliceRef(0, 3))
    assert panel.case.layers.proposal.contour == 0
    assert panel.case.layers.proposal.opacity < 0.3


def test_an_outlined_proposal_can_be_filled(panel: Any, qtbot: Any) -> None:
    paint(panel)
    settle(qtbot, panel)
    panel.case.layers.go_to(SliceRef(0, 3))
    assert panel.case.layers.proposal.contour == 1
    panel.body.proposal_box.contour_changed.emit(False)
    assert panel.case.layers.proposal.contour == 0


def test_a_layer_with_a_time_axis_beside_the_scan_harms_nothing(panel: Any, viewer: Any, qtbot: Any) -> None:
    viewer.add_image(np.zeros((2, *SHAPE)), name="movie")
    panel.case.layers.go_to(SliceRef(0, 4))
    assert panel.case.layers.current() == SliceRef(0, 4)
    panel.case.layers.segmentation.brush_size = 1
    panel.case.layers.segmentation.paint((4, 3, 3), 1)
    qtbot.wait(20)
    assert panel.case.controller.labels[4, 3, 3] == 1


def test_another_plugins_image_with_scale_and_affine_is_segmented(
    viewer: Any, make_panel: Callable[..., Any], qtbot: Any
) -> None:
    panel = make_panel(viewer)
    affine = np.eye(4)
    affine[:3, 3] = (10, 20, 30)
    image = Image(make_volume().array, scale=(5, 1, 2), affine=affine, name="foreign")
    viewer.add_layer(image)
    qtbot.waitUntil(lambda: panel.case is not None)
    segmentation = panel.case.layers.segmentation
    assert np.allclose(segmentation.data_to_world((1, 2, 3)), image.data_to_world((1, 2, 3)))
    assert panel.case.controller.session.geometry.spacing_mm == pytest.approx((5, 1, 2))


def test_replacing_the_segmentations_data_is_put_right(panel: Any, qtbot: Any) -> None:
    paint(panel)
    layer = panel.case.layers.segmentation
    layer.data = np.zeros(SHAPE, dtype=np.uint8)
    qtbot.wait(30)
    assert np.array_equal(layer.data, panel.case.controller.labels)


def test_the_proposal_layer_cannot_be_painted(panel: Any) -> None:
    assert not panel.case.layers.proposal.editable


def test_painting_takes_no_longer_than_a_blink(panel: Any) -> None:
    import time

    layer = panel.case.layers.segmentation
    start = time.perf_counter()
    for column in range(3, 13):
        layer.paint((2, 5, column), 1)
    assert (time.perf_counter() - start) / 10 < 0.1


def test_napari_calls_the_panel_by_its_command(viewer: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = commands.dock_panel(viewer)
    assert commands.panel_of(viewer) is made
    assert commands.dock_panel(viewer) is made
    commands.save_segmentation(viewer)
    assert "Open a scan first" in notification_manager.records[-1].message
    made.release()


def test_the_demo_shows_a_proposal(viewer: Any, monkeypatch: pytest.MonkeyPatch, qtbot: Any) -> None:
    monkeypatch.setattr(panel_module, "_make_segmenter", lambda device, learner: NearestSliceEngine())
    panel = demo.open_demo(viewer)
    try:
        settle(qtbot, panel)
        session = panel.case.controller.session
        assert [s.name for s in session.structures] == ["Liver", "Spleen", "Left kidney", "Right kidney"]
        assert session.proposed_labels(Box.whole(session.geometry.shape)).any()
        assert len(session.support().examples) == 4
    finally:
        panel.release()


def test_what_could_not_be_done_is_taken_back_once_something_else_is_done(panel: Any, qtbot: Any) -> None:
    controller = panel.case.controller
    paint(panel)
    settle(qtbot, panel)
    controller.rename_structure(1, "")
    said = panel.message()
    assert said
    controller.receive(controller.session.proposal)
    assert panel.message() == said
    controller.add_structure("Spleen")
    assert panel.message() == ""


def test_progress_and_stop_stay_in_sight_however_far_one_scrolls(panel: Any) -> None:
    assert not panel.body._scroll.isAncestorOf(panel.body.work_line)
    assert panel.body.isAncestorOf(panel.body.work_line)


def test_on_a_narrow_canvas_the_words_begin_below_the_letter(panel: Any, viewer: Any) -> None:
    overlay = viewer.canvas.overlays.text
    viewer.canvas.size = (600, 900)
    assert overlay.text.startswith("Axial")
    viewer.canvas.size = (600, 400)
    assert overlay.text.startswith("\nAxial")
    panel.close_case()
    viewer.canvas.size = (600, 900)
    assert "Axial" not in overlay.text
