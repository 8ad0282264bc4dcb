"""The keys, as data: one table for the bindings, the help window and the documentation.

A key is only taken if napari gives it no meaning on the viewer, on an image or on a labels layer. Where
the natural letter is napari's, ``instead_of`` tells which one and whose it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from napari.settings import get_settings
from napari.utils.key_bindings import coerce_keybinding

__all__ = [
    "KEYS",
    "STRUCTURE_KEYS",
    "Act",
    "Key",
    "chosen_keys",
    "collisions",
    "napari_keys",
    "settings_name",
    "with_keys",
]

STRUCTURE_KEYS = 9
"""Structures 1 to 9 have a number key."""

FOREIGN_LAYERS = ("points", "shapes", "vectors", "tracks", "surface", "vertex", "select_all", "select_append", "add_")
"""Parts of the names of napari's actions that only work on layers of kinds which we never make or paint on."""


class Act(StrEnum):
    """What a key can do."""

    PROPOSE = "propose"
    CANCEL = "cancel"
    ACCEPT_SLICE = "accept_slice"
    ACCEPT_CONFIDENT = "accept_confident"
    ACCEPT_PIECE = "accept_piece"
    REJECT_SLICE = "reject_slice"
    NEXT_SLICE = "next_slice"
    PREVIOUS_SLICE = "previous_slice"
    EXPLAIN = "explain"
    MARK_COMPLETE = "mark_complete"
    CLICK_TOOL = "click_tool"
    BOX_TOOL = "box_tool"
    UNCERTAINTY = "uncertainty"
    OVERLAY = "overlay"
    TURN = "turn"
    TURN_BACK = "turn_back"
    WINDOW = "window"
    WINDOW_BACK = "window_back"
    ADD_STRUCTURE = "add_structure"
    SAVE = "save"
    NEXT_CASE = "next_case"
    UNDO = "undo"
    REDO = "redo"
    STRUCTURE = "structure"
    HELP = "help"


@dataclass(frozen=True, slots=True)
class Key:
    """One row of the table: what is done, by which key, in which words, and why not the natural key."""

    act: Act
    key: str
    does: str
    instead_of: str = ""


KEYS: tuple[Key, ...] = (
    Key(Act.PROPOSE, "G", "Propose now (automatic unless switched off)", "P is napari's brush"),
    Key(Act.CANCEL, "Shift+G", "Stop the running proposal", "Escape ends napari's polygon"),
    Key(Act.ACCEPT_SLICE, "A", "Accept the proposal on this slice"),
    Key(Act.ACCEPT_CONFIDENT, "Shift+A", "Accept every slice above the confidence set in the panel"),
    Key(Act.ACCEPT_PIECE, "Shift+C", "Accept only the connected piece under the cursor", "C is napari's contrast"),
    Key(Act.REJECT_SLICE, "R", "Reject the proposal on this slice"),
    Key(Act.NEXT_SLICE, "N", "Go to the slice whose correction helps most"),
    Key(Act.PREVIOUS_SLICE, "Shift+N", "Go back to the slice before"),
    Key(Act.EXPLAIN, "Shift+E", "Explain what caused the voxel under the cursor", "E is napari's eraser"),
    Key(Act.MARK_COMPLETE, "Shift+M", "Mark this slice as a complete example, also when it is empty"),
    Key(Act.CLICK_TOOL, "K", "Click tool on or off: click marks the structure, Alt+click background"),
    Key(
        Act.BOX_TOOL,
        "Shift+B",
        "Box tool: drag a box around the chosen structure on this slice",
        "B sends napari's shapes to the back",
    ),
    Key(Act.UNCERTAINTY, "U", "Show or hide what is uncertain"),
    Key(Act.OVERLAY, "H", "Hide or show everything that lies on the scan", "X swaps napari's labels"),
    Key(Act.TURN, "T", "Turn to the next plane (axial, coronal, sagittal), through what the mouse points at"),
    Key(Act.TURN_BACK, "Shift+T", "Turn to the plane before"),
    Key(Act.WINDOW, "W", "Next window of grey values, such as lung or bone"),
    Key(Act.WINDOW_BACK, "Shift+W", "The window before"),
    Key(Act.UNDO, "Ctrl+Z", "Undo the last step, on whichever slice it was", "Z is napari's move tool"),
    Key(Act.REDO, "Ctrl+Shift+Z", "Redo", "as undo"),
    Key(Act.STRUCTURE, "Ctrl+1", "Choose structure 1 (up to Ctrl+9)", "1 to 7 are napari's tools"),
    Key(Act.ADD_STRUCTURE, "Shift+L", "Type the name of a structure to look for", "L is napari's colour picker"),
    Key(Act.SAVE, "Shift+S", "Save the segmentation", "Ctrl+S saves napari's layers"),
    Key(Act.NEXT_CASE, "J", "Go on to the next case of the folder, with the same structures", "N is the next slice"),
    Key(Act.HELP, "?", "Show this list"),
)
"""Every key, in the order in which the help window lists them."""


LOOP_KEYS: Mapping[str, Act] = MappingProxyType(
    {
        "P": Act.PROPOSE,
        "A": Act.ACCEPT_SLICE,
        "N": Act.NEXT_SLICE,
        "R": Act.REJECT_SLICE,
        "Shift+M": Act.MARK_COMPLETE,
    }
)
"""The keys that sentences name."""

IN_BRACKETS = re.compile(rf"\(({'|'.join(re.escape(key) for key in LOOP_KEYS)})\)")


def settings_name(act: Act) -> str:
    """Return the name under which napari's preferences keep the key of ``act``."""
    return str(act)


def chosen_keys(changed: Mapping[str, str]) -> dict[Act, str]:
    """Return the key of every act: the user's own where ``changed`` names one, else ours."""
    keys = {row.act: row.key for row in KEYS}
    for row in KEYS:
        own = changed.get(settings_name(row.act), "").strip()
        if own:
            keys[row.act] = own
    return keys


def with_keys(sentence: str, keys: Mapping[Act, str]) -> str:
    """Return a sentence of the session with the keys that hold here; it names the loop's own letters."""
    # All at once: the user's own key for one act may be the sentence's letter for another.
    return IN_BRACKETS.sub(lambda found: f"({keys[LOOP_KEYS[found[1]]]})", sentence)


def napari_keys(*, every_layer: bool = False) -> dict[str, str]:
    """Return napari's keys as the user has set them, each with the name of its action.

    Only those that work on the viewer, on images and on labels, unless ``every_layer``.
    """
    taken: dict[str, str] = {}
    for action, bindings in get_settings().shortcuts.shortcuts.items():
        if not every_layer and any(part in action for part in FOREIGN_LAYERS):
            continue
        taken.update({str(coerce_keybinding(binding)): str(action) for binding in bindings})
    return taken


def collisions(keys: Mapping[Act, str]) -> dict[Act, str]:
    """Return for each act whose key napari also uses on a scan or a segmentation, napari's action.

    Undo and redo are left out: on our own layer they replace napari's undo of that same layer, and
    everywhere else napari's undo stays.
    """
    taken = napari_keys()
    found: dict[Act, str] = {}
    for act, key in keys.items():
        if act in (Act.UNDO, Act.REDO, Act.HELP):
            continue
        for name in _expanded(act, key):
            action = taken.get(str(coerce_keybinding(name)))
            if action:
                found[act] = action
    return found


def _expanded(act: Act, key: str) -> list[str]:
    if act is not Act.STRUCTURE:
        return [key]
    return [key[:-1] + str(number) for number in range(1, STRUCTURE_KEYS + 1)]
