"""Run methods on tasks, score them, keep every finished run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context

import numpy as np

from napari_medmeta.bench.cases import Case, LoadedCase, load_case
from napari_medmeta.bench.methods import Method, Proposing, build_methods
from napari_medmeta.bench.methods.vote import Vote, majority
from napari_medmeta.bench.protocol import Placement, Task, make_task
from napari_medmeta.bench.scores import boundary_scores, dice_by_structure, region_dice
from napari_medmeta.bench.store import Run, RunKey, RunStore
from napari_medmeta.bench.usage import Usage, measured
from napari_medmeta.core import CancelToken, GeometryMismatchError, LabelArray, MedmetaError, Support, Volume

__all__ = ["Plan", "Skipped", "keys_of", "run_case", "run_plan"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What to run.

    Parameters
    ----------
    methods
        Names from the registry.
    ks
        Numbers of example slices.
    boundaries
        Whether to measure surface Dice and Hausdorff distances too (slow on large scans).
    """

    cases: tuple[Case, ...]
    methods: tuple[str, ...]
    ks: tuple[int, ...] = (1, 3, 5)
    placement: Placement = Placement.EVEN
    seed: int = 0
    device: str = "cpu"
    boundaries: bool = False


@dataclass(frozen=True, slots=True)
class Skipped:
    """A case that cannot be judged, and why."""

    case: str
    reason: str


@dataclass(frozen=True, eq=False)
class _Answer:
    labels: LabelArray
    usage: Usage
    expected_dice: dict[int, float]


def keys_of(plan: Plan, case: Case) -> tuple[RunKey, ...]:
    """Return the keys of all runs of one case, by k and then in the order of the methods."""
    methods = build_methods(plan.methods, device=plan.device, seed=plan.seed)
    return tuple(
        RunKey(case.id, m.name, k, plan.placement.value, plan.seed, m.version) for k in plan.ks for m in methods
    )


def run_plan(
    plan: Plan,
    store: RunStore,
    *,
    jobs: int = 1,
    tick: Callable[[], None] = lambda: None,
    cancel: CancelToken | None = None,
) -> tuple[Skipped, ...]:
    """Run what ``store`` does not hold yet, and return the cases that cannot be judged.

    Parameters
    ----------
    jobs
        Processes; each takes one case at a time.
    tick
        Called once for every run that is finished or need not be done.

    Raises
    ------
    Cancelled
        When ``cancel`` was set; every finished run is kept.
    """
    skipped: list[Skipped] = []
    todo = _missing(plan, store, tick)
    for result in _results(plan, todo, jobs):
        if isinstance(result, Skipped):
            skipped.append(result)
            logger.warning("%s is left out: %s", result.case, result.reason)
        else:
            store.add(result)
            tick()
        if cancel is not None:
            cancel.raise_if_cancelled()
    # One case may be split over processes, each of which finds the same reason.
    return tuple(sorted(set(skipped), key=lambda s: s.case))


def _missing(plan: Plan, store: RunStore, tick: Callable[[], None]) -> list[tuple[Case, frozenset[RunKey]]]:
    todo = []
    for case in plan.cases:
        keys = keys_of(plan, case)
        missing = frozenset(key for key in keys if key not in store)
        for _ in range(len(keys) - len(missing)):
            tick()
        if missing:
            todo.append((case, missing))
    return todo


def run_case(plan: Plan, case: Case, keys: frozenset[RunKey]) -> Iterator[Run | Skipped]:
    """Yield the runs of one case named by ``keys``, each as soon as it is finished."""
    try:
        loaded = load_case(case)
        tasks = {k: _task(plan, loaded, k) for k in plan.ks}
    except MedmetaError as error:
        yield Skipped(case.id, error.message)
        return
    methods = build_methods(plan.methods, device=plan.device, seed=plan.seed)
    for k in plan.ks:
        memo: dict[tuple[str, str], _Answer] = {}
        for method in methods:
            key = RunKey(case.id, method.name, k, plan.placement.value, plan.seed, method.version)
            if key in keys:
                yield _run(plan, key, method, loaded, tasks[k], memo)


def _task(plan: Plan, loaded: LoadedCase, k: int) -> Task:
    return make_task(
        loaded.truth,
        loaded.volume.geometry,
        k=k,
        placement=plan.placement,
        seed=plan.seed,
        case_id=loaded.case.id,
    )


def _results(plan: Plan, todo: Sequence[tuple[Case, frozenset[RunKey]]], jobs: int) -> Iterator[Run | Skipped]:
    if jobs <= 1:
        for case, keys in todo:
            yield from run_case(plan, case, keys)
        return
    # Spawned, as torch and ITK start threads that a fork would not carry over.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        futures: list[Future[list[Run | Skipped]]] = [
            pool.submit(_run_case_at_once, plan, case, frozenset(k for k in keys if k.k == n))
            for case, keys in todo
            for n in plan.ks
            if any(k.k == n for k in keys)
        ]
        try:
            for future in as_completed(futures):
                yield from future.result()
        finally:
            for future in futures:
                future.cancel()


def _run_case_at_once(plan: Plan, case: Case, keys: frozenset[RunKey]) -> list[Run | Skipped]:
    ks = tuple(k for k in plan.ks if any(key.k == k for key in keys))
    return list(run_case(replace(plan, ks=ks), case, keys))


def _run(
    plan: Plan,
    key: RunKey,
    method: Method,
    loaded: LoadedCase,
    task: Task,
    memo: dict[tuple[str, str], _Answer],
) -> Run:
    try:
        answer = _answer(method, loaded.volume, task.support, memo)
    except (MedmetaError, ArithmeticError, ImportError, MemoryError, RuntimeError, ValueError) as error:
        logger.warning("%s failed on %s with %d examples: %s", key.method, key.case, key.k, error)
        nothing = np.zeros(task.truth.shape, dtype=np.uint8)
        return replace(_scored(plan, key, task, _Answer(nothing, Usage(), {}), loaded), failure=str(error))
    return _scored(plan, key, task, answer, loaded)


def _answer(method: Method, volume: Volume, support: Support, memo: dict[tuple[str, str], _Answer]) -> _Answer:
    known = memo.get((method.name, method.version))
    if known is not None:
        return known
    if isinstance(method, Vote):
        # Members that ran already are not asked again; the vote's cost is theirs together.
        parts = [_answer(m, volume, support, memo) for m in method.members]
        with measured() as usage:
            labels = majority([p.labels for p in parts])
        answer = _Answer(labels, _together([p.usage for p in parts] + [usage]), {})
    else:
        with measured() as usage:
            proposal = method.propose(volume, support) if isinstance(method, Proposing) else None
            labels = method.segment(volume, support) if proposal is None else proposal.volume(support.shape)
        answer = _Answer(labels, usage, {} if proposal is None else dict(proposal.expected_dice))
    _check(method, answer.labels, support)
    memo[(method.name, method.version)] = answer
    return answer


def _check(method: Method, labels: LabelArray, support: Support) -> None:
    if labels.shape != support.shape or labels.dtype != np.uint8:
        raise GeometryMismatchError(
            f"{method.name} returned {labels.dtype} labels of the shape {labels.shape}",
            expected=f"uint8 of the shape {support.shape}",
        )


def _together(parts: Sequence[Usage]) -> Usage:
    return Usage(
        sum(p.seconds for p in parts),
        sum(p.cpu_seconds for p in parts),
        max(p.peak_mb for p in parts),
        max(p.added_mb for p in parts),
    )


def _scored(plan: Plan, key: RunKey, task: Task, answer: _Answer, loaded: LoadedCase) -> Run:
    index = np.arange(len(task.scored))
    inside = (index > task.painted[0]) & (index < task.painted[-1])
    spacing = loaded.volume.geometry.spacing_mm
    surfaces = boundary_scores(answer.labels, task, spacing_mm=spacing) if plan.boundaries else {}
    return Run(
        key,
        task.axis,
        task.painted,
        dice=dice_by_structure(answer.labels, task),
        between=region_dice(answer.labels, task, slices=task.scored & inside),
        beyond=region_dice(answer.labels, task, slices=task.scored & ~inside),
        surface_dice={s: None if b is None else b.surface_dice for s, b in surfaces.items()},
        hausdorff_mm={s: None if b is None else b.hausdorff_mm for s, b in surfaces.items()},
        expected_dice=answer.expected_dice,
        seconds=answer.usage.seconds,
        cpu_seconds=answer.usage.cpu_seconds,
        peak_mb=answer.usage.peak_mb,
        added_mb=answer.usage.added_mb,
    )
