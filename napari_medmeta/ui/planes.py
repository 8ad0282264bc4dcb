"""Which slice of a scan is on screen, and how to show another one: napari's sliders in the scan's voxels."""

from __future__ import annotations

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image

from napari_medmeta.core import SliceRef, Triple

__all__ = ["Planes"]


class Planes:
    """The slices of the scan in ``image``, as ``viewer`` shows them.

    Parameters
    ----------
    shape
        Voxels of the scan along its axes (I, J, K), the last three of the viewer's.
    """

    def __init__(self, viewer: ViewerModel, image: Image, *, shape: Triple) -> None:
        self._viewer, self._image, self._shape = viewer, image, shape

    def current(self) -> SliceRef:
        """Return the slice on screen; in 3D the one that the slider stands at."""
        dims = self._viewer.dims
        extra = dims.ndim - 3
        axis = next(d - extra for d in dims.order if d >= extra)
        return self._at_slider(axis)

    def go_to(self, ref: SliceRef) -> None:
        """Show the slice ``ref``, turning the viewer to its axis when needed."""
        dims = self._viewer.dims
        extra = dims.ndim - 3
        if self.current().axis != ref.axis:
            others = [a + extra for a in range(3) if a != ref.axis]
            dims.order = (*range(extra), ref.axis + extra, *others)
        point = [0.0, 0.0, 0.0]
        point[ref.axis] = float(ref.index)
        dims.set_point(ref.axis + extra, float(self._image.data_to_world(point)[ref.axis]))

    def turn(self, step: int) -> SliceRef:
        """Show the plane ``step`` array axes further, through what the mouse points at; return the slice shown.

        With the mouse elsewhere it goes through the place where the planes met last, at first the middle.
        """
        axis = (self.current().axis + step) % 3
        voxel = self.under_cursor() if self._viewer.mouse_over_canvas and self._viewer.dims.ndisplay == 2 else None
        if voxel is not None:
            self._meet_at(voxel)
        self.go_to(self._at_slider(axis))
        return self.current()

    def under_cursor(self) -> Triple | None:
        """Return the voxel under the mouse, or None outside of the scan."""
        found = np.round(np.asarray(self._image.world_to_data(self._viewer.cursor.position))[-3:]).astype(int)
        if any(not 0 <= n < size for n, size in zip(found, self._shape, strict=True)):
            return None
        i, j, k = (int(n) for n in found)
        return i, j, k

    def _at_slider(self, axis: int) -> SliceRef:
        # napari keeps a point on every axis, also on those that are on screen.
        point = self._image.world_to_data(np.asarray(self._viewer.dims.point)[-3:])
        return SliceRef(axis, min(max(round(float(point[axis])), 0), self._shape[axis] - 1))

    def _meet_at(self, voxel: Triple) -> None:
        """Let the three planes meet at ``voxel`` of the slice on screen, which stays there."""
        dims, shown = self._viewer.dims, self.current().axis
        world = self._image.data_to_world(voxel)
        for axis in (a for a in range(3) if a != shown):
            dims.set_point(axis + dims.ndim - 3, float(world[axis]))
