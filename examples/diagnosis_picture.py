"""Take the picture of few-shot diagnosis: a synthetic heart, measured in both phases and compared with fifteen others.

Needs a display, real or virtual. Usage: python examples/diagnosis_picture.py [FOLDER]
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import napari
import numpy as np
from PIL import Image
from qtpy.QtCore import QTimer

from napari_medmeta.core import SliceRef
from napari_medmeta.core.heart_phantoms import HEART_FINDINGS, HEART_NAMES, HEART_PHASES, beating_heart
from napari_medmeta.core.phantoms import Phantom
from napari_medmeta.session import Session
from napari_medmeta.session.diagnosis_library import CaseLibrary, new_case
from napari_medmeta.tasks.diagnosis_features import measure_case
from napari_medmeta.ui.commands import DISPLAY_NAME
from napari_medmeta.ui.diagnosis_tab import DiagnosisTab
from napari_medmeta.ui.panel import MedmetaPanel
from napari_medmeta.ui.scan import layer_arguments

KNOWN = 3
"""Kept cases of each finding."""
ASKED, SEED = "hypertrophic cardiomyopathy", 7
SIZE = (1500, 950)
COLOURS = 128
POLL_MS, SETTLE_MS, LONGEST_WAIT_S = 250, 1500, 300


def fill(library: CaseLibrary) -> None:
    """Keep some synthetic patients of each finding."""
    for finding in HEART_FINDINGS:
        for seed in range(KNOWN):
            scans = {phase: (p.volume, p.labels) for phase, p in beating_heart(finding, seed=seed).items()}
            library.add([new_case(finding, measure_case(scans, HEART_NAMES))])


def open_phase(viewer: napari.Viewer, panel: MedmetaPanel, phantom: Phantom, phase: str) -> None:
    """Open one phase as if its segmentation had been painted and accepted."""
    for layer in list(viewer.layers):
        viewer.layers.remove(layer)
    array, arguments = layer_arguments(phantom.volume)
    arguments["name"] = f"heart, {phase}"
    grid = phantom.volume.geometry.reoriented()
    session = Session.create(grid.working, fingerprint=phantom.volume.fingerprint, name=phase)
    panel.open_layer(viewer.add_image(array, **arguments), session=session)
    assert panel.case is not None
    do = panel.case.controller
    do.set_auto_propose(False)
    for name in HEART_NAMES.values():
        do.add_structure(name.capitalize())
    truth = grid.labels_to_working(phantom.labels)
    held = np.flatnonzero(truth.any(axis=(1, 2)))
    for index in held:
        do.session.paint_slice(SliceRef(0, int(index)), truth[index])
    panel.case.layers.go_to(SliceRef(0, int(held[len(held) // 2])))


def story(viewer: napari.Viewer, panel: MedmetaPanel, tab: DiagnosisTab) -> Iterator[Callable[[], bool]]:
    """Measure both phases and compare; yield what to wait for."""
    patient = beating_heart(ASKED, seed=SEED)
    for number, phase in enumerate(HEART_PHASES, start=1):
        open_phase(viewer, panel, patient[phase], phase)
        tab.phase.setEditText(phase)
        tab.measure.click()
        yield lambda number=number: len(tab.desk.measured) == number
    tab.ask.click()
    yield lambda: tab.answer.value() is not None


def main(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    viewer = napari.Viewer(show=True)
    viewer.window.resize(*SIZE)
    finished = []
    with tempfile.TemporaryDirectory() as kept:
        library = CaseLibrary(Path(kept) / "cases.medcases")
        fill(library)
        panel = MedmetaPanel(viewer, session_folder=Path(kept) / "sessions")
        viewer.window.add_dock_widget(panel, name=DISPLAY_NAME, area="right")
        tab = DiagnosisTab(panel, library=library)
        viewer.window.add_dock_widget(tab, name="Diagnosis", area="right", tabify=True)
        steps = story(viewer, panel, tab)
        polls = iter(range(LONGEST_WAIT_S * 1000 // POLL_MS))

        def go_on() -> None:
            ready = next(steps, None)
            if ready is None:
                viewer.scene.camera.zoom *= 0.9
                QTimer.singleShot(SETTLE_MS, shoot)
            else:
                look(ready)

        def look(ready: Callable[[], bool]) -> None:
            if ready():
                go_on()
            elif next(polls, None) is None:
                viewer.close()
            else:
                QTimer.singleShot(POLL_MS, lambda: look(ready))

        def shoot() -> None:
            pixels = np.asarray(viewer.screenshot(canvas_only=False, flash=False))[..., :3]
            path = folder / "diagnosis.png"
            Image.fromarray(pixels).quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE).save(path, optimize=True)
            print(path)
            finished.append(True)
            tab.release()
            viewer.close()

        QTimer.singleShot(SETTLE_MS, go_on)
        napari.run()
    return 0 if finished else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "images"))
