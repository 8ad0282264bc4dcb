"""Boxes drawn with napari's own rectangle tool become first examples."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from napari.utils.interactions import mouse_move_callbacks, mouse_press_callbacks, mouse_release_callbacks
from ui_fakes import SHAPE

from napari_medmeta.core import SliceRef
from napari_medmeta.session import SliceState
from napari_medmeta.session.boxes import DrawnBox
from napari_medmeta.ui.box_tool import box_of, corners_of
from napari_medmeta.ui.keys import Act

REF = SliceRef(0, 2)


def drag(panel: Any, start: tuple[int, int], stop: tuple[int, int]) -> None:
    """Drag with the left button over the slice on screen, as far as napari's tools can tell."""
    layers = panel.case.layers
    layer = layers.boxes.layer
    (axis, index) = layers.current().axis, layers.current().index

    def world(place: tuple[float, float]) -> tuple[float, ...]:
        point = list(place)
        point.insert(axis, index)
        return tuple(layers.image.data_to_world(point))

    shown = [a for a in range(3) if a != axis]
    event = SimpleNamespace(
        type="mouse_press", button=1, modifiers=[], handled=False, is_dragging=False, pos=np.asarray(start, float),
        position=world(start), view_direction=None, dims_displayed=shown, dims_point=[], camera_zoom=1.0,
    )  # fmt: skip
    mouse_press_callbacks(layer, event)
    for share in (0.3, 0.7, 1.0):
        event.type, event.is_dragging = "mouse_move", True
        place = tuple(a + share * (b - a) for a, b in zip(start, stop, strict=True))
        event.position, event.pos = world(place), np.asarray(place)
        mouse_move_callbacks(layer, event)
    event.type = "mouse_release"
    mouse_release_callbacks(layer, event)


def boxed(panel: Any, qtbot: Any) -> None:
    panel.case.layers.go_to(REF)
    panel.case.acts()[Act.BOX_TOOL]()
    drag(panel, (4, 5), (12, 15))
    qtbot.waitUntil(lambda: bool(panel.case.controller.session.boxes_on(REF)), timeout=5000)


@pytest.mark.gui
def test_a_dragged_box_makes_the_slice_known_and_asks_for_a_proposal(panel: Any, engine: Any, qtbot: Any) -> None:
    boxed(panel, qtbot)
    session = panel.case.controller.session
    (box,) = session.boxes_on(REF)
    assert box == DrawnBox(1, (4, 5), (13, 16))
    assert session.slice_state(REF) is SliceState.SCRIBBLED
    qtbot.waitUntil(lambda: len(engine.asked) == 1, timeout=5000)
    assert engine.asked[0].examples[0].positive(1).any()


@pytest.mark.gui
def test_after_a_box_the_keys_belong_to_the_segmentation_again(panel: Any, viewer: Any, qtbot: Any) -> None:
    boxed(panel, qtbot)
    assert viewer.layers.selection.active is panel.case.layers.segmentation
    assert not panel.case.layers.boxes.in_hand
    assert not panel.body.paint_box._box.isChecked()


@pytest.mark.gui
def test_accepting_the_proposal_makes_a_full_example_and_takes_the_box_away(
    panel: Any, viewer: Any, engine: Any, qtbot: Any
) -> None:
    boxed(panel, qtbot)
    controller = panel.case.controller
    qtbot.waitUntil(lambda: controller.session.proposal is not None, timeout=5000)
    assert controller.accept_slice()
    assert [e.ref for e in controller.session.support().complete] == [REF]
    assert "Boxes" not in viewer.layers
    controller.undo()
    assert "Boxes" in viewer.layers
    controller.undo()
    assert "Boxes" not in viewer.layers


@pytest.mark.gui
def test_a_box_too_small_is_said_and_goes(panel: Any, viewer: Any, qtbot: Any) -> None:
    panel.case.layers.go_to(REF)
    panel.case.set_box_tool(True)
    drag(panel, (4, 5), (5, 6))
    qtbot.waitUntil(lambda: "cannot be used" in panel.message(), timeout=5000)
    assert "Boxes" not in viewer.layers
    assert not panel.case.controller.session.can_undo or "box" not in panel.case.controller.session.undo_text


@pytest.mark.gui
def test_a_second_structure_has_its_own_box_on_the_slice(panel: Any, qtbot: Any) -> None:
    boxed(panel, qtbot)
    panel.case.controller.add_structure("Spleen")
    panel.case.set_box_tool(True)
    drag(panel, (2, 17), (9, 22))
    session = panel.case.controller.session
    qtbot.waitUntil(lambda: len(session.boxes_on(REF)) == 2, timeout=5000)
    assert {box.structure for box in session.boxes_on(REF)} == {1, 2}
    assert list(panel.case.layers.boxes.layer.features["structure"]) == [1, 2]


@pytest.mark.gui
def test_deleting_the_box_in_napari_forgets_it(panel: Any, viewer: Any, qtbot: Any) -> None:
    boxed(panel, qtbot)
    layer = panel.case.layers.boxes.layer
    layer.selected_data = {0}
    layer.remove_selected()
    qtbot.waitUntil(lambda: panel.case.controller.session.support().examples == (), timeout=5000)
    assert "Boxes" not in viewer.layers


@pytest.mark.gui
def test_without_a_structure_the_tool_says_what_is_missing(panel: Any, viewer: Any) -> None:
    panel.case.controller.remove_structure(1)
    panel.body.paint_box._box.click()
    assert "Add a structure" in panel.message()
    assert not panel.body.paint_box._box.isChecked()
    assert "Boxes" not in viewer.layers


@pytest.mark.gui
def test_the_brush_puts_the_box_tool_away(panel: Any, viewer: Any) -> None:
    panel.case.set_box_tool(True)
    panel.case.paint_active()
    assert not panel.case.layers.boxes.in_hand
    assert viewer.layers.selection.active is panel.case.layers.segmentation
    assert "Boxes" not in viewer.layers


@pytest.mark.gui
def test_a_box_on_another_plane_belongs_to_that_plane(panel: Any, qtbot: Any) -> None:
    panel.case.layers.go_to(SliceRef(1, 9))
    panel.case.set_box_tool(True)
    drag(panel, (1, 3), (5, 9))
    session = panel.case.controller.session
    qtbot.waitUntil(lambda: bool(session.boxes_on(SliceRef(1, 9))), timeout=5000)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_corners_and_box_are_each_others_inverse(axis: int) -> None:
    ref, box = SliceRef(axis, 3), DrawnBox(2, (1, 2), (5, 5))
    assert box_of(corners_of(box, ref), 2, SHAPE) == (ref, box)


def test_a_box_over_the_edge_ends_at_the_edge() -> None:
    corners = np.array([[2, -5, -5], [2, -5, 99], [2, 99, 99], [2, 99, -5]], dtype=float)
    assert box_of(corners, 1, SHAPE) == (REF, DrawnBox(1, (0, 0), SHAPE[1:]))
