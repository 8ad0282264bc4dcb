"""The window stays alive while the engine works: measured by a timer in a real viewer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QTimer

from napari_medmeta.core import SliceRef, label_slice
from napari_medmeta.core.phantoms import torso_ct
from napari_medmeta.session import Session
from napari_medmeta.ui.scan import layer_arguments

SHAPE = (100, 256, 256)
LONGEST_BLOCK_S = 0.1
TICK_S = 0.005


class Heartbeat:
    """Notes how late the window's timer comes."""

    def __init__(self) -> None:
        self.gaps: list[float] = []
        self._last = time.perf_counter()
        self._timer = QTimer()
        self._timer.setInterval(int(TICK_S * 1000))
        self._timer.timeout.connect(self._beat)
        self._timer.start()

    def _beat(self) -> None:
        now = time.perf_counter()
        self.gaps.append(now - self._last)
        self._last = now

    def restart(self) -> None:
        self.gaps.clear()
        self._last = time.perf_counter()

    def stop(self) -> float:
        self._timer.stop()
        return max(self.gaps)


def real_engine() -> Any:
    engine = pytest.importorskip("napari_medmeta.engine")
    return engine.Segmenter(device="cpu")


@pytest.mark.slow
@pytest.mark.timing
@pytest.mark.parametrize("kind", ["copying", "real"])
def test_the_window_is_never_blocked_longer_than_100_ms(
    viewer: Any, make_panel: Callable[..., Any], qtbot: Any, engine: Any, kind: str
) -> None:
    phantom = torso_ct(shape=SHAPE)
    data, arguments = layer_arguments(phantom.volume)
    truth = phantom.volume.geometry.reoriented().labels_to_working(np.where(phantom.labels <= 3, phantom.labels, 0))
    panel = make_panel(viewer, make_engine=real_engine if kind == "real" else None)
    layer = viewer.add_image(data, **arguments)
    qtbot.waitUntil(lambda: panel.case is not None)
    controller = panel.case.controller
    for name in ("Liver", "Spleen", "Left kidney"):
        controller.add_structure(name)
    session: Session = controller.session
    qtbot.waitUntil(lambda: bool(controller.work.device), timeout=120_000)
    filled = np.flatnonzero(truth.any(axis=(1, 2)))
    beat = Heartbeat()
    for fraction in (0.25, 0.5, 0.75):
        ref = SliceRef(0, int(filled[int(fraction * (len(filled) - 1))]))
        panel.case.layers.go_to(ref)
        session.paint_slice(ref, np.asarray(label_slice(truth, ref)))
    qtbot.wait(20)
    beat.restart()
    qtbot.waitUntil(
        lambda: (
            session.proposal is not None
            and session.proposal.generation == session.generation
            and session.proposal.covered.shape == SHAPE
            and not controller.work.busy
        ),
        timeout=120_000,
    )
    qtbot.wait(300)
    longest = beat.stop()
    print(f"longest block while proposing ({kind}): {longest * 1000:.0f} ms of {len(beat.gaps)} beats")
    assert layer in viewer.layers
    assert longest < LONGEST_BLOCK_S
