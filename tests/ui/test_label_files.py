"""Label files become the segmentation with the names they carry: DICOM SEG, RTSTRUCT, 3D Slicer's NRRD."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.layers import Labels
from ui_fakes import make_volume

from napari_medmeta.core import Structure
from napari_medmeta.io import read_named_labels, read_volume, write_labels, write_segmentation
from napari_medmeta.ui import reader, writer
from napari_medmeta.ui.label_names import NAMES_KEY, names_of_layer, renumbered
from napari_medmeta.ui.reader import get_reader
from napari_medmeta.ui.scan import METADATA_KEY, label_arguments, scan_of

TABLE = (Structure(1, "Liver", "#112233"), Structure(2, "Spleen", "#445566"))


@pytest.fixture
def series(tmp_path: Path, write_ct_series: Callable[..., Path]) -> Path:
    pixels = np.random.default_rng(0).integers(0, 100, (6, 20, 24)).astype(np.int16)
    return write_ct_series(tmp_path / "series", pixels)


@pytest.fixture
def seg(series: Path, tmp_path: Path) -> Path:
    geometry = read_volume(series).geometry
    labels = np.zeros(geometry.shape, np.uint8)
    labels[2, 5:9, 6:10], labels[2, 12:14, 3:8] = 1, 2
    return write_segmentation(tmp_path / "seg.dcm", labels, geometry, source=series, names={1: "Spleen", 2: "Cyst"})


def opened(path: Path) -> tuple[Any, dict[str, Any], str]:
    read = get_reader(str(path))
    assert read is not None
    (found,) = read(str(path))
    return found


def add(viewer: Any, path: Path) -> Any:
    data, arguments, kind = opened(path)
    return getattr(viewer, f"add_{kind}")(data, **arguments)


def test_named_labels_take_the_numbers_of_the_table() -> None:
    labels = np.array([[[0, 1, 2, 3, 9]]], np.uint8)
    numbers, fresh = renumbered(labels, {1: "spleen", 2: "Cyst", 3: "Vein"}, TABLE)
    assert numbers.tolist() == [[[0, 2, 3, 4, 9]]]
    assert dict(fresh) == {3: "Cyst", 4: "Vein"}


def test_labels_without_names_stay_as_they_are() -> None:
    labels = np.array([[[0, 1, 255]]], np.uint8)
    numbers, fresh = renumbered(labels, {}, TABLE)
    assert numbers is labels
    assert not fresh


def test_a_dicom_segmentation_opens_as_labels_with_names(seg: Path) -> None:
    data, arguments, kind = opened(seg)
    assert kind == "labels"
    assert arguments["name"] == "DICOM segmentation"
    assert np.count_nonzero(data == 1) == 16
    assert names_of_layer(Labels(data, metadata=arguments["metadata"])) == {1: "Spleen", 2: "Cyst"}


def test_names_of_a_slicer_file_are_kept(series: Path, tmp_path: Path) -> None:
    geometry = read_volume(series).geometry
    labels = np.zeros(geometry.shape, np.uint8)
    labels[2, 5:9, 6:10] = 4
    _, arguments, kind = opened(write_labels(tmp_path / "a.seg.nrrd", labels, geometry, names={4: "Tumour"}))
    assert kind == "labels"
    assert arguments["metadata"][NAMES_KEY] == {4: "Tumour"}


def test_a_segmentation_becomes_the_segmentation_of_the_open_scan(
    viewer: Any, make_panel: Any, qtbot: Any, series: Path, seg: Path, tmp_path: Path
) -> None:
    panel = make_panel(viewer)
    add(viewer, series)
    qtbot.waitUntil(lambda: panel.case is not None, timeout=5000)
    controller = panel.case.controller
    controller.add_structure("Spleen")
    layer = add(viewer, seg)
    assert panel.case.use_layer(layer)
    assert [s.name for s in controller.structures] == ["Spleen", "Cyst"]
    assert [controller.session.voxel_count(s.id) for s in controller.structures] == [16, 10]
    # And back: what is saved lies on the series, with both names.
    assert controller.save(tmp_path / "out.dcm", with_proposals=False)
    found = read_named_labels(tmp_path / "out.dcm", like=read_volume(series).geometry, source=series)
    assert dict(found.names) == {1: "Spleen", 2: "Cyst"}
    assert np.array_equal(found.labels, read_named_labels(seg, like=found.geometry).labels)
    assert controller.save(tmp_path / "anonymous.dcm", with_proposals=False, anonymous=True)
    assert b"PAT0815" not in (tmp_path / "anonymous.dcm").read_bytes()


def test_a_segmentation_of_another_scan_is_refused_in_words(
    monkeypatch: pytest.MonkeyPatch, seg: Path, series: Path
) -> None:
    told: list[str] = []
    monkeypatch.setattr(reader, "show_warning", told.append)
    other = read_volume(series)
    affine = np.array(other.geometry.affine)
    affine[:3, 3] += 40
    moved = type(other)(other.array, type(other.geometry)(other.geometry.shape, affine), other.modality)
    monkeypatch.setattr(reader, "_open_scans", lambda: [scan_of(moved)])
    assert opened(seg) == (None,)
    assert "does not lie on the scan's grid" in told[0]


def test_the_layer_says_the_name_under_the_cursor(viewer: Any, seg: Path) -> None:
    layer = add(viewer, seg)
    assert isinstance(layer, Labels)
    assert list(layer.features["structure"]) == ["", "Spleen", "Cyst"]


def test_a_label_layer_is_written_as_dicom_beside_its_open_series(
    viewer: Any, series: Path, seg: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(viewer, series)
    layer = add(viewer, seg)
    monkeypatch.setattr(writer.napari, "current_viewer", lambda: viewer)
    out = tmp_path / "again.dcm"
    data, meta, _ = layer.as_layer_data_tuple()
    assert writer.write_labels_layer(str(out), data, meta) == [str(out)]
    found = read_named_labels(out, like=read_volume(series).geometry)
    assert dict(found.names) == {1: "Spleen", 2: "Cyst"}


def test_a_label_file_beside_the_scan_is_explained_and_leaves_the_brush(panel: Any, viewer: Any, qtbot: Any) -> None:
    case = panel.case
    case.paint_active()
    geometry = case.controller.session.geometry
    data, arguments = label_arguments(np.zeros(geometry.shape, np.uint8), geometry, name="yesterday")
    viewer.add_labels(data, **arguments)
    assert "“yesterday”" in panel.message()
    assert "Use a label layer" in panel.message()
    qtbot.waitUntil(lambda: viewer.layers.selection.active is case.layers.segmentation)


def test_labels_that_do_not_fit_the_scan_are_said_so_at_once(panel: Any, viewer: Any) -> None:
    geometry = panel.case.controller.session.geometry
    affine = np.array(geometry.affine)
    affine[:3, 3] += 40
    moved = type(geometry)(geometry.shape, affine)
    data, arguments = label_arguments(np.zeros(moved.shape, np.uint8), moved, name="another patient")
    viewer.add_labels(data, **arguments)
    assert "“another patient” does not lie on the scan's grid" in panel.message()


def test_a_second_scan_is_told_of_and_leaves_the_brush(panel: Any, viewer: Any, qtbot: Any) -> None:
    case = panel.case
    case.paint_active()
    second = viewer.add_image(np.array(case.image.data), name="second", metadata={METADATA_KEY: scan_of(make_volume())})
    assert "“second” is open beside" in panel.message()
    qtbot.waitUntil(lambda: viewer.layers.selection.active is case.layers.segmentation)
    assert case.layers.segmentation.mode == "paint"
    assert panel.case is case
    assert second in viewer.layers


def test_a_layer_made_by_hand_keeps_the_brush(panel: Any, viewer: Any, qtbot: Any) -> None:
    mine = viewer.add_labels(np.zeros(panel.case.controller.shape, np.uint8), name="mine")
    qtbot.wait(20)
    assert "“mine”" in panel.message()
    assert viewer.layers.selection.active is mine


def test_a_used_label_layer_is_hidden_and_its_first_structure_is_painted_next(
    viewer: Any, make_panel: Any, qtbot: Any, series: Path, seg: Path
) -> None:
    panel = make_panel(viewer)
    add(viewer, series)
    qtbot.waitUntil(lambda: panel.case is not None, timeout=5000)
    layer = add(viewer, seg)
    assert panel.case.use_layer(layer)
    assert not layer.visible
    assert viewer.layers.selection.active is panel.case.layers.segmentation
    controller = panel.case.controller
    assert controller.session.active == controller.structures[0].id
    assert panel.case.layers.segmentation.selected_label == controller.structures[0].id
