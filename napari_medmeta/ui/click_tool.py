"""The tool that says something about the one voxel that is clicked."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import numpy as np
from napari.components import ViewerModel
from psygnal import Signal

from napari_medmeta.core import Triple

__all__ = ["ClickTool"]

CLICK_TOLERANCE_PX = 3
"""A hand moves a little between pressing and letting go."""


class ClickTool:
    """Tell of clicks on the canvas while it is in hand; dragging still pans.

    Parameters
    ----------
    viewer
        Where the mouse is.
    voxel_under_cursor
        Returns the voxel under the mouse, None outside of the scan.
    """

    clicked = Signal(tuple, bool)
    """The voxel, and whether Alt said "background"."""

    def __init__(self, viewer: ViewerModel, voxel_under_cursor: Callable[[], Triple | None]) -> None:
        self.in_hand = False
        self._viewer, self._voxel = viewer, voxel_under_cursor
        viewer.mouse_drag_callbacks.append(self._on_drag)

    def close(self) -> None:
        """Let go of the viewer."""
        self._viewer.mouse_drag_callbacks.remove(self._on_drag)

    def _on_drag(self, viewer: ViewerModel, event: Any) -> Generator[None, None, None]:
        if not self.in_hand or event.button != 1:
            return
        background = "Alt" in event.modifiers
        start = np.asarray(event.pos)
        yield
        while event.type == "mouse_move":
            yield
        still = float(np.abs(np.asarray(event.pos) - start).max()) < CLICK_TOLERANCE_PX
        voxel = self._voxel()
        if still and voxel is not None:
            self.clicked.emit(voxel, background)
