"""One linear history over everything: what can be undone, and what can be redone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from napari_medmeta.core import MissingExamplesError
from napari_medmeta.session.patches import Step

__all__ = ["History", "Past"]

_KEPT_STEPS = 256
"""Steps kept in memory when a session file holds them all; older ones are read again when undone."""


@dataclass(frozen=True, slots=True)
class Past:
    """One step of the past: its event number and what it did, as in "paint the liver"."""

    number: int
    text: str


class History:
    """Two stacks of steps; a new step empties the second.

    Parameters
    ----------
    load
        Reads a step of the given event number back from storage; None keeps all steps in memory.
    """

    def __init__(self, load: Callable[[int], Step] | None = None) -> None:
        self._done: list[Past] = []
        self._undone: list[Past] = []
        self._steps: OrderedDict[int, Step] = OrderedDict()
        self._load = load

    @classmethod
    def resumed(cls, done: Iterable[Past], undone: Iterable[Past], load: Callable[[int], Step]) -> History:
        """Return a history whose steps all lie in storage."""
        history = cls(load)
        history._done, history._undone = list(done), list(undone)
        return history

    @property
    def done(self) -> tuple[Past, ...]:
        """Steps that can be undone, oldest first."""
        return tuple(self._done)

    @property
    def undone(self) -> tuple[Past, ...]:
        """Steps that can be redone, the next one last."""
        return tuple(self._undone)

    def record(self, number: int, text: str, *, step: Step | None = None) -> None:
        """Put a new step on the done ones; what had been undone can no longer be redone."""
        for past in self._undone:
            self._steps.pop(past.number, None)
        self._undone.clear()
        self._done.append(Past(number, text))
        if step is not None:
            self._steps[number] = step

    def forget_stored(self, last_stored: int) -> None:
        """Drop old steps from memory that storage holds (event numbers up to ``last_stored``)."""
        while self._load is not None and len(self._steps) > _KEPT_STEPS:
            oldest = next(iter(self._steps))
            if oldest > last_stored:
                return
            del self._steps[oldest]

    def next_undo(self) -> tuple[Past, Step]:
        """Return the step to take back next, or raise `MissingExamplesError`."""
        return self._top(self._done, "Nothing to undo")

    def next_redo(self) -> tuple[Past, Step]:
        """Return the step to carry out again next, or raise `MissingExamplesError`."""
        return self._top(self._undone, "Nothing to redo")

    def moved_back(self) -> None:
        """Note that the last done step was taken back."""
        self._undone.append(self._done.pop())

    def moved_forward(self) -> None:
        """Note that the last undone step was carried out again."""
        self._done.append(self._undone.pop())

    def _top(self, stack: list[Past], otherwise: str) -> tuple[Past, Step]:
        if not stack:
            raise MissingExamplesError(otherwise)
        past = stack[-1]
        step = self._steps.get(past.number)
        if step is None:
            if self._load is None:
                raise MissingExamplesError(otherwise)
            step = self._load(past.number)
        return past, step
