from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

from napari_medmeta.core import Geometry, InputError, Modality, StorageError
from napari_medmeta.core.measurements import Measurement, measure
from napari_medmeta.io import write_measurements
from napari_medmeta.io.measurements import COLUMNS


@pytest.fixture
def measured() -> list[tuple[str, Measurement]]:
    labels = np.zeros((2, 3, 6), np.uint8)
    labels[1, 1, 1:5] = 3
    image = np.full(labels.shape, -7, np.int16)
    found = measure(labels, image, Geometry.from_parts((2, 3, 6)), structure=3, modality=Modality.CT)
    return [("Liver, left", found), ("Cyst", Measurement(4, unit="HU"))]


def test_a_csv_file_has_a_row_for_each_structure(measured: list, tmp_path: Path) -> None:
    path = write_measurements(tmp_path / "out.csv", measured)
    with path.open(newline="", encoding="utf-8") as handle:
        liver, cyst = csv.DictReader(handle)
    assert list(liver) == list(COLUMNS)
    assert (liver["structure"], liver["label"], liver["volume_ml"], liver["voxels"]) == (
        "Liver, left",
        "3",
        "0.004",
        "4",
    )
    assert (liver["mean"], liver["sd"], liver["p50"], liver["unit"]) == ("-7.0", "0.0", "-7.0", "HU")
    assert (liver["longest_diameter_mm"], liver["perpendicular_mm"], liver["diameter_slice"]) == ("4.0", "1.0", "1")
    assert (liver["extent_left_right_mm"], liver["extent_head_foot_mm"]) == ("4.0", "1.0")
    assert (cyst["voxels"], cyst["mean"], cyst["longest_start_x_mm"]) == ("0", "", "")


def test_a_json_file_has_the_same_columns_and_says_what_they_are(measured: list, tmp_path: Path) -> None:
    found = json.loads(write_measurements(tmp_path / "out.json", measured).read_text(encoding="utf-8"))
    liver, cyst = found["structures"]
    assert list(liver) == list(found["columns"]) == list(COLUMNS)
    assert liver["longest_end_x_mm"] == 4.5
    assert cyst["longest_diameter_mm"] is None


def test_a_table_without_structures_has_its_header(tmp_path: Path) -> None:
    assert write_measurements(tmp_path / "out.csv", []).read_text().split(",")[:2] == ["structure", "label"]


def test_a_name_that_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=".csv or .json"):
        write_measurements(tmp_path / "out.xlsx", [])


def test_an_older_table_is_whole_when_the_disk_is_full(
    measured: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_measurements(tmp_path / "out.csv", measured)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="disk is full"):
        write_measurements(path, [])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
