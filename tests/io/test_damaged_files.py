"""Damaged files are refused with a sentence or open as what they still are; nothing crashes or hangs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_medmeta.core import Geometry
from napari_medmeta.io import write_image

COUNT = 500
SECONDS = 120


def read_damaged_copies(scan: Path, *, seed: int) -> dict[str, int]:
    """Run the batch in a process of its own and return how often what happened."""
    script = Path(__file__).with_name("fuzz_reading.py")
    done = subprocess.run(
        [sys.executable, str(script), str(scan), str(COUNT), str(seed)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, f"the process ended with {done.returncode}: {done.stderr[-2000:]}"
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["failures"] == []
    happened: dict[str, int] = report["happened"]
    return happened


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".mhd"])
def test_damaged_copies_of_a_file_are_refused_or_open_whole(
    suffix: str, numbers: np.ndarray, grid: Geometry, tmp_path: Path
) -> None:
    path = tmp_path / "only" / f"scan{suffix}"
    path.parent.mkdir()
    write_image(path, numbers, grid)
    happened = read_damaged_copies(path, seed=1)
    assert happened["refused"] > COUNT // 4


def test_damaged_slices_of_a_dicom_folder_are_refused_or_told(
    write_series: Callable[..., Path], numbers: np.ndarray
) -> None:
    happened = read_damaged_copies(write_series(numbers), seed=2)
    assert happened["refused"] > COUNT // 8


def test_damaged_copies_of_a_multiframe_file_are_refused_or_open_whole(
    write_multiframe: Callable[..., Path], numbers: np.ndarray
) -> None:
    happened = read_damaged_copies(write_multiframe(numbers, z=(0, 3, 6, 9)), seed=3)
    assert happened["refused"] > COUNT // 8
