"""Our napari layers of one scan: what was painted, what is proposed, and what is uncertain.

The session is the truth and these layers only show it. napari paints into the segmentation layer at
once, which keeps the brush quick; the session is told when the brush lifts, and its answer is written
back. A layer that is renamed goes on; one that is deleted is put back.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import DirectLabelColormap
from psygnal import Signal

from napari_medmeta.core import BACKGROUND, Box, LabelArray, MaskArray, SliceRef, Structure, label_slice
from napari_medmeta.ui.box_tool import BoxTool
from napari_medmeta.ui.click_tool import ClickTool
from napari_medmeta.ui.hiding import Hiding
from napari_medmeta.ui.orientation import Compass
from napari_medmeta.ui.overlay import Chores, LazyArray
from napari_medmeta.ui.planes import Planes
from napari_medmeta.ui.region_mark import RegionMark
from napari_medmeta.ui.scan import METADATA_KEY, Scan
from napari_medmeta.ui.shown import Shown, differences, expected_plane
from napari_medmeta.ui.strokes import BACKGROUND_STROKE, edits_of
from napari_medmeta.ui.wheel import WheelSteps

__all__ = ["CaseLayers"]

BACKGROUND_STROKE_COLOUR = (0.85, 0.85, 0.85, 0.6)
PLACING = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
PAINTING_MODES = ("paint", "erase", "fill")
ERASING_LABELS = (BACKGROUND, BACKGROUND_STROKE)
SEGMENTATION_OPACITY = 0.55
FINE_PIXELS = 300
"""On a slice with more pixels across than this, an outline of one pixel is too thin to see."""

OBLONG = 3.0
"""Voxels this much longer than wide have outlines that cover what they should show: they are filled instead."""

CONTOUR_OPACITY = 1.0
FILL_OPACITY = 0.4
HINT_OPACITY = 0.18
"""A proposal that is not worth correcting must not look like a contour to correct."""


class CaseLayers:
    """Create, update and guard the layers of one scan in one viewer.

    Parameters
    ----------
    viewer
        The viewer that shows the scan.
    image
        The scan's own layer; ours copy its place in space.
    shown
        Where the values come from.
    chores
        Does the slow part of an update between two events.
    defer
        Calls a function after napari has finished what it is doing.
    """

    painted = Signal(tuple)
    looked_at = Signal(SliceRef)
    structure_picked = Signal(int)
    scan_removed = Signal()
    put_back = Signal(str)
    click_tool_changed = Signal(bool)
    stroked_in_vain = Signal()
    """A stroke on a proposed slice painted nothing but what is proposed there."""

    def __init__(
        self,
        viewer: ViewerModel,
        image: Image,
        *,
        scan: Scan,
        shown: Shown,
        chores: Chores,
        defer: Callable[[Callable[[], None]], None],
    ) -> None:
        self._viewer, self.image, self._scan, self._shown = viewer, image, scan, shown
        self._chores, self._defer = chores, defer
        self._shape = scan.grid.working.shape
        self._array: LabelArray = np.array(shown.labels)
        self._proposed = LazyArray(self._shape, shown.proposed_labels)
        self._uncertain = LazyArray(self._shape, self._uncertainty)
        self._place = _placement_of(image)
        self.planes = Planes(viewer, image, shape=self._shape)
        self._ref: SliceRef | None = None
        self._stroking = self._painted = False
        self.click = ClickTool(viewer, self.planes.under_cursor)
        self.wheel = WheelSteps(viewer, self.planes, shape=self._shape)
        self._as_contour = True
        self._outline = 2 if sorted(self._shape)[1] > FINE_PIXELS else 1
        self._region = RegionMark(viewer, self._place)
        self.boxes = BoxTool(viewer, self._place, shape=self._shape, defer=defer)
        self._compass = Compass(viewer, scan.grid.working)
        self._colours: tuple[tuple[int, str], ...] | None = None
        self._hiding = Hiding()
        self.closed = False
        self.proposal = self._add_proposal()
        self.segmentation = self._add_segmentation()
        self.uncertainty: Image | None = None
        self._connect()
        self.recolour()
        self.update(Box.whole(self._shape))
        self._look()

    # What is looked at

    def current(self) -> SliceRef:
        """Return the slice on screen; in 3D the one that the slider stands at."""
        return self.planes.current()

    def go_to(self, ref: SliceRef) -> None:
        """Show the slice ``ref``, turning the viewer to its axis when needed."""
        self.planes.go_to(ref)

    def point_at(self, region: Box) -> None:
        """Draw a frame around ``region``, one slice thick, until another slice is shown."""
        self._region.show(region, self._shape)

    # What is shown

    def update(self, box: Box) -> None:
        """Show the session's labels inside ``box``."""
        if box.size == 0:
            return
        self._array[box.slices] = self._shown.labels[box.slices]
        for ref, mask in self._shown.background_strokes():
            self._mark_background(ref, mask, box)
        self.update_proposal(box)
        if self._on_screen(box):
            _redraw(self.segmentation)

    def update_proposal(self, box: Box) -> None:
        """Show what is still proposed inside ``box``: the slice on screen at once, the rest soon."""
        self._proposed.mark(box)
        self._chores.add(self._proposed.step)
        if self.uncertainty is not None:
            self._uncertain.mark(box)
            self._chores.add(self._uncertain.step)
        self._draw_overlays(self._ref or self.current())

    def recolour(self) -> None:
        """Give every structure its colour, in all layers."""
        colours = tuple((s.id, s.colour) for s in self._shown.structures)
        if colours == self._colours:
            return
        self._colours = colours
        table: dict[int | None, Any] = {None: "transparent", 0: "transparent"}
        table.update(dict(colours))
        self.proposal.colormap = DirectLabelColormap(color_dict=dict(table))
        table[BACKGROUND_STROKE] = BACKGROUND_STROKE_COLOUR
        # A new colormap makes napari tell its label anew, which is no choice of the user's.
        with self.segmentation.events.selected_label.blocker(self._on_selected_label):
            self.segmentation.colormap = DirectLabelColormap(color_dict=table)

    def choose(self, value: int) -> None:
        """Let the brush paint ``value`` from now on."""
        if self.segmentation.selected_label != value:
            self.segmentation.selected_label = value

    def show_as_contour(self, contour: bool) -> None:
        """Show proposals as contours, or as a fill."""
        self._as_contour = contour
        self._style_proposal(self._ref or self.current())

    def show_uncertainty(self, shown: bool) -> None:
        """Show or hide the map of what the engine is not sure of."""
        if shown and self.uncertainty is None:
            self.uncertainty = self._add_uncertainty()
            self.update_proposal(Box.whole(self._shape))
        elif not shown and self.uncertainty is not None:
            layer, self.uncertainty = self.uncertainty, None
            self._viewer.layers.remove(layer)

    def toggle_overlay(self) -> bool:
        """Hide or show everything that lies on the scan; return whether it is shown now."""
        # Boxes, clicks and points too, but no scan.
        layers = self._viewer.layers
        return self._hiding.toggle(x for x in layers if not isinstance(x, Image) or x is self.uncertainty)

    def tell(self) -> None:
        """Write into the corner of the canvas what is known about the slice on screen."""
        ref = self.current()
        self._compass.show(ref, self._shown.words(ref))

    # Tools

    @property
    def click_tool(self) -> bool:
        """Whether a click says something about a voxel."""
        return self.click.in_hand

    def set_click_tool(self, on: bool) -> None:
        """Turn the click tool on (and the brush off), or off."""
        if on == self.click.in_hand:
            return
        self.click.in_hand = on
        if on:
            self.boxes.put_away()
            self._viewer.layers.selection.active = self.segmentation
            self.segmentation.mode = "pan_zoom"
        self.click_tool_changed.emit(on)

    def set_box_tool(self, structure: Structure | None) -> None:
        """Let the next drag draw a box around ``structure``; None: put the tool away."""
        if structure is None:
            self.boxes.put_away()
            return
        self.set_click_tool(False)
        self.segmentation.mode = "pan_zoom"
        self.boxes.take(structure, back=self.segmentation)

    def take_brush(self) -> None:
        """Select the segmentation with napari's brush in hand."""
        self.boxes.put_away()
        self._viewer.layers.selection.active = self.segmentation
        self.segmentation.mode = "paint"

    def bind_to_segmentation(self, bindings: Mapping[str, Callable[[Any], None]]) -> None:
        """Bind keys on the segmentation layer itself, where they go before napari's own."""
        self._bindings = dict(bindings)
        for key, call in self._bindings.items():
            self.segmentation.bind_key(key, call, overwrite=True)

    def close(self, *, keep_segmentation: bool = False) -> None:
        """Let go of the viewer and remove our layers."""
        if self.closed:
            return
        self.closed = True
        self._disconnect()
        self._compass.clear()
        self._region.clear()
        self.boxes.clear()
        ours = [self.proposal, self.uncertainty, None if keep_segmentation else self.segmentation]
        for layer in ours:
            if layer is not None and layer in self._viewer.layers:
                self._viewer.layers.remove(layer)

    # Making layers

    def _add_segmentation(self) -> Labels:
        layer = Labels(
            self._array,
            name="Segmentation",
            opacity=SEGMENTATION_OPACITY,
            metadata={METADATA_KEY: self._scan},
            **self._place,
        )
        layer.events.paint.connect(self._on_paint)
        layer.events.selected_label.connect(self._on_selected_label)
        layer.events.mode.connect(self._on_mode)
        layer.events.set_data.connect(self._on_set_data)
        layer.mouse_drag_callbacks.append(self._on_drag)
        self._viewer.add_layer(layer)
        return layer

    def _add_proposal(self) -> Labels:
        layer = Labels(
            self._proposed.array,
            name="Proposal",
            metadata={METADATA_KEY: self._scan},
            **self._place,
        )
        layer.editable = False
        self._viewer.add_layer(layer)
        return layer

    def _add_uncertainty(self) -> Image:
        layer = Image(
            self._uncertain.array,
            name="Uncertainty",
            colormap="magenta",
            blending="additive",
            opacity=0.7,
            # Above an even chance of being wrong there is nothing more to tell.
            contrast_limits=(0, 128),
            metadata={METADATA_KEY: self._scan},
            **self._place,
        )
        active = self._viewer.layers.selection.active
        self._viewer.add_layer(layer)
        self._viewer.layers.selection.active = active
        return layer

    def _uncertainty(self, box: Box) -> LabelArray:
        return np.asarray(np.round((1 - self._shown.confidence(box)) * 255), dtype=np.uint8)

    # Drawing

    def _draw_overlays(self, ref: SliceRef) -> None:
        if self._proposed.refresh_slice(ref):
            _redraw(self.proposal)
        if self.uncertainty is not None and self._uncertain.refresh_slice(ref):
            _redraw(self.uncertainty)
        self._style_proposal(ref)

    def _style_proposal(self, ref: SliceRef) -> None:
        hint = self._shown.is_hint(ref)
        outlined = self._as_contour and not hint and self._is_square(ref.axis)
        contour = self._outline if outlined else 0
        opacity = HINT_OPACITY if hint else CONTOUR_OPACITY if outlined else FILL_OPACITY
        if self.proposal.contour != contour:
            self.proposal.contour = contour
        if self.proposal.opacity != opacity:
            self.proposal.opacity = opacity

    def _is_square(self, axis: int) -> bool:
        spacing = [s for a, s in enumerate(self._scan.grid.working.spacing_mm) if a != axis]
        return max(spacing) < OBLONG * min(spacing)

    def _mark_background(self, ref: SliceRef, mask: MaskArray, box: Box) -> None:
        if Box.of_slice(ref, self._shape).intersection(box).size:
            plane = label_slice(self._array, ref)
            plane[mask & (plane == 0)] = BACKGROUND_STROKE

    def _on_screen(self, box: Box) -> bool:
        if self._viewer.dims.ndisplay == 3:
            return True
        return box.intersection(Box.of_slice(self._ref or self.current(), self._shape)).size > 0

    # What napari says

    def _connect(self) -> None:
        dims = self._viewer.dims.events
        for emitter in (dims.current_step, dims.order, dims.ndisplay):
            emitter.connect(self._look)
        self._viewer.layers.events.removed.connect(self._on_removed)

    def _disconnect(self) -> None:
        dims = self._viewer.dims.events
        for emitter in (dims.current_step, dims.order, dims.ndisplay):
            emitter.disconnect(self._look)
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        self.click.close()
        self.wheel.close()
        self._release(self.segmentation)

    def _release(self, layer: Labels) -> None:
        layer.events.paint.disconnect(self._on_paint)
        layer.events.selected_label.disconnect(self._on_selected_label)
        layer.events.mode.disconnect(self._on_mode)
        layer.events.set_data.disconnect(self._on_set_data)
        if self._on_drag in layer.mouse_drag_callbacks:
            layer.mouse_drag_callbacks.remove(self._on_drag)

    def _look(self, event: object = None) -> None:
        if self.closed or self._viewer.dims.ndim < 3:
            return
        ref = self.current()
        self.tell()
        if ref != self._ref:
            self._ref = ref
            self._region.clear()
            self._draw_overlays(ref)
            self.looked_at.emit(ref)

    def _on_paint(self, event: Any) -> None:
        self._painted = True
        edits = edits_of(event.value, self._shape) or differences(self._array, self._shown, self.current())
        if edits:
            self.painted.emit(edits)
        # napari tells of a single dab before it writes it, so the last word has to come later.
        self._defer(self._show_truth)

    def _on_drag(self, layer: Labels, event: Any) -> Generator[None, None, None]:
        if str(layer.mode) not in PAINTING_MODES:
            return
        self._stroking, self._painted = True, False
        takes_over = self._take_over_on_screen()
        yield
        while event.type == "mouse_move":
            yield
        self._stroking = False
        self._defer(self._show_truth)
        if takes_over:
            # napari tells what was painted only after this.
            self._defer(self._tell_if_in_vain)

    def _on_selected_label(self, event: object) -> None:
        self.structure_picked.emit(int(self.segmentation.selected_label))

    def _on_mode(self, event: object) -> None:
        if self.click.in_hand and str(self.segmentation.mode) != "pan_zoom":
            self.set_click_tool(False)

    def _on_set_data(self, event: object) -> None:
        # Something else wrote into our layer (napari's own undo, another plugin): put right what is on screen.
        if not self._stroking:
            self._defer(self._show_truth)

    def _on_removed(self, event: Any) -> None:
        if not self.closed:
            self._defer(self._repair)

    # Putting things right

    def _tell_if_in_vain(self) -> None:
        if not self._painted and not self.closed:
            self.stroked_in_vain.emit()

    def _take_over_on_screen(self) -> bool:
        ref = self.current()
        erasing = str(self.segmentation.mode) == "erase" or int(self.segmentation.selected_label) in ERASING_LABELS
        if not self._shown.takes_over(ref, erasing=erasing):
            return False
        plane = label_slice(self._array, ref)
        box = Box.of_slice(ref, self._shape)
        proposed = self._shown.proposed_labels(box).reshape(plane.shape)
        plane[...] = np.where(plane == 0, proposed, plane)
        _redraw(self.segmentation)
        return True

    def _show_truth(self) -> None:
        if self.closed or self._stroking:
            return
        if self.segmentation.data is not self._array:
            self.segmentation.data = self._array
        ref = self.current()
        plane, expected = label_slice(self._array, ref), expected_plane(self._shown, ref)
        if not np.array_equal(plane, expected):
            plane[...] = expected
            _redraw(self.segmentation)

    def _repair(self) -> None:
        if self.closed:
            return
        layers = self._viewer.layers
        if self.image not in layers:
            self.scan_removed.emit()
            return
        lost = [layer for layer in (self.segmentation, self.proposal) if layer not in layers]
        if self.proposal in lost:
            self.proposal = self._again(self.proposal, self._add_proposal)
        if self.segmentation in lost:
            self._release(self.segmentation)
            self.segmentation = self._again(self.segmentation, self._add_segmentation)
            for key, call in getattr(self, "_bindings", {}).items():
                self.segmentation.bind_key(key, call, overwrite=True)
        if self.uncertainty is not None and self.uncertainty not in layers:
            self.uncertainty = None
        if lost:
            self._colours = None
            self.recolour()
            self.update(Box.whole(self._shape))
            self.put_back.emit(lost[0].name)

    def _again(self, lost: Labels, make: Callable[[], Labels]) -> Labels:
        layer = make()
        layer.name = lost.name
        layer.selected_label = lost.selected_label
        return layer


def _placement_of(layer: Layer) -> dict[str, Any]:
    return {name: getattr(layer, name) for name in PLACING}


def _redraw(layer: Layer) -> None:
    layer.refresh(extent=False, thumbnail=False, highlight=False)
