"""Sessions of the simulated radiologist with methods whose answers are known beforehand."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from napari_medmeta.bench import interactive
from napari_medmeta.bench.cases import Case, load_case
from napari_medmeta.bench.interactive import MAX_LOOKS, SessionPlan, run_session, run_sessions, session_keys
from napari_medmeta.bench.interactive_store import Action, Policy, Round, SessionKey, SessionRun, SessionStore
from napari_medmeta.bench.methods import Method, build_methods
from napari_medmeta.bench.protocol import Anatomy, anatomy_of
from napari_medmeta.bench.radiologist import Radiologist
from napari_medmeta.core import Cancelled, CancelToken, LabelArray, MedmetaError, Origin, Support, Volume

FAST = ("interpolation", "interpolation-dome")
KEY = SessionKey("a", "m", "equal", 0, "1")


@dataclass
class Spy:
    """Proposes nothing or the same always, and keeps what it was given."""

    name: str = "spy"
    version: str = "1"
    labels: LabelArray | None = None
    seen: list[tuple[Volume, Support]] = field(default_factory=list)

    def segment(self, volume: Volume, support: Support) -> LabelArray:
        self.seen.append((volume, support))
        return np.zeros(support.shape, dtype=np.uint8) if self.labels is None else self.labels


@pytest.fixture
def scan(cases) -> tuple[Volume, Anatomy]:
    loaded = load_case(cases[0])
    return loaded.volume, anatomy_of(loaded.truth, loaded.volume.geometry, case_id=cases[0].id)


def session(method: Method, scan: tuple[Volume, Anatomy], policy: Policy = Policy.EQUAL, **options: int) -> SessionRun:
    return run_session(method, scan[0], Radiologist(scan[1], policy), KEY, **options)


def figures(store: SessionStore) -> dict[SessionKey, list[object]]:
    return {s.key: [(r.slice, r.action, dict(r.dice), r.human_seconds) for r in s.rounds] for s in store}


def test_a_method_that_returns_the_truth_is_done_after_the_first_slice(scan, fixed):
    (only,) = session(fixed(scan[1].truth), scan).rounds
    assert (only.number, only.action, set(only.dice.values())) == (0, Action.PAINTED, {1.0})


def test_a_method_that_returns_nothing_leaves_every_slice_to_be_painted(scan, nothing):
    rounds = session(nothing, scan).rounds
    held = np.flatnonzero(scan[1].truth.any(axis=(1, 2)))
    assert {r.action for r in rounds[1:]} == {Action.CORRECTED}
    assert len({r.slice for r in rounds}) == len(rounds) <= len(held)
    # What is painted is saved: the Dice grows with each slice, and the last one makes it good enough.
    means = [r.mean_dice for r in rounds]
    assert means == sorted(means)
    assert min(rounds[-1].dice.values()) >= 0.95 > min(rounds[-2].dice.values())


def test_a_session_ends_after_so_many_looks(scan, nothing):
    rounds = session(nothing, scan, max_looks=3).rounds
    assert [r.number for r in rounds] == [0, 1, 2, 3]
    assert MAX_LOOKS == 20


def test_a_method_only_ever_sees_slices_that_were_looked_at(scan):
    spy = Spy()
    rounds = session(spy, scan, max_looks=4).rounds
    for number, (volume, support) in enumerate(spy.seen):
        assert [e.ref.index for e in support.examples] == [r.slice for r in rounds[: number + 1]]
        assert volume is scan[0]
        for example in support.examples:
            assert example.labels.base is None
            assert not np.shares_memory(example.labels, scan[1].truth)
            assert np.array_equal(example.labels, scan[1].truth[example.ref.index])


def test_each_round_is_a_new_generation(scan):
    spy = Spy()
    session(spy, scan, max_looks=2)
    assert [s.generation for _, s in spy.seen] == [1, 2, 3]


def test_an_accepted_slice_becomes_an_example_exactly_as_it_was_proposed(scan):
    truth = scan[1].truth
    nearly = truth.copy()
    # One voxel is missing of the first structure on each slice, and the last half of the scan altogether.
    for index in np.flatnonzero((truth == scan[1].structures[0]).any(axis=(1, 2))):
        row, column = np.argwhere(truth[index] == scan[1].structures[0])[0]
        nearly[index, row, column] = 0
    nearly[len(nearly) // 2 :] = 0
    spy = Spy(labels=nearly)
    rounds = session(spy, scan).rounds
    examples = {e.ref.index: e for e in spy.seen[-1][1].examples}
    accepted = [r.slice for r in rounds if r.action is Action.ACCEPTED]
    assert accepted
    for look in rounds:
        example = examples[look.slice]
        assert (example.origin is Origin.ACCEPTED) == (look.slice in accepted)
        assert np.array_equal(example.labels, (nearly if look.slice in accepted else truth)[look.slice])


def test_human_seconds_are_those_of_the_look_and_the_machine_waits_for_none(scan, nothing):
    doctor = Radiologist(scan[1], Policy.EQUAL)
    first = session(nothing, scan, max_looks=0).rounds[0]
    assert first.human_seconds == doctor.start().seconds
    assert 0 <= first.machine_seconds < first.human_seconds


def test_a_method_that_fails_ends_the_session_and_keeps_its_rounds(scan):
    class Failing(Spy):
        def segment(self, volume: Volume, support: Support) -> LabelArray:
            if len(support.examples) > 2:
                raise MedmetaError("The solver did not converge")
            return super().segment(volume, support)

    done = session(Failing(), scan)
    assert [r.number for r in done.rounds] == [0, 1]
    assert done.failure == "The solver did not converge."


def test_a_method_that_can_prepares_the_scan_once(scan):
    class Preparing(Spy):
        prepared_for: tuple[Volume, ...] = ()

        def prepared(self, volume: Volume) -> Method:
            self.prepared_for = (*self.prepared_for, volume)
            return self

    method = Preparing()
    session(method, scan, max_looks=3)
    assert len(method.prepared_for) == 1
    assert len(method.seen) == 4


def test_only_methods_with_a_proposal_follow_a_suggestion(cases):
    keys = session_keys(SessionPlan(cases[:1], ("interpolation-dome", "medmeta")))
    assert [(k.method, k.policy) for k in keys] == [
        *(("interpolation-dome", p) for p in ("worst", "random", "equal")),
        *(("medmeta", p) for p in ("suggestion", "worst", "random", "equal")),
    ]


def test_only_sessions_that_follow_suggestions_are_repeated_when_these_change(cases, monkeypatch):
    plan = SessionPlan(cases[:1], ("medmeta",), policies=(Policy.SUGGESTION, Policy.EQUAL))
    follows, equal = session_keys(plan)
    monkeypatch.setattr(interactive, "code_digest", lambda *modules: "later")
    followed_later, equal_later = session_keys(plan)
    assert follows != followed_later
    assert equal == equal_later


def test_our_engine_works_through_a_case_by_its_own_suggestion(scan):
    (engine,) = build_methods(["medmeta"])
    done = session(engine, scan, Policy.SUGGESTION, max_looks=4)
    assert not done.failure
    assert done.rounds[-1].mean_dice > done.rounds[0].mean_dice - 0.01
    assert len({r.slice for r in done.rounds}) == len(done.rounds)


def test_the_order_of_cases_and_methods_changes_nothing(cases, tmp_path):
    first, second = SessionStore(tmp_path / "a.jsonl"), SessionStore(tmp_path / "b.jsonl")
    run_sessions(SessionPlan(cases[:2], FAST), first)
    run_sessions(SessionPlan(cases[1::-1], FAST[::-1], policies=tuple(Policy)[::-1]), second)
    assert figures(first) == figures(second)
    assert len(first) == 2 * 2 * 3


def test_another_seed_changes_random_choices_and_nothing_else(cases, tmp_path):
    first, second = SessionStore(tmp_path / "a.jsonl"), SessionStore(tmp_path / "b.jsonl")
    run_sessions(SessionPlan(cases[:1], FAST), first)
    run_sessions(SessionPlan(cases[:1], FAST, seed=1), second)
    old, new = figures(first), {replace(k, seed=0): v for k, v in figures(second).items()}
    assert old.keys() == new.keys()
    assert {k.policy for k in old if old[k] != new[k]} == {"random"}


def test_finished_sessions_are_not_repeated(cases, tmp_path, monkeypatch):
    spy = Spy()
    monkeypatch.setattr(interactive, "build_methods", lambda names, **_: (spy,))
    plan, ticks = SessionPlan(cases[:1], ("spy",), policies=(Policy.EQUAL,)), []
    run_sessions(plan, SessionStore(tmp_path / "sessions.jsonl"))
    asked = len(spy.seen)
    run_sessions(plan, SessionStore(tmp_path / "sessions.jsonl"), tick=lambda: ticks.append(None))
    assert len(spy.seen) == asked > 0
    assert len(ticks) == 1


def test_cancelling_keeps_the_sessions_that_are_finished(cases, tmp_path):
    token, store = CancelToken(), SessionStore(tmp_path / "sessions.jsonl")
    with pytest.raises(Cancelled):
        run_sessions(SessionPlan(cases, FAST), store, tick=token.cancel, cancel=token)
    assert len(SessionStore(store.path)) == 1


def test_a_case_without_large_structures_is_left_out_with_the_reason(cases, tmp_path):
    import SimpleITK as sitk

    label = tmp_path / "label.nii.gz"
    sitk.WriteImage(sitk.ReadImage(str(cases[0].label)) * 0, str(label))
    plan = SessionPlan((Case("small", cases[0].image, label),), FAST)
    (left,) = run_sessions(plan, SessionStore(tmp_path / "sessions.jsonl"))
    assert left.case == "small"
    assert "No structure is large enough" in left.reason


def one_session(policy: str = "equal") -> SessionRun:
    first = Round(0, 6, Action.PAINTED, 1, {1: 0.123456789, 2: 0.5}, 12.3456, 0.5)
    return SessionRun(replace(KEY, policy=policy), 0, (first, replace(first, number=1, action=Action.ACCEPTED)))


def test_a_session_reads_back_as_it_was_written(tmp_path: Path):
    store = SessionStore(tmp_path / "sessions.jsonl")
    store.add(one_session())
    (kept,), (back,) = store, SessionStore(store.path)
    assert kept == back
    assert back.rounds[0].dice == {1: 0.12346, 2: 0.5}
    assert back.rounds[1].action is Action.ACCEPTED


@pytest.mark.parametrize("letter", ["\u2028", "\x85", "\x0b", "\n"])
def test_a_reason_with_an_odd_end_of_line_is_read_back(tmp_path: Path, letter: str) -> None:
    store = SessionStore(tmp_path / "sessions.jsonl")
    failed = SessionRun(SessionKey("case", "method", "worst", 0, "1"), 0, (), f"first{letter}second")
    store.add(failed)
    assert list(SessionStore(store.path)) == [failed]


def test_a_session_whose_line_was_cut_off_is_run_again_and_hurts_no_other(tmp_path: Path):
    store = SessionStore(tmp_path / "sessions.jsonl")
    store.add(one_session())
    store.add(one_session("worst"))
    whole = store.path.read_bytes()
    for length in (len(whole) - 1, len(whole) - 30, len(whole) // 2 + 1):
        store.path.write_bytes(whole[:length])
        resumed = SessionStore(store.path)
        resumed.add(one_session("worst"))
        assert [s.key.policy for s in SessionStore(store.path)] == ["equal", "worst"]


@pytest.mark.slow
def test_two_processes_give_the_same_sessions_as_one(cases, tmp_path):
    one, two = SessionStore(tmp_path / "one.jsonl"), SessionStore(tmp_path / "two.jsonl")
    plan = SessionPlan(cases[:2], FAST, policies=(Policy.WORST,))
    run_sessions(plan, one)
    run_sessions(plan, two, jobs=2)
    assert figures(one) == figures(two)
