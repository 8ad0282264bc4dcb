"""The benchmark of recall: who is known, what is copied, and what the tables say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from napari_medmeta import cli
from napari_medmeta.bench import recall
from napari_medmeta.bench.cases import Case, LoadedCase, find_cases
from napari_medmeta.bench.document import Table
from napari_medmeta.bench.recall_copy import Copied, copied_labels, nearest
from napari_medmeta.bench.recall_runs import MEMORY, Found, extent, groups_of, patient_of, tasks_of
from napari_medmeta.core import Geometry, Volume
from napari_medmeta.core.phantoms import torso_ct
from napari_medmeta.io import write_image, write_labels


def case(name: str, *, modality: str = "MR", anatomy: str = "heart") -> Case:
    return Case(name, Path("image.nii"), Path("label.nii"), modality, anatomy, ((1, "ventricle"),))


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("acdc_001_ed", "acdc_001"),
        ("brats_pat0001_1_t1c", "brats_pat0001_1"),
        ("chaos_t2_10", "chaos_t2_10"),
        ("la2018_06SR5RBR", "la2018_06SR5RBR"),
        ("msd_hippocampus_026", "msd_hippocampus_026"),
    ],
)
def test_a_patient_is_told_from_the_scans_of_one(name: str, patient: str) -> None:
    assert patient_of(name) == patient


def test_scans_of_one_kind_form_a_group_and_one_patient_alone_does_not() -> None:
    cases = [case("acdc_001_ed"), case("acdc_002_ed"), case("acdc_003_es", anatomy="small heart"), case("la2018_A")]
    groups = groups_of([*cases, case("acdc_003_ed", modality="CT"), case("acdc_003_es", modality="CT")])
    assert [[c.id for c in g.cases] for g in groups] == [["acdc_001_ed", "acdc_002_ed"]]


def test_a_patient_is_never_known_from_another_scan_of_the_same_patient() -> None:
    (group,) = groups_of(case(f"acdc_{n:03}_{phase}") for n in range(1, 5) for phase in ("ed", "es"))
    for task in tasks_of(group, most_targets=8, most_known=3, seed=0):
        assert patient_of(task.target.id) not in {patient_of(c.id) for c in task.known}
        assert len(task.known) == 3


def test_targets_are_drawn_alike_each_time_and_development_cases_are_among_them() -> None:
    (group,) = groups_of(case(f"acdc_{n:03}_ed") for n in range(1, 12))
    tasks = tasks_of(group, most_targets=3, most_known=2, seed=1)
    assert tasks == tasks_of(group, most_targets=3, most_known=2, seed=1)
    assert "acdc_001_ed" in {t.target.id for t in tasks}


def blob(shift: int) -> LoadedCase:
    """A bright block with a label of its own, ``shift`` voxels along the last axis."""
    truth = np.zeros((12, 24, 24), dtype=np.uint8)
    truth[3:9, 8:16, 4 + shift : 12 + shift] = 1
    grey = np.random.default_rng(0).normal(0, 1, truth.shape) + 40.0 * truth
    geometry = Geometry.from_parts(truth.shape, spacing_mm=(3.0, 1.5, 1.5))
    return LoadedCase(case("x"), Volume(grey.astype(np.float32), geometry), truth)


def test_copied_labels_follow_the_anatomy() -> None:
    target = blob(5)
    copied = copied_labels(blob(0), target)
    overlap = 2 * (copied.labels & target.truth).sum() / (copied.labels.sum() + target.truth.sum())
    before = 2 * (blob(0).truth & target.truth).sum() / (2 * target.truth.sum())
    assert before < 0.4
    assert overlap > 0.85


def test_the_most_alike_patient_is_copied() -> None:
    labels = np.zeros((1, 1, 1), dtype=np.uint8)
    best = Copied(labels, -0.8)
    assert nearest([Copied(labels, -0.2), best, Copied(labels, -0.5)]) is best


def test_a_structure_s_own_slices_reach_from_its_first_to_its_last() -> None:
    mask = np.zeros((3, 6, 3), dtype=bool)
    mask[1, 1, 1] = mask[0, 4, 2] = True
    assert extent(mask, axis=1) == (slice(None), slice(1, 5), slice(None))
    assert mask[extent(np.zeros_like(mask), axis=0)].size == 0


def found(name: str, recalled: float, *, structure: int = 1, development: bool = False) -> Found:
    return Found("heart", name, structure, 1, recalled, 0.5, 0.4, recalled + 0.05, 0.6, 0.7, development)


def test_structures_are_averaged_within_a_patient_first() -> None:
    found_ = [found("a", 0.9), found("a", 0.5, structure=2), found("b", 0.3)]
    (table, _) = (b for b in recall._blocks(found_) if isinstance(b, Table))
    ((_, known, patients, nothing, copied, memory, library, _, won, *own_slices),) = table.rows
    assert memory == "0.40"
    assert own_slices == ["0.60", "0.55"]
    assert (known, patients, nothing, copied, won) == ("1", "2", "0.00", "0.50", "50%")
    assert library.startswith("0.50 (")


def test_development_cases_stand_apart() -> None:
    blocks = recall._blocks([found("a", 0.9), found("b", 0.1, development=True)])
    tables = [b for b in blocks if isinstance(b, Table) and b.header[0] == "collection"]
    assert [t.rows[0][6][:4] for t in tables] == ["0.90", "0.10"]


@pytest.fixture
def patients(tmp_path: Path) -> Path:
    """Three synthetic patients of one collection with their livers."""
    rows = ["case,modality,anatomy,structures"]
    for seed in range(2):
        made = torso_ct(shape=(20, 48, 48), seed=seed)
        folder = tmp_path / "cases" / f"torso_{seed}"
        folder.mkdir(parents=True)
        write_image(folder / "image.nii.gz", made.volume.array, made.volume.geometry)
        write_labels(folder / "label.nii.gz", (made.labels == 1).astype(np.uint8), made.volume.geometry)
        rows.append(f"torso_{seed},CT,abdomen,1 liver")
    (tmp_path / "cases" / "cases.csv").write_text("\n".join(rows), encoding="utf-8")
    return tmp_path / "cases"


def test_the_command_measures_writes_and_goes_on_where_it_stopped(patients: Path, tmp_path: Path) -> None:
    out, page = tmp_path / "out", tmp_path / "page.md"
    words = ["evaluate", "recall", "--data", str(patients), "--out", str(out), "--report", str(page)]
    assert cli.main(words) == 0
    rows = [json.loads(line) for line in (out / "recall-runs-3-0.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {r["case"] for r in rows} == {"torso_0", "torso_1"}
    assert all(r["library"] == 1 and r["recalled"] > 0.6 for r in rows)
    assert all(r["recalled_within"] >= r["recalled"] for r in rows)
    assert all(0 < r["remembered"] != r["recalled"] for r in rows)
    assert "torso, CT, abdomen" in page.read_text(encoding="utf-8")
    before = (out / "recall-runs-3-0.jsonl").read_bytes()
    assert cli.main(words) == 0
    assert (out / "recall-runs-3-0.jsonl").read_bytes() == before


def test_cases_without_a_second_patient_are_refused(
    patients: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(find_cases(patients)) == 2
    words = ["evaluate", "recall", "--data", str(patients), "--out", str(tmp_path / "out"), "--cases", "torso_0"]
    assert cli.main(words) == 2
    assert "No two cases" in capsys.readouterr().err


def results(out: Path) -> dict[str, list[dict[str, float]]]:
    return {
        path.name: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for path in sorted(out.glob("*.jsonl"))
    }


def test_own_weights_of_the_memory_take_part_and_their_runs_are_kept_apart(patients: Path, tmp_path: Path) -> None:
    import torch

    from napari_medmeta.engine.learners.registry import save_modules, shipped_modules

    modules = shipped_modules(MEMORY)
    with torch.no_grad():
        for tensor in (p for module in modules.values() for p in module.parameters()):
            tensor.mul_(0.5)
    own, out = tmp_path / "own", tmp_path / "out"
    save_modules(own, MEMORY, modules, training={})
    words = ["evaluate", "recall", "--data", str(patients), "--out", str(out), "--targets", "1"]
    assert cli.main(words) == 0
    assert cli.main([*words, "--weights", str(own)]) == 0
    (_, (shipped,)), (_, (changed,)) = sorted(results(out).items(), key=lambda item: len(item[0]))
    assert shipped["remembered"] != changed["remembered"]
    assert shipped["recalled"] == changed["recalled"]


@pytest.mark.parametrize("application", ["recall", "diagnosis"])
def test_a_folder_without_weights_is_refused_before_anything_is_measured(
    patients: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], application: str
) -> None:
    out = tmp_path / "out"
    words = ["evaluate", application, "--data", str(patients), "--out", str(out), "--weights", str(tmp_path / "own")]
    if application == "diagnosis":
        rows = ["case,finding,patient", *(f"torso_{n},f{n},p{n}" for n in range(2))]
        (patients / "cases.csv").write_text("\n".join(rows), encoding="utf-8")
    assert cli.main(words) == 2
    assert "There is no folder" in capsys.readouterr().err
    assert list(out.iterdir()) == []
