"""``napari-medmeta bench``: what its options ask for."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest

from napari_medmeta.bench.cases import find_cases
from napari_medmeta.bench.interactive_store import Policy
from napari_medmeta.bench.plan import Plan
from napari_medmeta.bench.protocol import Placement
from napari_medmeta.cli import bench, main
from napari_medmeta.cli.options import without_folders
from napari_medmeta.core.phantoms import simple_blobs
from napari_medmeta.io import write_image, write_labels


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cases")
    for seed, name in enumerate(("alpha_1", "beta_1", "beta_2")):
        phantom = simple_blobs(shape=(14, 32, 32), spacing_mm=(4.0, 1.5, 1.5), seed=seed)
        (root / name).mkdir()
        write_image(root / name / "image.nii.gz", phantom.volume.array, phantom.volume.geometry)
        write_labels(root / name / "label.nii.gz", phantom.labels, phantom.volume.geometry)
    small = root / "gamma_1"
    small.mkdir()
    write_image(small / "image.nii.gz", phantom.volume.array, phantom.volume.geometry)
    write_labels(small / "label.nii.gz", np.zeros_like(phantom.labels), phantom.volume.geometry)
    return root


def parsed(data: Path, *options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    bench.add_parser(parser.add_subparsers())
    return parser.parse_args(["bench", "--data", str(data), "--out", "out", *options])


def plan(data: Path, *options: str) -> Plan:
    args = parsed(data, *options)
    return bench._plan(args, bench._cases(args))


def test_the_defaults_are_those_of_the_judge(data):
    found = plan(data)
    assert found.ks == (1, 3, 5, 9)
    assert found.placements == (Placement.EVEN, Placement.RANDOM)
    assert [p.slug for p in found.paintings] == ["exact"]
    assert found.boundaries
    assert len(found.cases) == 4
    assert parsed(data).protocol == ("slices",)


def test_paintings_and_placements_are_lists(data):
    found = plan(data, "--painting", "exact,jitter-2,missed", "--placement", "random", "--k", "3,1", "--no-boundaries")
    assert [p.slug for p in found.paintings] == ["exact", "jitter-2", "missed"]
    assert (found.placements, found.ks, found.boundaries) == ((Placement.RANDOM,), (1, 3), False)


def test_slow_methods_run_on_one_case_of_every_source_unless_told_otherwise(data):
    few = plan(data, "--methods", "medmeta-shape")
    assert few.subset == {"alpha_1", "beta_1", "gamma_1"}
    assert plan(data, "--methods", "medmeta-shape", "--slow-subset", "all").subset is None
    assert plan(data, "--methods", "interpolation").subset is None


def test_the_covering_subset_can_be_all_there_is(data):
    assert [c.id for c in plan(data, "--subset", "covering").cases] == ["alpha_1", "beta_1", "gamma_1"]


def test_sources_and_ablations_stand_for_many_methods(data):
    assert "medmeta-shape" in plan(data, "--methods", "medmeta,sources").methods
    assert "medmeta-without-shape" in plan(data, "--methods", "ablations").methods


def test_sessions_take_the_quick_methods_and_one_case_of_every_source(data):
    cases = find_cases(data)
    found = bench._session_plan(parsed(data), cases)
    assert set(found.methods) >= {"interpolation-dome", "random-walker", "forest-position", "vote", "medmeta"}
    assert [c.id for c in found.cases] == ["alpha_1", "beta_1", "gamma_1"]
    assert found.policies == tuple(Policy)


def test_sessions_can_take_other_methods_than_the_slices(data):
    args = parsed(data, "--methods", "vote,medmeta", "--interactive-methods", "medmeta")
    cases = bench._cases(args)
    assert bench._plan(args, cases).methods == ("vote", "medmeta")
    assert bench._session_plan(args, cases).methods == ("medmeta",)


def test_policies_and_methods_of_sessions_can_be_chosen(data):
    options = ("--policies", "worst", "--methods", "interpolation", "--interactive-subset", "all")
    found = bench._session_plan(parsed(data, *options), find_cases(data))
    assert (found.policies, found.methods, len(found.cases)) == ((Policy.WORST,), ("interpolation",), 4)


def test_weights_are_given_by_method(data):
    assert plan(data, "--methods", "interpolation", "--weights", "labelprop=a/b.ckpt").weights == {
        "labelprop": Path("a/b.ckpt")
    }


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--protocol", "magic"), "--protocol magic does not exist"),
        (("--placement", "left"), "--placement left does not exist"),
        (("--policies", "best"), "--policies best does not exist"),
        (("--painting", "blue"), "no way of painting 'blue'"),
        (("--k", "0"), "numbers of example slices"),
        (("--jobs", "0"), "no number of processes"),
        (("--weights", "labelprop"), "names no file"),
        (("--weights", "medmeta-shape=DIR"), "names no method that takes weights"),
        (("--methods", "medmeta", "--weights", "medmeta=nowhere"), "There is no folder nowhere"),
        (("--cases", "nobody"), "no case nobody"),
        (("--methods", "magic"), "no method 'magic'"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_in_plain_words(data, tmp_path, capsys, options, words):
    out = tmp_path / "out"
    assert main(["bench", "--data", str(data), "--out", str(out), *options]) == 2
    assert words in capsys.readouterr().err


def test_a_whole_benchmark_tells_what_it_wrote_and_what_it_left_out(data, tmp_path, capsys):
    options = ["--methods", "interpolation-dome", "--k", "3", "--protocol", "slices,interactive", "--no-pictures"]
    assert main(["bench", "--data", str(data), "--out", str(tmp_path), *options]) == 0
    printed = capsys.readouterr().out
    for name in ("report.html", "report.md", "runs.csv", "sessions.csv"):
        assert (tmp_path / name).stat().st_size > 0
        assert name in printed
    assert "gamma_1" in (tmp_path / "report.md").read_text()


def test_the_command_in_the_report_names_no_folder():
    assert without_folders("/data/somebody/scans") == "scans"
    assert without_folders("labelprop=/data/somebody/a.ckpt") == "labelprop=a.ckpt"
    assert without_folders("--data=/data/somebody/scans/") == "--data=scans"
    assert without_folders(r"D:\somebody\scans") == without_folders("D:/somebody/scans") == "scans"
    assert without_folders("--k") == "--k"
