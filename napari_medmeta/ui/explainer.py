"""Asks the engine why a voxel got its label, and keeps the answer up to date. No widgets and no Qt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from psygnal import Signal

from napari_medmeta.core import Box, Proposal, SliceRef, Support, Triple
from napari_medmeta.core.explanation import Explanation
from napari_medmeta.session import Change, Topic
from napari_medmeta.ui.controller import Controller

__all__ = ["Explainer", "Explaining"]

LESS = 0.5
"""One press of "use less" halves an example's weight."""

LEAST = 0.125
"""After three presses an example hardly counts: the next step is not to use it."""

Explaining: TypeAlias = Callable[[Any, Support, Triple, dict[int, str], "Proposal | None"], Explanation]
"""Engine, examples, voxel, names of the structures and the proposal on show in, explanation out."""


@dataclass(frozen=True, eq=False)
class _Answer:
    """An explanation, the question that it answers, and whether it is told in words too."""

    number: int
    explanation: Explanation
    aloud: bool


class Explainer:
    """Explains one voxel at a time; answers to earlier questions are dropped.

    Parameters
    ----------
    explaining
        Explains; called in the background.
    """

    explained = Signal(object)
    """An `Explanation`, or None when there is none any more."""

    def __init__(self, controller: Controller, *, explaining: Explaining | None = None) -> None:
        self._controller = controller
        self._explaining = explaining if explaining is not None else _by_the_engine
        self._number = 0
        self._told = ""
        self.value: Explanation | None = None
        controller.answered.connect(self._receive)
        controller.changed.connect(self._follow)
        controller.looked.connect(self._look_elsewhere)

    def explain(self, voxel: Triple | None) -> bool:
        """Ask why ``voxel`` is what it is; None when the mouse is not over the scan."""
        controller = self._controller
        if voxel is None:
            controller.told.emit("Point at a voxel of the scan first.")
            return False
        support = controller.session.support()
        if not support.painted_structures():
            controller.told.emit(f"There is nothing to explain yet. {controller.hint()}")
            return False
        self._ask(voxel, aloud=True)
        controller.told.emit("Looking for what caused this voxel …")
        return True

    def clear(self) -> None:
        """Show no explanation any more, and drop one that is under way."""
        self._number += 1
        self._show(None)

    def use_less(self, ref: SliceRef) -> bool:
        """Halve the weight of an example; at last do not use it."""
        weight = (self._controller.session.example_weight(ref) or 0.0) * LESS
        return self._controller.weigh_example(ref, weight if weight >= LEAST else 0.0)

    def do_not_use(self, ref: SliceRef) -> bool:
        """Learn nothing from an example any more; its voxels stay."""
        return self._controller.weigh_example(ref, 0.0)

    def use_again(self, ref: SliceRef) -> bool:
        """Use an example fully again."""
        return self._controller.weigh_example(ref, 1.0)

    def close(self) -> None:
        """Let go of the controller."""
        self._number += 1
        self._controller.answered.disconnect(self._receive)
        self._controller.changed.disconnect(self._follow)
        self._controller.looked.disconnect(self._look_elsewhere)

    def _ask(self, voxel: Triple, *, aloud: bool = False) -> None:
        session, explaining = self._controller.session, self._explaining
        self._number += 1
        number, support, proposal = self._number, session.support(), session.proposal
        names = {s.id: s.name for s in session.structures}

        def question(engine: Any) -> _Answer:
            return _Answer(number, explaining(engine, support, voxel, names, proposal), aloud)

        self._controller.ask_engine(question)

    def _receive(self, answer: object) -> None:
        if isinstance(answer, _Answer) and answer.number == self._number:
            self._show(answer.explanation)
            # Renewed after a change, it must not talk over what was said of that change.
            if answer.aloud:
                self._told = answer.explanation.summary
                self._controller.told.emit(self._told)

    def _show(self, explanation: Explanation | None) -> None:
        if explanation is not self.value:
            self.value = explanation
            self.explained.emit(explanation)

    def _look_elsewhere(self, ref: SliceRef) -> None:
        # The sentence is about a voxel that is no longer on screen; the box with its examples stays.
        if self._told:
            self._controller.withdrawn.emit(self._told)
            self._told = ""

    def _follow(self, change: Change) -> None:
        """Explain the same voxel anew once the whole proposal has followed a change of the examples."""
        session, value = self._controller.session, self.value
        if value is None or Topic.PROPOSAL not in change.what or session.proposal is None:
            return
        whole = session.proposal.covered == Box.whole(self._controller.shape)
        if whole and session.proposal.generation == session.generation != value.generation:
            self._ask(value.voxel)


def _by_the_engine(
    engine: Any, support: Support, voxel: Triple, names: dict[int, str], proposal: Proposal | None
) -> Explanation:
    # Imported in the background: the libraries behind it take seconds to load.
    from napari_medmeta.engine.explain import explain

    return explain(engine, support, voxel, names=names, proposal=proposal)
