"""The main job on a synthetic scan, ready to be looked at and corrected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import napari
import numpy as np

from napari_medmeta.core import SliceRef, label_slice
from napari_medmeta.core.phantoms import torso_ct
from napari_medmeta.session import Session
from napari_medmeta.ui.commands import DISPLAY_NAME
from napari_medmeta.ui.panel import MedmetaPanel
from napari_medmeta.ui.scan import layer_arguments

if TYPE_CHECKING:
    from napari_medmeta.core.phantoms import Phantom

__all__ = ["open_demo"]

SHOWN = ("liver", "spleen", "left kidney", "right kidney")
FRACTIONS = (1 / 8, 3 / 8, 5 / 8, 7 / 8)
"""Four examples, each in the middle of a quarter of the structures' extent."""


def open_demo(viewer: napari.viewer.Viewer) -> MedmetaPanel:
    """Open a synthetic torso, paint four slices of four organs, and let the rest be proposed."""
    phantom = torso_ct()
    array, arguments = layer_arguments(phantom.volume)
    panel = MedmetaPanel(viewer)
    viewer.window.add_dock_widget(panel, name=DISPLAY_NAME, area="right")
    layer = viewer.add_image(array, **arguments)
    grid = phantom.volume.geometry.reoriented()
    session = Session.create(grid.working, fingerprint=phantom.volume.fingerprint, name=phantom.volume.name)
    truth = _shown_truth(phantom, grid.labels_to_working(phantom.labels))
    for name in SHOWN:
        session.add_structure(name.capitalize())
    filled = np.flatnonzero(truth.any(axis=(1, 2)))
    examples = [int(filled[round(f * (len(filled) - 1))]) for f in FRACTIONS]
    for index in examples:
        ref = SliceRef(0, index)
        session.paint_slice(ref, np.asarray(label_slice(truth, ref)))
    panel.open_layer(layer, session=session)
    if panel.case is not None:
        panel.case.layers.go_to(SliceRef(0, (examples[0] + examples[1]) // 2))
    return panel


def _shown_truth(
    phantom: Phantom, labels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    table = np.zeros(256, dtype=np.uint8)
    numbers = {name: number for number, name in phantom.names.items()}
    for new, name in enumerate(SHOWN, start=1):
        table[numbers[name]] = new
    return table[labels]
