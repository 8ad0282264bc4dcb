"""Clicks are seen: a mark for every voxel that was said alone, and for nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_medmeta.core import SliceExample, SliceRef
from napari_medmeta.ui.click_marks import CLICKS_NAME, clicks_on


def example(known: list[tuple[int, int]], *, label: int = 1) -> SliceExample:
    labels, mask = np.zeros((8, 9), np.uint8), np.zeros((8, 9), bool)
    for place in known:
        labels[place], mask[place] = label, True
    return SliceExample(SliceRef(1, 4), labels, mask)


def test_a_voxel_alone_is_a_click_on_its_own_axis() -> None:
    assert clicks_on([example([(2, 3), (7, 8)], label=2)]) == (((2, 4, 3), 2), ((7, 4, 8), 2))


def test_a_stroke_is_seen_without_marks() -> None:
    assert clicks_on([example([(2, 3), (2, 4), (3, 5)])]) == ()


def test_a_complete_slice_has_no_clicks() -> None:
    whole = SliceExample(SliceRef(0, 1), np.zeros((8, 9), np.uint8), np.ones((8, 9), bool))
    assert clicks_on([whole]) == ()


def marks(viewer: Any) -> Any:
    return next((layer for layer in viewer.layers if layer.name == CLICKS_NAME), None)


@pytest.mark.gui
def test_clicks_are_marked_and_undo_takes_the_mark_away(panel: Any, viewer: Any) -> None:
    controller = panel.case.controller
    active = viewer.layers.selection.active
    assert marks(viewer) is None
    controller.click((2, 4, 5), background=False)
    controller.click((2, 12, 15), background=True)
    assert [str(symbol.value) for symbol in marks(viewer).symbol] == ["cross", "x"]
    assert np.allclose(marks(viewer).data, [[2, 4, 5], [2, 12, 15]])
    # Larger than a voxel, and nothing that a hand could take hold of instead of the brush.
    assert np.all(marks(viewer).size > 0.4)
    assert not marks(viewer).editable
    assert viewer.layers.selection.active is active
    controller.undo()
    assert len(marks(viewer).data) == 1
    controller.undo()
    assert marks(viewer) is None


@pytest.mark.gui
def test_marks_go_with_the_scan(panel: Any, viewer: Any) -> None:
    panel.case.controller.click((2, 4, 5), background=False)
    panel.close_case()
    assert marks(viewer) is None
