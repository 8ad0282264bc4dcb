"""Keep structures for the next patient and propose them on a new scan; no widgets and no Qt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from psygnal import Signal

from napari_medmeta.core import (
    BACKGROUND,
    Box,
    CancelToken,
    LabelArray,
    MedmetaError,
    Progress,
    Proposal,
    Structure,
    Volume,
)
from napari_medmeta.core.library import LibraryEntry, same_name
from napari_medmeta.core.trust import mean_trust
from napari_medmeta.session.library import LIBRARY_SUFFIX, Library
from napari_medmeta.ui.controller import Controller
from napari_medmeta.ui.opening import user_folder
from napari_medmeta.ui.worker import LongQuestion

__all__ = ["Learning", "LibraryDesk", "Recalling", "blended", "default_library", "library_at"]

Entries: TypeAlias = Mapping[int, Sequence[LibraryEntry]]

Learning: TypeAlias = Callable[[Any, Volume, LabelArray, Structure, CancelToken], LibraryEntry]
"""Engine, scan, finished labels, structure and what tells to stop in, entry out; called in the background."""


class Recalling(Protocol):
    """Propose from the library; called in the background."""

    def __call__(
        self,
        engine: Any,
        volume: Volume,
        entries: Entries,
        /,
        *,
        generation: int,
        axis: int,
        progress: Progress,
        cancel: CancelToken,
    ) -> Proposal:
        """Return what ``entries``, by structure, propose on ``volume``."""
        ...


def default_library() -> Library:
    """Return the user's own library."""
    return Library(user_folder().parent / f"library{LIBRARY_SUFFIX}")


@dataclass(frozen=True, eq=False)
class _Learnt:
    desk: int
    entries: tuple[LibraryEntry, ...]
    unseen: bool


@dataclass(frozen=True, eq=False)
class _Recalled:
    desk: int
    proposal: Proposal


class LibraryDesk:
    """The library's verbs for one open scan.

    Parameters
    ----------
    volume
        The scan on the grid on screen.
    learning, recalling
        Run in the background; None: the engine's own way.
    """

    changed = Signal()
    """Something was kept."""

    def __init__(
        self,
        controller: Controller,
        volume: Volume,
        library: Library,
        *,
        learning: Learning | None = None,
        recalling: Recalling | None = None,
    ) -> None:
        self._controller, self._volume, self._library = controller, volume, library
        self._learning, self._recalling = learning or _learnt_by_the_engine, recalling or _recalled_by_the_engine
        self._recalled: Proposal | None = None
        controller.answered.connect(self._receive)
        controller.blend = self._blend

    def keep(self) -> bool:
        """Keep every structure that is on the scan, as it is shown now."""
        controller = self._controller
        labels, unseen = _as_shown(controller)
        here = [s for s in controller.structures if (labels == s.id).any()]
        if not here:
            controller.told.emit("There is nothing to keep yet: segment a structure first.")
            return False
        learning, volume, desk = self._learning, self._volume, id(self)

        def work(engine: Any, progress: Progress, cancel: CancelToken) -> _Learnt:
            entries = []
            for n, structure in enumerate(here):
                cancel.raise_if_cancelled()
                progress(n / len(here), f"learning {structure.name}")
                entries.append(learning(engine, volume, labels, structure, cancel))
            return _Learnt(desk, tuple(entries), unseen)

        controller.told.emit("Learning these structures for the next patient …")
        controller.ask_engine(LongQuestion("Learning for the next patient", work))
        return True

    def propose(self, *, quiet: bool = False) -> bool:
        """Propose the table's structures from the library; with an empty table, all that it keeps.

        With ``quiet``, nothing is said where the library keeps none of them.
        """
        controller = self._controller
        entries = self._fitting()
        if entries is None:
            return False
        if not controller.structures:
            self._add_all(entries)
        wanted = self._wanted(entries)
        if not wanted:
            if not quiet:
                kind = self._volume.modality
                controller.told.emit(f"The library keeps none of these structures on {kind} scans yet.")
            return False
        self._begin_with(wanted)
        recalling, volume, desk = self._recalling, self._volume, id(self)
        generation, axis = controller.session.generation, controller.focus.axis

        def work(engine: Any, progress: Progress, cancel: CancelToken) -> _Recalled:
            found = recalling(
                engine, volume, wanted, generation=generation, axis=axis, progress=progress, cancel=cancel
            )
            return _Recalled(desk, found)

        controller.told.emit("Looking for what the library knows …")
        # A stroke meanwhile makes the answer out of date, so its own proposal need not wait.
        controller.ask_engine(LongQuestion("Proposing from the library", work, gives_way=True))
        return True

    def close(self) -> None:
        """Let go of the scan."""
        self._controller.answered.disconnect(self._receive)
        self._controller.blend = _as_it_is

    def _fitting(self) -> tuple[LibraryEntry, ...] | None:
        try:
            return tuple(e for e in self._library.entries() if e.modality is self._volume.modality)
        except MedmetaError as error:
            self._controller.failed.emit(error)
            return None

    def _add_all(self, entries: Sequence[LibraryEntry]) -> None:
        for entry in entries:
            if not any(same_name(entry.structure, s.name) for s in self._controller.structures):
                self._controller.session.add_structure(entry.structure, colour=entry.colour)

    def _wanted(self, entries: Sequence[LibraryEntry]) -> dict[int, list[LibraryEntry]]:
        painted = self._controller.session.support().painted_structures()
        found: dict[int, list[LibraryEntry]] = {}
        for structure in self._controller.structures:
            kept = [e for e in entries if same_name(e.structure, structure.name)]
            # What has an example on this very scan is better proposed from it.
            if kept and not structure.locked and structure.id not in painted:
                found[structure.id] = kept
        return found

    def _begin_with(self, wanted: Entries) -> None:
        """Let the structures start from the trust in the sources of evidence that their entries tell."""
        kept = {structure: trust for structure, e in wanted.items() if (trust := mean_trust(x.trust for x in e))}
        if kept:
            self._controller.session.trust_sources(kept)

    def _receive(self, answer: object) -> None:
        if isinstance(answer, _Learnt) and answer.desk == id(self):
            self._keep(answer)
        elif isinstance(answer, _Recalled) and answer.desk == id(self):
            self._show(answer.proposal)

    def _keep(self, learnt: _Learnt) -> None:
        try:
            self._library.add(learnt.entries)
        except MedmetaError as error:
            self._controller.failed.emit(error)
            return
        names = ", ".join(e.structure for e in learnt.entries)
        caution = " Some of it was still an open proposal." if learnt.unseen else ""
        self._controller.told.emit(f"Kept for the next patient: {names}. No image was kept.{caution}")
        self.changed.emit()

    def _show(self, proposal: Proposal) -> None:
        controller = self._controller
        self._recalled = proposal
        if proposal.generation != controller.session.generation:
            controller.told.emit("Something was painted meanwhile: ask the library again if you still need it.")
            return
        controller.receive(proposal)
        names = {s.id: s.name for s in controller.structures}
        told = ", ".join(f"{names.get(s, '?')} (expected Dice {d:.2f})" for s, d in proposal.expected_dice.items())
        controller.told.emit(f"Proposed from the library: {told}. Accept a slice (A), or correct it by painting.")

    def _blend(self, proposal: Proposal) -> Proposal:
        """Go on showing what was recalled of structures that have no example here yet."""
        session = self._controller.session
        if (
            self._recalled is None
            or proposal is self._recalled
            or proposal.covered != Box.whole(session.geometry.shape)
        ):
            return proposal
        open_ids = {s.id for s in session.structures} - set(session.support().painted_structures())
        return blended(proposal, self._recalled, frozenset(open_ids))


def blended(proposal: Proposal, recalled: Proposal, structures: frozenset[int]) -> Proposal:
    """Return ``proposal`` with what ``recalled`` says of ``structures``, where it proposes nothing itself."""
    box = proposal.box.union(recalled.box)
    labels, confidence = proposal.labels_in(box), proposal.confidence_in(box)
    older = recalled.labels_in(box)
    fill = (labels == BACKGROUND) & np.isin(older, sorted(structures))
    if not fill.any():
        return proposal
    labels[fill], confidence[fill] = older[fill], recalled.confidence_in(box)[fill]
    return replace(
        proposal,
        box=box,
        labels=labels,
        confidence=confidence,
        expected_dice={
            **{s: d for s, d in recalled.expected_dice.items() if s in structures},
            **proposal.expected_dice,
        },
        slice_dice={**recalled.slice_dice, **proposal.slice_dice},
        trust={**{s: t for s, t in recalled.trust.items() if s in structures}, **proposal.trust},
    )


def _as_it_is(proposal: Proposal) -> Proposal:
    return proposal


def _as_shown(controller: Controller) -> tuple[LabelArray, bool]:
    """Return painted, accepted and open labels on the grid on screen, and whether any of them is open."""
    session = controller.session
    labels = np.array(session.labels)
    proposal = session.proposal
    if proposal is None:
        return labels, False
    part, still_open = labels[proposal.box.slices], session.proposed_labels(proposal.box)
    part[...] = np.where(part == BACKGROUND, still_open, part)
    return labels, bool(still_open.any())


def _learnt_by_the_engine(
    engine: Any, volume: Volume, labels: LabelArray, structure: Structure, cancel: CancelToken
) -> LibraryEntry:
    # Imported in the background: the libraries behind it take seconds to load.
    from napari_medmeta.engine.keeping import learn

    name, colour = structure.name, structure.colour
    return learn(engine, volume, labels, structure=structure.id, name=name, colour=colour, cancel=cancel)


def _recalled_by_the_engine(
    engine: Any,
    volume: Volume,
    entries: Entries,
    /,
    *,
    generation: int,
    axis: int,
    progress: Progress,
    cancel: CancelToken,
) -> Proposal:
    from napari_medmeta.engine.recall import recall

    return recall(engine, volume, entries, generation=generation, axis=axis, progress=progress, cancel=cancel)


def library_at(path: Path | None) -> Library:
    """Return the library at ``path``, or the user's own."""
    return Library(path) if path is not None else default_library()
