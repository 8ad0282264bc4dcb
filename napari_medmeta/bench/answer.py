"""Ask a method, measure what the answer took, and check that it is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from napari_medmeta.bench.methods import Method, Proposing
from napari_medmeta.bench.methods.vote import Vote, answers_of, majority
from napari_medmeta.bench.usage import Usage, measured
from napari_medmeta.core import GeometryMismatchError, LabelArray, MedmetaError, Proposal, Support, Volume

__all__ = ["FAILURES", "Answer", "Memo", "Preparing", "ask", "prepare"]

FAILURES = (MedmetaError, ArithmeticError, ImportError, MemoryError, RuntimeError, ValueError)
"""What a method may raise on a hard case; anything else is a mistake in its code and stops the benchmark."""
VISIBLE_STAGES = ("region", "visible slice")
"""Stages of `Proposal.seconds` that pass before the slice on screen is answered."""


@runtime_checkable
class Preparing(Method, Protocol):
    """A method that can do once what depends on the scan alone."""

    def prepared(self, volume: Volume) -> Method:
        """Return the method, ready to answer for ``volume`` again and again."""
        ...


@dataclass(frozen=True, eq=False)
class Answer:
    """Labels for the whole scan, and what they took.

    Parameters
    ----------
    labels
        (I, J, K) uint8.
    proposal
        The labels with confidence and expected Dice, from methods that give them.
    """

    labels: LabelArray
    usage: Usage = field(default_factory=Usage)
    proposal: Proposal | None = None

    @classmethod
    def nothing(cls, support: Support) -> Answer:
        """Return the empty answer, which stands for a failure."""
        return cls(np.zeros(support.shape, dtype=np.uint8))

    @property
    def expected_dice(self) -> Mapping[int, float]:
        """Dice by structure as the method itself expects it."""
        return {} if self.proposal is None else self.proposal.expected_dice

    @property
    def visible_seconds(self) -> float | None:
        """Seconds until the slice on screen was answered, where that came first."""
        seconds = {} if self.proposal is None else self.proposal.seconds
        if VISIBLE_STAGES[-1] not in seconds:
            return None
        return sum(seconds.get(stage, 0.0) for stage in VISIBLE_STAGES)


Memo = dict[tuple[str, str], Answer]
"""Answers to one and the same question, by the method's name and version."""


def ask(method: Method, volume: Volume, support: Support, memo: Memo | None = None) -> Answer:
    """Return the method's answer, from ``memo`` where it was given before.

    Raises
    ------
    GeometryMismatchError
        When the labels do not lie on the scan's grid, or are no uint8.
    """
    memo = {} if memo is None else memo
    key = (method.name, method.version)
    if key not in memo:
        memo[key] = (
            _vote(method, volume, support, memo) if isinstance(method, Vote) else _single(method, volume, support)
        )
    return memo[key]


def prepare(method: Method, volume: Volume) -> Method:
    """Return the method with everything done that depends on the scan alone, where it can."""
    return method.prepared(volume) if isinstance(method, Preparing) else method


def _single(method: Method, volume: Volume, support: Support) -> Answer:
    with measured() as usage:
        proposal = method.propose(volume, support) if isinstance(method, Proposing) else None
        labels = method.segment(volume, support) if proposal is None else proposal.volume(support.shape)
    if labels.shape != support.shape or labels.dtype != np.uint8:
        raise GeometryMismatchError(
            f"{method.name} returned {labels.dtype} labels of the shape {labels.shape}",
            expected=f"uint8 of the shape {support.shape}",
        )
    return Answer(labels, usage, proposal)


def _vote(method: Vote, volume: Volume, support: Support, memo: Memo) -> Answer:
    # Members that ran already are not asked again; the vote's cost is theirs together.
    parts = answers_of(method.members, lambda member: ask(member, volume, support, memo))
    with measured() as usage:
        labels = majority([p.labels for p in parts])
    return Answer(labels, _together([p.usage for p in parts] + [usage]))


def _together(parts: Sequence[Usage]) -> Usage:
    return Usage(
        sum(p.seconds for p in parts),
        sum(p.cpu_seconds for p in parts),
        max(p.peak_mb for p in parts),
        max(p.added_mb for p in parts),
    )
