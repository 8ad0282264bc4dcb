"""The protocol ``slices``: run methods on tasks, score them, keep every finished run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from napari_medmeta.bench.answer import FAILURES, Answer, Memo, ask
from napari_medmeta.bench.cases import Case, LoadedCase, load_case
from napari_medmeta.bench.methods import Method, build_methods
from napari_medmeta.bench.plan import Plan, Question, Skipped
from napari_medmeta.bench.pool import each_result
from napari_medmeta.bench.protocol import Task, anatomy_of
from napari_medmeta.bench.scores import boundary_scores, dice_by_structure, end_scores, region_dice
from napari_medmeta.bench.store import Run, RunKey, RunStore
from napari_medmeta.core import CancelToken, MedmetaError

__all__ = ["Plan", "Skipped", "keys_of", "keys_of_plan", "run_case", "run_plan"]

logger = logging.getLogger(__name__)


def keys_of_plan(plan: Plan) -> tuple[RunKey, ...]:
    """Return the keys of all runs of the plan, case by case."""
    methods = _methods(plan)
    return tuple(key for case in plan.cases for key in _keys(plan, case, methods))


def keys_of(plan: Plan, case: Case) -> tuple[RunKey, ...]:
    """Return the keys of all runs of one case, by k and then in the order of the methods."""
    return _keys(plan, case, _methods(plan))


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
        Processes; each takes one question about one case at a time.
    tick
        Called once for every run that is finished or need not be done.

    Raises
    ------
    Cancelled
        When ``cancel`` was set; every finished run is kept.
    """
    skipped: set[Skipped] = set()
    todo = _missing(plan, store, tick)
    # One case may be split over processes, each of which finds the same reason.
    work = [(plan, case, part) for case, keys in todo for part in (_by_question(keys) if jobs > 1 else [keys])]
    for result in each_result(run_case, work, jobs=jobs):
        if isinstance(result, Skipped):
            if result not in skipped:
                logger.warning("%s is left out: %s", result.case, result.reason)
            skipped.add(result)
        else:
            store.add(result)
            tick()
        if cancel is not None:
            cancel.raise_if_cancelled()
    return tuple(sorted(skipped, key=lambda s: s.case))


def run_case(plan: Plan, case: Case, keys: frozenset[RunKey]) -> Iterator[Run | Skipped]:
    """Yield the runs of one case named by ``keys``, each as soon as it is finished."""
    try:
        loaded = load_case(case)
        anatomy = anatomy_of(loaded.truth, loaded.volume.geometry, case_id=case.id, strokes=loaded.strokes)
    except MedmetaError as error:
        yield Skipped(case.id, error.message)
        return
    methods = _methods(plan)
    for question in plan.questions:
        wanted = [(key, m) for m in methods if (key := _key(plan, case, question, m)) in keys]
        if not wanted:
            continue
        try:
            task = anatomy.task(k=question.k, placement=question.placement, painting=question.painting, seed=plan.seed)
        except MedmetaError as error:
            yield Skipped(case.id, error.message)
            continue
        memo: Memo = {}
        for key, method in wanted:
            yield _run(plan, key, method, loaded, task, memo)


def _methods(plan: Plan) -> tuple[Method, ...]:
    return build_methods(plan.methods, device=plan.device, seed=plan.seed, weights=plan.weights)


def _keys(plan: Plan, case: Case, methods: Sequence[Method]) -> tuple[RunKey, ...]:
    names = zip(plan.methods, methods, strict=True)
    chosen = [m for name, m in names if plan.runs_on(name, case)]
    asked = [question for question in plan.questions if plan.asks(question, case)]
    return tuple(_key(plan, case, question, m) for question in asked for m in chosen)


def _key(plan: Plan, case: Case, question: Question, method: Method) -> RunKey:
    where, how = question.placement.value, question.painting.slug
    return RunKey(case.id, method.name, question.k, where, plan.seed, method.version, how)


def _missing(plan: Plan, store: RunStore, tick: Callable[[], None]) -> list[tuple[Case, frozenset[RunKey]]]:
    methods, todo = _methods(plan), []
    for case in plan.cases:
        keys = _keys(plan, case, methods)
        missing = frozenset(key for key in keys if key not in store)
        for _ in range(len(keys) - len(missing)):
            tick()
        if missing:
            todo.append((case, missing))
    return todo


def _by_question(keys: frozenset[RunKey]) -> list[frozenset[RunKey]]:
    parts: dict[tuple[int, str, str], set[RunKey]] = {}
    for key in sorted(keys):
        parts.setdefault((key.k, key.placement, key.painting), set()).add(key)
    return [frozenset(part) for part in parts.values()]


def _run(plan: Plan, key: RunKey, method: Method, loaded: LoadedCase, task: Task, memo: Memo) -> Run:
    try:
        answer = ask(method, loaded.volume, task.support, memo)
    except FAILURES as error:
        logger.warning("%s failed on %s with %d examples: %s", key.method, key.case, key.k, error)
        nothing = Answer.nothing(task.support)
        return replace(_scored(plan, key, task, nothing, loaded), failure=str(error) or type(error).__name__)
    return _scored(plan, key, task, answer, loaded)


def _scored(plan: Plan, key: RunKey, task: Task, answer: Answer, loaded: LoadedCase) -> Run:
    index = np.arange(len(task.scored))
    inside = (index > task.painted[0]) & (index < task.painted[-1])
    spacing = loaded.volume.geometry.spacing_mm
    surfaces = boundary_scores(answer.labels, task, spacing_mm=spacing) if plan.boundaries else {}
    ends = end_scores(answer.labels, task)
    return Run(
        key,
        task.axis,
        task.painted,
        dice=dice_by_structure(answer.labels, task),
        between=region_dice(answer.labels, task, slices=task.scored & inside),
        beyond=region_dice(answer.labels, task, slices=task.scored & ~inside),
        surface_dice={s: None if b is None else b.surface_dice for s, b in surfaces.items()},
        hausdorff_mm={s: None if b is None else b.hausdorff_mm for s, b in surfaces.items()},
        leak={s: None if e is None else e.leak for s, e in ends.items()},
        short={s: None if e is None else e.short for s, e in ends.items()},
        expected_dice=dict(answer.expected_dice),
        seconds=answer.usage.seconds,
        cpu_seconds=answer.usage.cpu_seconds,
        visible_seconds=answer.visible_seconds,
        peak_mb=answer.usage.peak_mb,
        added_mb=answer.usage.added_mb,
    )
