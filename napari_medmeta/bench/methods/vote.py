"""The plain vote: the strongest baseline measured so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from napari_medmeta.bench.methods.base import Method
from napari_medmeta.core import LabelArray, MissingExamplesError, Support, Volume

__all__ = ["Vote", "answers_of", "majority"]

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Vote:
    """For each voxel the label that most members give; the first member decides between equals."""

    members: tuple[Method, ...]
    name: str = "vote"

    @property
    def version(self) -> str:
        """Changes with any member."""
        return "1:" + ",".join(f"{m.name}@{m.version}" for m in self.members)

    def segment(self, volume: Volume, support: Support) -> LabelArray:
        """Return (I, J, K) labels after asking every member."""
        return majority(answers_of(self.members, lambda member: member.segment(volume, support)))


def answers_of(members: Sequence[Method], ask: Callable[[Method], _Answer]) -> list[_Answer]:
    """Return what the members answer, without those that cannot learn from such examples (strokes, say).

    Raises
    ------
    MissingExamplesError
        When no member can.
    """
    answers, refused = [], None
    for member in members:
        try:
            answers.append(ask(member))
        except MissingExamplesError as error:
            refused = error
    if refused is not None and not answers:
        raise refused
    return answers


def majority(answers: Sequence[LabelArray]) -> LabelArray:
    """Return the most frequent label of each voxel; the first answer that is among the equals wins."""
    out = np.array(answers[0])
    best = np.zeros(out.shape, dtype=np.int8)
    for answer in answers:
        votes = np.zeros(out.shape, dtype=np.int8)
        for other in answers:
            votes += answer == other
        better = votes > best
        out[better] = answer[better]
        best[better] = votes[better]
    return out
