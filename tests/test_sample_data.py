"""sample_data/ holds what scripts/make_sample_data.py writes."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest


@pytest.fixture(scope="module")
def written(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample_data")
    subprocess.run([sys.executable, repo / "scripts" / "make_sample_data.py", folder], check=True)
    return folder


def voxels(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def test_the_checksums_fit_the_files(repo):
    lines = (repo / "sample_data" / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    for line in lines:
        digest, name = line.split()
        raw = gzip.decompress((repo / "sample_data" / name).read_bytes())
        assert hashlib.sha256(raw).hexdigest() == digest, name


def test_every_scan_has_a_checksum(repo):
    listed = {
        line.split()[1] for line in (repo / "sample_data" / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    }
    assert listed == {p.name for p in (repo / "sample_data").glob("*.nii.gz")}


@pytest.mark.parametrize("name", ["torso-ct", "brain-mr"])
def test_the_script_writes_the_same_scans_again(repo, written, name):
    # Another processor may round a voxel differently, so a few may differ by one unit.
    old, new = (voxels(f / f"{name}.nii.gz").astype(int) for f in (repo / "sample_data", written))
    assert np.mean(old != new) < 0.001
    assert np.abs(old - new).max() <= 20


@pytest.mark.parametrize("name", ["torso-ct-labels", "brain-mr-labels"])
def test_the_script_writes_the_same_truth_again(repo, written, name):
    old, new = (voxels(f / f"{name}.nii.gz") for f in (repo / "sample_data", written))
    assert np.mean(old != new) < 0.0001


def test_the_sample_data_stays_small(repo):
    assert sum(p.stat().st_size for p in (repo / "sample_data").iterdir()) < 3_000_000
