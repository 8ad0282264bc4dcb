"""What is drawn from many runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from napari_medmeta.bench.results import Results, noisy_dice, split_by_coverage
from napari_medmeta.bench.store import Run, RunKey


def run(method: str, case: str, dice: float | None, *, k: int = 3, beyond: float = 0.5) -> Run:
    key = RunKey(case, method, k, "even", 0, "1")
    return Run(key, 0, (3,), dice={1: dice}, between={1: dice}, beyond={1: beyond}, seconds=1.0)


@pytest.fixture
def runs() -> list[Run]:
    return [
        run("medmeta", "a_1", 0.8),
        run("medmeta", "b_1", 0.6, beyond=0.2),
        run("vote", "a_1", 0.7),
        run("vote", "b_1", 0.9, beyond=0.4),
    ]


def test_the_mean_is_over_cases(runs):
    assert Results(runs).dice("medmeta", 3) == [0.8, 0.6]
    assert Results(runs).mean("vote", 3, lambda r: r.mean_dice) == pytest.approx(0.8)


def test_a_case_that_one_method_was_not_judged_on_counts_for_none(runs):
    results = Results([*runs, run("vote", "c_1", 1.0)])
    assert results.cases(3) == ("a_1", "b_1")


def test_a_case_without_a_scored_structure_does_not_count(runs):
    results = Results([*runs, run("vote", "c_1", None), run("medmeta", "c_1", None)])
    assert results.cases(3) == ("a_1", "b_1")


def test_the_best_peer_is_never_ours(runs):
    assert Results(runs).best_peer(3, "a_1") == ("vote", 0.7)


def test_a_loss_names_where_it_arises(runs):
    (loss,) = Results(runs).losses("vote", margin=0.005)
    assert (loss.case, loss.ours, loss.best_dice) == ("b_1", 0.6, 0.9)
    assert "between 0.60 to 0.90" in loss.where
    assert "beyond the ends 0.20 to 0.40" in loss.where


def test_methods_stand_in_the_order_they_were_asked_for(runs):
    assert Results(runs, order=("vote", "medmeta")).methods == ("vote", "medmeta")


def test_one_slow_run_does_not_change_what_is_typical(runs):
    slow = [*runs, replace(run("vote", "c_1", 0.5), seconds=500.0), run("medmeta", "c_1", 0.5)]
    assert Results(slow).typical("vote", lambda r: r.seconds) == 1.0


def test_expected_and_true_dice_stand_side_by_side(runs, tmp_path):
    sure = [replace(r, expected_dice={1: 0.9}) if r.key.method == "medmeta" else r for r in runs]
    assert Results(sure).expected_and_true("medmeta", 3) == [(0.9, 0.8), (0.9, 0.6)]
    assert Results(sure).expected_and_true("vote", 3) == []


def test_a_method_of_few_cases_is_left_out_and_ours_never(runs):
    kept, partial = split_by_coverage([*runs, run("unet", "a_1", 0.5)])
    assert partial == ["unet"]
    assert {r.key.method for r in kept} == {"medmeta", "vote"}
    kept, partial = split_by_coverage([run("medmeta", "a_1", 0.5), *(r for r in runs if r.key.method == "vote")])
    assert partial == []
    assert {r.key.method for r in kept} == {"medmeta", "vote"}


def test_ways_of_painting_are_compared_on_the_same_cases(runs):
    noisy = replace(runs[0], key=replace(runs[0].key, painting="jitter-1"), dice={1: 0.5})
    assert noisy_dice([*runs, noisy], 3, placement="even") == {"medmeta": {"exact": [0.8], "jitter-1": [0.5]}}


def test_a_method_that_was_not_asked_with_some_number_takes_nobody_out(runs):
    results = Results([*runs, *(replace(r, key=replace(r.key, k=5)) for r in runs if r.key.method == "vote")])
    assert results.cases(5) == ("a_1", "b_1")
    assert results.dice("medmeta", 5) == []


def test_the_worst_runs_come_lowest_first_without_failed_ones(runs):
    failed = replace(run("medmeta", "c_1", 0.0), failure="no")
    results = Results([*runs, failed, run("vote", "c_1", 0.5)])
    assert [r.key.case for r in results.worst(3, count=5)] == ["b_1", "a_1"]
