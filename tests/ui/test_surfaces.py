"""Structures in 3D: meshes at their place in mm, and a way back to the slices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.layers import Surface
from ui_fakes import SHAPE

from napari_medmeta.core import Box, SliceRef
from napari_medmeta.ui import commands
from napari_medmeta.ui.surfaces import MOST_VOXELS, mesh_of, show_surfaces, thinning


def ball(shape: tuple[int, int, int], centre: tuple[float, float, float], radius: float) -> np.ndarray:
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    return np.linalg.norm(grid - np.asarray(centre), axis=-1) <= radius


def test_a_mesh_lies_on_the_border_of_its_structure() -> None:
    mesh = mesh_of(ball((24, 26, 28), (11, 12, 13), 8))
    assert mesh is not None
    distances = np.linalg.norm(mesh.vertices - (11, 12, 13), axis=1)
    assert abs(distances.mean() - 8) < 0.3
    assert distances.max() < 9
    assert mesh.faces.max() < len(mesh.vertices)


def test_a_mesh_is_closed_at_the_scans_edge() -> None:
    mask = np.zeros((6, 6, 6), dtype=bool)
    mask[:4, :4, :4] = True
    mesh = mesh_of(mask)
    assert mesh is not None
    edges = np.sort(np.concatenate([mesh.faces[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))]), axis=1)
    _, counts = np.unique(edges, axis=0, return_counts=True)
    assert (counts == 2).all()


def test_an_empty_structure_has_no_mesh_and_one_voxel_has() -> None:
    mask = np.zeros((5, 5, 5), dtype=bool)
    assert mesh_of(mask) is None
    mask[2, 2, 2] = True
    assert mesh_of(mask) is not None


def test_large_structures_are_thinned_out_evenly() -> None:
    assert thinning(Box.whole((10, 10, 10))).tolist() == [1, 1, 1]
    step = thinning(Box.whole((100, 400, 400)))
    assert np.prod(np.ceil(np.array((100, 400, 400)) / step)) <= MOST_VOXELS
    assert step[0] <= step[1]


@pytest.fixture
def painted(panel: Any) -> Any:
    mask = np.zeros(SHAPE[1:], dtype=bool)
    mask[5:10, 6:12] = True
    panel.case.controller.set_auto_propose(False)
    panel.case.controller.session.paint(SliceRef(0, 2), mask, value=1)
    return panel


def surfaces(viewer: Any) -> list[Surface]:
    return [layer for layer in viewer.layers if isinstance(layer, Surface)]


def test_structures_are_shown_in_3d_in_their_colour_and_place(painted: Any, viewer: Any) -> None:
    commands.show_in_3d(viewer)
    (layer,) = surfaces(viewer)
    assert layer.name == "Liver (surface)"
    assert viewer.dims.ndisplay == 3
    segmentation = painted.case.layers.segmentation
    assert np.allclose(layer.scale, segmentation.scale)
    assert np.allclose(layer.translate, segmentation.translate)
    colour = painted.case.controller.structures[0].colour
    expected = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    assert np.allclose(layer.colormap.colors[0][:3], expected, atol=1e-3)
    assert not painted.case.image.visible
    assert not segmentation.visible


def test_back_in_2d_the_scan_is_there_again(painted: Any, viewer: Any) -> None:
    show_surfaces(viewer, painted.case)
    viewer.dims.ndisplay = 2
    assert painted.case.image.visible
    assert painted.case.layers.segmentation.visible
    assert not surfaces(viewer)[0].visible


def test_surfaces_are_seen_from_the_front_and_fill_the_window(painted: Any, viewer: Any) -> None:
    viewer.add_points([[0, 0, 0]], name="mark")
    viewer.reset_view()
    whole = viewer.scene.camera.zoom
    show_surfaces(viewer, painted.case)
    assert viewer.scene.camera.zoom > 1.5 * whole
    assert np.allclose(viewer.scene.camera.view_direction, (0, 1, 0), atol=1e-6)
    assert np.allclose(viewer.scene.camera.up_direction, (-1, 0, 0), atol=1e-6)
    assert not viewer.layers["mark"].visible


def test_from_a_turned_plane_too_they_are_seen_from_the_front(painted: Any, viewer: Any) -> None:
    painted.case.layers.go_to(SliceRef(1, 4))
    show_surfaces(viewer, painted.case)
    seen = dict(zip(viewer.dims.displayed, viewer.scene.camera.view_direction, strict=True))
    assert np.allclose([seen[axis] for axis in range(3)], (0, 1, 0), atol=1e-6)


def test_back_in_2d_slice_zoom_and_tool_are_as_before(painted: Any, viewer: Any, qtbot: Any) -> None:
    painted.case.layers.go_to(SliceRef(0, 3))
    painted.case.layers.take_brush()
    viewer.scene.camera.zoom, viewer.scene.camera.center = 7.5, (4.0, 5.0)
    show_surfaces(viewer, painted.case)
    seen: list[SliceRef] = []
    painted.case.layers.looked_at.connect(seen.append)
    viewer.dims.ndisplay = 2
    qtbot.waitUntil(lambda: viewer.scene.camera.zoom == 7.5)
    assert painted.case.layers.current() == SliceRef(0, 3)
    assert painted.case.controller.focus == SliceRef(0, 3)
    assert not seen or seen[-1] == SliceRef(0, 3)
    assert painted.case.layers.segmentation.mode == "paint"
    assert viewer.scene.camera.zoom == 7.5
    assert tuple(viewer.scene.camera.center)[-2:] == (4.0, 5.0)
    assert viewer.layers.selection.active is painted.case.layers.segmentation


def test_a_scan_closed_in_3d_is_not_gone_back_to(painted: Any, viewer: Any) -> None:
    show_surfaces(viewer, painted.case)
    painted.close_case()
    viewer.dims.ndisplay = 2
    assert not surfaces(viewer)[0].visible


def test_showing_again_replaces_the_surfaces(painted: Any, viewer: Any) -> None:
    show_surfaces(viewer, painted.case)
    show_surfaces(viewer, painted.case)
    assert len(surfaces(viewer)) == 1
    viewer.dims.ndisplay = 2
    assert painted.case.image.visible


def test_nothing_painted_is_told(panel: Any, viewer: Any) -> None:
    assert show_surfaces(viewer, panel.case) == []
    assert "nothing to show in 3D" in panel.message()
    assert viewer.dims.ndisplay == 2
