"""Slices looked at and seconds of attention, by hand."""

from __future__ import annotations

from napari_medmeta.bench.attention import (
    Sessions,
    accepted_share,
    dice_after_looks,
    dice_after_seconds,
    looks_to,
    seconds_of,
    seconds_to,
)
from napari_medmeta.bench.interactive_store import Action, Round, SessionKey, SessionRun


def session(
    *dice: dict[int, float], case: str = "a_1", method: str = "medmeta", accepted: int = 0, policy: str = "suggestion"
) -> SessionRun:
    """A session of 10 human seconds and 1 machine second a round; the last ``accepted`` rounds are accepted."""
    actions = [Action.PAINTED, *([Action.CORRECTED] * (len(dice) - 1 - accepted)), *([Action.ACCEPTED] * accepted)]
    rounds = tuple(Round(i, i, actions[i], 1, d, 10.0, 1.0) for i, d in enumerate(dice))
    return SessionRun(SessionKey(case, method, policy, 0, "1"), 0, rounds)


def test_seconds_are_those_of_human_and_machine_together():
    assert seconds_of(session({1: 0.5}, {1: 0.9})) == [11.0, 22.0]


def test_a_finished_session_keeps_its_dice():
    assert dice_after_looks(session({1: 0.5}, {1: 0.9}), 4).tolist() == [0.5, 0.9, 0.9, 0.9]


def test_a_session_is_cut_where_the_curve_ends():
    assert dice_after_looks(session({1: 0.5}, {1: 0.9}), 1).tolist() == [0.5]


def test_before_the_first_round_has_ended_there_is_nothing():
    assert dice_after_seconds(session({1: 0.5}, {1: 0.9}), [0, 10.9, 11, 21, 22, 500]).tolist() == [
        0.0,
        0.0,
        0.5,
        0.5,
        0.9,
        0.9,
    ]


def test_a_session_that_failed_at_once_has_nothing():
    assert dice_after_looks(session(), 2).tolist() == [0.0, 0.0]
    assert dice_after_seconds(session(), [0, 100]).tolist() == [0.0, 0.0]
    assert looks_to(session(), 0.85) is None


def test_a_goal_is_reached_when_every_structure_has_reached_it():
    run = session({1: 0.9, 2: 0.1}, {1: 0.9, 2: 0.8}, {1: 0.9, 2: 0.85})
    assert looks_to(run, 0.85) == 3
    assert seconds_to(run, 0.85) == 33.0


def test_a_goal_that_is_never_reached_has_no_count():
    assert looks_to(session({1: 0.5}), 0.85) is None
    assert seconds_to(session({1: 0.5}), 0.85) is None


def test_the_share_accepted_leaves_out_the_slice_painted_at_the_start():
    assert accepted_share([session({1: 0.5}, {1: 0.6}, {1: 0.9}, accepted=1)]) == 0.5
    assert accepted_share([session({1: 0.5})]) is None


def test_only_cases_that_every_method_was_judged_on_count():
    found = Sessions([session({1: 0.5}), session({1: 0.5}, case="b_1"), session({1: 0.4}, method="vote")])
    assert found.count == 1
    assert [s.key.case for s in found.of("medmeta", "suggestion")] == ["a_1"]
    assert found.of("medmeta", "random") == []


def test_methods_stand_in_the_order_they_were_asked_for():
    runs = [session({1: 0.5}), session({1: 0.4}, method="vote")]
    assert Sessions(runs, order=("vote", "medmeta")).methods == ("vote", "medmeta")


def test_ours_is_compared_as_it_is_used_and_with_the_policy_that_all_can_have():
    policies = [("medmeta", "suggestion"), ("medmeta", "equal"), ("medmeta", "random"), ("vote", "equal")]
    found = Sessions([session({1: 0.5}, method=m, policy=p) for m, p in policies])
    assert found.shown == (("medmeta", "suggestion"), ("medmeta", "equal"), ("vote", "equal"))
