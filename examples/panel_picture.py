"""Take the picture of the panel for docs/: the demo's scan with painted slices, when the proposal is there.

Needs a display, real or virtual. Usage: python examples/panel_picture.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

import napari
import numpy as np
from PIL import Image
from qtpy.QtCore import QTimer

from napari_medmeta.core import SliceRef
from napari_medmeta.ui.demo import open_demo

SIZE = (1440, 900)
COLOURS = 256
POLL_MS = 250
LONGEST_WAIT_S = 300


def main(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    viewer = napari.Viewer(show=True)
    viewer.window.resize(*SIZE)
    panel = open_demo(viewer)
    painted = sorted(example.ref.index for example in panel.case.controller.session.support().examples)
    panel.case.layers.go_to(SliceRef(0, (painted[1] + painted[2]) // 2))
    viewer.scene.camera.zoom *= 1.4
    polls = iter(range(LONGEST_WAIT_S * 1000 // POLL_MS))

    def look() -> None:
        session = panel.case.controller.session
        whole = session.proposal is not None and session.proposal.covered.shape == session.geometry.shape
        if whole:
            QTimer.singleShot(1000, shoot)
        elif next(polls, None) is None:
            viewer.close()
        else:
            QTimer.singleShot(POLL_MS, look)

    def shoot() -> None:
        pixels = np.asarray(viewer.screenshot(canvas_only=False, flash=False))[..., :3]
        Image.fromarray(pixels).quantize(COLOURS).save(folder / "panel.png", optimize=True)
        print(folder / "panel.png")
        viewer.close()

    QTimer.singleShot(POLL_MS, look)
    napari.run()
    return 0 if (folder / "panel.png").is_file() else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "images"))
