"""Going on after the program was killed: the window shows what was acknowledged, where the user was."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ui_fakes import SHAPE, make_volume

from napari_medmeta.core import SliceRef
from napari_medmeta.ui.scan import layer_arguments


def test_after_a_kill_the_panel_continues_where_you_were(
    panel: Any, viewer: Any, make_panel: Callable[..., Any], qtbot: Any, tmp_path: Path
) -> None:
    mask = np.zeros(SHAPE[1:], dtype=bool)
    mask[5:10, 6:12] = True
    session = panel.case.controller.session
    session.paint(SliceRef(0, 1), mask, value=1)
    session.paint(SliceRef(0, 4), mask, value=1)
    session.undo()
    session.redo()
    left = session.path
    # What a kill leaves: the file and its log as they are on the disk, never closed.
    kept = tmp_path / "left"
    shutil.copytree(left.parent, kept)
    labels = session.labels.copy()
    panel.close_case()
    for file in left.parent.glob("*"):
        file.unlink()
    for file in kept.glob("*"):
        shutil.copy(file, left.parent / file.name)
    image = next(layer for layer in viewer.layers if layer.name == make_volume().name)
    assert panel.open_layer(image)
    again = panel.case.controller.session
    assert np.array_equal(again.labels, labels)
    assert panel.case.layers.current() == SliceRef(0, 4)
    assert "You were on axial slice 4." in panel.message()
    qtbot.waitUntil(lambda: again.proposal is not None and again.proposal.generation == again.generation)


def test_a_new_scan_stays_where_the_viewer_is(viewer: Any, make_panel: Callable[..., Any], qtbot: Any) -> None:
    made = make_panel(viewer)
    data, arguments = layer_arguments(make_volume())
    viewer.add_image(data, **arguments)
    qtbot.waitUntil(lambda: made.case is not None)
    assert "You were on" not in made.message()
