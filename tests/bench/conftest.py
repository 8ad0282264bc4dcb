"""Small synthetic cases on disk, and methods whose score is known beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from napari_medmeta.bench.cases import Case, find_cases
from napari_medmeta.core import LabelArray, Support, Volume
from napari_medmeta.core.phantoms import simple_blobs
from napari_medmeta.io import write_image, write_labels


@pytest.fixture(scope="session")
def cases_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cases")
    for seed, name in enumerate(("alpha_1", "beta_1", "beta_2")):
        phantom = simple_blobs(shape=(14, 32, 32), spacing_mm=(4.0, 1.5, 1.5), seed=seed)
        folder = root / name
        folder.mkdir()
        write_image(folder / "image.nii.gz", phantom.volume.array, phantom.volume.geometry)
        write_labels(folder / "label.nii.gz", phantom.labels, phantom.volume.geometry)
    (root / "unrelated").mkdir()
    return root


@pytest.fixture(scope="session")
def cases(cases_folder: Path) -> tuple[Case, ...]:
    return find_cases(cases_folder)


@dataclass(frozen=True)
class Fixed:
    """Returns the same labels whatever it is asked; stands for a method in tests of the judge."""

    labels: LabelArray
    name: str = "fixed"
    version: str = "1"

    def segment(self, volume: Volume, support: Support) -> LabelArray:
        return self.labels


@dataclass(frozen=True)
class Nothing:
    name: str = "nothing"
    version: str = "1"

    def segment(self, volume: Volume, support: Support) -> LabelArray:
        return np.zeros(support.shape, dtype=np.uint8)


@pytest.fixture
def fixed() -> type[Fixed]:
    return Fixed


@pytest.fixture
def nothing() -> Nothing:
    return Nothing()
