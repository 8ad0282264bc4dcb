"""The protocol ``interactive``: a simulated radiologist works on a case, slice by slice, with one method.

It starts with one painted slice, the one on which the structures are largest. In each round it looks at one
more slice, chosen by a policy, accepts it where its Dice is above 0.95 and corrects it otherwise; the slice
becomes an example, accepted ones exactly as proposed, and the method proposes again. The session ends when
every structure has a Dice of 0.95 over all slices, after 20 looks, or when nothing is left to look at.

Seconds of the machine are those of a proposal; what depends on the scan alone is done once, before the session,
where a method can, as it is on opening a scan.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from napari_medmeta.bench.answer import FAILURES, Answer, ask, prepare
from napari_medmeta.bench.cases import Case, load_case
from napari_medmeta.bench.interactive_store import Policy, Round, SessionKey, SessionRun, SessionStore
from napari_medmeta.bench.methods import Method, Proposing, build_methods
from napari_medmeta.bench.methods.ours import code_digest
from napari_medmeta.bench.plan import Skipped
from napari_medmeta.bench.pool import each_result
from napari_medmeta.bench.protocol import Anatomy, anatomy_of
from napari_medmeta.bench.radiologist import Look, Radiologist
from napari_medmeta.bench.scores import dice
from napari_medmeta.core import CancelToken, LabelArray, MedmetaError, Support, Volume, label_slice

__all__ = ["ENOUGH", "INTERACTIVE_METHODS", "MAX_LOOKS", "SessionPlan", "run_session", "run_sessions", "session_keys"]

logger = logging.getLogger(__name__)

ENOUGH = 0.95
"""Dice of every structure, over all slices, at which the radiologist is content."""
MAX_LOOKS = 20
INTERACTIVE_METHODS = ("interpolation-dome", "random-walker", "growcut", "forest-position", "vote", "medmeta")
"""Methods that answer quickly enough to be asked in every round."""


@dataclass(frozen=True)
class SessionPlan:
    """Which sessions to run.

    Parameters
    ----------
    policies
        Ways to choose the next slice; ``suggestion`` only for methods that give the engine's kind of proposal.
    """

    cases: tuple[Case, ...]
    methods: tuple[str, ...]
    policies: tuple[Policy, ...] = tuple(Policy)
    seed: int = 0
    device: str = "cpu"
    weights: Mapping[str, Path] = field(default_factory=dict)


def session_keys(plan: SessionPlan) -> tuple[SessionKey, ...]:
    """Return the keys of all sessions of the plan, case by case."""
    methods = _methods(plan)
    return tuple(_key(plan, case, m, p) for case in plan.cases for m in methods for p in _policies(plan, m))


def run_sessions(
    plan: SessionPlan,
    store: SessionStore,
    *,
    jobs: int = 1,
    tick: Callable[[], None] = lambda: None,
    cancel: CancelToken | None = None,
) -> tuple[Skipped, ...]:
    """Run the sessions that ``store`` does not hold yet, and return the cases that cannot be judged.

    Parameters
    ----------
    jobs
        Processes; each takes one method on one case at a time.
    tick
        Called once for every session that is finished or need not be done.

    Raises
    ------
    Cancelled
        When ``cancel`` was set; every finished session is kept.
    """
    skipped: set[Skipped] = set()
    for result in each_result(_sessions_of_case, list(_missing(plan, store, tick)), jobs=jobs):
        if isinstance(result, Skipped):
            skipped.add(result)
        else:
            store.add(result)
            tick()
        if cancel is not None:
            cancel.raise_if_cancelled()
    return tuple(sorted(skipped, key=lambda s: s.case))


def run_session(
    method: Method, volume: Volume, radiologist: Radiologist, key: SessionKey, *, max_looks: int = MAX_LOOKS
) -> SessionRun:
    """Run one session; what a method raises ends it, and the rounds until then are kept."""
    rounds: list[Round] = []
    try:
        for done in _rounds(prepare(method, volume), volume, radiologist, max_looks):
            rounds.append(done)
    except FAILURES as error:
        logger.warning("%s failed on %s after %d looks: %s", key.method, key.case, len(rounds), error)
        return SessionRun(key, radiologist.axis, tuple(rounds), str(error) or type(error).__name__)
    return SessionRun(key, radiologist.axis, tuple(rounds))


def _rounds(method: Method, volume: Volume, radiologist: Radiologist, max_looks: int) -> Iterator[Round]:
    anatomy = radiologist.anatomy
    support = Support(anatomy.geometry.shape, (), anatomy.structures)
    look = radiologist.start()
    for number in range(max_looks + 1):
        support = _with(support, look)
        answer = ask(method, volume, support)
        labels = _saved(answer, support)
        scores = _whole_dice(labels, anatomy)
        yield Round(
            number,
            look.example.ref.index,
            look.action,
            look.structures_corrected,
            scores,
            look.seconds,
            answer.usage.seconds,
        )
        index = radiologist.choose(labels, support, answer.proposal)
        if min(scores.values()) >= ENOUGH or index is None:
            return
        look = radiologist.look(index, labels)


def _with(support: Support, look: Look) -> Support:
    examples = (*support.examples, look.example)
    return replace(support, examples=examples, generation=support.generation + 1)


def _saved(answer: Answer, support: Support) -> LabelArray:
    out = answer.labels.copy()
    for example in support.examples:
        label_slice(out, example.ref)[...] = example.labels
    return out


def _whole_dice(labels: LabelArray, anatomy: Anatomy) -> dict[int, float]:
    return {s: dice(labels == s, anatomy.truth == s) or 0.0 for s in anatomy.structures}


def _methods(plan: SessionPlan) -> tuple[Method, ...]:
    return build_methods(plan.methods, device=plan.device, seed=plan.seed, weights=plan.weights)


def _policies(plan: SessionPlan, method: Method) -> Sequence[Policy]:
    return [p for p in plan.policies if p is not Policy.SUGGESTION or isinstance(method, Proposing)]


def _key(plan: SessionPlan, case: Case, method: Method, policy: Policy) -> SessionKey:
    version = method.version
    if policy is Policy.SUGGESTION:
        # The engine's answers do not depend on what it suggests, but these sessions do.
        version = f"{version}+{code_digest('napari_medmeta.engine.suggest')}"
    return SessionKey(case.id, method.name, policy.value, plan.seed, version)


def _missing(
    plan: SessionPlan, store: SessionStore, tick: Callable[[], None]
) -> Iterator[tuple[SessionPlan, Case, frozenset[SessionKey]]]:
    methods = list(zip(plan.methods, _methods(plan), strict=True))
    for case in plan.cases:
        for name, method in methods:
            keys = [_key(plan, case, method, p) for p in _policies(plan, method)]
            missing = frozenset(k for k in keys if k not in store)
            for _ in range(len(keys) - len(missing)):
                tick()
            if missing:
                yield replace(plan, methods=(name,)), case, missing


def _sessions_of_case(plan: SessionPlan, case: Case, keys: frozenset[SessionKey]) -> Iterator[SessionRun | Skipped]:
    try:
        loaded = load_case(case)
        anatomy = anatomy_of(loaded.truth, loaded.volume.geometry, case_id=case.id)
    except MedmetaError as error:
        yield Skipped(case.id, error.message)
        return
    for method in _methods(plan):
        for policy in _policies(plan, method):
            key = _key(plan, case, method, policy)
            if key in keys:
                radiologist = Radiologist(anatomy, policy, plan.seed)
                yield run_session(method, loaded.volume, radiologist, key)
