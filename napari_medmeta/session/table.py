"""The verbs of the structure table: add, rename, recolour, lock, remove. Pure: state in, step out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from napari_medmeta.core import MAX_STRUCTURES, AnnotationError, LabelArray, SliceRef, Structure, label_slice
from napari_medmeta.session.patches import ArrayName, Patch, RecordChange, Selection, Step, Table, slice_patches
from napari_medmeta.session.records import compose_volume, slice_shape, without_structure
from napari_medmeta.session.state import State

__all__ = [
    "add_structure",
    "default_colour",
    "lock_structure",
    "recolour_structure",
    "remove_structure",
    "rename_structure",
    "require_colour",
    "require_name",
    "trust_sources",
]

_PALETTE = (
    "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7",
    "#9fffdf", "#9f0020", "#9f0060", "#60dfdf", "#4000df", "#6080ff", "#9fbf80",
)  # fmt: skip
"""Told apart by colour-blind people too: Okabe and Ito (2008), then seven found by looking through the RGB
cube for those farthest (CIEDE2000) from all before them under simulated protanopia and deuteranopia."""

_LONGEST_NAME = 64
"""What fits into the panel's table and into a DICOM segment label (LO, PS3.5 6.2)."""

_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


def default_colour(number: int) -> str:
    """Return the colour that the structure ``number`` (1 to 254) gets on its own."""
    return _PALETTE[(number - 1) % len(_PALETTE)]


def add_structure(state: State, name: str, *, colour: str | None = None) -> Step:
    """Return the step that adds a structure under the lowest free number and makes it active."""
    name = require_name(name)
    _require_new(state, name)
    number = next((n for n in range(1, MAX_STRUCTURES + 1) if n not in state.ids), None)
    if number is None:
        raise AnnotationError("The table is full", expected=f"at most {MAX_STRUCTURES} structures")
    new = Structure(number, name, require_colour(colour) if colour is not None else default_colour(number))
    after = tuple(sorted((*state.structures, new), key=lambda s: s.id))
    return Step(
        "add_structure",
        f"add the structure {name}",
        {"structure": number, "name": name, "colour": new.colour},
        table=Table(state.structures, after),
        selection=Selection(state.active, number),
    )


def rename_structure(state: State, number: int, name: str) -> Step:
    """Return the step that gives a structure another name."""
    old, name = state.structure(number), require_name(name)
    _require_new(state, name, besides=number)
    text = f"rename {old.name} to {name}"
    return _replaced(state, "rename_structure", text, replace(old, name=name), {"name": name})


def recolour_structure(state: State, number: int, colour: str) -> Step:
    """Return the step that gives a structure another colour (#rrggbb)."""
    old = state.structure(number)
    new = replace(old, colour=require_colour(colour))
    return _replaced(state, "recolour_structure", f"recolour the {old.name}", new, {"colour": new.colour})


def lock_structure(state: State, number: int, *, locked: bool) -> Step:
    """Return the step that locks a structure, so that nothing changes its voxels, or unlocks it."""
    old = state.structure(number)
    text = f"{'lock' if locked else 'unlock'} the {old.name}"
    return _replaced(state, "lock_structure", text, replace(old, locked=locked), {"locked": locked})


def remove_structure(state: State, number: int) -> Step:
    """Return the step that removes a structure and all of its voxels.

    Raises
    ------
    AnnotationError
        When it is locked, or not in the table.
    """
    old = state.structure(number)
    if old.locked:
        raise AnnotationError(f"The {old.name} is locked", next_step="Unlock it before you remove it")
    changes = tuple(_records_without(state, number))
    after = tuple(s for s in state.structures if s.id != number)
    active = state.active if state.active != number else (after[0].id if after else None)
    return Step(
        "remove_structure",
        f"remove the structure {old.name}",
        {"structure": number},
        _recomposed(state, changes) if state.voxels[number] else (),
        changes,
        table=Table(state.structures, after),
        selection=Selection(state.active, active) if active != state.active else None,
    )


def trust_sources(state: State, kept: Mapping[int, Mapping[str, float]]) -> Step:
    """Return the step that lets earlier scans say how far each source of evidence is trusted to begin with.

    ``kept`` tells for structures of the table what their `Structure.trust` is to be; the others keep theirs.
    """
    trust = {number: tuple(sorted((n, float(f)) for n, f in row.items())) for number, row in kept.items()}
    changed = {state.structure(number).id: row for number, row in trust.items()}
    after = tuple(replace(s, trust=changed.get(s.id, s.trust)) for s in state.structures)
    return Step(
        "trust_sources",
        f"begin with what earlier scans taught about the {state.names(changed)}",
        {"structures": [*sorted(changed)]},
        table=Table(state.structures, after) if after != state.structures else None,
    )


def require_name(name: str) -> str:
    """Return a structure's name without surrounding blanks, or raise `AnnotationError`."""
    clean = " ".join(name.split())
    if not clean or len(clean) > _LONGEST_NAME or not clean.isprintable():
        raise AnnotationError(f"{name!r} is no name for a structure", expected=f"1 to {_LONGEST_NAME} letters")
    return clean


def require_colour(colour: str) -> str:
    """Return a colour in lower case, or raise `AnnotationError`."""
    if not _COLOUR.fullmatch(colour):
        raise AnnotationError(f"{colour!r} is no colour", expected="such as #e69f00")
    return colour.lower()


def _require_new(state: State, name: str, *, besides: int | None = None) -> None:
    for structure in state.structures:
        if structure.id != besides and structure.name.casefold() == name.casefold():
            raise AnnotationError(
                f"The table already holds {structure.name}", next_step="Choose another name, or that structure"
            )


def _replaced(state: State, verb: str, text: str, new: Structure, parameters: dict[str, str | bool]) -> Step:
    after = tuple(new if s.id == new.id else s for s in state.structures)
    table = Table(state.structures, after) if after != state.structures else None
    return Step(verb, text, {"structure": new.id, **parameters}, table=table)


def _records_without(state: State, number: int) -> list[RecordChange]:
    changes = []
    for ref, before in state.records.items():
        after = without_structure(before, number, slice_shape(state.geometry.shape, ref.axis))
        if after != before:
            changes.append(RecordChange(ref, before, after))
    return changes


def _recomposed(state: State, changes: tuple[RecordChange, ...]) -> tuple[Patch, ...]:
    records = dict(state.records)
    for change in changes:
        if change.after is None:
            del records[change.ref]
        else:
            records[change.ref] = change.after
    shape = state.geometry.shape
    labels, status = compose_volume(records, shape)
    pairs: tuple[tuple[ArrayName, LabelArray, LabelArray], ...] = (
        (ArrayName.LABELS, state.labels, labels),
        (ArrayName.STATUS, state.status, status),
    )
    patches: list[Patch] = []
    for ref in (SliceRef(0, i) for i in range(shape[0])):
        changed = [(name, label_slice(old, ref), label_slice(new, ref)) for name, old, new in pairs]
        patches += slice_patches(ref, changed, shape=shape)
    return tuple(patches)
