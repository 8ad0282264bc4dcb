"""Where ``napari-medmeta segment`` learns from: painted slices of the scan, or the library of earlier patients."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from napari_medmeta.cli.kept import own_file
from napari_medmeta.core.types import UNLABELLED

if TYPE_CHECKING:
    from napari_medmeta.core import LabelArray, Progress, Proposal, Support, Volume
    from napari_medmeta.core.library import LibraryEntry
    from napari_medmeta.engine import Segmenter
    from napari_medmeta.session.library import Library

__all__ = ["Source", "library_file", "require_source", "source_of"]

ONLY_EXAMPLES = {"--slices": "slices", "--axis": "axis", "--unlabelled": "unlabelled"}
WITH_MEMORY = "memory_augmented"
ACROSS_SCANS = ("fused", WITH_MEMORY)
"""Learners that may go with the library: all together, and the one that has a memory."""
ONLY_LIBRARY = {"--library": "library", "--structures": "structures"}


class Source(Protocol):
    """What is known of the structures before the scan is segmented."""

    @property
    def names(self) -> Mapping[int, str]:
        """What the structures are called, by their value in the labels."""
        ...

    @property
    def about(self) -> Mapping[str, object]:
        """What the report says of it."""
        ...

    def propose(self, segmenter: Segmenter, volume: Volume, progress: Progress, /) -> Proposal:
        """Propose on ``volume``, which ``segmenter`` was given."""
        ...

    def labels(self, proposal: Proposal, volume: Volume, /) -> LabelArray:
        """Return what to write, (I, J, K)."""
        ...


def require_source(args: argparse.Namespace) -> None:
    """Refuse options that do not belong to the source of this call.

    Raises
    ------
    InputError
        Before anything is read.
    """
    from napari_medmeta.core import InputError

    wrong, owner = (ONLY_EXAMPLES, "--examples") if args.from_library else (ONLY_LIBRARY, "--from-library")
    given = [option for option, name in wrong.items() if getattr(args, name) not in _UNSET]
    if given:
        raise InputError(f"{given[0]} belongs to {owner}", next_step=f"Leave it out, or segment with {owner}")
    if args.from_library and args.learner not in (None, *ACROSS_SCANS):
        raise InputError(
            f"The learner {args.learner!r} knows of one scan only",
            expected=" or ".join(ACROSS_SCANS),
            next_step="Leave --learner out, or segment with --examples",
        )
    if args.from_library and args.weights is not None and args.learner != WITH_MEMORY:
        raise InputError(
            "Without a learner that has a memory no trained weights take part in what comes from the library",
            next_step=f"Leave --weights out, or add --learner {WITH_MEMORY}",
        )


_UNSET: tuple[object, ...] = (None, (), "auto", UNLABELLED)


def source_of(args: argparse.Namespace, volume: Volume) -> Source:
    """Return the source that the command line asks for, with everything about it checked."""
    return _from_library(args, volume) if args.from_library else _from_examples(args, volume)


def library_file(path: Path | None) -> Library:
    """Return the library at ``path``; None: the user's own, which the panel uses as well."""
    from napari_medmeta.session.library import LIBRARY_SUFFIX, Library

    return Library(own_file(f"library{LIBRARY_SUFFIX}") if path is None else path)


@dataclass(frozen=True, eq=False)
class _Examples:
    support: Support
    names: Mapping[int, str]

    @property
    def about(self) -> Mapping[str, object]:
        support = self.support
        return {
            "structures": list(support.structures),
            "examples": [
                {"axis": e.ref.axis, "slice": e.ref.index, "complete": e.is_complete} for e in support.examples
            ],
        }

    def propose(self, segmenter: Segmenter, volume: Volume, progress: Progress, /) -> Proposal:
        return segmenter.segment(self.support, progress=progress)

    def labels(self, proposal: Proposal, volume: Volume, /) -> LabelArray:
        """Return the proposal with every painted voxel as it was painted."""
        labels, known = self.support.labels_and_known()
        out = proposal.volume(self.support.shape)
        out[known] = labels[known]
        return out


@dataclass(frozen=True, eq=False)
class _Recalled:
    names: Mapping[int, str]
    entries: Mapping[int, Sequence[LibraryEntry]] = field(default_factory=dict)

    @property
    def about(self) -> Mapping[str, object]:
        kept = {str(s): len(e) for s, e in self.entries.items()}
        return {"structures": list(self.entries), "examples": [], "library_entries": kept}

    def propose(self, segmenter: Segmenter, volume: Volume, progress: Progress, /) -> Proposal:
        from napari_medmeta.engine.recall import recall

        axis = volume.geometry.through_plane_axis
        return recall(segmenter, volume, self.entries, axis=axis, progress=progress)

    def labels(self, proposal: Proposal, volume: Volume, /) -> LabelArray:
        return proposal.volume(volume.geometry.shape)


def _from_examples(args: argparse.Namespace, volume: Volume) -> _Examples:
    """Return the examples, and the structures' names: given, else the file's, else their numbers."""
    from napari_medmeta.core import guess_axis, support_from_labels
    from napari_medmeta.io import read_named_labels

    examples = read_named_labels(args.examples, like=volume.geometry, source=args.image)
    labels = examples.labels
    guessed = args.axis == "auto"
    axis = guess_axis(labels, volume.geometry, unlabelled=args.unlabelled) if guessed else int(args.axis)
    support = support_from_labels(labels, axis=axis, slices=args.slices, unlabelled=args.unlabelled)
    _require_contrast(support)
    numbered = {s: f"structure {s}" for s in support.structures}
    return _Examples(support, {s: {**numbered, **examples.names, **args.names}[s] for s in support.structures})


def _require_contrast(support: Support) -> None:
    """Refuse examples that show one structure and nothing that it is not."""
    from napari_medmeta.core import MissingExamplesError

    if not any(e.negative(s).any() for s in support.structures for e in support.examples):
        raise MissingExamplesError(
            "The examples show one structure only, and no voxel where it is not",
            expected="background (0) or a second structure on at least one example slice",
            next_step="Mark some background, or name a slice without the structure with --slices",
        )


def _from_library(args: argparse.Namespace, volume: Volume) -> _Recalled:
    """Return what the library keeps of the structures wanted, numbered from 1 in their order."""
    from napari_medmeta.core import MAX_STRUCTURES, InputError
    from napari_medmeta.core.library import same_name
    from napari_medmeta.engine.recall import comparable

    library = library_file(args.library)
    kept = library.entries()
    _require_entries(library, kept)
    usable = comparable(kept, volume)
    wanted = _unique(args.structures or [e.structure for e in usable])
    found = {name: [e for e in usable if same_name(e.structure, name)] for name in wanted}
    missing = [name for name, entries in found.items() if not entries]
    if missing or not found:
        raise _missing(missing, kept, str(volume.modality))
    if len(found) > MAX_STRUCTURES:
        raise InputError(f"The library keeps {len(found)} structures", next_step="Choose some with --structures")
    numbers = dict(enumerate(found, start=1))
    names = {n: args.names.get(n, name) for n, name in numbers.items()}
    return _Recalled(names, {n: found[name] for n, name in numbers.items()})


def _require_entries(library: Library, kept: Sequence[LibraryEntry]) -> None:
    from napari_medmeta.core import MissingExamplesError, UnreadableFileError

    if not library.path.exists():
        raise UnreadableFileError(
            f"There is no library {library.path.name}",
            next_step="Keep a structure in the panel first, or check --library",
        )
    if not kept:
        raise MissingExamplesError(
            f"The library {library.path.name} is empty", next_step="Keep a structure of a finished scan first"
        )


def _missing(names: Sequence[str], kept: Sequence[LibraryEntry], kind: str) -> Exception:
    """Return the error for structures of which the library keeps nothing that suits the scan."""
    from napari_medmeta.core import MissingExamplesError
    from napari_medmeta.core.library import same_name

    for name in names:
        others = sorted({str(e.modality) for e in kept if same_name(e.structure, name)} - {kind})
        if others:
            return MissingExamplesError(
                f"The library keeps the {name} on {' and '.join(others)} scans only, and this one is {kind}",
                next_step=f"Keep it on one {kind} scan first, or leave it out of --structures",
            )
    here = _unique([e.structure for e in kept if str(e.modality) == kind])
    what = f"no {names[0]}" if names else f"no structure on {kind} scans"
    return MissingExamplesError(
        f"The library keeps {what}",
        expected=f"one of {', '.join(here)}" if here else "a structure kept on a scan of this kind",
        next_step="See: napari-medmeta library list",
    )


def _unique(names: Sequence[str]) -> list[str]:
    """Return the names, each once whatever its case, in their order."""
    from napari_medmeta.core.library import same_name

    kept: list[str] = []
    for name in names:
        if not any(same_name(name, other) for other in kept):
            kept.append(name)
    return kept
