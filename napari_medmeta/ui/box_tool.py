"""Boxes as first examples: napari's own rectangle tool on a layer of ours.

The layer only shows what the session knows. Whatever is drawn, moved or deleted on it is read when the
mouse is let go, and told as the boxes that now lie on a slice.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from napari.components import ViewerModel
from napari.layers import Layer, Shapes
from psygnal import Signal

from napari_medmeta.core import SliceRef, Structure, Triple
from napari_medmeta.session.boxes import DrawnBox

__all__ = ["BoxTool", "Boxes", "box_of", "corners_of"]

Boxes: TypeAlias = Mapping[SliceRef, tuple[DrawnBox, ...]]

STRUCTURE = "structure"
"""The feature of a shape that says which structure it is around."""

WIDTH_SHARE = 0.006
"""Width of a box's edge as a share of the slice's larger side: two to three pixels of a usual window."""


class BoxTool:
    """Show boxes in one viewer, and tell of those that are drawn.

    Parameters
    ----------
    viewer
        Where they are drawn.
    place
        Scale, position and the like of the scan's layer.
    shape
        The scan's shape (I, J, K).
    defer
        Calls a function after napari has finished what it is doing.
    """

    drawn = Signal(SliceRef, tuple)
    """A slice and all `DrawnBox` that now lie on it."""
    in_hand_changed = Signal(bool)

    def __init__(
        self,
        viewer: ViewerModel,
        place: dict[str, Any],
        *,
        shape: Triple,
        defer: Callable[[Callable[[], None]], None],
    ) -> None:
        self._viewer, self._place, self._shape, self._defer = viewer, place, shape, defer
        self._boxes: Boxes = {}
        self._colours: dict[int, str] = {}
        self._back: Layer | None = None
        self._writing = False
        self.layer: Shapes | None = None

    @property
    def in_hand(self) -> bool:
        """Whether dragging draws a box."""
        return self._back is not None

    def take(self, structure: Structure, *, back: Layer) -> None:
        """Let the next drag draw a box around ``structure``; the layer ``back`` is selected afterwards."""
        self._colours[structure.id] = structure.colour
        layer = self.layer if self.layer is not None and self.layer in self._viewer.layers else self._add_layer()
        layer.feature_defaults = {STRUCTURE: structure.id}
        layer.current_edge_color = structure.colour
        self._back = back
        self._viewer.layers.selection.active = layer
        layer.mode = "add_rectangle"
        self.in_hand_changed.emit(True)

    def put_away(self) -> None:
        """Go back to the layer that was worked on before."""
        back, self._back = self._back, None
        if back is None:
            return
        if self.layer is not None:
            self.layer.mode = "pan_zoom"
        if back in self._viewer.layers:
            self._viewer.layers.selection.active = back
        if not self._boxes:
            self.clear()
        self.in_hand_changed.emit(False)

    def show(self, boxes: Boxes, structures: Sequence[Structure]) -> None:
        """Show ``boxes`` in the colours of their structures."""
        colours = {s.id: s.colour for s in structures}
        if boxes == self._boxes and colours == self._colours:
            return
        self._boxes, self._colours = dict(boxes), colours
        if boxes:
            self._write()
        elif not self.in_hand:
            self.clear()

    def clear(self) -> None:
        """Take the layer away."""
        layer, self.layer = self.layer, None
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)

    def _add_layer(self) -> Shapes:
        none: dict[str, Any] = {STRUCTURE: np.zeros(0, dtype=np.int64)}
        layer = Shapes(ndim=3, name="Boxes", features=none, feature_defaults={STRUCTURE: 0}, **self._place)
        layer.current_face_color = "transparent"
        layer.current_edge_width = self._width()
        layer.mouse_drag_callbacks.append(self._on_drag)
        layer.events.data.connect(self._on_data)
        self._viewer.add_layer(layer)
        self.layer = layer
        return layer

    def _write(self) -> None:
        """Put the session's boxes into the layer."""
        active = self._viewer.layers.selection.active
        here = self.layer is not None and self.layer in self._viewer.layers
        layer = self.layer if here and self.layer is not None else self._add_layer()
        flat = [(ref, box) for ref, boxes in self._boxes.items() for box in boxes]
        self._writing = True
        layer.data = []
        layer.add(
            [corners_of(box, ref) for ref, box in flat],
            shape_type="rectangle",
            edge_color=[self._colours.get(box.structure, "white") for _, box in flat],
            face_color="transparent",
            edge_width=self._width(),
        )
        layer.features = {STRUCTURE: [box.structure for _, box in flat]}
        layer.selected_data = set()
        self._writing = False
        if not here:
            self._viewer.layers.selection.active = active

    def _on_drag(self, layer: Shapes, event: Any) -> Generator[None, None, None]:
        yield
        while event.type == "mouse_move":
            yield
        self._defer(self._read)

    def _on_data(self, event: Any) -> None:
        if not self._writing and str(getattr(event, "action", "")) == "removed":
            self._defer(self._read)

    def _read(self) -> None:
        """Tell of every slice whose boxes are not those that the session knows, and show the truth again."""
        layer = self.layer
        if layer is None or layer not in self._viewer.layers:
            return
        found = self._on_slices(layer)
        changed = [ref for ref in {*found, *self._boxes} if found.get(ref, ()) != self._boxes.get(ref, ())]
        self.put_away()
        for ref in changed:
            self.drawn.emit(ref, found.get(ref, ()))
        # What was refused must not stay on screen as if it counted.
        if self._boxes:
            self._write()
        elif not self.in_hand:
            self.clear()

    def _on_slices(self, layer: Shapes) -> dict[SliceRef, tuple[DrawnBox, ...]]:
        found: dict[SliceRef, tuple[DrawnBox, ...]] = {}
        for corners, structure in zip(layer.data, layer.features[STRUCTURE], strict=True):
            ref, box = box_of(np.asarray(corners), int(structure), self._shape)
            found[ref] = (*found.get(ref, ()), box)
        return found

    def _width(self) -> float:
        return sorted(self._shape)[-1] * WIDTH_SHARE


def corners_of(box: DrawnBox, ref: SliceRef) -> npt.NDArray[np.float64]:
    """Return the four corners (4, 3) of a box on the slice ``ref``, in voxels."""
    rows, columns = (a for a in range(3) if a != ref.axis)
    low, high = np.asarray(box.start) - 0.5, np.asarray(box.stop) - 0.5
    corners = np.full((4, 3), float(ref.index))
    corners[:, rows] = (low[0], low[0], high[0], high[0])
    corners[:, columns] = (low[1], high[1], high[1], low[1])
    return corners


def box_of(corners: npt.NDArray[Any], structure: int, shape: Triple) -> tuple[SliceRef, DrawnBox]:
    """Return the slice and the box of a rectangle's corners (n, 3), in voxels; a turned one by what it spans."""
    extent = corners.max(axis=0) - corners.min(axis=0)
    axis = int(np.argmin(extent))
    ref = SliceRef(axis, min(max(round(float(corners[:, axis].mean())), 0), shape[axis] - 1))
    flat = np.delete(corners, axis, axis=1)
    sides = [n for a, n in enumerate(shape) if a != axis]
    # A voxel belongs to the box when its middle lies inside.
    first = np.clip(np.ceil(flat.min(axis=0)), 0, sides).astype(int)
    stop = np.clip(np.floor(flat.max(axis=0)) + 1, first, sides).astype(int)
    return ref, DrawnBox(structure, (int(first[0]), int(first[1])), (int(stop[0]), int(stop[1])))
