"""The whole job on a real case (else the phantom): open, paint, propose, accept, correct, undo, save, reopen."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_medmeta import io
from napari_medmeta.core import LabelArray, SliceRef, label_slice
from napari_medmeta.core.phantoms import torso_ct
from napari_medmeta.session import SliceState
from napari_medmeta.ui.reader import get_reader

CASE = "acdc_001_ed"
LEFT_VENTRICLE = 3


@pytest.fixture
def case(tmp_path: Path, repo: Path) -> tuple[Path, Path]:
    """A scan and its truth, in a folder of their own."""
    folder = Path(os.environ.get("MEDMETA_SHARED_DATA", repo.parent / "shared" / "data")) / "cases" / CASE
    scan, label = tmp_path / "image.nii.gz", tmp_path / "truth.nii.gz"
    if folder.is_dir():
        shutil.copy(folder / "image.nii.gz", scan)
        shutil.copy(folder / "label.nii.gz", label)
    else:
        phantom = torso_ct(shape=(24, 64, 64))
        io.write_image(scan, phantom.volume.array, phantom.volume.geometry)
        io.write_labels(label, np.asarray(phantom.labels), phantom.volume.geometry)
    return scan, label


def drop(viewer: Any, path: Path) -> None:
    """Open a file as napari does when it is dropped onto the window."""
    reader = get_reader(str(path))
    assert reader is not None
    for data, arguments, kind in reader(str(path)):
        getattr(viewer, f"add_{kind}")(data, **arguments)


def trace(panel: Any, truth: LabelArray, ref: SliceRef) -> None:
    """Paint the truth of one slice with the layer's own paint call, voxel by voxel in one stroke."""
    layer = panel.case.layers.segmentation
    layer.brush_size = 1
    with layer.block_history():
        for row, column in np.argwhere(label_slice(truth, ref)):
            point = [int(row), int(column)]
            point.insert(ref.axis, ref.index)
            layer.paint(point, 1, refresh=False)


def wait_for_whole_proposal(qtbot: Any, panel: Any) -> None:
    controller = panel.case.controller
    session = controller.session

    def there() -> bool:
        proposal = session.proposal
        return (
            proposal is not None
            and proposal.generation == session.generation
            and proposal.covered.shape == session.geometry.shape
            and not controller.work.busy
        )

    qtbot.waitUntil(there, timeout=120_000)
    qtbot.wait(100)


def dice(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    return 2.0 * float(np.count_nonzero(a & b)) / float(np.count_nonzero(a) + np.count_nonzero(b))


def run(viewer: Any, panel: Any, case: tuple[Path, Path], qtbot: Any) -> float:
    """Do the whole job; return the Dice of the saved file on the slices that were not painted."""
    scan_path, label_path = case
    drop(viewer, scan_path)
    qtbot.waitUntil(lambda: panel.case is not None, timeout=20_000)
    controller = panel.case.controller
    assert "Add a structure" in panel.hint()
    file_truth, _ = io.read_labels(label_path)
    wanted = LEFT_VENTRICLE if (file_truth == LEFT_VENTRICLE).any() else 1
    truth = controller.scan.grid.labels_to_working((file_truth == wanted).astype(np.uint8))
    controller.add_structure("Left ventricle")
    assert "Paint the Left ventricle" in panel.hint()

    axis = controller.session.geometry.through_plane_axis
    filled = np.flatnonzero(truth.any(axis=tuple(a for a in range(3) if a != axis)))
    ref = SliceRef(axis, int(filled[len(filled) // 2]))
    panel.case.layers.go_to(ref)
    trace(panel, truth, ref)
    assert np.array_equal(label_slice(controller.labels, ref), label_slice(truth, ref))
    wait_for_whole_proposal(qtbot, panel)
    after = SliceRef(axis, ref.index + 1)
    shown = np.array(label_slice(panel.case.layers.proposal.data, after))
    assert shown.any()

    panel.case.layers.go_to(after)
    controller.accept_slice()
    assert controller.session.slice_state(after) is SliceState.ACCEPTED
    assert np.array_equal(label_slice(panel.case.layers.segmentation.data, after), shown)
    wait_for_whole_proposal(qtbot, panel)

    before_correction = np.array(controller.labels)
    last = SliceRef(axis, ref.index - 1)
    panel.case.layers.go_to(last)
    trace(panel, truth, last)
    assert not np.array_equal(controller.labels, before_correction)
    controller.undo()
    assert np.array_equal(controller.labels, before_correction)
    controller.redo()
    wait_for_whole_proposal(qtbot, panel)

    out = scan_path.parent / "result.nii.gz"
    assert controller.save(out, with_proposals=True)
    saved, grid = io.read_labels(out)
    assert grid.same_grid(io.read_volume(scan_path).geometry)
    painted = np.array(controller.labels)

    viewer.layers.clear()
    qtbot.waitUntil(lambda: panel.case is None)
    drop(viewer, scan_path)
    qtbot.waitUntil(lambda: panel.case is not None, timeout=20_000)
    assert np.array_equal(panel.case.controller.labels, painted)
    assert panel.case.controller.session.can_undo

    result = controller.scan.grid.labels_to_working(saved) == 1
    rest = np.ones(truth.shape, dtype=bool)
    for done in (ref, last):
        label_slice(rest, done)[...] = False
    return dice(result & rest, (truth == 1) & rest)


def test_the_whole_job_with_a_quick_engine(viewer: Any, panel_only: Any, case: Any, qtbot: Any) -> None:
    assert run(viewer, panel_only, case, qtbot) > 0.3


@pytest.mark.slow
def test_the_whole_job_with_the_real_engine(viewer: Any, make_panel: Callable[..., Any], case: Any, qtbot: Any) -> None:
    engine = pytest.importorskip("napari_medmeta.engine")
    panel = make_panel(viewer, make_engine=lambda: engine.Segmenter(device="cpu"))
    assert run(viewer, panel, case, qtbot) > 0.4
