"""Few-shot diagnosis judged: patients are grouped, draws are fair, proposals are kept, figures add up."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_medmeta.bench import diagnosis
from napari_medmeta.bench.cases import Case, find_cases
from napari_medmeta.bench.diagnosis_baselines import logistic_regression, nearest_volumes
from napari_medmeta.bench.diagnosis_patients import Patient, find_patients
from napari_medmeta.bench.document import Table
from napari_medmeta.core import InputError, Modality, Support, Volume, silent
from napari_medmeta.core.diagnosis import Feature, KnownCase, MeasuredCase, Quantity
from napari_medmeta.core.heart_phantoms import HEART_PHASES, beating_heart
from napari_medmeta.io import write_image, write_labels

FINDINGS = ("dilated cardiomyopathy", "hypertrophic cardiomyopathy")


class FakeEngine:
    """Proposes the painted slices and nothing else; counts how often it is asked."""

    version = "0+fake"
    asked = 0

    def __init__(self, **options: Any) -> None:
        pass

    def segment(self, volume: Volume, support: Support) -> np.ndarray:
        type(self).asked += 1
        return support.labels_and_known()[0]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two findings, two synthetic patients each, two phases each."""
    root = tmp_path_factory.mktemp("hearts")
    rows = []
    for f, finding in enumerate(FINDINGS):
        for seed in range(2):
            for phase, phantom in beating_heart(finding, seed=seed).items():
                name = f"p{f}{seed}_{phase[4:6]}"
                folder = root / name
                folder.mkdir()
                geometry = phantom.volume.geometry
                write_image(folder / "image.nii.gz", phantom.volume.array, geometry)
                write_labels(folder / "label.nii.gz", phantom.labels, geometry)
                rows.append((name, f"heart, {phase}", "1 right ventricle; 2 myocardium; 3 left ventricle", finding))
    with (root / "cases.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("case", "anatomy", "structures", "finding"))
        writer.writerows(rows)
    return root


def options(data: Path, out: Path, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    diagnosis.add_options(parser)
    found = parser.parse_args(words)
    found.data, found.out, found.seed, found.cases = data, out, 0, ()
    return found


def patients(counts: dict[str, int]) -> list[Patient]:
    return [Patient(f"{f}{n}", f, ()) for f, count in counts.items() for n in range(count)]


def test_scans_are_grouped_into_patients_with_their_phases(data: Path) -> None:
    found = find_patients(find_cases(data), data)
    assert [p.id for p in found] == ["p00", "p01", "p10", "p11"]
    assert {p.finding for p in found} == set(FINDINGS)
    assert all(tuple(phase for phase, _ in p.scans) == HEART_PHASES for p in found)


def test_cases_without_findings_are_refused(tmp_path: Path) -> None:
    case = Case("a_1", tmp_path / "i.nii.gz", tmp_path / "l.nii.gz")
    with pytest.raises(InputError, match="no two findings"):
        find_patients([case], tmp_path)


def test_every_draw_holds_as_many_of_each_finding() -> None:
    group = patients({"a": 3, "b": 5})
    for chosen in diagnosis.draws(group, 2, 50, np.random.default_rng(0)):
        assert sorted(group[i].finding for i in chosen) == ["a", "a", "b", "b"]
        assert len(set(chosen.tolist())) == 4


def test_the_same_seed_gives_the_same_draws_and_another_one_others() -> None:
    group = patients({"a": 4, "b": 4})
    first, again, other = (diagnosis.draws(group, 1, 30, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_balanced_accuracy_weighs_findings_not_patients() -> None:
    # One patient of a, always right; three of b, of whom one is right: (1 + 1/3) / 2.
    right = np.array([[1.0, 1.0, 0.0, 0.0], [1.0, np.nan, 0.0, 0.0]])
    found = diagnosis.balanced(right, np.array(["a", "b", "b", "b"]))
    assert found.mean == pytest.approx(2 / 3)
    assert found.low < found.mean < found.high


def test_the_interval_is_empty_where_all_patients_agree() -> None:
    found = diagnosis.balanced(np.ones((5, 4)), np.array(["a", "a", "b", "b"]))
    assert (found.low, found.mean, found.high) == (1, 1, 1)


def measured(volume: float, width: float) -> MeasuredCase:
    return MeasuredCase(Modality.MR, {Feature(Quantity.VOLUME, "x"): volume, Feature(Quantity.WIDTH, "x"): width})


def test_the_neighbour_looks_at_volumes_alone_and_the_regression_at_all() -> None:
    known = [
        KnownCase("1", "wide", "", measured(5.0, 9.0)),
        KnownCase("2", "wide", "", measured(5.4, 9.2)),
        KnownCase("3", "slim", "", measured(5.1, 1.0)),
        KnownCase("4", "slim", "", measured(5.5, 1.2)),
    ]
    asked = [measured(5.09, 9.1), measured(5.41, 1.1)]
    assert nearest_volumes(known, asked) == ["slim", "wide"]
    assert logistic_regression(known, asked) == ["wide", "slim"]


def test_an_asked_case_may_lack_a_measurement() -> None:
    known = [KnownCase("1", "a", "", measured(5.0, 9.0)), KnownCase("2", "b", "", measured(6.0, 1.0))]
    asked = [MeasuredCase(Modality.MR, {Feature(Quantity.VOLUME, "x"): 5.1})]
    assert nearest_volumes(known, asked) == ["a"]
    assert len(logistic_regression(known, asked)) == 1


def test_a_whole_evaluation_measures_both_kinds_of_masks_and_keeps_proposals(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "Engine", FakeEngine)
    FakeEngine.asked = 0
    cases, wanted = find_cases(data), options(data, tmp_path, "--draws", "6", "--shots", "1")
    found = diagnosis.evaluate(cases, wanted, silent)
    assert FakeEngine.asked == 8
    again = diagnosis.evaluate(cases, wanted, silent)
    assert FakeEngine.asked == 8, "proposals are kept in the folder of the run"
    assert again.rows == found.rows
    tables = [b for b in found.blocks if isinstance(b, Table)]
    assert [row[:2] for row in tables[0].rows] == [("painted masks", "1"), ("proposed masks (k = 3)", "1")]
    ours = [r for r in found.rows if r["method"] == diagnosis.OURS and r["masks"] == "painted masks"]
    # Four patients, six draws of two known ones: twelve are asked, and such different hearts are told apart.
    assert sum(int(str(r["asked"])) for r in ours) == 12
    assert sum(int(str(r["right"])) for r in ours) == 12


@pytest.mark.parametrize("words", [("--shots", "2"), ("--shots", "0"), ("--draws", "0"), ("--painted", "0")])
def test_settings_that_leave_nobody_to_recognise_are_refused(
    data: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    with pytest.raises(InputError):
        diagnosis.evaluate(find_cases(data), options(data, tmp_path, *words), silent)
    assert list(tmp_path.iterdir()) == []
