from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from napari_medmeta.core import InputError
from napari_medmeta.training.anatomies import Dice
from napari_medmeta.training.sources import LabelMaps, Mixture, Scans, Synthetic, find_sources


def _write(path: Path, array: np.ndarray, spacing: tuple[float, float, float] = (1.0, 1.0, 2.0)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path))


@pytest.fixture
def atlas() -> np.ndarray:
    labels = np.zeros((40, 48, 48), np.int16)
    labels[8:32, 10:40, 10:40] = 300
    labels[14:24, 16:30, 16:30] = 17
    return labels


def test_without_folders_everything_is_synthetic() -> None:
    assert isinstance(find_sources([]), Synthetic)


def test_a_folder_of_cases_gives_the_scans_as_they_are(tmp_path: Path, atlas: np.ndarray, dice: Dice) -> None:
    _write(tmp_path / "one" / "image.nii.gz", atlas.astype(np.float32))
    _write(tmp_path / "one" / "label.nii.gz", (atlas > 0).astype(np.uint8))
    source = find_sources([tmp_path])
    assert isinstance(source, Mixture)
    assert isinstance(source.sources[1], Scans)
    volume = source.sources[1].draw(dice)
    assert volume.spacing_mm == (2.0, 1.0, 1.0)
    assert volume.structures == (1,)
    assert volume.labels.shape == atlas.shape


def test_a_folder_of_label_maps_gives_parts_with_new_images(tmp_path: Path, atlas: np.ndarray) -> None:
    _write(tmp_path / "sub" / "atlas.nii.gz", atlas)
    source = find_sources([tmp_path])
    assert isinstance(source, Mixture)
    assert isinstance(source.sources[1], LabelMaps)
    seen = set()
    for seed in range(4):
        volume = source.sources[1].draw(Dice(torch.Generator().manual_seed(seed)))
        assert volume.image.shape == volume.labels.shape
        seen.update(volume.structures)
    assert seen == {1, 2}


def test_an_empty_folder_is_refused_with_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to learn from"):
        find_sources([tmp_path])


def test_a_grey_image_is_no_label_map(tmp_path: Path, dice: Dice) -> None:
    _write(tmp_path / "scan.nii.gz", np.random.default_rng(0).normal(size=(12, 12, 12)).astype(np.float32))
    with pytest.raises(InputError, match="no label map"):
        LabelMaps((tmp_path / "scan.nii.gz",)).draw(dice)
