"""``napari-medmeta segment SCAN --from-library``: earlier patients in, a proposal out, without any painting."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_medmeta import cli
from napari_medmeta.core import Modality
from napari_medmeta.core.phantoms import Phantom, torso_ct
from napari_medmeta.engine.anatomy import maps_of
from napari_medmeta.engine.choices import engine_config
from napari_medmeta.engine.features import compute_features
from napari_medmeta.engine.keeping import learn
from napari_medmeta.engine.segmenter import Segmenter
from napari_medmeta.io import read_named_labels, write_image
from napari_medmeta.session.library import Library

LIVER, SPLEEN = 1, 2


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with liver and spleen of an earlier patient."""
    made = torso_ct(shape=(24, 56, 56), seed=0)
    maps = compute_features(made.volume, device=torch.device("cpu"))
    path = tmp_path_factory.mktemp("kept") / "library.medlib"
    Library(path).add(
        learn(maps, made.volume, made.labels, structure=s, name=name)
        for s, name in ((LIVER, "Liver"), (SPLEEN, "Spleen"))
    )
    return path


@pytest.fixture(scope="module")
def patient() -> Phantom:
    """The next patient."""
    return torso_ct(shape=(24, 56, 56), seed=2)


@pytest.fixture
def scan(tmp_path: Path, patient: Phantom) -> Path:
    return write_image(tmp_path / "scan.nii.gz", patient.volume.array, patient.volume.geometry)


def run(scan: Path, library: Path, output: Path, *more: str) -> int:
    words = ["segment", str(scan), "--from-library", "--library", str(library), "--output", str(output)]
    return cli.main([*words, "--device", "cpu", *more])


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_a_new_patient_is_segmented_without_any_painting(
    scan: Path, earlier: Path, patient: Phantom, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, report = tmp_path / "table.csv", tmp_path / "report.json"
    more = ("--structures", "spleen, LIVER", "--measurements", str(table), "--report", str(report))
    assert run(scan, earlier, tmp_path / "out.nrrd", *more) == 0
    found = read_named_labels(tmp_path / "out.nrrd")
    # Numbered in the order asked for, and called what the user called them.
    assert dict(found.names) == {1: "spleen", 2: "LIVER"}
    assert dice(found.labels == 2, patient.labels == LIVER) > 0.7
    assert [row["structure"] for row in csv.DictReader(table.read_text(encoding="utf-8-sig").splitlines())] == [
        "spleen",
        "LIVER",
    ]
    told = json.loads(report.read_text(encoding="utf-8"))
    assert told["library_entries"] == {"1": 1, "2": 1}
    assert set(told["expected_dice"]) == {"1", "2"}
    assert "LIVER (2): expected Dice" in capsys.readouterr().out


def test_a_series_gets_a_dicom_segmentation(
    earlier: Path, patient: Phantom, tmp_path: Path, write_ct_series: Callable[..., Path]
) -> None:
    series = write_ct_series(tmp_path / "series", patient.volume.array, spacing_mm=patient.volume.geometry.spacing_mm)
    assert run(series, earlier, tmp_path / "seg.dcm", "--quiet") == 0
    found = read_named_labels(tmp_path / "seg.dcm", source=series)
    # Without a choice all that the library keeps.
    assert dict(found.names) == {1: "Liver", 2: "Spleen"}
    assert found.labels.any()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--structures", "pancreas"), "The library keeps no pancreas. Expected: one of Liver, Spleen"),
        (("--structures", "liver,pancreas"), "The library keeps no pancreas"),
        (("--slices", "3"), "--slices belongs to --examples"),
        (("--axis", "0"), "--axis belongs to --examples"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_written(
    scan: Path, earlier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], words: str
) -> None:
    assert run(scan, earlier, tmp_path / "out.nii.gz", *more) == 2
    assert words.casefold() in capsys.readouterr().err.casefold()
    assert not (tmp_path / "out.nii.gz").exists()


def test_a_library_that_is_not_there_is_told(scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(scan, tmp_path / "none.medlib", tmp_path / "out.nii.gz") == 2
    assert "There is no library none.medlib" in capsys.readouterr().err
    # Looking for it does not make it.
    assert not (tmp_path / "none.medlib").exists()


def test_structures_of_another_kind_of_scan_are_named(
    scan: Path, earlier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mr.medlib"
    Library(path).add(replace(e, modality=Modality.MR) for e in Library(earlier).entries())
    assert run(scan, path, tmp_path / "out.nii.gz", "--structures", "liver") == 2
    assert "keeps the liver on MR scans only, and this one is CT" in capsys.readouterr().err
    assert run(scan, path, tmp_path / "out.nii.gz") == 2
    assert "keeps no structure on CT scans" in capsys.readouterr().err


def test_an_emptied_library_is_told(
    scan: Path, earlier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Library(earlier).export(tmp_path / "empty.medlib")
    Library(path).remove([e.id for e in Library(path).entries()])
    assert run(scan, path, tmp_path / "out.nii.gz") == 2
    assert "empty.medlib is empty" in capsys.readouterr().err


def test_examples_and_library_exclude_each_other(scan: Path, earlier: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        run(scan, earlier, tmp_path / "out.nii.gz", "--examples", str(scan))


def test_a_library_without_asking_for_it_is_refused(
    scan: Path, earlier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["segment", str(scan), "--examples", str(scan), "--library", str(earlier)]
    assert cli.main([*words, "--output", str(tmp_path / "out.nii.gz")]) == 2
    assert "--library belongs to --from-library" in capsys.readouterr().err


def test_the_memory_reads_only_what_was_kept_for_it(
    scan: Path, earlier: Path, patient: Phantom, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    memory = ("--learner", "memory_augmented", "--structures", "Liver")
    assert run(scan, earlier, tmp_path / "out.nrrd", *memory) == 2
    assert "memory could read" in capsys.readouterr().err
    before = torso_ct(shape=(24, 56, 56), seed=0)
    segmenter = Segmenter(device="cpu", config=engine_config("memory_augmented"))
    segmenter.set_volume(before.volume)
    kept = Library(tmp_path / "kept.medlib")
    kept.add([learn(maps_of(segmenter), before.volume, before.labels, structure=LIVER, name="Liver")])
    assert run(scan, kept.path, tmp_path / "out.nrrd", *memory) == 0
    found = read_named_labels(tmp_path / "out.nrrd").labels
    assert dice(found == 1, patient.labels == LIVER) > 0.6


def test_a_learner_without_a_memory_is_refused_with_the_library(
    scan: Path, earlier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(scan, earlier, tmp_path / "out.nrrd", "--learner", "siamese") == 2
    assert "knows of one scan only" in capsys.readouterr().err
    assert not (tmp_path / "out.nrrd").exists()
