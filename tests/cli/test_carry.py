"""The command that carries a prior segmentation, from files to files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import ndimage

from napari_medmeta.cli import main
from napari_medmeta.core import Geometry
from napari_medmeta.io import read_labels, write_image, write_labels

SHAPE = (16, 30, 30)


@pytest.fixture
def scans(tmp_path):
    """A prior scan with labels; today's is the same body 6 mm further to the left, on a cropped grid."""
    k = np.indices(SHAPE).astype(np.float32)
    texture = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=SHAPE), 2) * 60
    body = ((k[1] - 15) / 13) ** 2 + ((k[2] - 15) / 11) ** 2 < 1
    organ = ((k[0] - 8) / 4) ** 2 + ((k[1] - 14) / 6) ** 2 + ((k[2] - 13) / 5) ** 2 < 1
    image = (np.where(body, 100 + texture, 0) + 80 * organ).astype(np.float32)
    prior = Geometry.from_parts(SHAPE, spacing_mm=(3, 2, 2))
    today = Geometry.from_parts((14, 30, 30), spacing_mm=(3, 2, 2), origin_mm=(6, 0, 3))
    write_image(tmp_path / "prior.nii.gz", image, prior)
    write_labels(tmp_path / "labels.nii.gz", organ.astype(np.uint8), prior)
    write_image(tmp_path / "today.nii.gz", image[1:15], today)
    return tmp_path, today, organ[1:15]


def carry(folder, *more):
    names = [str(folder / f"{n}.nii.gz") for n in ("prior", "labels", "today")]
    return main(["carry", *names, "--output", str(folder / "out.nii.gz"), *more])


def test_labels_land_on_today_s_own_grid_beside_a_table_and_a_report(scans, capsys):
    folder, today, truth = scans
    more = ("--kind", "rigid", "--changes", str(folder / "c.csv"), "--report", str(folder / "r.json"))
    assert carry(folder, *more) == 0

    found, _ = read_labels(folder / "out.nii.gz", like=today)
    assert 2 * (found.astype(bool) & truth).sum() / (found.sum() + truth.sum()) > 0.9
    report = json.loads((folder / "r.json").read_text())
    assert report["kind"] == "rigid"
    assert report["stages"][0]["name"] == "rigid"
    assert 0 < report["expected_dice"]["1"] <= 1
    assert (folder / "c.csv").read_text().count("\n") == 2
    assert "expected Dice" in capsys.readouterr().out
    assert str(folder) not in (folder / "r.json").read_text()


def test_labels_of_another_scan_are_refused_and_nothing_is_written(scans, capsys):
    folder, _, _ = scans
    write_labels(folder / "labels.nii.gz", np.ones((4, 5, 6), np.uint8), Geometry.from_parts((4, 5, 6)))
    assert carry(folder) == 2
    assert "napari-medmeta:" in capsys.readouterr().err
    assert not (folder / "out.nii.gz").exists()


def test_a_table_of_an_unknown_kind_is_refused_at_once(scans, capsys):
    folder, _, _ = scans
    assert carry(folder, "--changes", str(folder / "c.xlsx")) == 2
    assert ".csv or .json" in capsys.readouterr().err


def test_an_unknown_kind_is_refused(scans):
    with pytest.raises(SystemExit, match="2"):
        carry(scans[0], "--kind", "magic")
