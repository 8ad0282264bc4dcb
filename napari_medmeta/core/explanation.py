"""Why a voxel got its label, as an immutable value that panels and scripts can read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from napari_medmeta.core.types import BACKGROUND, SliceRef, Triple

__all__ = ["NETWORK", "ExampleShare", "ExampleVoxel", "Explanation", "SourceShare", "summary_of"]

NETWORK = "trained network"
"""What the trained network's correction of all sources is called beside them."""

SHAPE, PATHS, LOOKS = "shape", "paths", "looks"

KINDS: Mapping[str, str] = {"shape": SHAPE, "propagation": PATHS, NETWORK: NETWORK}
"""What kind of reason a source gives; all others judge by looks."""


@dataclass(frozen=True, slots=True)
class ExampleVoxel:
    """One voxel of an example, (i, j, k), and its share in [0, 1] of what the answer rests on."""

    voxel: Triple
    weight: float


@dataclass(frozen=True, slots=True)
class ExampleShare:
    """What one example slice contributed to an answer.

    Parameters
    ----------
    ref
        The example's slice.
    weight
        Its share in [0, 1]; the shares of one explanation sum to at most 1.
    voxels
        Its voxels that counted most, heaviest first, at least one; the first is the one to go to.
    """

    ref: SliceRef
    weight: float
    voxels: tuple[ExampleVoxel, ...]


@dataclass(frozen=True, slots=True)
class SourceShare:
    """What one source of evidence, or the trained network that corrects them all, said about a voxel.

    Parameters
    ----------
    vote
        What it would have answered alone: 0 or a structure. The network never answers alone: with it, before smoothing.
    probability
        How likely it finds the answer that was given, in [0, 1].
    share
        Its part of the log-odds, in [-1, 1]: negative where it spoke against the answer; of the network, how far it
        moved what the sources say together. The absolute shares of one explanation sum to 1.
    """

    name: str
    vote: int
    probability: float
    share: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a voxel is what it is.

    Parameters
    ----------
    voxel
        (i, j, k).
    label
        The answer: 0 or a structure.
    probability
        How sure the answer is, in [0, 1]; 1 where it was painted or accepted.
    decided
        Whether the user said so, by painting or accepting.
    examples
        The example slices that caused the answer, heaviest first. Empty far from every example.
    sources
        The sources of evidence, in the engine's order, and at last the trained network where there is one. Empty where
        the user decided.
    summary
        All of it in one plain sentence.
    generation
        The `Support.generation` that was explained.
    """

    voxel: Triple
    label: int
    probability: float
    decided: bool
    examples: tuple[ExampleShare, ...]
    sources: tuple[SourceShare, ...]
    summary: str
    generation: int = 0


def summary_of(
    label: int, examples: Iterable[ExampleShare], sources: Iterable[SourceShare], *, names: Mapping[int, str]
) -> str:
    """Say in one sentence what an answer rests on.

    Examples
    --------
    >>> example = ExampleShare(SliceRef(0, 42), 0.7, ())
    >>> source = SourceShare("matching", 1, 0.9, 0.8)
    >>> shape = SourceShare("shape", 1, 0.7, 0.2)
    >>> summary_of(1, [example], [source, shape], names={1: "liver"})
    'Mostly because it looks like voxels painted as liver on slice 42; the shape agrees.'
    """
    shares = dict.fromkeys((LOOKS, SHAPE, PATHS, NETWORK), 0.0)
    for source in sources:
        shares[KINDS.get(source.name, LOOKS)] += source.share
    refs = tuple(e.ref for e in examples)
    what = "background" if label == BACKGROUND else names.get(label, f"structure {label}")
    strongest = max(shares, key=lambda kind: shares[kind])
    if shares[strongest] <= 0:
        return f"Only weakly {what}: the sources of evidence disagree here."
    reason = {
        LOOKS: f"it looks like voxels painted as {what}{_where(refs[:1])}",
        SHAPE: f"it lies where the shape{_where(refs[:2])} leads one to expect {what}",
        PATHS: f"no edge parts it from what was painted as {what}{_where(refs[:1])}",
        NETWORK: f"the trained network finds {what} likelier here than all sources do together",
    }[strongest]
    other = SHAPE if strongest != SHAPE else LOOKS
    said = {SHAPE: "the shape", LOOKS: "its look"}[other]
    stance = "agrees" if shares[other] > 0 else "speaks against it" if shares[other] < 0 else "is undecided"
    return f"Mostly because {reason}; {said} {stance}."


def _where(refs: tuple[SliceRef, ...]) -> str:
    numbers = " and ".join(str(r.index) for r in sorted(refs))
    return f" on slice{'s' if len(refs) > 1 else ''} {numbers}" if refs else ""
