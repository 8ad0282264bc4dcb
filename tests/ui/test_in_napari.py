"""What napari finds by itself: the panel, the reader, the samples and the preferences."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import napari.settings
import numpy as np
import pytest
from npe2 import PluginManifest
from ui_fakes import NearestSliceEngine, make_volume

from napari_medmeta import io
from napari_medmeta.core import Geometry
from napari_medmeta.ui.keys import KEYS, settings_name
from napari_medmeta.ui.panel import MedmetaPanel
from napari_medmeta.ui.preferences import PLUGIN, Preferences, load_preferences
from napari_medmeta.ui.scan import layer_arguments


@pytest.fixture
def plugin(npe2pm: Any, repo: Path) -> Any:
    """The plugin, registered in napari's plugin manager for one test."""
    manifest = PluginManifest.from_file(repo / "napari_medmeta" / "napari.yaml")
    with npe2pm.tmp_plugin(manifest=manifest) as registered:
        yield registered


def test_napari_docks_the_panel_by_the_plugins_name(viewer: Any, plugin: Any, qtbot: Any, tmp_path: Path) -> None:
    _, panel = viewer.window.add_plugin_dock_widget(PLUGIN)
    assert isinstance(panel, MedmetaPanel)
    panel._folder = tmp_path
    panel._make_engine = NearestSliceEngine
    data, arguments = layer_arguments(make_volume())
    image = viewer.add_image(data, **arguments)
    qtbot.waitUntil(lambda: panel.case is not None)
    assert panel.case.image is image
    panel.case.controller.add_structure("Liver")
    panel.case.layers.segmentation.paint((2, 5, 5), 1)
    assert panel.case.controller.labels[2, 5, 5] == 1
    viewer.layers.remove(panel.case.layers.segmentation)
    qtbot.waitUntil(lambda: panel.case.layers.segmentation in viewer.layers)
    panel.release()
    assert [layer.name for layer in viewer.layers] == ["scan"]


def test_a_dropped_file_is_opened_by_us(viewer: Any, plugin: Any, tmp_path: Path) -> None:
    path = io.write_image(
        tmp_path / "scan.nii.gz",
        np.arange(60, dtype=np.int16).reshape(3, 4, 5),
        Geometry.from_parts((3, 4, 5), spacing_mm=(5, 1, 1)),
    )
    (layer,) = viewer.open(str(path), plugin=PLUGIN)
    assert layer.scale == pytest.approx((5, 1, 1))
    assert layer.source.reader_plugin == PLUGIN


def test_a_bad_file_opens_nothing_and_raises_nothing(viewer: Any, plugin: Any, tmp_path: Path) -> None:
    path = io.write_image(tmp_path / "scan.nrrd", np.zeros((3, 4, 5), dtype=np.int16), Geometry.from_parts((3, 4, 5)))
    path.write_bytes(path.read_bytes()[:-30])
    viewer.open(str(path), plugin=PLUGIN)
    assert len(viewer.layers) == 0


def test_the_samples_open_from_the_menu(viewer: Any, plugin: Any) -> None:
    layers = viewer.open_sample(PLUGIN, "brain")
    assert [type(layer).__name__ for layer in layers] == ["Image", "Labels"]


def test_a_changed_key_is_read_from_naparis_preferences(plugin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = SimpleNamespace(**{settings_name(row.act): row.key for row in KEYS})
    keys.accept_slice = "Q"
    default = Preferences()
    panel = SimpleNamespace(**{f.name: getattr(default, f.name) for f in fields(Preferences) if f.name != "keys"})
    monkeypatch.setattr(napari.settings, "get_plugin_settings", lambda name: SimpleNamespace(keys=keys, panel=panel))
    assert load_preferences().keys["accept_slice"] == "Q"
