"""A scan that does not fit: a region or a coarser grid, worked on to the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ui_fakes import SHAPE, NearestSliceEngine, make_volume

from napari_medmeta import io
from napari_medmeta.core import Box, CancelToken, Progress, SliceRef, Volume, VolumeTooLargeError, silent
from napari_medmeta.ui import panel as panel_module
from napari_medmeta.ui import part_scan
from napari_medmeta.ui.dialogs import SaveAnswer
from napari_medmeta.ui.scan import layer_arguments
from napari_medmeta.ui.too_large import RegionDialog, TooLargeOffer


class SmallEngine(NearestSliceEngine):
    """Takes at most 1500 voxels; the small scan of the tests has 2880."""

    most = 1500

    def set_volume(self, volume: Volume, *, progress: Progress = silent, cancel: CancelToken | None = None) -> None:
        if volume.array.size > self.most:
            error = VolumeTooLargeError("A scan of this size needs 9 GB of memory; 4 GB are free")
            error.fits_voxels = self.most
            raise error
        super().set_volume(volume, progress=progress, cancel=cancel)


@pytest.fixture
def refused(viewer: Any, make_panel: Callable[..., Any], qtbot: Any, tmp_path: Path) -> Any:
    """The panel with a scan from a file that does not fit."""
    volume = make_volume()
    path = io.write_image(tmp_path / "scan.nii.gz", volume.array, volume.geometry)
    panel = make_panel(viewer, make_engine=SmallEngine)
    data, arguments = layer_arguments(io.read_volume(path))
    viewer.add_image(data, **arguments)
    qtbot.waitUntil(lambda: not panel.body.too_large.isHidden(), timeout=10_000)
    return panel


def paint_and_accept(panel: Any, qtbot: Any) -> None:
    controller = panel.case.controller
    controller.add_structure("Liver")
    mask = np.zeros(controller.shape[1:], dtype=bool)
    mask[1:4, 1:4] = True
    panel.case.layers.go_to(SliceRef(0, 1))
    controller.session.paint(SliceRef(0, 1), mask, value=1)
    qtbot.waitUntil(controller.open_proposals, timeout=10_000)
    panel.case.layers.go_to(SliceRef(0, 2))
    assert controller.accept_slice()


def saved(panel: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, qtbot: Any) -> np.ndarray:
    target = tmp_path / "result.nii.gz"
    monkeypatch.setattr(panel_module, "ask_save", lambda *_, **__: SaveAnswer(target, False))
    panel.save()
    qtbot.waitUntil(target.exists, timeout=10_000)
    qtbot.waitUntil(lambda: panel.saver.running == 0, timeout=10_000)
    labels, _ = io.read_labels(target, like=io.read_volume(tmp_path / "scan.nii.gz").geometry)
    return np.asarray(labels)


@pytest.mark.gui
def test_a_region_is_worked_on_to_the_end_and_saved_on_the_scans_own_grid(
    refused: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, qtbot: Any
) -> None:
    assert "9 GB" in refused.message()
    whole = refused.case.controller.scan.grid
    region = Box((1, 4, 6), (5, 16, 20))
    monkeypatch.setattr(part_scan, "ask_region", lambda *_, **__: region)
    refused.body.too_large.region.click()
    assert refused.body.too_large.isHidden()
    assert refused.case.controller.shape == region.shape
    assert "region" in refused.case.image.name
    paint_and_accept(refused, qtbot)
    labels = saved(refused, tmp_path, monkeypatch, qtbot)
    expected = np.zeros(SHAPE, dtype=np.uint8)
    expected[2:4, 5:8, 7:10] = 1
    np.testing.assert_array_equal(labels, whole.labels_to_original(expected))


@pytest.mark.gui
def test_a_coarser_grid_is_worked_on_to_the_end_and_saved_on_the_scans_own_grid(
    refused: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, qtbot: Any
) -> None:
    whole = refused.case.controller.scan.grid
    refused.body.too_large.coarser.click()
    assert refused.body.too_large.factor() == (1, 1, 2)
    assert refused.case.controller.shape == (6, 20, 12)
    paint_and_accept(refused, qtbot)
    labels = saved(refused, tmp_path, monkeypatch, qtbot)
    expected = np.zeros(SHAPE, dtype=np.uint8)
    expected[1:3, 1:4, 2:8] = 1
    np.testing.assert_array_equal(labels, whole.labels_to_original(expected))


@pytest.mark.gui
def test_a_part_has_a_session_of_its_own_and_the_whole_scan_keeps_its(refused: Any, qtbot: Any) -> None:
    whole, image = refused.case.controller.session.path, refused.case.image
    refused.body.too_large.coarser.click()
    part, layer = refused.case.controller.session.path, refused.case.image
    assert part != whole
    refused.case.controller.add_structure("Liver")
    refused.open_layer(image)
    assert refused.case.controller.session.path == whole
    refused.open_layer(layer)
    assert refused.case.controller.session.path == part
    assert [s.name for s in refused.case.controller.structures] == ["Liver"]


@pytest.mark.gui
def test_asking_for_a_proposal_says_again_why_there_is_none(refused: Any, qtbot: Any) -> None:
    controller = refused.case.controller
    controller.add_structure("Liver")
    refused.body.footer.set_message("")
    mask = np.zeros(controller.shape[1:], dtype=bool)
    mask[1:4, 1:4] = True
    controller.session.paint(SliceRef(0, 1), mask, value=1)
    qtbot.waitUntil(lambda: "9 GB" in refused.message(), timeout=10_000)


@pytest.mark.gui
def test_a_scan_that_fits_is_offered_nothing(panel: Any) -> None:
    assert panel.body.too_large.isHidden()


def test_a_region_that_does_not_fit_cannot_be_chosen(qtbot: Any) -> None:
    dialog = RegionDialog(("axial", "coronal", "sagittal"), SHAPE, box=Box((0, 0, 0), (2, 20, 24)), most_voxels=1000)
    qtbot.addWidget(dialog)
    ok = dialog.buttons.button(dialog.buttons.StandardButton.Ok)
    assert dialog.value() == Box((0, 0, 0), (2, 20, 24))
    assert ok.isEnabled()
    dialog._spins[0][1].setValue(5)
    assert not ok.isEnabled()
    dialog._spins[0][1].setValue(0)
    dialog._spins[0][0].setValue(3)
    assert not ok.isEnabled()


def test_where_no_grid_is_coarse_enough_only_a_region_is_offered(qtbot: Any) -> None:
    offer = TooLargeOffer()
    qtbot.addWidget(offer)
    offer.offer(None)
    assert offer.coarser.isHidden()
    assert not offer.region.isHidden()
    offer.offer((1, 2, 2))
    assert "1 x 2 x 2" in offer.coarser.text()
    assert not offer.coarser.isHidden()
