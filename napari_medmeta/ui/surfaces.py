"""Structures as surfaces in 3D: one mesh each, in the structure's colour, at its place in mm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.components import ViewerModel
from napari.layers import Layer, Surface
from napari.utils.colormaps import Colormap
from qtpy.QtCore import QTimer
from scipy import ndimage

from napari_medmeta.core import Box, MaskArray, Structure
from napari_medmeta.ui.case import Case
from napari_medmeta.ui.scan import placement

__all__ = ["Mesh", "mesh_of", "show_surfaces"]

SURFACE_KEY = "napari_medmeta_surface"
"""In a surface layer's metadata: the fingerprint of the scan that it belongs to."""

MOST_VOXELS = 1_500_000
"""Larger structures are thinned out first: a mesh finer than the screen only takes time."""

SMOOTHING_VOXELS = 0.7
"""Takes the steps off the voxels' edges; a plane moves by less than a tenth of a voxel."""

LEVEL = 0.5

FROM_THE_FRONT, HEAD_UP = (0.0, 1.0, 0.0), (-1.0, 0.0, 0.0)
"""Where the camera looks and what is up, in the viewer's axes (feet, back, left): as one stands before a patient."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """Corners (n, 3) in voxel indices of the whole grid, and triangles (m, 3) of corner numbers."""

    vertices: npt.NDArray[np.float32]
    faces: npt.NDArray[np.int32]


def mesh_of(mask: MaskArray) -> Mesh | None:
    """Return the surface of ``mask`` (I, J, K) by marching cubes, None when it is empty.

    Source: Lewiner et al., Journal of Graphics Tools 8 (2003), as scikit-image has it.
    """
    box = Box.around(mask)
    if box is None:
        return None
    import skimage.measure

    measure: Any = skimage.measure  # untyped
    step = thinning(box)
    crop = mask[box.slices][tuple(slice(None, None, n) for n in step)]
    # A rim of background closes the surface where the structure touches the crop's edge.
    solid = np.pad(crop.astype(np.float32), 1)
    smooth = ndimage.gaussian_filter(solid, SMOOTHING_VOXELS)
    # A structure one voxel thin would melt away.
    field = smooth if smooth.max() > LEVEL else solid
    vertices, faces, _, _ = measure.marching_cubes(field, LEVEL)
    places = (vertices - 1) * step + np.asarray(box.start)
    return Mesh(places.astype(np.float32), np.asarray(faces, dtype=np.int32))


def thinning(box: Box) -> npt.NDArray[np.int64]:
    """Return for each axis that every n-th voxel is enough."""
    step = np.ones(3, dtype=np.int64)
    while np.prod(np.ceil(np.asarray(box.shape) / step)) > MOST_VOXELS:
        # The finest axis first, so that the mesh stays as even as the grid allows.
        step[int(np.argmax(np.asarray(box.shape) / step))] += 1
    return step


def show_surfaces(viewer: ViewerModel, case: Case) -> list[Surface]:
    """Show what is painted and accepted as surfaces, in 3D; those shown before are replaced.

    They are looked at from the patient's front and fill the window. Returns the layers. All others, which
    would cover the surfaces, are hidden until the viewer is back in 2D; then the surfaces are, and slice,
    zoom and tool are as they were.
    """
    controller = case.controller
    for layer in _shown(viewer, controller.scan.fingerprint):
        viewer.layers.remove(layer)
    found = {s: mesh_of(np.asarray(controller.labels == s.id)) for s in controller.structures}
    made = [_layer(case, s, mesh) for s, mesh in found.items() if mesh is not None]
    if not made:
        controller.told.emit("There is nothing to show in 3D yet: paint or accept something first.")
        return []
    for layer in made:
        viewer.add_layer(layer)
    _show_only(viewer, made, until_flat=_go_back_to(viewer, case))
    viewer.dims.ndisplay = 3
    _look_from_the_front(viewer)
    viewer.fit_to_view(layers=made)
    controller.told.emit("Shown in 3D. napari's 2D/3D button (Ctrl+Y) leads back to the slices.")
    return made


def _layer(case: Case, structure: Structure, mesh: Mesh) -> Surface:
    return Surface(
        (mesh.vertices, mesh.faces),
        name=f"{structure.name} (surface)",
        colormap=Colormap([structure.colour, structure.colour], name=structure.colour),
        shading="smooth",
        metadata={SURFACE_KEY: case.controller.scan.fingerprint},
        **placement(case.controller.session.geometry),
    )


def _look_from_the_front(viewer: ViewerModel) -> None:
    # napari wants directions in the order in which the axes are on screen, which turning the plane changes.
    first, second, third = (axis - (viewer.dims.ndim - 3) for axis in viewer.dims.displayed)
    ahead = FROM_THE_FRONT[first], FROM_THE_FRONT[second], FROM_THE_FRONT[third]
    viewer.scene.camera.set_view_direction(ahead, (HEAD_UP[first], HEAD_UP[second], HEAD_UP[third]))


def _go_back_to(viewer: ViewerModel, case: Case) -> Callable[[], None]:
    """Return what leads back to the slice, the zoom and the layer of now."""
    camera, ref = viewer.scene.camera, case.layers.current()
    flat = viewer.dims.ndisplay == 2
    center, zoom, mode = camera.center, camera.zoom, str(case.layers.segmentation.mode)

    def back() -> None:
        if case.layers.closed:
            return
        case.layers.go_to(ref)
        viewer.layers.selection.active = case.layers.segmentation
        if flat:
            case.layers.segmentation.mode = mode
            camera.center, camera.zoom = center, zoom

    return back


def _show_only(viewer: ViewerModel, surfaces: Sequence[Layer], *, until_flat: Callable[[], None]) -> None:
    covering = [layer for layer in viewer.layers if layer.visible and layer not in surfaces]

    def turned(event: object = None) -> None:
        flat = viewer.dims.ndisplay == 2
        # A layer that is gone still thinks that it is in 3D.
        for layer in (layer for layer in covering if layer in viewer.layers):
            layer.visible = flat
        for layer in surfaces:
            layer.visible = not flat
        if flat:
            viewer.dims.events.ndisplay.disconnect(turned)
            # napari is still turning: a slice chosen now would be on the slider, but not on screen.
            QTimer.singleShot(0, until_flat)

    # Hidden before the viewer turns: an outlined label layer would be drawn in 3D, and napari would warn.
    for layer in covering:
        layer.visible = False
    viewer.dims.events.ndisplay.connect(turned)


def _shown(viewer: ViewerModel, fingerprint: str) -> list[Layer]:
    return [layer for layer in viewer.layers if layer.metadata.get(SURFACE_KEY) == fingerprint]
