"""Few-shot diagnosis on the command line: keep, ask, look after the cases."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from napari_medmeta import cli
from napari_medmeta.core.heart_phantoms import beating_heart
from napari_medmeta.io import write_image, write_labels
from napari_medmeta.session.diagnosis_library import CaseLibrary

NAMES = "1=right ventricle,2=myocardium,3=left ventricle"


def scans(folder: Path, finding: str, seed: int) -> list[str]:
    """Write one synthetic patient and return the options that name its scans."""
    words = ["--names", NAMES]
    for phase, phantom in beating_heart(finding, seed=seed).items():
        image, labels = (
            folder / f"Doe_{finding[:3]}{seed}_{phase}.nii.gz",
            folder / f"l_{finding[:3]}{seed}_{phase}.nii.gz",
        )
        write_image(image, phantom.volume.array, phantom.volume.geometry)
        write_labels(labels, phantom.labels, phantom.volume.geometry)
        words += ["--scan", str(image), str(labels), phase]
    return words


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hearts")


@pytest.fixture(scope="module")
def library(folder: Path) -> Path:
    file = folder / "cases.medcases"
    for finding in ("dilated cardiomyopathy", "hypertrophic cardiomyopathy"):
        words = ["diagnose", "--file", str(file), "keep", "--finding", finding, *scans(folder, finding, 0)]
        assert cli.main(words) == 0
    return file


def diagnose(library: Path, *words: str) -> int:
    return cli.main(["diagnose", "--file", str(library), *words])


def test_a_new_case_is_compared_and_the_answer_says_that_it_is_a_research_aid(
    library: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = folder / "report.json"
    patient = scans(folder, "hypertrophic cardiomyopathy", 1)
    assert diagnose(library, "ask", *patient, "--report", str(report)) == 0
    told = capsys.readouterr().out
    assert told.startswith("Research aid: not for diagnosis")
    assert "Most like hypertrophic cardiomyopathy" in told
    assert "Speaks for it:\n  " in told
    answer = json.loads(report.read_text(encoding="utf-8"))
    assert "not for diagnosis" in answer["notice"]
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-3)
    assert answer["speaks_for"]


def test_neither_names_of_files_nor_images_are_kept(library: Path) -> None:
    assert b"Doe" not in library.read_bytes()
    assert library.stat().st_size < 100_000


def test_the_list_names_findings_structures_and_phases(library: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert diagnose(library, "list") == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert "dilated cardiomyopathy" in first
    assert "left ventricle, myocardium, right ventricle at end-diastole, end-systole" in first


def test_an_empty_library_is_told_to_be_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert diagnose(tmp_path / "none.medcases", "list") == 0
    assert "empty" in capsys.readouterr().out


def test_cases_are_renamed_exported_removed_and_imported(
    library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy.medcases"
    assert diagnose(copy, "import", str(library)) == 0
    case = CaseLibrary(copy).cases()[0].id[:6]
    assert diagnose(copy, "rename", case, "large heart") == 0
    assert diagnose(copy, "export", str(tmp_path / "out.medcases")) == 0
    assert diagnose(copy, "remove", case) == 0
    assert diagnose(copy, "remove", case) == 2
    assert "No case of the library begins with" in capsys.readouterr().err
    assert CaseLibrary(tmp_path / "out.medcases").cases()[0].finding == "large heart"
    assert diagnose(copy, "remove", "") == 2
    assert len(CaseLibrary(copy).cases()) == 1


def test_many_cases_are_kept_at_once_from_a_list(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["case,patient,phase,finding,structures,image,label"]
    for finding in ("normal", "abnormal right ventricle"):
        words = scans(folder, finding, 0)
        for n, at in enumerate(i for i, word in enumerate(words) if word == "--scan"):
            image, labels, phase = words[at + 1 : at + 4]
            lines.append(f"{finding[:3]}{n},{finding[:3]},{phase},{finding},1 a; 2 b; 3 c,{image},{labels}")
    table = tmp_path / "list.csv"
    table.write_text("\n".join(lines), encoding="utf-8")
    file = tmp_path / "many.medcases"
    assert diagnose(file, "keep", "--from", str(table)) == 0
    assert CaseLibrary(file).findings() == ("abnormal right ventricle", "normal")
    assert diagnose(file, "check") == 0
    assert "Nothing can be checked yet" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("keep",), "not clear what to keep"),
        (("keep", "--finding", "x"), "A case needs its scans"),
        (("keep", "--finding", "x", "--scan", "one.nii.gz"), "A case needs its scans"),
        (("keep", "--finding", "x", "--scan", "a", "b", "--scan", "c", "d"), "same phase"),
        (("ask", "--scan", "a.nii.gz", "b.nii.gz"), "No case is kept yet"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    assert diagnose(tmp_path / "cases.medcases", *words) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_library_may_be_named_before_or_behind_the_action(
    library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert diagnose(library, "list") == 0
    before = capsys.readouterr().out
    assert "dilated" in before
    assert cli.main(["diagnose", "list", "--file", str(library)]) == 0
    assert capsys.readouterr().out == before
    assert cli.main(["diagnose", "--file", str(library), "list", "--file", str(tmp_path / "other.medcases")]) == 0
    assert "empty" in capsys.readouterr().out
