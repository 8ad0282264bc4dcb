"""A whole case with key presses in a real window: name, paint, be led, accept, turn, undo, save."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QLineEdit, QMessageBox
from ui_fakes import SHAPE

from napari_medmeta import io
from napari_medmeta.core import SliceRef
from napari_medmeta.session import SliceState
from napari_medmeta.ui import dialogs

SHIFT = Qt.KeyboardModifier.ShiftModifier
CONTROL = Qt.KeyboardModifier.ControlModifier


def settle(qtbot: Any, panel: Any) -> None:
    session = panel.case.controller.session
    qtbot.waitUntil(
        lambda: session.proposal is not None and session.proposal.generation == session.generation, timeout=20_000
    )
    qtbot.wait(30)


def test_from_the_name_to_the_file_by_keys(
    panel: Any, viewer: Any, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window, controller, layers = panel.window(), panel.case.controller, panel.case.layers
    session = controller.session

    def press(key: Qt.Key, modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> None:
        qtbot.keyClick(window, key, modifier)

    press(Qt.Key.Key_L, SHIFT)
    (entry,) = panel.body.table.findChildren(QLineEdit)
    qtbot.keyClicks(entry, "Spleen")
    qtbot.keyClick(entry, Qt.Key.Key_Return)
    assert [s.name for s in controller.structures] == ["Liver", "Spleen"]
    press(Qt.Key.Key_1, CONTROL)
    assert session.active == 1
    press(Qt.Key.Key_P)
    assert str(layers.segmentation.mode) == "paint"
    layers.go_to(SliceRef(0, 2))
    layers.segmentation.brush_size = 5
    layers.segmentation.paint((2, 8, 8), 1)
    press(Qt.Key.Key_2, CONTROL)
    layers.segmentation.paint((2, 8, 18), 2)
    settle(qtbot, panel)

    press(Qt.Key.Key_N)
    first = controller.focus
    assert first != SliceRef(0, 2)
    press(Qt.Key.Key_A)
    assert session.slice_state(first) is SliceState.ACCEPTED
    settle(qtbot, panel)
    press(Qt.Key.Key_T)
    assert controller.focus.axis == 1
    press(Qt.Key.Key_T, SHIFT)
    press(Qt.Key.Key_Z, CONTROL)
    assert session.slice_state(first) is not SliceState.ACCEPTED
    press(Qt.Key.Key_Z, CONTROL | SHIFT)
    settle(qtbot, panel)
    press(Qt.Key.Key_A, SHIFT)
    assert all(session.slice_state(SliceRef(0, i)) is not SliceState.PROPOSED for i in range(SHAPE[0]))

    out = tmp_path / "out.nii.gz"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *args, **options: (str(out), ""))
    monkeypatch.setattr(QMessageBox, "exec", lambda self: 0)
    monkeypatch.setattr(dialogs, "_ask_open_proposals", lambda parent: False)
    press(Qt.Key.Key_S, SHIFT)
    qtbot.waitUntil(lambda: panel.saver.running == 0)
    labels, _ = io.read_labels(out)
    assert set(np.unique(labels)) == {0, 1, 2}
