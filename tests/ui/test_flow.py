from __future__ import annotations

from typing import Any

import numpy as np
from ui_fakes import SHAPE

from napari_medmeta.core import SliceRef
from napari_medmeta.session import SliceState


def show(panel: Any, index: int, axis: int = 0) -> None:
    panel.case.layers.go_to(SliceRef(axis, index))


def paint(panel: Any, row: int, column: int, *, size: int = 5, value: int = 1) -> None:
    layer = panel.case.layers.segmentation
    layer.brush_size = size
    position = list(panel.case.layers.current().slicer)
    point = [0, row, column]
    point[0] = panel.case.layers.current().index
    layer.paint(point, value)


def wait_for_proposal(qtbot: Any, panel: Any) -> None:
    session = panel.case.controller.session
    qtbot.waitUntil(
        lambda: session.proposal is not None and session.proposal.generation == session.generation, timeout=10_000
    )


def test_a_proposal_appears_by_itself_when_the_brush_lifts(panel: Any, qtbot: Any) -> None:
    show(panel, 2)
    paint(panel, 10, 12)
    wait_for_proposal(qtbot, panel)
    qtbot.wait(50)
    assert panel.case.layers.proposal.data[3, 10, 12] == 1
    assert panel.case.layers.segmentation.data[3, 10, 12] == 0


def test_accept_correct_undo(panel: Any, qtbot: Any) -> None:
    show(panel, 2)
    paint(panel, 10, 12)
    wait_for_proposal(qtbot, panel)
    session = panel.case.controller.session
    show(panel, 3)
    panel.case.controller.accept_slice()
    assert session.slice_state(SliceRef(0, 3)) is SliceState.ACCEPTED
    assert panel.case.layers.segmentation.data[3, 10, 12] == 1
    wait_for_proposal(qtbot, panel)
    show(panel, 4)
    paint(panel, 10, 15)
    qtbot.wait(20)
    data = panel.case.layers.segmentation.data
    assert data[4, 10, 12] == 1
    assert data[4, 10, 16] == 1
    panel.case.controller.undo()
    qtbot.wait(20)
    assert not data[4].any()
    assert np.array_equal(data, session.labels)
    assert data.shape == SHAPE
