"""One patient's structures before anyone painted them: recalled from a library of others, or copied from one."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from napari_medmeta.bench.cases import Case, LoadedCase, load_case
from napari_medmeta.bench.painting import seeded
from napari_medmeta.bench.protocol import anatomy_of
from napari_medmeta.bench.recall_copy import copied_labels, nearest
from napari_medmeta.bench.scores import dice
from napari_medmeta.core import LabelArray, MaskArray, MissingExamplesError, StorageError
from napari_medmeta.core.library import LibraryEntry
from napari_medmeta.engine.anatomy import maps_of
from napari_medmeta.engine.choices import engine_config
from napari_medmeta.engine.features import FeatureMaps
from napari_medmeta.engine.keeping import learn
from napari_medmeta.engine.recall import recall
from napari_medmeta.engine.segmenter import Segmenter

__all__ = ["MEMORY", "Found", "Group", "Task", "extent", "groups_of", "measure", "patient_of", "tasks_of"]

MEMORY = "memory_augmented"
"""The family of learners that reads the same entries."""

KEPT_SCANS = 4
"""Scans, and their features, held in memory; the rest are read again."""


@dataclass(frozen=True, slots=True)
class Found:
    """The Dice of one structure on one patient.

    Parameters
    ----------
    library
        How many other patients were known.
    recalled, copied
        Dice over the whole scan, from the library and by registration.
    remembered
        The same, drawn by the memory-augmented network from what the entries wrote into its memory.
    recalled_within, copied_within
        The same on the slices from the structure's first to its last, as if somebody had told where it is.
    expected
        What recalling expected of itself, None where it proposed nothing.
    """

    group: str
    case: str
    structure: int
    library: int
    recalled: float
    copied: float
    remembered: float
    recalled_within: float
    copied_within: float
    expected: float | None
    development: bool


@dataclass(frozen=True, slots=True)
class Group:
    """Scans of one kind and body part with the same structures, each of another patient."""

    name: str
    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class Task:
    """One patient to be segmented, and the others in the order in which they become known."""

    group: str
    target: Case
    known: tuple[Case, ...]


def patient_of(case: str) -> str:
    """Return the patient of a case id: what stands before the words behind the last number.

    Examples
    --------
    >>> patient_of("acdc_001_ed"), patient_of("brats_pat0001_1_t1c"), patient_of("chaos_t2_10")
    ('acdc_001', 'brats_pat0001_1', 'chaos_t2_10')
    """
    return re.sub(r"(?<=_\d)((?:\d)*)(?:_[a-z]\w*)+$", r"\1", case)


def groups_of(cases: Iterable[Case]) -> tuple[Group, ...]:
    """Return the groups of at least two patients."""
    by: dict[tuple[object, ...], list[Case]] = defaultdict(list)
    for case in sorted(cases, key=lambda c: c.id):
        by[case.source, case.modality, case.anatomy, case.structure_names].append(case)
    groups = []
    for (source, modality, anatomy, _), found in sorted(by.items(), key=lambda item: str(item[0])):
        name = ", ".join(str(part) for part in (source, modality, anatomy) if part)
        if len({patient_of(c.id) for c in found}) > 1:
            groups.append(Group(name, tuple(found)))
    return tuple(groups)


def tasks_of(group: Group, *, most_targets: int, most_known: int, seed: int) -> tuple[Task, ...]:
    """Return the patients to be segmented, drawn by ``seed``, development cases always among them."""
    rng = seeded(group.name, "targets", seed)
    drawn = [group.cases[int(i)] for i in rng.permutation(len(group.cases))]
    drawn.sort(key=lambda c: not c.is_development)
    return tuple(_task(group, target, most_known, seed) for target in sorted(drawn[:most_targets], key=lambda c: c.id))


def _task(group: Group, target: Case, most_known: int, seed: int) -> Task:
    others = [c for c in group.cases if patient_of(c.id) != patient_of(target.id)]
    order = seeded(target.id, "library", seed).permutation(len(others))
    return Task(group.name, target, tuple(others[int(i)] for i in order[:most_known]))


def measure(
    tasks: Sequence[Task],
    store: Path,
    *,
    seed: int = 0,
    weights: Path | None = None,
    tick: Callable[[Task], None] = lambda task: None,
) -> tuple[Found, ...]:
    """Measure what ``store`` (JSON lines) does not hold yet; return all of it that ``tasks`` ask for.

    ``weights`` are own ones of the memory-augmented network; whoever gives others gives another ``store``.
    """
    held = _held(store)
    bench = _Bench(seed, weights)
    for task in tasks:
        tick(task)
        if task.target.id not in {f.case for f in held if f.library == len(task.known)}:
            new = tuple(bench.found(task))
            with store.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(asdict(f)) + "\n" for f in new)
            held += new
    wanted = {(t.target.id, n) for t in tasks for n in range(1, len(t.known) + 1)}
    return tuple(f for f in held if (f.case, f.library) in wanted)


def _held(store: Path) -> tuple[Found, ...]:
    if not store.exists():
        return ()
    try:
        rows = [json.loads(line) for line in store.read_text(encoding="utf-8").splitlines()]
        return tuple(Found(**row) for row in rows)
    except (ValueError, TypeError) as error:
        raise StorageError(
            f"{store.name} was not written by this benchmark", next_step="Choose another folder"
        ) from error


def extent(mask: MaskArray, *, axis: int) -> tuple[slice, ...]:
    """Return the part of a scan from the first to the last slice along ``axis`` that hold any of ``mask``."""
    held = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
    whole = [slice(None)] * 3
    whole[axis] = slice(int(held[0]), int(held[-1]) + 1) if held.size else slice(0, 0)
    return tuple(whole)


class _Bench:
    """Scans, features and entries, each made once while it is remembered."""

    def __init__(self, seed: int, weights: Path | None) -> None:
        self._seed, self._weights = seed, weights
        self._load = lru_cache(KEPT_SCANS)(load_case)
        self._engine = lru_cache(1)(self._prepared)
        self._entries = lru_cache(None)(self._learnt)

    def found(self, task: Task) -> Iterator[Found]:
        """Yield what was found on the target with one, two, ... known patients."""
        target = self._load(task.target)
        anatomy = anatomy_of(target.truth, target.volume.geometry, case_id=task.target.id)
        kept = [self._entries(case) for case in task.known]
        copies = [copied_labels(self._load(case), target, seed=self._seed) for case in task.known]
        for count in range(1, len(task.known) + 1):
            entries = {s: [k[s] for k in kept[:count] if s in k] for s in anatomy.structures}
            some = {s: e for s, e in entries.items() if e}
            engine = self._engine(task.target)
            labels, expected = _recalled(maps_of(engine), target, some)
            remembered, _ = _recalled(engine, target, some)
            copied = nearest(copies[:count]).labels
            for s in anatomy.structures:
                truth = anatomy.truth == s
                own = extent(truth, axis=target.volume.geometry.through_plane_axis)
                yield Found(
                    task.group,
                    task.target.id,
                    s,
                    count,
                    recalled=dice(labels == s, truth) or 0.0,
                    copied=dice(copied == s, truth) or 0.0,
                    remembered=dice(remembered == s, truth) or 0.0,
                    recalled_within=dice(labels[own] == s, truth[own]) or 0.0,
                    copied_within=dice(copied[own] == s, truth[own]) or 0.0,
                    expected=expected.get(s),
                    development=task.target.is_development,
                )

    def _prepared(self, case: Case) -> Segmenter:
        """Return the engine of the memory, whose features the trees use as well, with the scan of ``case``."""
        engine = Segmenter(device="cpu", config=engine_config(MEMORY, weights=self._weights), seed=self._seed)
        engine.set_volume(self._load(case).volume)
        return engine

    def _learnt(self, case: Case) -> dict[int, LibraryEntry]:
        loaded = self._load(case)
        maps, kept = maps_of(self._engine(case)), {}
        for s in (int(v) for v in np.unique(loaded.truth) if v):
            try:
                kept[s] = learn(maps, loaded.volume, loaded.truth, structure=s, name=f"structure {s}", seed=self._seed)
            except MissingExamplesError:
                # Too small to be kept: nothing of it is known from this patient.
                continue
        return kept


def _recalled(
    engine: Segmenter | FeatureMaps, target: LoadedCase, entries: Mapping[int, Sequence[LibraryEntry]]
) -> tuple[LabelArray, Mapping[int, float]]:
    shape = target.volume.geometry.shape
    if not entries:
        return np.zeros(shape, dtype=np.uint8), {}
    proposal = recall(engine, target.volume, entries)
    return proposal.volume(shape), proposal.expected_dice
