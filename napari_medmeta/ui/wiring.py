"""Which button of the panel calls which verb of the open scan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from napari_medmeta.core import MedmetaError
from napari_medmeta.session import Change, Topic
from napari_medmeta.ui.boxes import PaintBox, ProposalBox
from napari_medmeta.ui.controller import Controller
from napari_medmeta.ui.footer import Footer
from napari_medmeta.ui.structure_table import StructureTable

__all__ = ["Slot", "wire_messages", "wire_painting", "wire_proposal", "wire_table"]

STEPS = frozenset({Topic.LABELS, Topic.EXAMPLES, Topic.STRUCTURES})
"""What changes with a step of the user's."""

Slot: TypeAlias = Callable[[Callable[..., Any]], Callable[..., None]]
"""Turns a call whose first argument is the open scan into a slot that says so when none is open."""


def wire_table(table: StructureTable, slot: Slot, *, add: Callable[..., Any]) -> None:
    """Let the structure table change structures."""
    table.added.connect(slot(add))
    table.chosen.connect(slot(lambda c, s: c.controller.choose(s)))
    table.renamed.connect(slot(lambda c, s, name: c.controller.rename_structure(s, name)))
    table.recoloured.connect(slot(lambda c, s, colour: c.controller.recolour_structure(s, colour)))
    table.locked.connect(slot(lambda c, s, on: c.controller.lock_structure(s, on)))
    table.removed.connect(slot(lambda c, s: c.controller.remove_structure(s)))


def wire_painting(box: PaintBox, slot: Slot, *, set_mode: Callable[..., Any], use_labels: Callable[..., Any]) -> None:
    """Let the box of painting tools hand them out."""
    box.mode_chosen.connect(slot(set_mode))
    box.brush_wanted.connect(slot(lambda c: c.paint_active()))
    box.background_wanted.connect(slot(lambda c: c.paint_background()))
    box.click_tool_wanted.connect(slot(lambda c, on: c.layers.set_click_tool(on)))
    box.box_tool_wanted.connect(slot(lambda c, on: c.set_box_tool(on)))
    box.complete_wanted.connect(slot(lambda c: c.controller.mark_complete()))
    box.forget_wanted.connect(slot(lambda c: c.controller.remove_example()))
    box.labels_wanted.connect(slot(use_labels))


def wire_proposal(box: ProposalBox, slot: Slot, *, set_confidence: Callable[..., Any]) -> None:
    """Let the box of the proposal ask for one, show it, and decide on it."""
    box.propose_wanted.connect(slot(lambda c: c.controller.propose()))
    box.automatic_changed.connect(slot(lambda c, on: c.controller.set_auto_propose(on)))
    box.accept_wanted.connect(slot(lambda c: c.controller.accept_slice()))
    box.reject_wanted.connect(slot(lambda c: c.controller.reject_slice()))
    box.accept_confident_wanted.connect(slot(lambda c: c.controller.accept_confident()))
    box.confidence_changed.connect(slot(set_confidence))
    box.contour_changed.connect(slot(lambda c, on: c.layers.show_as_contour(on)))
    box.uncertainty_changed.connect(slot(lambda c, on: c.layers.show_uncertainty(on)))
    box.next_wanted.connect(slot(lambda c: c.controller.next_slice()))
    box.previous_wanted.connect(slot(lambda c: c.controller.previous_slice()))
    box.undo_wanted.connect(slot(lambda c: c.controller.undo()))
    box.redo_wanted.connect(slot(lambda c: c.controller.redo()))


def wire_messages(footer: Footer, controller: Controller) -> None:
    """Take back what could not be done, and what was undone or done before, once something else has been done."""
    failed: list[str] = []
    told: list[str] = []

    def note(error: MedmetaError) -> None:
        failed.append(error.message)

    def take_back(change: Change) -> None:
        # A proposal comes by itself and says nothing of what was wrong.
        if change.what - {Topic.PROPOSAL}:
            while failed:
                footer.take_back(failed.pop())
        # Nor does a structure that is chosen undo what was told of the step before.
        if change.what & STEPS:
            while told:
                footer.take_back(told.pop())

    controller.failed.connect(note)
    controller.told.connect(told.append)
    controller.changed.connect(take_back)
