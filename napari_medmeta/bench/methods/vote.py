"""The plain vote: the strongest baseline measured so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_medmeta.bench.methods.base import Method
from napari_medmeta.core import LabelArray, Support, Volume

__all__ = ["Vote", "majority"]


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
        return majority([m.segment(volume, support) for m in self.members])


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
