"""What to run: cases, methods, and the ways to ask them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from napari_medmeta.bench.cases import Case
from napari_medmeta.bench.methods import is_slow
from napari_medmeta.bench.painting import EXACT, Mode, Painting
from napari_medmeta.bench.protocol import Placement

__all__ = ["KS", "Plan", "Question", "Skipped"]

KS = (1, 3, 5, 9)
"""Numbers of example slices."""


@dataclass(frozen=True, slots=True)
class Question:
    """How a case is put to a method in the protocol ``slices``."""

    k: int
    placement: Placement = Placement.EVEN
    painting: Painting = EXACT


@dataclass(frozen=True)
class Plan:
    """What to run.

    Parameters
    ----------
    methods
        Names from the registry.
    ks, placements, paintings
        Numbers of example slices, where they lie, and how they are painted; every combination is asked.
    boundaries
        Whether to measure surface Dice and Hausdorff distances too.
    subset
        Ids of the cases on which slow methods run; None for all.
    weights
        Files or folders of public weights by method, for the methods that need them.
    """

    cases: tuple[Case, ...]
    methods: tuple[str, ...]
    ks: tuple[int, ...] = KS
    placements: tuple[Placement, ...] = (Placement.EVEN, Placement.RANDOM)
    paintings: tuple[Painting, ...] = (EXACT,)
    seed: int = 0
    device: str = "cpu"
    boundaries: bool = True
    subset: frozenset[str] | None = None
    weights: Mapping[str, Path] = field(default_factory=dict)

    @property
    def questions(self) -> tuple[Question, ...]:
        """Every combination of number, placement and painting, by number."""
        return tuple(Question(k, where, how) for k in self.ks for where in self.placements for how in self.paintings)

    def asks(self, question: Question, case: Case) -> bool:
        """Tell whether this question can be put on this case: not every scan was drawn on by a person."""
        return question.painting.mode is not Mode.DRAWN or case.strokes is not None

    def runs_on(self, method: str, case: Case) -> bool:
        """Tell whether this method is run on this case."""
        return self.subset is None or case.id in self.subset or not is_slow(method)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A case that cannot be judged, and why."""

    case: str
    reason: str
