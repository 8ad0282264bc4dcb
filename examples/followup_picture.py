"""Take the picture of the follow-up guide: a head whose lesion has grown since the prior scan, in the real window.

The head is synthetic: today's scan is the prior one, turned, shifted, and with the lesion's surroundings pushed aside.
Needs a display, real or virtual. Usage: python examples/followup_picture.py [FOLDER]
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import napari
import numpy as np
from PIL import Image
from qtpy.QtCore import QTimer
from scipy import ndimage
from scipy.spatial.transform import Rotation

from napari_medmeta.core import Box, SliceRef, Volume
from napari_medmeta.core.phantoms import Phantom, brain_mr
from napari_medmeta.session import Session
from napari_medmeta.tasks.registration_map import sampled, voxel_places
from napari_medmeta.ui.applications import ApplicationsWidget
from napari_medmeta.ui.boxes import APPLICATIONS_NAME
from napari_medmeta.ui.commands import DISPLAY_NAME
from napari_medmeta.ui.followup_tab import FollowUpTab
from napari_medmeta.ui.panel import MedmetaPanel
from napari_medmeta.ui.scan import label_arguments, layer_arguments

SHAPE = (40, 112, 100)
KEPT = ("lesion",)
TURN_DEGREES, SHIFT_MM = (4.0, 0.0, 6.0), (5.0, -4.0, 3.0)
GROWTH, REACH_MM = 0.25, 18.0
SIZE = (1440, 900)
COLOURS = 256
POLL_MS, SETTLE_MS, LONGEST_WAIT_S = 500, 2500, 900


def grown(phantom: Phantom, number: int) -> Volume:
    """Return the scan of the same head later: moved, and structure ``number`` grown by about a quarter."""
    grid = phantom.volume.geometry
    centre = grid.to_world(ndimage.center_of_mass(phantom.labels == number))
    middle = grid.to_world((np.asarray(grid.shape) - 1) / 2)
    turn = Rotation.from_euler("xyz", TURN_DEGREES, degrees=True).as_matrix()
    before = (voxel_places(grid, Box.whole(grid.shape)) - middle - SHIFT_MM) @ turn.T + middle
    away = before - centre
    share = GROWTH * np.exp(-(away**2).sum(axis=-1, keepdims=True) / (2 * REACH_MM**2))
    array = sampled(phantom.volume.array, grid, before - share * away, fill=float(phantom.volume.array.min()))
    noise = np.random.default_rng(1).normal(0, 0.01 * np.ptp(array), grid.shape)
    return replace(phantom.volume, array=(array + noise).astype(np.float32), name="head, today")


def main(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    phantom = brain_mr(shape=SHAPE)
    number = next(n for n, name in phantom.names.items() if name.lower() in KEPT)
    labels = (phantom.labels == number).astype(np.uint8)
    today = grown(phantom, number)
    viewer = napari.Viewer(show=True)
    viewer.window.resize(*SIZE)
    panel = MedmetaPanel(viewer)
    viewer.window.add_dock_widget(panel, name=DISPLAY_NAME, area="right")
    array, arguments = layer_arguments(today)
    grid = today.geometry.reoriented()
    session = Session.create(grid.working, fingerprint=today.fingerprint, name="head")
    panel.open_layer(viewer.add_image(array, **arguments), session=session)
    case = panel.case
    assert case is not None
    case.controller.set_auto_propose(False)
    earlier, placed = layer_arguments(replace(phantom.volume, name="head, last year"))
    viewer.add_image(earlier, **{**placed, "visible": False})
    values, placed = label_arguments(labels, phantom.volume.geometry, name="lesion")
    layer = viewer.add_labels(values, **{**placed, "visible": False})
    layer.metadata["napari_medmeta_names"] = {1: "Lesion"}
    dock = ApplicationsWidget(panel)
    viewer.window.add_dock_widget(dock, name=APPLICATIONS_NAME, area="bottom")
    tab = dock.tab("Follow-up")
    assert isinstance(tab, FollowUpTab)
    dock.tabs.setCurrentWidget(tab)
    tab.list_priors()
    tab.carry()
    polls = iter(range(LONGEST_WAIT_S * 1000 // POLL_MS))
    written: list[Path] = []

    def look() -> None:
        if tab.texts():
            proposal = session.proposal
            assert proposal is not None
            held = np.flatnonzero(proposal.labels.any(axis=(1, 2))) + proposal.box.start[0]
            case.layers.go_to(SliceRef(0, int(np.median(held))))
            QTimer.singleShot(SETTLE_MS, shoot)
        elif next(polls, None) is None:
            viewer.close()
        else:
            QTimer.singleShot(POLL_MS, look)

    def shoot() -> None:
        pixels = np.asarray(viewer.screenshot(canvas_only=False, flash=False))[..., :3]
        written.append(folder / "follow-up.png")
        Image.fromarray(pixels).quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE).save(written[0], optimize=True)
        print(written[0], tab.texts())
        viewer.close()

    QTimer.singleShot(SETTLE_MS, look)
    napari.run()
    return 0 if written else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "images"))
