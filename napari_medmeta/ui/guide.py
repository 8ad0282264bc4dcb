"""Where to look next: through the engine's ranking, without showing a slice twice, and back again."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from napari_medmeta.core import Proposal, SliceRef, Support
from napari_medmeta.engine.suggest import Suggestion, rank_slices

__all__ = ["Guide", "named"]

NUMBERED = re.compile(r"structure (\d+)")
MOSTLY = ", mostly for "


class Guide:
    """Remember which slices were suggested, for one scan.

    Parameters
    ----------
    spacing_mm
        The scan's voxel spacing along I, J, K.
    """

    def __init__(self, spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> None:
        self._spacing_mm = spacing_mm
        self._proposal: Proposal | None = None
        self._path: list[SliceRef] = []
        self._seen: set[SliceRef] = set()

    def learn(self, proposal: Proposal) -> None:
        """Suggest from ``proposal``, which covers the whole scan, from now on."""
        self._proposal = proposal

    def forget(self) -> None:
        """Suggest nothing until there is another proposal."""
        self._proposal = None

    def next(
        self, support: Support, focus: SliceRef, *, worth_it: Callable[[SliceRef], bool] = lambda ref: True
    ) -> Suggestion | None:
        """Return the best slice that was not suggested yet, None when there is none at all.

        Parameters
        ----------
        support
            The examples as they are now; they may be newer than the proposal.
        focus
            The slice on screen, to which `back` returns.
        worth_it
            Whether a slice may be suggested.
        """
        if self._proposal is None:
            return None
        axis = next((ref.axis for ref in self._proposal.slice_dice), focus.axis)
        ranked = [
            s
            for s in rank_slices(self._proposal, support, axis=axis, spacing_mm=self._spacing_mm)
            if s.ref != focus and worth_it(s.ref)
        ]
        fresh = [s for s in ranked if s.ref not in self._seen]
        if not fresh:
            # Everything was looked at once: begin with the most doubtful one again.
            self._seen.clear()
            fresh = ranked
        if not fresh:
            return None
        self._path.append(focus)
        self._seen.add(fresh[0].ref)
        return fresh[0]

    def back(self) -> SliceRef | None:
        """Return the slice that was on screen before the last suggestion, None at the beginning."""
        return self._path.pop() if self._path else None


def named(suggestion: Suggestion, names: Mapping[int, str]) -> Suggestion:
    """Return ``suggestion`` with the structures' names instead of their numbers in its reason."""

    def name(match: re.Match[str]) -> str:
        number = int(match.group(1))
        return f"the {names[number]}" if number in names else match.group(0)

    reason = NUMBERED.sub(name, suggestion.reason)
    # Where there is but one structure, that it is mostly about this one says nothing.
    return replace(suggestion, reason=reason.partition(MOSTLY)[0] if len(names) == 1 else reason)
