"""One plain sentence: what is missing, or what to do next."""

from __future__ import annotations

from napari_medmeta.core import Structure
from napari_medmeta.session.preview import Preview
from napari_medmeta.session.records import has_background
from napari_medmeta.session.state import State

__all__ = ["hint"]


def hint(state: State, preview: Preview) -> str:
    """Return the sentence shown in the panel, computed without looking at voxels."""
    if not state.structures:
        return "Add a structure: type what you look for."
    painted = [s for s in state.structures if state.voxels[s.id] > 0]
    active = next((s for s in state.structures if s.id == state.active), None)
    if not painted:
        return f"Paint the {(active or state.structures[0]).name} on one slice, click on it, or draw a box around it."
    if len(painted) == 1 and not any(has_background(r) for r in state.records.values()):
        return f"Paint background beside the {painted[0].name} (or click it with Alt), or mark the slice as complete."
    if state.records and not any(r.weight > 0 for r in state.records.values()):
        return "No slice is used as an example: paint one, or use one again."
    missing = _without_example(state, painted, active)
    if missing is not None:
        return f"{missing.name} has no example yet: paint it on one slice."
    if preview.total:
        return "Accept the proposal (A), or correct it by painting."
    if state.proposals:
        return "Nothing is left to review: look through the slices and save."
    return "Ask for a proposal (P)."


def _without_example(state: State, painted: list[Structure], active: Structure | None) -> Structure | None:
    missing = [s for s in state.structures if s not in painted and not s.locked]
    if active in missing:
        return active
    return missing[0] if missing else None
