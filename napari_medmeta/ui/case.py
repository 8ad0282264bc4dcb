"""One open scan in one viewer: its controller, its layers, and the wires between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_medmeta.core import BACKGROUND, UNLABELLED, Box, MedmetaError, SliceRef, Triple
from napari_medmeta.session import Change, Session, Topic
from napari_medmeta.session.boxes import DrawnBox
from napari_medmeta.ui.carried import CarriedHere
from napari_medmeta.ui.click_marks import ClickMarks, clicks_on
from napari_medmeta.ui.controller import Controller
from napari_medmeta.ui.keys import Act
from napari_medmeta.ui.label_names import names_of_layer
from napari_medmeta.ui.layers import CaseLayers
from napari_medmeta.ui.overlay import Chores
from napari_medmeta.ui.scan import METADATA_KEY, Scan, require_same_place
from napari_medmeta.ui.strokes import Edit
from napari_medmeta.ui.worker import Runner

__all__ = ["Case"]

HIDDEN = "Everything that lies on the scan is hidden. The same key shows it again."


class Case:
    """Join controller and layers; close both together.

    Parameters
    ----------
    viewer, image
        Where the scan is shown.
    scan, session, runner
        What is worked on, what was said about it, and what runs the engine.
    chores, defer
        See `CaseLayers`.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        image: Image,
        *,
        scan: Scan,
        session: Session,
        runner: Runner,
        chores: Chores,
        defer: Callable[[Callable[[], None]], None],
    ) -> None:
        self.image, self._viewer, self._defer = image, viewer, defer
        volume = scan.volume(np.asarray(image.data))
        self.controller = Controller(session, scan=scan, volume=volume, runner=runner)
        self.layers = CaseLayers(viewer, image, scan=scan, shown=self.controller, chores=chores, defer=defer)
        self.carried = CarriedHere(self.controller)
        self._marks = ClickMarks(viewer, image)
        self._chores = chores
        self._wire()
        self.controller.look_at(self.layers.current())
        self._choose_active()
        self._show_marks()
        # What the panel blends in of its own, as from the library, comes first.
        defer(self._recall_carried)

    def acts(self) -> dict[Act, Callable[[], Any]]:
        """Return what each key does to this scan."""
        do, show = self.controller, self.layers
        return {
            Act.PROPOSE: do.propose,
            Act.CANCEL: do.cancel,
            Act.ACCEPT_SLICE: do.accept_slice,
            Act.ACCEPT_CONFIDENT: do.accept_confident,
            Act.ACCEPT_PIECE: lambda: do.accept_piece(show.planes.under_cursor()),
            Act.REJECT_SLICE: do.reject_slice,
            Act.NEXT_SLICE: do.next_slice,
            Act.PREVIOUS_SLICE: do.previous_slice,
            Act.MARK_COMPLETE: do.mark_complete,
            Act.CLICK_TOOL: lambda: show.set_click_tool(not show.click_tool),
            Act.BOX_TOOL: lambda: self.set_box_tool(not show.boxes.in_hand),
            Act.UNCERTAINTY: lambda: show.show_uncertainty(show.uncertainty is None),
            Act.OVERLAY: self.toggle_overlay,
            Act.TURN: lambda: show.planes.turn(1),
            Act.TURN_BACK: lambda: show.planes.turn(-1),
            Act.UNDO: do.undo,
            Act.REDO: do.redo,
        }

    def toggle_overlay(self) -> None:
        """Hide everything that lies on the scan and say so, or show it again."""
        shown = self.layers.toggle_overlay()
        (self.controller.withdrawn if shown else self.controller.told).emit(HIDDEN)

    def paint_background(self) -> None:
        """Take the brush that says "background" (scribbles only)."""
        self.layers.take_brush()
        self.layers.choose(UNLABELLED)

    def set_box_tool(self, on: bool) -> None:
        """Let the next drag draw a box around the active structure, or put the tool away."""
        structure = self.controller.active_structure() if on else None
        if on and structure is None:
            self.controller.told.emit("Add a structure to the table first, such as Liver: the box is drawn around it.")
            self.layers.boxes.in_hand_changed.emit(False)
        else:
            self.layers.set_box_tool(structure)

    def paint_active(self) -> None:
        """Take the brush of the active structure."""
        self._choose_active()
        self.layers.take_brush()

    def use_layer(self, layer: Labels) -> bool:
        """Take the labelled slices of another layer at the scan's place as examples."""
        try:
            require_same_place(layer, self.image)
        except MedmetaError as error:
            self.controller.failed.emit(error)
            return False
        done = self.controller.use_labels(np.asarray(layer.data), names=names_of_layer(layer))
        if done:
            # The same voxels twice, in other colours, would hide what is corrected from now on.
            layer.visible = False
            self._select_segmentation()
        return done

    def close(self) -> None:
        """Stop the engine, close the session's file and remove our layers."""
        self._viewer.layers.events.inserted.disconnect(self._inserted)
        self._chores.clear()
        self._marks.clear()
        self.layers.close()
        self.carried.close()
        self.controller.close()

    def _wire(self) -> None:
        layers = self.layers
        layers.painted.connect(self._painted)
        layers.click.clicked.connect(self._clicked)
        layers.boxes.drawn.connect(self._drawn)
        layers.looked_at.connect(self._looked_at)
        layers.structure_picked.connect(self._picked)
        layers.put_back.connect(self._put_back)
        layers.stroked_in_vain.connect(self._stroked_in_vain)
        self._viewer.layers.events.inserted.connect(self._inserted)
        self.controller.changed.connect(self._changed)
        self.controller.led.connect(self._led)

    def _led(self, ref: SliceRef, region: Box | None) -> None:
        self.layers.go_to(ref)
        if region is not None:
            self.layers.point_at(region)

    def _painted(self, edits: tuple[Edit, ...]) -> None:
        self.controller.paint(edits)

    def _clicked(self, voxel: Triple, background: bool) -> None:
        self.controller.click(voxel, background=background)

    def _drawn(self, ref: SliceRef, boxes: tuple[DrawnBox, ...]) -> None:
        self.controller.draw_boxes(ref, boxes)

    def _looked_at(self, ref: SliceRef) -> None:
        self.controller.look_at(ref)

    def _picked(self, value: int) -> None:
        if value not in (BACKGROUND, UNLABELLED):
            self.controller.choose(value)

    def _put_back(self, name: str) -> None:
        self.controller.told.emit(f"“{name}” was removed and has been put back: the session goes on.")

    def _inserted(self, event: Any) -> None:
        layer = event.value
        known = layer.metadata.get(METADATA_KEY)
        if known is self.controller.scan or not isinstance(layer, Labels | Image):
            return
        if isinstance(layer, Labels):
            self.controller.told.emit(self._beside(layer))
        elif known is not None:
            self.controller.told.emit(
                f"“{layer.name}” is open beside “{self.image.name}”, on which you go on working. "
                "To change, choose the scan at the top of this panel."
            )
        if known is not None:
            # Read from a file, not made to be painted on: napari would hand it the tools.
            self._defer(self._select_segmentation)

    def _beside(self, layer: Labels) -> str:
        """Say what can be done with labels that lie beside the segmentation."""
        try:
            require_same_place(layer, self.image)
        except MedmetaError as error:
            return error.message
        return f"“{layer.name}” lies beside the segmentation. “Use a label layer …” takes its slices as examples."

    def _select_segmentation(self) -> None:
        if not self.layers.closed:
            self._viewer.layers.selection.active = self.layers.segmentation

    def _recall_carried(self) -> None:
        if not self.layers.closed:
            self.carried.recall()

    def _stroked_in_vain(self) -> None:
        self.controller.told.emit(
            "This stroke says what is proposed already, so nothing is changed: accept the slice (A) to keep it."
        )

    def _changed(self, change: Change) -> None:
        box = change.box if change.box is not None else Box((0, 0, 0), (0, 0, 0))
        if change.what & {Topic.LABELS, Topic.EXAMPLES}:
            self.layers.update(box)
        elif Topic.PROPOSAL in change.what:
            self.layers.update_proposal(box)
        self.layers.tell()
        if change.what & {Topic.EXAMPLES, Topic.STRUCTURES}:
            self._show_marks()
        if Topic.STRUCTURES in change.what:
            self.layers.recolour()
        if change.what & {Topic.STRUCTURES, Topic.SETTINGS}:
            self._choose_active()

    def _show_marks(self) -> None:
        structures, support = self.controller.structures, self.controller.session.support()
        self.layers.boxes.show(self.controller.boxes(), structures)
        self._marks.show(clicks_on(support.examples), {s.id: s.colour for s in structures})

    def _choose_active(self) -> None:
        active = self.controller.session.active
        if active is not None:
            self.layers.choose(active)
