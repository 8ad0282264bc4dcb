"""Take the picture of lesion detection: a synthetic brain with six spots, one of them painted on one slice.

Needs a display, real or virtual. Usage: python examples/detection_picture.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

import napari
import numpy as np
from PIL import Image
from qtpy.QtCore import QTimer

from napari_medmeta.core import SliceRef, Volume
from napari_medmeta.core.phantoms import brain_mr
from napari_medmeta.session import Session
from napari_medmeta.ui.applications import dock_applications
from napari_medmeta.ui.commands import DISPLAY_NAME
from napari_medmeta.ui.detection_tab import DetectionTab
from napari_medmeta.ui.panel import MedmetaPanel
from napari_medmeta.ui.scan import layer_arguments

SIZE = (1500, 900)
COLOURS = 256
POLL_MS, SETTLE_MS = 250, 1500
SHAPE = (40, 110, 100)
# Share of the scan along each axis, radius in mm.
SPOTS = (
    ((0.50, 0.42, 0.36), 6.0),
    ((0.50, 0.60, 0.64), 5.0),
    ((0.62, 0.35, 0.60), 6.5),
    ((0.40, 0.62, 0.38), 5.5),
    ((0.68, 0.55, 0.45), 5.0),
)


def spotted() -> tuple[Volume, np.ndarray]:
    """Return the brain with bright spots, upright, and the spots numbered from 1."""
    phantom = brain_mr(shape=SHAPE)
    volume = phantom.volume
    grid = np.indices(volume.array.shape).astype(float)
    array, truth = np.array(volume.array, dtype=np.float32), np.zeros(volume.array.shape, np.uint8)
    brightness = 0.5 * float(np.percentile(array, 99))
    for number, (share, radius) in enumerate(SPOTS, start=1):
        centre = [s * n for s, n in zip(share, array.shape, strict=True)]
        away = np.sqrt(sum(((grid[a] - centre[a]) * volume.geometry.spacing_mm[a]) ** 2 for a in range(3)))
        array += brightness / (1 + np.exp((away - radius) / 0.7))
        truth[away < radius] = number
    return Volume(array, volume.geometry, volume.modality, "synthetic brain"), truth


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    volume, truth = spotted()
    viewer = napari.Viewer(show=True)
    viewer.window.resize(*SIZE)
    array, arguments = layer_arguments(volume)
    panel = MedmetaPanel(viewer)
    viewer.window.add_dock_widget(panel, name=DISPLAY_NAME, area="right")
    grid = volume.geometry.reoriented()
    session = Session.create(grid.working, fingerprint=volume.fingerprint, name=volume.name)
    panel.open_layer(viewer.add_image(array, **arguments), session=session)
    assert panel.case is not None
    panel.case.controller.set_auto_propose(False)
    panel.case.controller.add_structure("Lesion")
    spots = grid.labels_to_working(truth)
    index = int((spots == 1).sum(axis=(1, 2)).argmax())
    session.paint_slice(SliceRef(0, index), np.where(spots[index] == 1, 1, 0).astype(np.uint8))
    tab = dock_applications(viewer, panel).tab("Lesions")
    assert isinstance(tab, DetectionTab)
    tab.look()
    timer = QTimer()
    timer.setInterval(POLL_MS)

    def finished() -> None:
        viewer.screenshot(str(folder / "detect.png"), canvas_only=False, flash=False)
        image = Image.open(folder / "detect.png").convert("RGB").quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE)
        image.save(folder / "detect.png", optimize=True)
        viewer.close()

    def poll() -> None:
        if tab.desk is not None and not tab.desk.busy:
            timer.stop()
            tab.choose(0)
            QTimer.singleShot(SETTLE_MS, finished)

    timer.timeout.connect(poll)
    timer.start()
    napari.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "images")
