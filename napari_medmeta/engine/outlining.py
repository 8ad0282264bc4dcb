"""From marked slices to the whole volume: what clicks, strokes and boxes gave on them stands in for painting.

They say little about the slices that they do not lie on. What the fronts that set out from clicks and strokes find on
their own slice is an outline like any other, though, only less sure, and so is what the engine finds in a box; and from
outlined slices it proposes everything else. So what is expected of the whole is what is expected of both steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np

from napari_medmeta.core import BACKGROUND, Box, LabelArray, Proposal, SliceExample, SliceRef, Support, Triple
from napari_medmeta.engine.joining import part_of

__all__ = ["Outlines"]

_Told = TypeVar("_Told")

TOGETHER = 0.8
"""Power of the product of what is expected of the outlines and of what follows from them: the product is too low by
0.05 on the development cases, with clicks and strokes; with this power it is right on average."""


@dataclass(frozen=True, eq=False)
class Outlines:
    """The slices that were marked, outlined.

    Parameters
    ----------
    support
        All that was said.
    marked
        What was said of the structures that were marked alone (see `napari_medmeta.engine.clicks.split_support`), or
        of those with boxes where no slice is complete.
    answer
        What these alone gave.
    """

    support: Support
    marked: Support
    answer: Proposal

    @classmethod
    def of_boxes(cls, support: Support, answer: Proposal) -> Outlines:
        """Return the slices with boxes, outlined by ``answer``; no slice of ``support`` is complete."""
        return cls(support, replace(support, structures=support.painted_structures()), answer)

    @cached_property
    def slices(self) -> tuple[SliceRef, ...]:
        """The outlined slices: those with marks, on the axis along which most of them lie."""
        refs = [e.ref for e in self.support.examples if any(e.positive(s).any() for s in self.marked.structures)]
        axes = [ref.axis for ref in refs]
        return tuple(ref for ref in refs if ref.axis == max(range(3), key=axes.count) and self._found(ref).any())

    @property
    def painted(self) -> Support:
        """All that was said, with the outlined slices as if they had been painted so."""
        examples = (self._painted(e) if e.ref in self.slices else e for e in self.support.examples)
        return replace(self.support, examples=tuple(examples))

    def decide(self, voxel: Triple) -> bool:
        """Whether ``voxel`` lies on an outlined slice, or nothing goes on from the marks."""
        return not self.slices or any(voxel[ref.axis] == ref.index for ref in self.slices)

    def on(self, focus: SliceRef | None) -> Proposal | None:
        """Return the outline on the slice ``focus``, None where there is none."""
        if focus is None or focus not in self.slices:
            return None
        return part_of(self.answer, Box.of_slice(focus, self.support.shape))

    def settled(self, proposal: Proposal) -> Proposal:
        """Return what ``proposal``, an answer to `painted`, says of the marked structures, no surer than the outlines.

        On the outlined slices, which the engine took for painted, their own certainty holds.
        """
        structures, worth = self.marked.structures, self.answer.expected_dice
        factor = np.ones(max(structures) + 1, dtype=np.float32)
        factor[list(structures)] = [worth[s] ** TOGETHER for s in structures]
        labels = np.where(np.isin(proposal.labels, structures), proposal.labels, np.uint8(BACKGROUND))
        confidence = proposal.confidence * factor[labels]
        for ref in self.slices:
            plane = proposal.box.intersection(Box.of_slice(ref, self.support.shape))
            if plane.size:
                corner = zip(plane.start, plane.stop, proposal.box.start, strict=True)
                confidence[tuple(slice(a - o, b - o) for a, b, o in corner)] = self.answer.confidence_in(plane)
        mean = sum(worth.values()) / len(worth)
        outlined = self.answer.slice_dice
        return replace(
            proposal,
            labels=labels,
            confidence=confidence,
            expected_dice={
                s: (dice * worth[s]) ** TOGETHER for s, dice in self._of_marked(proposal.expected_dice).items()
            },
            slice_dice={
                ref: outlined[ref] if ref in self.slices and ref in outlined else (dice * mean) ** TOGETHER
                for ref, dice in proposal.slice_dice.items()
            },
            trust=self._of_marked(proposal.trust),
            network=self._of_marked(proposal.network),
            seconds={**proposal.seconds, **self.answer.seconds},
        )

    def _of_marked(self, told: Mapping[int, _Told]) -> dict[int, _Told]:
        return {s: what for s, what in told.items() if s in self.marked.structures}

    def _found(self, ref: SliceRef) -> LabelArray:
        found = self.answer.labels_in(Box.of_slice(ref, self.support.shape))
        return np.asarray(found.take(0, axis=ref.axis))

    def _painted(self, example: SliceExample) -> SliceExample:
        """Return the example as a whole slice: what was said where it was said, and the outlines elsewhere."""
        here = frozenset(s for s in self.marked.structures if example.positive(s).any())
        found = self._found(example.ref)
        labels = np.where(np.isin(found, list(here)), found, np.uint8(BACKGROUND))
        said = example.known & (example.labels != BACKGROUND)
        labels[said] = example.labels[said]
        looked_for = here | (example.complete_for or frozenset()) if example.is_complete else here
        return replace(example, labels=labels, known=np.ones(labels.shape, dtype=bool), complete_for=looked_for)
