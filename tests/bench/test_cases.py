"""Cases from folders and lists, and the subset that covers every source."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from napari_medmeta.bench.cases import Case, covering_subset, find_cases, load_case, source_of
from napari_medmeta.core import InputError


def write_csv(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def here(cases_folder: Path, tmp_path: Path) -> Path:
    """A folder with the link ``scans`` to the cases."""
    (tmp_path / "scans").symlink_to(cases_folder)
    return tmp_path


def test_a_csv_names_images_and_labels_relative_to_itself(here):
    path = write_csv(
        here / "mine.csv",
        "case,image,label,source,structures",
        "second,scans/beta_1/image.nii.gz,scans/beta_1/label.nii.gz,ward 3,1 cyst",
        "first,scans/alpha_1/image.nii.gz,scans/alpha_1/label.nii.gz,,",
    )
    first, second = find_cases(path)
    assert (first.id, first.source) == ("first", "first")
    assert (second.id, second.source, second.structure_names) == ("second", "ward 3", ((1, "cyst"),))
    assert load_case(second).volume.geometry.shape == (14, 32, 32)


def test_a_json_list_says_the_same(here):
    rows = [{"image": "scans/alpha_1/image.nii.gz", "label": "scans/alpha_1/label.nii.gz", "case": "a", "source": "x"}]
    (here / "mine.json").write_text(json.dumps(rows), encoding="utf-8")
    (case,) = find_cases(here / "mine.json")
    assert (case.id, case.source) == ("a", "x")
    assert load_case(case).truth.any()


def test_a_list_may_name_the_strokes_of_a_person(here):
    row = "a,scans/alpha_1/image.nii.gz,scans/alpha_1/label.nii.gz"
    path = write_csv(here / "mine.csv", "case,image,label,scribble", f"{row},scans/alpha_1/label.nii.gz")
    (case,) = find_cases(path)
    assert load_case(case).strokes is not None


def test_a_case_without_a_name_is_called_like_its_image(here):
    path = write_csv(here / "mine.csv", "image,label", "scans/alpha_1/image.nii.gz,scans/alpha_1/label.nii.gz")
    assert [c.id for c in find_cases(path)] == ["image"]


def test_only_some_cases_of_a_list_can_be_taken(here):
    path = write_csv(here / "mine.csv", "case,image,label", "a,x.nii,y.nii", "b,x.nii,y.nii")
    assert [c.id for c in find_cases(path, only=("b",))] == ["b"]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "case,image,label\na,x.nii,\n", "Row 1 of a.csv has no label"),
        ("a.csv", "case,image,label\na,x.nii,y.nii\na,z.nii,y.nii\n", "The case a stands twice"),
        ("a.csv", "case,image,label\n", "holds no case"),
        ("a.json", "{", "cannot be read"),
        ("a.json", '{"image": "x"}', "is no list of cases"),
    ],
)
def test_a_list_with_a_mistake_is_refused_in_plain_words(tmp_path, name, text, words):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=words):
        find_cases(tmp_path / name)


def test_a_folder_or_list_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="no folder or list"):
        find_cases(tmp_path / "nothing.csv")


def test_the_covering_subset_has_one_case_of_every_source_in_any_order(cases):
    expected = ["alpha_1", "beta_1"]
    assert [c.id for c in covering_subset(cases)] == expected
    assert [c.id for c in covering_subset(cases[::-1])] == expected


def test_the_covering_subset_takes_held_out_cases_first(cases):
    ids = ("acdc_001_ed", "acdc_002_ed", "cip_ct64_lung")
    some = [replace(case, id=name) for case, name in zip(cases, ids, strict=True)]
    assert [c.id for c in covering_subset(some)] == ["acdc_002_ed", "cip_ct64_lung"]


def test_the_covering_subset_passes_over_cases_that_cannot_be_judged(cases, tmp_path):
    broken = replace(cases[1], id="beta_0", label=tmp_path / "missing.nii.gz")
    assert [c.id for c in covering_subset([*cases, broken])] == ["alpha_1", "beta_1"]
    alone = covering_subset([broken])
    assert [c.id for c in alone] == ["beta_0"]


def test_the_covering_subset_of_the_real_cases_can_be_judged(shared_data: Path):
    found = find_cases(shared_data / "cases")
    chosen = covering_subset(found)
    assert len(chosen) == len({c.source for c in found}) == 11
    assert {c.id for c in chosen if c.is_development} == {"cip_ct64_lung"}


def test_a_source_is_what_comes_before_the_first_mark():
    assert Case("acdc_001_ed", Path(), Path()).source == source_of("acdc_001_ed") == "acdc"
