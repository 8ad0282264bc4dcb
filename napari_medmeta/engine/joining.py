"""Two answers to one support set as one: of structures that were drawn, and of those that were marked alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from napari_medmeta.core import Box, Proposal, SliceRef

__all__ = ["joined", "part_of"]


def part_of(proposal: Proposal, covered: Box) -> Proposal:
    """Return what ``proposal`` says inside of ``covered``; what it expects of the whole is left out."""
    box = proposal.box.intersection(covered)
    if box.size == 0:
        box = Box(covered.start, covered.start)
    return replace(
        proposal,
        box=box,
        labels=proposal.labels_in(box),
        confidence=proposal.confidence_in(box),
        covered=covered,
        expected_dice={},
        slice_dice={ref: d for ref, d in proposal.slice_dice.items() if _within(ref, covered)},
    )


def joined(drawn: Proposal, marked: Proposal) -> Proposal:
    """Return both answers where ``drawn`` says something: of two structures at one voxel the surer one.

    What is expected of a slice with structures of both is the mean.
    """
    marked = marked if marked.covered == drawn.covered else part_of(marked, drawn.covered)
    box = drawn.box if marked.box.size == 0 else drawn.box.union(marked.box)
    labels, confidence = drawn.labels_in(box), drawn.confidence_in(box)
    other, sure = marked.labels_in(box), marked.confidence_in(box)
    taken = (other > 0) & ((labels == 0) | (sure > confidence))
    # Background is as sure as the one of both answers that is less so.
    confidence = np.where(taken, sure, np.where(labels == 0, np.minimum(confidence, sure), confidence))
    return replace(
        drawn,
        box=box,
        labels=np.where(taken, other, labels),
        confidence=confidence,
        expected_dice={**drawn.expected_dice, **marked.expected_dice},
        slice_dice={ref: _mean(drawn, marked, ref) for ref in {**drawn.slice_dice, **marked.slice_dice}},
        trust={**drawn.trust, **marked.trust},
        network={**drawn.network, **marked.network},
        seconds={**drawn.seconds, **marked.seconds},
    )


def _mean(drawn: Proposal, marked: Proposal, ref: SliceRef) -> float:
    found = [p.slice_dice[ref] for p in (drawn, marked) if ref in p.slice_dice]
    return sum(found) / len(found)


def _within(ref: SliceRef, box: Box) -> bool:
    return box.start[ref.axis] <= ref.index < box.stop[ref.axis]
