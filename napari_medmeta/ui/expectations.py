"""How good the open proposals are expected to be, slice by slice and structure by structure."""

from __future__ import annotations

from napari_medmeta.core import BACKGROUND, Box, SliceRef
from napari_medmeta.session import Session, SliceState

__all__ = ["DEFAULT_FLOOR", "Expectations"]

DEFAULT_FLOOR = 0.5
"""A contour that is expected to be half wrong takes longer to mend than to paint anew."""


class Expectations:
    """What the newest proposals of one session say about themselves, set right by what the user found so far."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def of_structure(self, structure: int) -> float | None:
        """Return the expected Dice of a structure, None where no proposal is left to look at."""
        # Every open voxel lies on a slice of the first axis, whichever axis was painted on.
        states = self._session.axis_overview(0)
        if not any(state in (SliceState.PROPOSED, SliceState.TO_REVIEW) for state in states):
            return None
        return self._session.expected_dice().get(structure)

    def on_axis(self, axis: int) -> dict[int, float]:
        """Return the expected Dice of the slices along ``axis``, by number."""
        return {ref.index: value for ref, value in self._session.expected_slice_dice().items() if ref.axis == axis}

    def of_slice(self, ref: SliceRef) -> float | None:
        """Return the expected Dice on ``ref``; across the examples' axis the mean probability; None for nothing."""
        known = self._session.expected_slice_dice().get(ref)
        if known is not None:
            return known
        box = Box.of_slice(ref, self._session.geometry.shape)
        drawn = self._session.proposed_labels(box) != BACKGROUND
        return float(self._session.proposed_confidence(box)[drawn].mean()) if drawn.any() else None

    def in_words(self, ref: SliceRef) -> str:
        """Say how good the proposal on ``ref`` is expected to be, nothing where nothing is known."""
        value = self.of_slice(ref)
        if value is None:
            return ""
        # Across the examples' axis no slice was ever judged by itself: only the mean probability is known.
        return (
            f"expected Dice {value:.2f}"
            if ref in self._session.expected_slice_dice()
            else f"{value:.0%} sure on average"
        )
