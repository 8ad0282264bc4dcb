"""Take the pictures of the tutorial: a synthetic torso in the panel, from the first painted slice to measurements.

Needs a display, real or virtual. Usage: python examples/panel_picture.py [FOLDER]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import napari
import numpy as np
from PIL import Image
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QScrollArea, QWidget

from napari_medmeta.core import SliceRef
from napari_medmeta.core.phantoms import torso_ct
from napari_medmeta.session import Session
from napari_medmeta.ui.case import Case
from napari_medmeta.ui.commands import DISPLAY_NAME
from napari_medmeta.ui.panel import MedmetaPanel
from napari_medmeta.ui.scan import layer_arguments

STRUCTURES = ("liver", "spleen", "left kidney", "right kidney")
SIZE = (1440, 900)
COLOURS = 256
ACCEPTED_ABOVE = 0.8
POLL_MS = 250
SETTLE_MS = 1500
LONGEST_WAIT_S = 300


def opened(viewer: napari.Viewer) -> tuple[MedmetaPanel, Case, np.ndarray]:
    """Open the torso with nothing painted; return the panel, the case and what a radiologist would paint."""
    phantom = torso_ct()
    array, arguments = layer_arguments(phantom.volume)
    panel = MedmetaPanel(viewer)
    viewer.window.add_dock_widget(panel, name=DISPLAY_NAME, area="right")
    grid = phantom.volume.geometry.reoriented()
    session = Session.create(grid.working, fingerprint=phantom.volume.fingerprint, name="torso CT")
    panel.open_layer(viewer.add_image(array, **arguments), session=session)
    assert panel.case is not None
    numbers = {name: number for number, name in phantom.names.items()}
    lookup = np.zeros(256, dtype=np.uint8)
    for new, name in enumerate(STRUCTURES, start=1):
        panel.case.controller.add_structure(name.capitalize())
        lookup[numbers[name]] = new
    return panel, panel.case, lookup[grid.labels_to_working(phantom.labels)]


def story(panel: MedmetaPanel, case: Case, truth: np.ndarray) -> Iterator[str]:
    """Work on the case, and name each picture to be taken once the panel has come to rest."""
    do, show = case.controller, case.layers
    held = np.flatnonzero(truth.any(axis=(1, 2)))
    at = [SliceRef(0, int(held[round(f * (len(held) - 1))])) for f in (0.2, 0.5, 0.8)]
    do.set_auto_propose(False)
    show.go_to(at[1])
    do.session.paint_slice(at[1], truth[at[1].index])
    yield "painted"
    do.set_auto_propose(True)
    do.propose()
    show.go_to(SliceRef(0, at[1].index + 4))
    yield "proposed"
    for ref in (at[0], at[2]):
        do.session.paint_slice(ref, truth[ref.index])
    yield ""
    do.next_slice()
    yield "next"
    do.session.paint_slice(do.focus, truth[do.focus.index])
    yield ""
    panel.body.proposal_box.set_confidence(ACCEPTED_ABOVE)
    do.confidence_wanted = ACCEPTED_ABOVE
    do.accept_confident()
    show.go_to(at[1])
    scroll_to(panel.measurements)
    yield "measured"


def scroll_to(part: QWidget) -> None:
    """Scroll the panel until ``part`` is seen whole."""
    around = part.parentWidget()
    while around is not None and not isinstance(around, QScrollArea):
        around = around.parentWidget()
    if around is not None:
        around.ensureWidgetVisible(part)


def main(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    viewer = napari.Viewer(show=True)
    viewer.window.resize(*SIZE)
    panel, case, truth = opened(viewer)
    viewer.scene.camera.zoom *= 1.4
    states = story(panel, case, truth)
    session = case.controller.session
    polls = iter(range(LONGEST_WAIT_S * 1000 // POLL_MS))
    finished = []

    def go_on() -> None:
        name = next(states, None)
        if name is None:
            finished.append(True)
            viewer.close()
        else:
            QTimer.singleShot(POLL_MS, lambda: look(name))

    def look(name: str) -> None:
        proposal = session.proposal
        whole = proposal is not None and proposal.covered.shape == session.geometry.shape
        fresh = whole and proposal.generation == session.generation
        if fresh or name == "painted":
            QTimer.singleShot(SETTLE_MS, lambda: shoot(name))
        elif next(polls, None) is None:
            viewer.close()
        else:
            QTimer.singleShot(POLL_MS, lambda: look(name))

    def shoot(name: str) -> None:
        if name:
            pixels = np.asarray(viewer.screenshot(canvas_only=False, flash=False))[..., :3]
            path = folder / f"tutorial-{name}.png"
            Image.fromarray(pixels).quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE).save(path, optimize=True)
            print(path)
        go_on()

    QTimer.singleShot(SETTLE_MS, go_on)
    napari.run()
    return 0 if finished else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "images"))
