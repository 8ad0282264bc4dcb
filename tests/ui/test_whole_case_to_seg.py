"""A DICOM series becomes a DICOM SEG with keys and the mouse only, and other programs read what is on screen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtWidgets import QApplication, QFileDialog, QLineEdit, QWidget

from napari_medmeta.core import Box, MaskArray
from napari_medmeta.session import SliceState
from napari_medmeta.ui import dialogs
from napari_medmeta.ui.dialogs import NAMED_SEG
from napari_medmeta.ui.reader import get_reader

pytestmark = pytest.mark.slow

SHAPE = (10, 64, 64)
CENTRE, RADIUS = (31.0, 27.0), 11.0
ORGAN_HU, AROUND_HU, NOISE_HU = 120, 10, 8
NO_KEY, SHIFT = Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ShiftModifier
LEFT, NO_BUTTON = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
BRUSH = 5


def organ() -> MaskArray:
    """A ball that is cut off at both ends, (slices, rows, columns)."""
    z, y, x = np.indices(SHAPE)
    inside = (y - CENTRE[0]) ** 2 + (x - CENTRE[1]) ** 2 + (2.0 * (z - 4.5)) ** 2 < RADIUS**2
    return np.asarray(inside)


@pytest.fixture
def series(tmp_path: Path, write_ct_series: Callable[..., Path]) -> Path:
    noise = np.random.default_rng(0).normal(AROUND_HU, NOISE_HU, SHAPE)
    pixels = np.where(organ(), noise + ORGAN_HU - AROUND_HU, noise)
    return write_ct_series(tmp_path / "series", pixels.astype(np.int16))


class Hand:
    """A hand on the mouse: strokes on the canvas in napari's 2D view, as Qt's own events."""

    def __init__(self, viewer: Any, window: QWidget) -> None:
        self._viewer = viewer
        (self._canvas,) = window.findChildren(QOpenGLWidget)

    def stroke(self, layer: Any, points: list[tuple[float, ...]]) -> None:
        """Press at the first voxel, draw over the others, let go at the last."""
        places = [self._place(layer, point) for point in points]
        self._send(QEvent.Type.MouseMove, places[0], NO_BUTTON, NO_BUTTON)
        self._send(QEvent.Type.MouseButtonPress, places[0], LEFT, LEFT)
        for place in places[1:]:
            self._send(QEvent.Type.MouseMove, place, NO_BUTTON, LEFT)
        self._send(QEvent.Type.MouseButtonRelease, places[-1], LEFT, NO_BUTTON)

    def _place(self, layer: Any, point: tuple[float, ...]) -> QPointF:
        shown = list(self._viewer.dims.displayed)
        world = np.asarray(layer.data_to_world(point))[shown]
        row, column = (world - np.asarray(self._viewer.scene.camera.center)[-2:]) * self._viewer.scene.camera.zoom
        return QPointF(self._canvas.width() / 2 + column, self._canvas.height() / 2 + row)

    def _send(self, kind: QEvent.Type, place: QPointF, button: Qt.MouseButton, held: Qt.MouseButton) -> None:
        everywhere = QPointF(self._canvas.mapToGlobal(QPoint(round(place.x()), round(place.y()))))
        QApplication.sendEvent(self._canvas, QMouseEvent(kind, place, everywhere, button, held, NO_KEY))
        QApplication.processEvents()


def rows_of(mask: MaskArray, index: int, *, step: int) -> list[tuple[float, ...]]:
    """Return a path to and fro through the rows of a mask on slice ``index``, as a hand fills an outline."""
    path: list[tuple[float, ...]] = []
    margin = BRUSH // 2
    rows = np.flatnonzero(mask.any(axis=1))
    for number, row in enumerate(rows[margin : -margin or None : step]):
        columns = np.flatnonzero(mask[row])
        ends = (float(columns[0] + margin), float(columns[-1] - margin))
        path += [(float(index), float(row), column) for column in (ends if number % 2 == 0 else ends[::-1])]
    return path


def settle(qtbot: Any, panel: Any) -> None:
    """Wait until the proposal belongs to what is painted, and the window shows it."""
    controller, session = panel.case.controller, panel.case.controller.session

    def there() -> bool:
        found = session.proposal
        whole = found is not None and found.covered.shape == session.geometry.shape
        return whole and found.generation == session.generation and not controller.work.busy

    qtbot.waitUntil(there, timeout=120_000)
    qtbot.wait(100)


def whole_case(viewer: Any, panel: Any, series: Path, out: Path, qtbot: Any) -> None:
    """Open, name, paint, look where the window leads, accept, correct, accept the rest, save."""
    reader = get_reader(str(series))
    assert reader is not None
    ((data, arguments, _),) = reader(str(series))
    viewer.add_image(data, **arguments)
    qtbot.waitUntil(lambda: panel.case is not None, timeout=20_000)
    window, controller, layers = panel.window(), panel.case.controller, panel.case.layers
    window.show()
    qtbot.waitExposed(window)
    hand, session = Hand(viewer, window), controller.session
    # The series is shown with its slices along the first axis, however it lies in the file.
    truth = np.asarray(controller.scan.volume(np.asarray(data)).array) > (ORGAN_HU + AROUND_HU) / 2

    def press(key: Qt.Key, modifier: Qt.KeyboardModifier = NO_KEY) -> None:
        qtbot.keyClick(window, key, modifier)

    press(Qt.Key.Key_L, SHIFT)
    (entry,) = panel.body.table.findChildren(QLineEdit)
    qtbot.keyClicks(entry, "Spleen")
    qtbot.keyClick(entry, Qt.Key.Key_Return)
    press(Qt.Key.Key_P)
    assert str(layers.segmentation.mode) == "paint"
    layers.segmentation.brush_size = BRUSH
    start = controller.focus
    assert start.axis == 0
    qtbot.wait(200)
    hand.stroke(layers.segmentation, rows_of(truth[start.index], start.index, step=BRUSH - 1))
    painted = controller.labels[start.index] == 1
    assert overlap(painted, truth[start.index]) > 0.85
    assert session.slice_state(start) is SliceState.EXAMPLE
    settle(qtbot, panel)

    press(Qt.Key.Key_N)
    first = controller.focus
    assert first != start
    press(Qt.Key.Key_A)
    assert session.slice_state(first) is SliceState.ACCEPTED
    settle(qtbot, panel)
    press(Qt.Key.Key_N)
    second = controller.focus
    assert second not in (start, first)
    before = np.array(session.proposed_labels(Box.whole(SHAPE)))
    corner = [(float(second.index), 5.0, 5.0), (float(second.index), 5.0, 12.0)]
    hand.stroke(layers.segmentation, corner)
    assert controller.labels[second.index, 5, 5:13].all()
    assert session.slice_state(second) is SliceState.EXAMPLE
    # The rest of the proposal on a corrected slice is taken over with the correction.
    assert controller.labels[second.index][before[second.index] == 1].all()
    settle(qtbot, panel)
    press(Qt.Key.Key_A, SHIFT)
    press(Qt.Key.Key_S, SHIFT)
    qtbot.waitUntil(out.is_file, timeout=60_000)
    qtbot.waitUntil(lambda: "Saved as" in panel.message(), timeout=60_000)


def overlap(a: MaskArray, b: MaskArray) -> float:
    """Return the Dice coefficient."""
    return 2.0 * float(np.count_nonzero(a & b)) / float(np.count_nonzero(a) + np.count_nonzero(b))


def by_position(frames: MaskArray, heights: list[float]) -> MaskArray:
    """Put frames into the series' order; slices without a frame stay empty."""
    whole = np.zeros(SHAPE, dtype=bool)
    for frame, height in zip(frames, heights, strict=True):
        whole[round(height / 5.0)] |= frame
    return whole


def heights_mm(found: pydicom.Dataset) -> list[float]:
    """Return where each frame lies along the patient."""
    frames = found.PerFrameFunctionalGroupsSequence
    return [float(frame.PlanePositionSequence[0].ImagePositionPatient[2]) for frame in frames]


def read_with_pydicom(path: Path) -> MaskArray:
    found = pydicom.dcmread(path)
    frames = np.asarray(found.pixel_array).reshape(-1, *SHAPE[1:]) > 0
    return by_position(frames, heights_mm(found))


def read_with_highdicom(path: Path) -> MaskArray:
    found = highdicom.seg.segread(path)
    uids = [f"1.2.3.4.{number + 1}" for number in range(SHAPE[0])]
    pixels = found.get_pixels_by_source_instance(
        uids, ignore_spatial_locations=True, assert_missing_frames_are_empty=True
    )
    return np.asarray(pixels[..., 0]) > 0


def read_with_simpleitk(path: Path) -> MaskArray:
    image = sitk.ReadImage(str(path))
    found = pydicom.dcmread(path, stop_before_pixels=True)
    return by_position(sitk.GetArrayFromImage(image) > 0, heights_mm(found))


def check(viewer: Any, panel: Any, series: Path, out: Path, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, **__: (str(out), NAMED_SEG))
    monkeypatch.setattr(dialogs, "_ask_open_proposals", lambda parent: False)
    whole_case(viewer, panel, series, out, qtbot)
    controller = panel.case.controller
    # Read straight from the session; the series' slices are written with rising height.
    expected = controller.scan.grid.labels_to_original(np.array(controller.labels)) == 1
    if expected.shape != SHAPE:
        expected = expected.transpose(2, 1, 0)
    if controller.scan.grid.original.affine[2, np.argmax(np.abs(controller.scan.grid.original.affine[2, :3]))] < 0:
        expected = expected[::-1]
    assert overlap(expected, organ()) > 0.5
    assert controller.structures[0].name == "Spleen"
    assert pydicom.dcmread(out).SegmentSequence[0].SegmentLabel == "Spleen"
    for read in (read_with_pydicom, read_with_highdicom, read_with_simpleitk):
        assert np.array_equal(read(out), expected), read.__name__


def test_a_case_by_keys_and_mouse_with_a_quick_engine(
    viewer: Any, panel_only: Any, series: Path, tmp_path: Path, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(viewer, panel_only, series, tmp_path / "out.dcm", qtbot, monkeypatch)


def test_a_case_by_keys_and_mouse_with_the_real_engine(
    viewer: Any,
    make_panel: Callable[..., Any],
    series: Path,
    tmp_path: Path,
    qtbot: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = pytest.importorskip("napari_medmeta.engine")
    panel = make_panel(viewer, make_engine=lambda: engine.Segmenter(device="cpu"))
    check(viewer, panel, series, tmp_path / "out.dcm", qtbot, monkeypatch)
