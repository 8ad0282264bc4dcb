"""The tables hold what the runs say, and a page's own text survives."""

from __future__ import annotations

import csv
from dataclasses import replace

import pytest

from napari_medmeta.bench.report import Setting, write_csv, write_page
from napari_medmeta.bench.run import Plan, run_plan
from napari_medmeta.bench.store import Run, RunKey, RunStore
from napari_medmeta.bench.results import Results


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
    (loss,) = Results(runs).losses("vote")
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


def test_the_page_holds_the_tables_and_keeps_its_own_text(cases, tmp_path):
    store = RunStore(tmp_path / "runs.jsonl")
    plan = Plan(cases, ("interpolation", "interpolation-dome"))
    run_plan(plan, store)
    setting = Setting(plan, "napari-medmeta bench")
    page = write_page(tmp_path / "benchmarks.md", list(store), setting)
    page.write_text(page.read_text().replace("# Benchmarks\n", "# Benchmarks\n\nRounded ends help.\n") + "\nAfter.\n")
    write_page(page, list(store), setting)
    text = page.read_text()
    assert text.count("## Mean Dice on the slices that were not painted") == 1
    assert "Rounded ends help." in text
    assert text.rstrip().endswith("After.")
    assert "| interpolation | 0.000" in text


def test_the_csv_has_one_row_for_each_run_and_structure(cases, tmp_path):
    store = RunStore(tmp_path / "runs.jsonl")
    plan = Plan(cases[:1], ("interpolation-dome",), ks=(1, 3))
    run_plan(plan, store)
    path = write_csv(tmp_path / "runs.csv", list(store), Setting(plan, ""))
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert {(r["k"], r["structure"]) for r in rows} == {("1", "1"), ("1", "2"), ("3", "1"), ("3", "2")}
    assert all(0 <= float(r["dice"]) <= 1 for r in rows)
