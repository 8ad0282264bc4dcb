"""The judge cannot be fooled, and a run that was killed goes on to the same table."""

from __future__ import annotations

import inspect
import json
import pickle
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest

from napari_medmeta.bench import run as run_module
from napari_medmeta.bench.cases import Case, find_cases, load_case
from napari_medmeta.bench.methods import Method, build_methods
from napari_medmeta.bench.methods.vote import Vote
from napari_medmeta.bench.painting import parse_painting
from napari_medmeta.bench.protocol import Placement, make_task
from napari_medmeta.bench.run import Plan, keys_of, keys_of_plan, run_case, run_plan
from napari_medmeta.bench.store import Run, RunKey, RunStore
from napari_medmeta.core import Cancelled, CancelToken, InputError, LabelArray, MedmetaError, Support, Volume
from napari_medmeta.io import read_volume, write_labels

FAST = ("interpolation", "interpolation-dome")


def even(*args: Any, **changes: Any) -> Plan:
    """The plan of three numbers of evenly placed slices, without surfaces."""
    return Plan(*args, **{"ks": (1, 3, 5), "placements": (Placement.EVEN,), "boundaries": False, **changes})


def use(monkeypatch: pytest.MonkeyPatch, *methods: Method) -> tuple[str, ...]:
    monkeypatch.setattr(run_module, "build_methods", lambda names, **_: methods)
    return tuple(m.name for m in methods)


def scores(store: RunStore) -> dict[object, object]:
    return {run.key: (run.painted, dict(run.dice), dict(run.between), dict(run.beyond)) for run in store}


@dataclass
class Spy:
    """Keeps what it was given."""

    name: str = "spy"
    version: str = "1"
    seen: list[tuple[Volume, Support]] = field(default_factory=list)

    def segment(self, volume: Volume, support: Support) -> LabelArray:
        self.seen.append((volume, support))
        return np.zeros(support.shape, dtype=np.uint8)


def test_a_method_that_returns_the_truth_scores_1(cases, tmp_path, monkeypatch, fixed):
    loaded = load_case(cases[0])
    store = RunStore(tmp_path / "runs.jsonl")
    run_plan(even(cases[:1], use(monkeypatch, fixed(loaded.truth))), store)
    assert [run.mean_dice for run in store] == [1.0, 1.0, 1.0]


def test_a_method_that_returns_nothing_scores_0(cases, tmp_path, monkeypatch, nothing):
    store = RunStore(tmp_path / "runs.jsonl")
    run_plan(even(cases[:1], use(monkeypatch, nothing)), store)
    assert [run.mean_dice for run in store] == [0.0, 0.0, 0.0]


def test_a_method_is_handed_the_scan_and_the_painted_slices_by_its_very_signature():
    hints = get_type_hints(Method.segment)
    assert hints == {"volume": Volume, "support": Support, "return": LabelArray}
    assert list(inspect.signature(Method.segment).parameters) == ["self", "volume", "support"]


def test_what_a_method_is_handed_holds_no_voxel_of_an_unpainted_slice(cases, tmp_path, monkeypatch):
    spy = Spy()
    run_plan(even(cases[:1], use(monkeypatch, spy), ks=(3,)), RunStore(tmp_path / "runs.jsonl"))
    ((volume, support),) = spy.seen
    truth = load_case(cases[0]).truth
    assert len(support.examples) == 3
    for example in support.examples:
        # Each array owns its memory: no way back to the whole truth through a view's base.
        assert example.labels.base is None
        assert np.array_equal(example.labels, truth[example.ref.index])
    assert not np.shares_memory(volume.array, truth)


def test_what_a_method_is_handed_does_not_tell_where_the_files_are(cases, tmp_path, monkeypatch):
    spy = Spy()
    run_plan(even(cases[:1], use(monkeypatch, spy), ks=(1,)), RunStore(tmp_path / "runs.jsonl"))
    volume = spy.seen[0][0]
    assert volume.source is None
    assert cases[0].id not in volume.name
    assert volume.notes == ()


def test_a_method_cannot_change_the_scan_for_those_after_it(cases):
    with pytest.raises(ValueError, match="read-only"):
        load_case(cases[0]).volume.array[0] = 0


def test_the_order_of_cases_and_methods_changes_nothing(cases, tmp_path):
    first, second = RunStore(tmp_path / "a.jsonl"), RunStore(tmp_path / "b.jsonl")
    run_plan(even(cases, FAST), first)
    run_plan(even(cases[::-1], FAST[::-1]), second)
    assert scores(first) == scores(second)


def test_another_seed_changes_the_key_and_with_even_placement_nothing_else(cases, tmp_path):
    first, second = RunStore(tmp_path / "a.jsonl"), RunStore(tmp_path / "b.jsonl")
    run_plan(even(cases[:1], FAST), first)
    run_plan(even(cases[:1], FAST, seed=5), second)
    assert {replace(k, seed=0): v for k, v in scores(second).items()} == scores(first)


def test_another_seed_places_random_examples_elsewhere_and_changes_nothing_of_the_even_ones(cases, tmp_path):
    both, painted = (Placement.EVEN, Placement.RANDOM), {}
    for seed in (0, 1):
        store = RunStore(tmp_path / f"{seed}.jsonl")
        run_plan(even(cases[:1], FAST[1:], ks=(3,), placements=both, seed=seed), store)
        painted[seed] = {run.key.placement: run.painted for run in store}
    assert painted[0]["even"] == painted[1]["even"]
    assert painted[0]["random"] != painted[1]["random"]


def test_every_number_placement_and_painting_is_a_run_of_its_own(cases, tmp_path):
    store = RunStore(tmp_path / "runs.jsonl")
    paintings = (parse_painting("exact"), parse_painting("jitter-1"), parse_painting("axis-1"))
    both = (Placement.EVEN, Placement.RANDOM)
    run_plan(even(cases[:1], FAST[1:], ks=(1, 3), placements=both, paintings=paintings), store)
    keys = {(r.key.k, r.key.placement, r.key.painting) for r in store}
    assert len(store) == len(keys) == 2 * 2 * 3
    assert {r.axis for r in store if r.key.painting == "axis-1"} == {1}


def test_by_default_1_3_5_and_9_slices_lie_evenly_and_at_random_and_are_painted_exactly(cases):
    keys = keys_of(Plan(cases, FAST[1:]), cases[0])
    assert [(k.k, k.placement, k.painting) for k in keys] == [
        (k, where, "exact") for k in (1, 3, 5, 9) for where in ("even", "random")
    ]


def test_a_painting_of_level_0_scores_like_exact_painting(cases, tmp_path):
    store = RunStore(tmp_path / "runs.jsonl")
    slugs = ("exact", "jitter-0", "shift-0", "missed-0", "wrong-slice-0", "axis-0")
    run_plan(even(cases[:1], FAST[1:], ks=(3,), paintings=tuple(map(parse_painting, slugs))), store)
    assert len({(tuple(r.dice.items()), tuple(r.leak.items()), tuple(r.short.items())) for r in store}) == 1
    assert len(store) == len(slugs)


def test_strokes_are_asked_about_only_where_a_person_drew_some(cases_folder, tmp_path):
    shutil.copytree(cases_folder, tmp_path / "cases")
    label = read_volume(tmp_path / "cases" / "beta_1" / "label.nii.gz")
    strokes = label.array.astype(np.uint8)
    strokes[:, ::2] = 9
    write_labels(tmp_path / "cases" / "beta_1" / "scribble.nii.gz", strokes, label.geometry)
    found = find_cases(tmp_path / "cases")
    assert [c.strokes is not None for c in found] == [False, True, False]
    store = RunStore(tmp_path / "runs.jsonl")
    plan = even(found, FAST[1:], ks=(3,), paintings=(parse_painting("exact"), parse_painting("drawn")))
    assert run_plan(plan, store) == ()
    assert {r.key.case for r in store if r.key.painting == "drawn"} == {"beta_1"}
    assert len({r.key.case for r in store if r.key.painting == "exact"}) == 3


def test_strokes_that_mark_no_structure_leave_the_case_out_with_the_reason(cases_folder, tmp_path):
    shutil.copytree(cases_folder, tmp_path / "cases")
    label = read_volume(tmp_path / "cases" / "beta_1" / "label.nii.gz")
    write_labels(
        tmp_path / "cases" / "beta_1" / "scribble.nii.gz", np.full(label.array.shape, 9, np.uint8), label.geometry
    )
    store = RunStore(tmp_path / "runs.jsonl")
    (left,) = run_plan(
        even(find_cases(tmp_path / "cases"), FAST[1:], ks=(3,), paintings=(parse_painting("drawn"),)), store
    )
    assert left.case == "beta_1"
    assert "Nobody drew strokes" in left.reason
    assert len(list(store)) == 0


def test_slow_methods_run_on_the_subset_only(cases, tmp_path):
    plan = even(cases, ("interpolation-dome", "medmeta-shape"), ks=(3,), subset=frozenset({"beta_1"}))
    assert keys_of_plan(plan) == tuple(key for case in cases for key in keys_of(plan, case))
    assert [(k.case, k.method) for k in keys_of_plan(plan)] == [
        ("alpha_1", "interpolation-dome"),
        ("beta_1", "interpolation-dome"),
        ("beta_1", "medmeta-shape"),
        ("beta_2", "interpolation-dome"),
    ]
    store = RunStore(tmp_path / "runs.jsonl")
    run_plan(plan, store)
    assert len(store) == 4


def test_ends_are_scored_and_kept(cases, tmp_path, monkeypatch, nothing):
    store = RunStore(tmp_path / "runs.jsonl")
    run_plan(even(cases[:1], use(monkeypatch, nothing), ks=(3,)), store)
    (run,) = RunStore(store.path)
    assert set(run.leak.values()) == {0.0}
    assert all(v is not None and v > 0 for v in run.short.values())


def test_the_engine_tells_when_the_slice_on_screen_was_answered(cases, tmp_path):
    store = RunStore(tmp_path / "runs.jsonl")
    run_plan(even(cases[:1], ("medmeta", "interpolation-dome"), ks=(3,)), store)
    seconds = {r.key.method: (r.visible_seconds, r.seconds) for r in RunStore(store.path)}
    visible, whole = seconds["medmeta"]
    assert visible is not None
    assert 0 < visible < whole
    assert seconds["interpolation-dome"][0] is None


def test_what_was_kept_before_paintings_and_ends_were_known_can_be_read(tmp_path):
    path = tmp_path / "runs.jsonl"
    key = {"case": "a", "method": "m", "k": 3, "placement": "even", "seed": 0, "version": "1"}
    scores = {name: {"1": 0.5} for name in ("dice", "between", "beyond")}
    rest = {"surface_dice": {}, "hausdorff_mm": {}, "expected_dice": {}, "seconds": 1.0, "cpu_seconds": 1.0}
    old = {**key, "axis": 0, "painted": [3], **scores, **rest, "peak_mb": 1.0, "added_mb": 0.0, "failure": ""}
    path.write_text(json.dumps(old) + "\n")
    (run,) = RunStore(path)
    assert run.key == RunKey("a", "m", 3, "even", 0, "1")
    assert (run.key.painting, run.dice, run.leak, run.visible_seconds) == ("exact", {1: 0.5}, {}, None)


def test_two_processes_give_the_same_table_as_one(cases, tmp_path):
    one, two = RunStore(tmp_path / "one.jsonl"), RunStore(tmp_path / "two.jsonl")
    run_plan(even(cases[:2], FAST, ks=(1, 3)), one)
    run_plan(even(cases[:2], FAST, ks=(1, 3)), two, jobs=2)
    assert scores(one) == scores(two)


def test_a_run_of_our_engine_comes_back_from_another_process(cases):
    plan = even(cases[:1], ("medmeta",), ks=(3,))
    (run,) = run_case(plan, cases[0], frozenset(keys_of(plan, cases[0])))
    assert isinstance(run, Run)
    assert run.expected_dice
    assert pickle.loads(pickle.dumps(run)) == run


def test_finished_runs_are_not_repeated(cases, tmp_path, monkeypatch):
    spy = Spy()
    plan = even(cases[:1], use(monkeypatch, spy))
    run_plan(plan, RunStore(tmp_path / "runs.jsonl"))
    ticks: list[None] = []
    run_plan(plan, RunStore(tmp_path / "runs.jsonl"), tick=lambda: ticks.append(None))
    assert len(spy.seen) == 3
    assert len(ticks) == 3


def test_another_version_of_a_method_is_run_again(cases, tmp_path, monkeypatch):
    store = RunStore(tmp_path / "runs.jsonl")
    run_plan(even(cases[:1], use(monkeypatch, Spy()), ks=(1,)), store)
    newer = Spy(version="2")
    run_plan(even(cases[:1], use(monkeypatch, newer), ks=(1,)), store)
    assert len(newer.seen) == 1


def test_a_line_that_a_kill_cut_off_is_run_again(cases, tmp_path):
    path = tmp_path / "runs.jsonl"
    whole = RunStore(path)
    run_plan(even(cases[:1], FAST), whole)
    expected = scores(whole)
    path.write_text(path.read_text()[:-40])
    resumed = RunStore(path)
    assert len(resumed) == len(expected) - 1
    run_plan(even(cases[:1], FAST), resumed)
    assert scores(RunStore(path)) == expected


def test_a_method_that_fails_counts_as_0_and_says_why(cases, tmp_path, monkeypatch):
    class Failing(Spy):
        def segment(self, volume: Volume, support: Support) -> LabelArray:
            raise MedmetaError("The solver did not converge")

    store = RunStore(tmp_path / "runs.jsonl")
    run_plan(even(cases[:1], use(monkeypatch, Failing()), ks=(3,)), store)
    (run,) = store
    assert run.mean_dice == 0.0
    assert run.failure == "The solver did not converge."


def test_labels_of_another_shape_are_a_failure(cases, tmp_path, monkeypatch, fixed):
    store = RunStore(tmp_path / "runs.jsonl")
    run_plan(even(cases[:1], use(monkeypatch, fixed(np.zeros((2, 2, 2), np.uint8))), ks=(3,)), store)
    (run,) = store
    assert "(2, 2, 2)" in run.failure


def test_a_case_without_large_structures_is_left_out_with_the_reason(cases, tmp_path):
    import SimpleITK as sitk

    folder = tmp_path / "cases" / "small"
    folder.mkdir(parents=True)
    (folder / "image.nii.gz").write_bytes(cases[0].image.read_bytes())
    label = sitk.ReadImage(str(cases[0].label))
    sitk.WriteImage(label * 0, str(folder / "label.nii.gz"))
    skipped = run_plan(even(find_cases(tmp_path / "cases"), FAST), RunStore(tmp_path / "runs.jsonl"))
    assert [s.case for s in skipped] == ["small"]
    assert "No structure is large enough" in skipped[0].reason


def test_cancelling_keeps_what_is_finished(cases, tmp_path):
    token = CancelToken()
    store = RunStore(tmp_path / "runs.jsonl")
    with pytest.raises(Cancelled):
        run_plan(even(cases, FAST), store, tick=token.cancel, cancel=token)
    assert len(RunStore(tmp_path / "runs.jsonl")) == 1


def test_the_vote_asks_a_member_only_once(cases, monkeypatch):
    spy = Spy()
    names = use(monkeypatch, spy, Vote((spy, Spy(name="other"))))
    plan = even(cases[:1], names, ks=(3,))
    runs = list(run_case(plan, cases[0], frozenset(keys_of(plan, cases[0]))))
    assert len(spy.seen) == 1
    assert len(runs) == 2


def test_a_vote_costs_what_its_members_cost_together(cases):
    plan = even(cases[:1], ("interpolation-dome", "random-walker", "forest-position", "vote"), ks=(3,))
    runs = [r for r in run_case(plan, cases[0], frozenset(keys_of(plan, cases[0]))) if isinstance(r, Run)]
    *members, vote = runs
    assert vote.seconds >= sum(m.seconds for m in members)


def test_a_run_reads_back_as_it_was_written(cases, tmp_path):
    store = RunStore(tmp_path / "runs.jsonl")
    run_plan(even(cases[:1], ("interpolation-dome",), ks=(3,), boundaries=True), store)
    (written,), (back,) = store, RunStore(store.path)
    assert back.key == written.key
    assert back.surface_dice.keys() == written.surface_dice.keys()
    assert back.mean_dice == pytest.approx(written.mean_dice, abs=1e-4)
    assert json.loads(store.path.read_text())["painted"] == list(written.painted)


def test_cases_are_sub_folders_with_image_and_label(cases):
    assert [c.id for c in cases] == ["alpha_1", "beta_1", "beta_2"]
    assert [c.source for c in cases] == ["alpha", "beta", "beta"]


def test_a_manifest_beside_the_cases_names_structures(cases_folder, tmp_path):
    folder = tmp_path / "cases"
    folder.mkdir()
    (folder / "alpha_1").symlink_to(cases_folder / "alpha_1")
    (tmp_path / "cases.csv").write_text(
        "case,modality,anatomy,structures\nalpha_1,MRI T1,two balls,1 small ball; 2 big\n"
    )
    (case,) = find_cases(folder)
    assert case.structure_names == ((1, "small ball"), (2, "big"))


def test_a_folder_without_cases_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no case"):
        find_cases(tmp_path)


def test_a_case_that_is_not_there_is_refused(cases_folder):
    with pytest.raises(InputError, match="no case gamma"):
        find_cases(cases_folder, only=("gamma",))


def test_every_registered_peer_is_a_method():
    for method in build_methods(["interpolation", "random-walker", "forest", "vote", "medmeta"]):
        assert isinstance(method, Method)


def test_the_real_cases_give_77_tasks(shared_data: Path):
    usable = 0
    for case in find_cases(shared_data / "cases"):
        loaded = load_case(case)
        try:
            make_task(loaded.truth, loaded.volume.geometry, k=3)
        except InputError:
            continue
        usable += 1
    assert usable == 77


def test_cases_are_plain_values(cases):
    assert all(isinstance(c, Case) and c == replace(c) for c in cases)


def test_one_source_of_ours_can_stand_alone(cases):
    (method,) = build_methods(["medmeta-shape"])
    loaded = load_case(cases[0])
    task = make_task(loaded.truth, loaded.volume.geometry, k=3)
    proposal = method.propose(loaded.volume, task.support)
    assert {name for trust in proposal.trust.values() for name in trust} == {"shape"}


def test_a_source_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(InputError, match=r"no source 'magic'.*shape"):
        build_methods(["medmeta-magic"])
