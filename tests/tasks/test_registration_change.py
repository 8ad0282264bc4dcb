"""Volumes then and now, and the tables that hold them."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from napari_medmeta.core import Geometry, InputError
from napari_medmeta.tasks.registration_change import volume_changes, write_changes


@pytest.fixture
def changes():
    prior, today = np.zeros((10, 10, 10), np.uint8), np.zeros((5, 10, 10), np.uint8)
    prior[:2], prior[2, :5] = 1, 2
    today[:2] = 1
    # 200 and 50 voxels of 1 mm³ then; 200 of 2 mm³ now.
    return volume_changes(
        prior,
        Geometry.from_parts((10, 10, 10)),
        today,
        Geometry.from_parts((5, 10, 10), spacing_mm=(2, 1, 1)),
        names={1: "Liver"},
    )


def test_volumes_are_counted_in_the_voxels_of_each_scan(changes):
    assert [(c.prior_ml, c.today_ml) for c in changes] == [(0.2, 0.4), (0.05, 0.0)]


def test_growth_is_told_in_millilitres_and_in_percent(changes):
    assert changes[0].change_ml == pytest.approx(0.2)
    assert changes[0].change_percent == pytest.approx(100)
    assert changes[0].in_words() == "Liver: 0.2 ml before, 0.4 ml today (+0.2 ml, +100 %)"


def test_a_structure_that_is_gone_has_shrunk_by_all_of_it(changes):
    assert changes[1].change_percent == pytest.approx(-100)
    assert changes[1].name == "structure 2"


def test_both_tables_say_the_same(changes, tmp_path):
    written = json.loads(write_changes(tmp_path / "t.json", changes).read_text())
    with write_changes(tmp_path / "t.csv", changes).open(newline="") as file:
        read = list(csv.DictReader(file))
    assert written[0] == {
        "structure": 1,
        "name": "Liver",
        "prior_ml": 0.2,
        "today_ml": 0.4,
        "change_ml": 0.2,
        "change_percent": 100.0,
    }
    assert [{k: str(v) for k, v in row.items()} for row in written] == read


def test_no_change_is_written_as_a_table_with_a_header(tmp_path):
    assert write_changes(tmp_path / "t.csv", ()).read_text().startswith("structure,name,prior_ml")


def test_another_kind_of_file_is_refused(changes, tmp_path):
    with pytest.raises(InputError, match=r"\.csv or \.json"):
        write_changes(tmp_path / "t.xlsx", changes)
