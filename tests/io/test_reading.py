from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from napari_medmeta.core import (
    Geometry,
    GeometryMismatchError,
    InputError,
    Modality,
    UnreadableFileError,
    UnsupportedImageError,
)
from napari_medmeta.io import can_read, describe, read_labels, read_volume, write_image, write_labels
from napari_medmeta.io.modality import guess_modality

rng = np.random.default_rng


def ct_like() -> np.ndarray:
    array = rng(0).normal(40, 15, (20, 20, 20))
    array[:, :6] = -1000 + rng(1).normal(0, 5, (20, 6, 20))
    array[:, 6:8] = -100
    return array.round().astype(np.int16)


def test_hounsfield_units_are_ct() -> None:
    assert guess_modality(ct_like()) is Modality.CT


def test_hounsfield_units_stored_as_floats_are_ct() -> None:
    assert guess_modality(ct_like().astype(np.float32)) is Modality.CT


def test_padding_below_air_is_no_hindrance() -> None:
    array = ct_like()
    array[:, 0] = -3024
    assert guess_modality(array) is Modality.CT


@pytest.mark.parametrize(
    "array",
    [
        ct_like() + 1024,  # shifted CT cannot be told from MR
        rng(0).integers(0, 2000, (9, 9, 9)).astype(np.uint16),
        rng(0).integers(-4096, 4096, (9, 9, 9)).astype(np.int16),  # an MR phase image
        rng(0).normal(0, 300, (9, 9, 9)).astype(np.float32),
        np.zeros((3, 3, 3), np.uint8),
        np.full((3, 3, 3), -1000, np.int16),
    ],
)
def test_other_values_are_not_ct(array: np.ndarray) -> None:
    assert guess_modality(array) is Modality.OTHER


def test_every_real_case_is_guessed_right(shared_data: Path) -> None:
    with (shared_data / "cases.csv").open() as handle:
        rows = [row for row in csv.DictReader(handle) if "uint8" not in row["modality"]]
    for row in rows:
        volume = read_volume(shared_data / "cases" / row["case"] / "image.nii.gz")
        assert (volume.modality is Modality.CT) == ("CT" in row["modality"].split()), row["case"]


def test_labels_of_every_real_case_lie_on_their_scan(shared_data: Path) -> None:
    for folder in sorted((shared_data / "cases").iterdir()):
        volume = read_volume(folder / "image.nii.gz")
        labels, _ = read_labels(folder / "label.nii.gz", like=volume.geometry)
        assert labels.shape == volume.array.shape
        assert labels.any()


def test_whole_numbers_in_floats_are_labels(tmp_path: Path, grid: Geometry) -> None:
    array = np.zeros(grid.shape, np.float32)
    array[1] = 3
    labels, _ = read_labels(write_image(tmp_path / "labels.nii", array, grid))
    assert labels.dtype == np.uint8
    assert labels[1, 0, 0] == 3


@pytest.mark.parametrize("value", [0.5, -1.0, 256.0, np.nan, np.inf])
def test_a_scan_is_refused_as_labels(tmp_path: Path, grid: Geometry, value: float) -> None:
    array = np.zeros(grid.shape, np.float32)
    array[0, 0, 0] = value
    with pytest.raises(UnsupportedImageError, match="not a label image"):
        read_labels(write_image(tmp_path / "labels.nii", array, grid))


def test_labels_on_another_grid_are_refused_by_name(tmp_path: Path, grid: Geometry) -> None:
    path = write_labels(tmp_path / "labels.nii", np.ones(grid.shape, np.uint8), grid)
    with pytest.raises(GeometryMismatchError, match=r"labels\.nii does not lie on the scan's grid"):
        read_labels(path, like=Geometry.from_parts(grid.shape))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match=r"no file or folder scan\.nii"):
        read_volume(tmp_path / "scan.nii")


@pytest.mark.parametrize(
    ("name", "hint"), [("a.png", "picture"), ("a.zip", "Unpack"), ("a.hdr", "nii.gz"), ("a", "Choose")]
)
def test_another_file_is_refused_with_a_next_step(tmp_path: Path, name: str, hint: str) -> None:
    (tmp_path / name).write_bytes(b"something")
    with pytest.raises(UnreadableFileError, match=hint):
        read_volume(tmp_path / name)


def test_what_can_be_read_is_known_without_reading_it(tmp_path: Path, numbers: np.ndarray, grid: Geometry) -> None:
    assert can_read(write_image(tmp_path / "scan.NII.gz", numbers, grid))
    (tmp_path / "notes.txt").write_text("hello")
    assert not can_read(tmp_path / "notes.txt")
    assert not can_read(tmp_path / "missing.nii")


def test_a_folder_of_other_files_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    assert not can_read(tmp_path)


def test_a_scan_is_described_in_plain_values(tmp_path: Path, numbers: np.ndarray) -> None:
    grid = Geometry.from_parts((4, 6, 5), spacing_mm=(3, 0.75, 0.5))
    facts = describe(write_image(tmp_path / "scan.nii.gz", numbers, grid))
    assert json.loads(json.dumps(facts)) == {
        "kind": "NIfTI, compressed",
        "name": "scan",
        "shape": [4, 6, 5],
        "spacing_mm": [3.0, 0.75, 0.5],
        "size_mm": [12.0, 4.5, 2.5],
        "axis_codes": "SPL",
        "oblique": False,
        "tilted": False,
        "voxel_type": "int16",
        "modality": "other",
        "value_range": [1, 120],
        "notes": [],
    }


def test_what_cannot_be_opened_is_not_described(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        describe(tmp_path)
    with pytest.raises(InputError):
        describe(tmp_path / "missing.nii")
