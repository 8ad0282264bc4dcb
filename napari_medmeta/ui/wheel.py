"""The mouse wheel goes through the slices, as in every viewer that radiologists know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from napari.components import ViewerModel

from napari_medmeta.core import SliceRef, Triple
from napari_medmeta.ui.planes import Planes

__all__ = ["WheelSteps"]


ZOOM_KEY = "Shift"
"""napari itself passes over the wheel while a key is held, but for Ctrl (slices) and Alt (layers)."""

NOTCH_ZOOM = 1.2
"""Four notches double the scan's size: about as fast as napari's own wheel."""


class WheelSteps:
    """Go one slice on for each notch of the wheel over the canvas, while it is `in_use`; with Shift held, zoom.

    With other keys and in 3D the wheel does what napari does with it.

    Parameters
    ----------
    planes
        The slices of the scan in ``viewer``.
    shape
        How many slices there are along each axis.
    """

    def __init__(self, viewer: ViewerModel, planes: Planes, *, shape: Triple) -> None:
        self.in_use = True
        self._viewer, self._planes, self._shape = viewer, planes, shape
        self._turned = 0.0
        viewer.mouse_wheel_callbacks.append(self._on_wheel)

    def close(self) -> None:
        """Let go of the viewer."""
        self._viewer.mouse_wheel_callbacks.remove(self._on_wheel)

    def _on_wheel(self, viewer: ViewerModel, event: Any) -> None:
        held = tuple(event.modifiers)
        if not self.in_use or held not in ((), (ZOOM_KEY,)) or viewer.dims.ndisplay != 2:
            return
        # Handled, so that the canvas does not zoom as well.
        event.handled = True
        # A notch is 1; touchpads send many small parts of it, and fast wheels several notches at once.
        notch = min(max(float(event.delta[1]), -1.0), 1.0)
        if held:
            self._zoom(NOTCH_ZOOM**notch, event.position)
            return
        if notch * self._turned < 0:
            self._turned = 0.0
        self._turned += notch
        steps = int(self._turned)
        if steps:
            self._turned -= steps
            # Towards oneself is onward, as with napari's own Ctrl+wheel.
            self._go(-steps)

    def _zoom(self, factor: float, position: Sequence[float]) -> None:
        camera = self._viewer.scene.camera
        # What the mouse points at stays under it.
        pointed = [position[axis] for axis in self._viewer.dims.displayed]
        center = [c + (p - c) * (1 - 1 / factor) for c, p in zip(camera.center[-2:], pointed, strict=True)]
        camera.zoom *= factor
        camera.center = tuple(center)

    def _go(self, steps: int) -> None:
        now = self._planes.current()
        index = min(max(now.index + steps, 0), self._shape[now.axis] - 1)
        if index != now.index:
            self._planes.go_to(SliceRef(now.axis, index))
