"""Reader, writer, samples and manifest: everything that napari calls by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.layers import Image, Labels
from napari.utils.notifications import notification_manager
from npe2 import PluginManifest
from qtpy.QtWidgets import QFileDialog, QPushButton
from ui_fakes import make_volume

from napari_medmeta import io
from napari_medmeta.core import Geometry, GeometryMismatchError, Volume
from napari_medmeta.ui import reader, samples, series, writer
from napari_medmeta.ui.keys import KEYS, settings_name
from napari_medmeta.ui.preferences import Preferences, load_preferences
from napari_medmeta.ui.reader import get_reader
from napari_medmeta.ui.scan import (
    METADATA_KEY,
    geometry_of,
    label_arguments,
    layer_arguments,
    require_same_place,
    scan_of_layer,
    scan_record,
)

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
LPS_TILTED = np.array([[0.0, 0.0, 1.0], [0.0, -1.0, 0.0], [1.0, 0.0, 0.0]])


@pytest.fixture(autouse=True)
def qt(qapp: Any) -> None:
    """Notifications need an application."""


def notices() -> list[str]:
    return [record.message for record in notification_manager.records]


def geometry(shape: tuple[int, int, int] = (4, 5, 6)) -> Geometry:
    return Geometry.from_parts(shape, spacing_mm=(3.0, 1.5, 1.0), origin_mm=(10, -20, 30), direction=LPS_TILTED)


def read(path: Path) -> tuple[Any, dict[str, Any], str]:
    found = get_reader(str(path))
    assert found is not None
    (layer,) = found(str(path))
    data, arguments, kind = layer
    return data, arguments, kind


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_scan_opens_upright_in_mm(tmp_path: Path, suffix: str) -> None:
    array = np.arange(120, dtype=np.int16).reshape(4, 5, 6) * 3 - 100
    path = io.write_image(tmp_path / f"scan{suffix}", array, geometry())
    data, arguments, kind = read(path)
    layer = Image(data, **arguments)
    scan = scan_record(layer)
    assert kind == "image"
    assert scan is not None
    assert scan.grid.working.axis_codes == ("I", "P", "L")
    assert layer.scale == pytest.approx(scan.grid.working.spacing_mm)
    assert {str(unit) for unit in layer.units} == {"millimeter"}
    assert sorted(np.ravel(data)) == sorted(np.ravel(array))


def test_the_layers_transform_gives_the_grid_back(tmp_path: Path) -> None:
    path = io.write_image(tmp_path / "scan.nii.gz", np.zeros((4, 5, 6), dtype=np.int16), geometry())
    data, arguments, _ = read(path)
    scan = arguments["metadata"][METADATA_KEY]
    arguments["metadata"] = {}
    seen = geometry_of(Image(data, **arguments))
    assert seen.spacing_mm == pytest.approx(scan.grid.working.spacing_mm)


def test_a_label_file_becomes_a_labels_layer(tmp_path: Path) -> None:
    labels = np.zeros((4, 5, 6), dtype=np.uint8)
    labels[1, 2, 3] = 7
    path = io.write_labels(tmp_path / "liver_label.nii.gz", labels, geometry())
    data, arguments, kind = read(path)
    assert kind == "labels"
    assert Labels(data, **arguments).data.max() == 7


def test_a_file_called_label_with_grey_values_is_a_scan(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(0, 200, (4, 5, 6)).astype(np.float32)
    path = io.write_image(tmp_path / "unlabelled.nii.gz", array, geometry())
    assert read(path)[2] == "image"


def test_labels_dropped_beside_their_scan_are_known_by_the_grid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.zeros((4, 5, 6), dtype=np.uint8)
    labels[1] = 1
    path = io.write_labels(tmp_path / "liver.nii.gz", labels, geometry())
    assert read(path)[2] == "image"
    scan_path = io.write_image(tmp_path / "scan.nii.gz", np.zeros((4, 5, 6), dtype=np.int16), geometry())
    data, arguments, _ = read(scan_path)

    class Open:
        layers = (Image(data, **arguments),)

    monkeypatch.setattr("napari.current_viewer", Open)
    assert read(path)[2] == "labels"


def test_what_is_not_ours_is_left_to_others(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    assert get_reader(str(text)) is None
    assert get_reader([str(text), str(text)]) is None
    assert get_reader(str(tmp_path / "missing.dcm")) is None


@pytest.mark.parametrize("name", ["slice_1.tif", "photo.PNG", ".zarray", "zarr.json"])
def test_a_folder_for_another_reader_is_left_to_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    assert get_reader(str(tmp_path)) is None


def refusal(path: Path) -> str:
    found = get_reader(str(path))
    assert found is not None
    assert found(str(path)) == [(None,)]
    return notices()[-1]


def test_an_empty_folder_is_refused_in_words(tmp_path: Path) -> None:
    folder = tmp_path / "exported"
    folder.mkdir()
    assert refusal(folder).startswith("The folder exported is empty.")


def test_a_folder_of_texts_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "report.txt").write_text("no scan")
    assert "holds no DICOM images" in refusal(tmp_path)


def test_a_folder_of_scan_files_says_which_to_choose(tmp_path: Path) -> None:
    for name in ("b.nrrd", "a.nii.gz"):
        io.write_image(tmp_path / name, np.zeros((4, 5, 6), dtype=np.int16), geometry())
    told = refusal(tmp_path)
    assert "2 other scans" in told
    assert "such as a.nii.gz" in told


@pytest.mark.parametrize("content", [b"", bytes(range(256)) * 16])
def test_noise_called_dicom_is_refused_in_words(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "noise.dcm"
    path.write_bytes(content)
    assert "noise.dcm is called DICOM by its name, but it is not" in refusal(path)


@pytest.mark.parametrize("content", [b"", b"not an image at all", b"\x1f\x8b" + b"\0" * 50])
def test_a_bad_file_is_a_notice_and_no_traceback(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(content)
    found = get_reader(str(path))
    before = len(notices())
    if found is not None:
        assert found(str(path)) == [(None,)]
        assert len(notices()) > before
        assert "Traceback" not in notices()[-1]


def test_a_truncated_scan_is_a_notice(tmp_path: Path) -> None:
    path = io.write_image(tmp_path / "scan.nrrd", np.zeros((4, 5, 6), dtype=np.int16), geometry())
    path.write_bytes(path.read_bytes()[:-40])
    found = get_reader(str(path))
    assert found is not None
    assert found(str(path)) == [(None,)]
    assert notices()[-1].endswith(".")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_labels_layer_is_written_on_the_scans_own_grid(tmp_path: Path, suffix: str) -> None:
    scan_path = io.write_image(tmp_path / "scan.nii.gz", np.zeros((4, 5, 6), dtype=np.int16), geometry())
    data, arguments, _ = read(scan_path)
    labels = np.zeros(data.shape, dtype=np.uint8)
    labels[1, 2, 3] = 5
    labels[0, 0, 0] = 255
    meta = {key: arguments[key] for key in ("scale", "translate", "metadata")}
    (written,) = writer.write_labels_layer(str(tmp_path / f"out{suffix}"), labels, meta)
    back, grid = io.read_labels(written)
    original, _ = io.read_volume(scan_path).geometry, None
    assert grid.same_grid(original)
    scan = arguments["metadata"][METADATA_KEY]
    (found,) = grid.to_world(np.argwhere(back == 5))
    assert np.allclose(found, scan.grid.working.to_world([1, 2, 3]), atol=1e-3)
    assert not (back == 255).any()


def test_labels_without_a_scan_are_written_where_they_lie(tmp_path: Path) -> None:
    labels = np.zeros((3, 4, 5), dtype=np.int64)
    labels[1, 1, 1] = 2
    (written,) = writer.write_labels_layer(str(tmp_path / "out.nii.gz"), labels, {"scale": (5, 1, 2)})
    _, grid = io.read_labels(written)
    assert sorted(grid.spacing_mm) == pytest.approx([1, 2, 5])


def test_new_labels_beside_an_upright_scan_lie_on_its_grid(tmp_path: Path) -> None:
    scan_path = io.write_image(tmp_path / "scan.nii.gz", np.zeros((4, 5, 6), dtype=np.int16), geometry())
    data, arguments, _ = read(scan_path)
    working = arguments["metadata"][METADATA_KEY].grid.working
    labels = np.zeros(data.shape, dtype=np.uint8)
    labels[1, 2, 3] = 1
    # napari's own "new labels" button copies the place, but not the metadata.
    meta = {key: arguments[key] for key in ("scale", "translate")}
    (written,) = writer.write_labels_layer(str(tmp_path / "out.nii.gz"), labels, meta)
    back, grid = io.read_labels(written)
    (found,) = grid.to_world(np.argwhere(back == 1))
    assert np.allclose(found, working.to_world([1, 2, 3]), atol=1e-3)


def test_what_cannot_be_written_is_a_notice(tmp_path: Path) -> None:
    assert writer.write_labels_layer(str(tmp_path / "out.nii.gz"), np.zeros((4, 5), dtype=np.uint8), {}) == []
    assert writer.write_labels_layer(str(tmp_path / "out.nii.gz"), np.full((2, 3, 4), 300), {}) == []
    assert writer.write_image_layer(str(tmp_path / "no" / "out.nii.gz"), np.zeros((2, 3, 4), np.int16), {}) == []
    assert "300" in " ".join(notices())


def test_an_image_layer_is_written_and_read_back(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    (written,) = writer.write_image_layer(str(tmp_path / "out.mha"), array, {"scale": (4, 1, 2)})
    assert sorted(np.ravel(io.read_volume(written).array)) == sorted(np.ravel(array))


def test_the_samples_come_with_their_truth() -> None:
    for make in (samples.torso_sample, samples.brain_sample):
        (data, arguments, kind), (labels, placed, label_kind) = make()
        assert (kind, label_kind) == ("image", "labels")
        assert data.shape == labels.shape
        assert labels.max() > 1
        assert not placed["visible"]
        assert arguments["contrast_limits"][0] < arguments["contrast_limits"][1]


def test_other_plugins_images_are_used_with_their_whole_transform() -> None:
    affine = np.eye(4)
    affine[:3, 3] = (7, 8, 9)
    layer = Image(make_volume().array, scale=(5, 2, 1), affine=affine)
    scan = scan_of_layer(layer)
    assert scan.grid.working.spacing_mm == pytest.approx((5, 2, 1))
    assert scan.grid.working.to_world([0, 0, 0]) == pytest.approx((9, 8, -7))
    assert scan.fingerprint


@pytest.mark.parametrize(
    ("array", "options", "word"),
    [
        (np.zeros((4, 5)), {}, "2 dimensions"),
        (np.zeros((2, 3, 4, 5)), {}, "4 dimensions"),
        (np.zeros((4, 5, 6, 3), np.uint8), {"rgb": True}, "colour"),
        (np.full((2, 3, 4), np.nan), {"contrast_limits": (0, 1)}, "NaN"),
        (np.full((2, 3, 4), 7, np.int16), {}, "all its voxels have the value 7"),
    ],
)
def test_layers_that_are_no_scan_are_refused_in_words(array: Any, options: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        scan_of_layer(Image(array, **options))


def test_one_voxel_that_differs_makes_a_scan() -> None:
    array = np.full((2, 3, 4), 7, np.int16)
    array[1, 2, 3] = 8
    assert scan_of_layer(Image(array)).fingerprint


def sheared(tmp_path: Path) -> Path:
    affine = np.array(geometry().affine)
    affine[:3, 0] += 0.6 * affine[:3, 1]
    array = np.random.default_rng(0).integers(0, 1000, (4, 5, 6)).astype(np.int16)
    return io.write_image(tmp_path / "tilted.nii.gz", array, Geometry((4, 5, 6), affine))


def test_a_tilted_scan_says_that_it_is_straightened_and_saved_on_its_own_grid(panel_only: Any, tmp_path: Path) -> None:
    panel_only.viewer.open(str(sheared(tmp_path)), plugin="napari-medmeta")
    assert panel_only.case is not None or panel_only.open_layer(panel_only.viewer.layers[0])
    assert panel_only.message().count("straightened") == 1
    assert "saved on the scan's own grid" in panel_only.message()


def test_a_straight_scan_says_nothing_of_it(panel: Any) -> None:
    assert "straightened" not in panel.message()


def test_a_blank_scan_is_refused_before_a_session_is_begun(panel_only: Any, tmp_path: Path) -> None:
    path = io.write_image(tmp_path / "blank.nii.gz", np.full((4, 5, 6), 7, dtype=np.int16), geometry())
    (layer,) = panel_only.viewer.open(str(path), plugin="napari-medmeta")
    assert not panel_only.open_layer(layer)
    assert panel_only.case is None
    assert "Nothing can be seen on “blank”" in panel_only.message()
    assert not list(tmp_path.rglob("*.medmeta"))


def test_labels_of_a_turned_scan_are_refused_by_their_angle() -> None:
    angle = np.radians(10)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    straight = geometry((12, 12, 12))
    turned = Geometry.from_parts((12, 12, 12), spacing_mm=straight.spacing_mm, direction=turn @ straight.direction)
    array = np.random.default_rng(0).normal(size=(12, 12, 12)).astype(np.float32)
    data, arguments = layer_arguments(Volume(array, straight))
    labels, placed = label_arguments(np.ones((12, 12, 12), np.uint8), turned, name="old")
    with pytest.raises(GeometryMismatchError, match="turned by 10 degrees"):
        require_same_place(Labels(labels, **placed), Image(data, **arguments))


def test_several_series_are_asked_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Series:
        def __init__(self, uid: str) -> None:
            self.uid, self.series_uid, self.problem = uid, uid, None

    asked: list[int] = []

    class Chooser:
        def __init__(self, series: Any, parent: Any = None) -> None:
            asked.append(len(series))

        def exec(self) -> Any:
            from qtpy.QtWidgets import QDialog

            return QDialog.DialogCode.Accepted

        def value(self) -> int:
            return 1

    monkeypatch.setattr(reader.io, "list_series", lambda path: (Series("a"), Series("b")))
    monkeypatch.setattr(series, "SeriesChooser", Chooser)
    monkeypatch.setattr(reader.io, "can_read", lambda path: True)
    wanted: list[str | None] = []

    def read_volume(path: Path, *, series: str | None = None) -> Any:
        wanted.append(series)
        return make_volume()

    monkeypatch.setattr(reader.io, "read_volume", read_volume)
    found = get_reader(str(tmp_path))
    assert found is not None
    found(str(tmp_path))
    assert asked == [2]
    assert wanted == ["b"]


@pytest.fixture
def exported(tmp_path: Path, write_ct_series: Callable[..., Path]) -> Path:
    """A folder with the six slices of one CT."""
    return write_ct_series(
        tmp_path / "exported", np.random.default_rng(0).integers(0, 100, (6, 20, 24)).astype(np.int16)
    )


def test_one_slice_opens_its_whole_series(exported: Path) -> None:
    data, arguments, kind = read(exported / "3.dcm")
    assert kind == "image"
    assert data.shape == (6, 20, 24)
    # The session lies where it lies when the folder is opened.
    assert arguments["metadata"][METADATA_KEY].source == exported


def test_all_slices_dropped_together_open_their_series_once(exported: Path, viewer: Any) -> None:
    viewer.open([str(file) for file in sorted(exported.iterdir())], plugin="napari-medmeta")
    assert [layer.data.shape for layer in viewer.layers] == [(6, 20, 24)]


def test_a_slice_of_the_open_series_says_so(exported: Path, panel_only: Any, qtbot: Any) -> None:
    panel_only.viewer.open(str(exported), plugin="napari-medmeta")
    qtbot.waitUntil(lambda: panel_only.case is not None)
    panel_only.viewer.open(str(exported / "2.dcm"), plugin="napari-medmeta")
    assert panel_only.message() == "The series of this slice is open already."


def test_a_slice_of_another_series_is_not_taken_for_the_open_one(
    exported: Path, viewer: Any, tmp_path: Path, write_ct_series: Callable[..., Path]
) -> None:
    viewer.open(str(exported / "0.dcm"), plugin="napari-medmeta")
    other = write_ct_series(tmp_path / "other", np.ones((4, 20, 24), np.int16), series_uid="1.2.3.5")
    viewer.open(str(other / "0.dcm"), plugin="napari-medmeta")
    assert [layer.data.shape[0] for layer in viewer.layers] == [6, 4]


def test_a_slice_alone_is_refused_in_words(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    alone = (exported / "3.dcm").rename(tmp_path / "alone" / "3.dcm")
    assert "single slice" in refusal(alone)


def test_a_slice_in_a_folder_of_everything_does_not_make_the_window_wait(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series, "MOST_FILES", 5)
    assert "Choose the folder that holds all slices" in refusal(exported / "3.dcm")


def test_the_manifest_is_valid_and_names_things_that_exist(repo: Path) -> None:
    manifest = PluginManifest.from_file(repo / "napari_medmeta" / "napari.yaml")
    manifest.validate_imports()
    widgets = [w.display_name for w in manifest.contributions.widgets or ()]
    assert widgets == ["Few-shot segmentation", "Lesions, findings, follow-up"]
    assert set(manifest.contributions.menus) == {
        "napari/layers/segment",
        "napari/layers/annotate",
        "napari/layers/visualize",
        "napari/file/io_utilities",
    }


def test_the_manifests_preferences_are_ours(repo: Path) -> None:
    manifest = PluginManifest.from_file(repo / "napari_medmeta" / "napari.yaml")
    groups = manifest.contributions.configurations
    assert groups is not None
    keys = {name: prop.default for name, prop in groups["keys"].properties.items()}
    assert keys == {settings_name(row.act): row.key for row in KEYS}
    panel = {name: prop.default for name, prop in groups["panel"].properties.items()}
    default = Preferences()
    assert panel == {name: getattr(default, name) for name in panel}


def test_preferences_are_read_from_napari_or_fall_back() -> None:
    preferences = load_preferences()
    assert 0 <= preferences.confidence <= 1


def test_a_refused_file_is_said_whole_in_the_panel(panel_only: Any, tmp_path: Path) -> None:
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(b"no scan")
    assert panel_only.viewer.open(str(path), plugin="napari-medmeta") == []
    assert panel_only.message() == notices()[-1]


def test_the_panel_opens_a_scan_with_our_reader_and_offers_that_only_while_none_is_open(
    panel_only: Any, tmp_path: Path, qtbot: Any
) -> None:
    box = panel_only.body.open_box
    assert not box.isHidden()
    array = np.random.default_rng(0).integers(0, 1000, (4, 5, 6)).astype(np.int16)
    box.wanted.emit(io.write_image(tmp_path / "scan.nii.gz", array, geometry()))
    qtbot.waitUntil(lambda: panel_only.case is not None)
    assert panel_only.viewer.layers[0].name == "scan"
    assert box.isHidden()
    panel_only.viewer.layers.remove("scan")
    qtbot.waitUntil(lambda: panel_only.case is None)
    assert not box.isHidden()


def test_what_is_no_scan_is_refused_by_the_panel_in_words(panel_only: Any, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("no scan")
    panel_only.body.open_box.wanted.emit(notes)
    assert "“notes.txt” is no scan" in panel_only.message()
    assert "DICOM series" in panel_only.message()
    assert not panel_only.viewer.layers


@pytest.mark.parametrize(("number", "asked"), [(0, "getOpenFileName"), (1, "getExistingDirectory")])
def test_the_open_buttons_ask_for_a_file_and_for_a_folder(
    panel_only: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, asked: str
) -> None:
    wanted: list[Path] = []
    box = panel_only.body.open_box
    box.wanted.disconnect()
    box.wanted.connect(wanted.append)
    chosen = [str(tmp_path), ""]
    for name in chosen:
        answer = (name, "") if asked == "getOpenFileName" else name
        monkeypatch.setattr(QFileDialog, asked, lambda *_, answer=answer: answer)
        box.findChildren(QPushButton)[number].click()
    assert wanted == [tmp_path]
