"""Where labelled volumes come from: synthetic anatomies, label maps without images, and a user's own scans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from napari_medmeta.core import InputError
from napari_medmeta.io import read_labels, read_volume
from napari_medmeta.training.anatomies import Anatomy, AnatomyConfig, Dice, random_anatomy, random_tissue, smooth_noise
from napari_medmeta.training.appearance import AppearanceConfig, random_image
from napari_medmeta.training.episodes import LabelledVolume

__all__ = ["LabelMaps", "Mixture", "Scans", "Source", "Synthetic", "find_sources"]

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")

MAX_LABELS = 255
"""More different values than this are grey values."""

TRIES = 200
"""Draws until a labelled voxel must have been hit, in all but the emptiest label maps."""

KEPT_VOLUMES = 24
"""Files that a process keeps open at once: whole heads are a few megabytes each as labels."""


class Source(Protocol):
    """Something that gives labelled volumes without end."""

    def draw(self, dice: Dice) -> LabelledVolume:
        """Return one labelled volume: the same draws give the same volume."""
        ...


@dataclass(frozen=True)
class Synthetic:
    """Synthetic anatomies with synthetic images."""

    anatomy: AnatomyConfig = field(default_factory=AnatomyConfig)
    appearance: AppearanceConfig = field(default_factory=AppearanceConfig)

    def draw(self, dice: Dice) -> LabelledVolume:
        """Return a new anatomy with a new image."""
        anatomy = random_anatomy(dice, self.anatomy)
        image = random_image(dice, anatomy, self.appearance)
        return LabelledVolume(image, anatomy.labels, anatomy.structures, anatomy.spacing_mm)


@dataclass(frozen=True)
class LabelMaps:
    """Real anatomies without images: each draw cuts a part, along any axis, and gives it a synthetic image.

    Parameters
    ----------
    files
        Label volumes.
    """

    files: tuple[Path, ...]
    anatomy: AnatomyConfig = field(default_factory=AnatomyConfig)
    appearance: AppearanceConfig = field(default_factory=AppearanceConfig)

    def draw(self, dice: Dice) -> LabelledVolume:
        """Return a part of one label map with a new image."""
        path = self.files[dice.integer(0, len(self.files) - 1)]
        labels, spacing = _labels_of(path)
        order = dice.permutation(3)
        turned = torch.from_numpy(labels).permute(order)
        anatomy = _part(turned, [spacing[a] for a in order], dice, self.anatomy)
        image = random_image(dice, anatomy, self.appearance)
        return LabelledVolume(image, anatomy.labels, anatomy.structures, anatomy.spacing_mm)


@dataclass(frozen=True)
class Scans:
    """A user's own labelled scans, as they are.

    Parameters
    ----------
    pairs
        Image and label files on one grid.
    """

    pairs: tuple[tuple[Path, Path], ...]

    def draw(self, dice: Dice) -> LabelledVolume:
        """Return one of the scans."""
        image, label = self.pairs[dice.integer(0, len(self.pairs) - 1)]
        return _scan_of(image, label)


@dataclass(frozen=True)
class Mixture:
    """Several sources, each drawn as often as its weight says."""

    sources: tuple[Source, ...]
    weights: tuple[float, ...]

    def draw(self, dice: Dice) -> LabelledVolume:
        """Return a volume of one of the sources."""
        chosen = int(torch.multinomial(torch.tensor(self.weights), 1, generator=dice.generator))
        return self.sources[chosen].draw(dice)


def find_sources(folders: Sequence[Path], *, share: float = 0.35) -> Source:
    """Return synthetic anatomies mixed with what lies in ``folders``.

    A folder with one sub-folder a case (image.*, label.*) gives scans; any other folder gives label maps, one
    a file, also in its sub-folders.

    Parameters
    ----------
    share
        How much of the episodes the folders give together.

    Raises
    ------
    InputError
        When a folder holds neither.
    """
    found: list[Source] = []
    for folder in folders:
        pairs = _pairs(folder)
        maps = () if pairs else tuple(sorted(p for p in folder.rglob("*") if p.name.endswith(SUFFIXES)))
        if not pairs and not maps:
            raise InputError(
                f"There is nothing to learn from in {folder}",
                expected="sub-folders with image.nii.gz and label.nii.gz, or label maps as .nii.gz, .nrrd or .mha",
            )
        found.append(Scans(pairs) if pairs else LabelMaps(maps))
    if not found:
        return Synthetic()
    return Mixture((Synthetic(), *found), (1 - share, *(share / len(found) for _ in found)))


def _pairs(folder: Path) -> tuple[tuple[Path, Path], ...]:
    pairs = []
    for case in sorted(p for p in folder.glob("*") if p.is_dir()):
        image, label = (
            next((f for s in SUFFIXES if (f := case / f"{n}{s}").exists()), None) for n in ("image", "label")
        )
        if image is not None and label is not None:
            pairs.append((image, label))
    return tuple(pairs)


@lru_cache(maxsize=KEPT_VOLUMES)
def _labels_of(path: Path) -> tuple[np.ndarray[tuple[int, int, int], np.dtype[np.uint8]], tuple[float, float, float]]:
    # As an image: label values above 255 are common in atlases, and only their order matters here.
    volume = read_volume(path)
    values = np.unique(volume.array)
    if len(values) > MAX_LABELS or not np.array_equal(values, np.round(values)):
        raise InputError(f"{path.name} is no label map", expected=f"at most {MAX_LABELS} different whole numbers")
    return np.searchsorted(values, volume.array).astype(np.uint8), volume.geometry.spacing_mm


@lru_cache(maxsize=KEPT_VOLUMES)
def _scan_of(image: Path, label: Path) -> LabelledVolume:
    volume = read_volume(image)
    labels, _ = read_labels(label, like=volume.geometry)
    normal = volume.geometry.through_plane_axis
    order = (normal, *(a for a in range(3) if a != normal))
    values = torch.from_numpy(labels.astype(np.int64)).permute(order).contiguous()
    d, h, w = (volume.geometry.spacing_mm[a] for a in order)
    grey = torch.from_numpy(np.asarray(volume.array, dtype=np.float32)).permute(order).contiguous()
    return LabelledVolume(grey, values, tuple(int(v) for v in values.unique() if v), (d, h, w))


def _nearest(labels: Tensor, grid: Tensor) -> Tensor:
    """Return labels at (..., 3) places in [-1, 1] (along W, H, D, as in torch's grid_sample); 0 outside."""
    size = torch.tensor([*reversed(labels.shape)])
    index = ((grid + 1) * size / 2).floor().long()
    inside = ((index >= 0) & (index < size)).all(-1)
    w, h, d = torch.minimum(index.clamp_min(0), size - 1).unbind(-1)
    return labels[d, h, w].long() * inside


def _labelled_voxel(labels: Tensor, dice: Dice) -> list[int]:
    """Return a voxel that is not background, so that no box around it is empty."""
    for _ in range(TRIES):
        voxel = [dice.integer(0, n - 1) for n in labels.shape]
        if int(labels[tuple(voxel)]):
            return voxel
    return [n // 2 for n in labels.shape]


def _part(labels: Tensor, spacing_mm: Sequence[float], dice: Dice, config: AnatomyConfig) -> Anatomy:
    """Cut a random box out of ``labels`` and sample it, warped, on a random grid."""
    pixel = dice.log_uniform(max(0.8, config.pixel_mm[0]), config.pixel_mm[1])
    thickness = pixel * dice.log_uniform(*config.ratio)
    depth = round(dice.uniform(*config.depth_mm) / thickness)
    shape = (
        min(max(depth, config.slices[0]), config.slices[1]),
        dice.integer(*config.in_plane),
        dice.integer(*config.in_plane),
    )
    target = (thickness, pixel, pixel)
    centre = _labelled_voxel(labels, dice)
    size = [n * s for n, s in zip(labels.shape, spacing_mm, strict=True)]
    places = []
    for axis in range(3):
        reach = shape[axis] * target[axis]
        middle = (centre[axis] + 0.5) * spacing_mm[axis]
        slack = max(0.0, 0.5 * size[axis] - 0.5 * reach)
        middle = 0.5 * size[axis] + min(max(middle - 0.5 * size[axis], -slack), slack)
        steps = (torch.arange(shape[axis]) - (shape[axis] - 1) / 2) * target[axis] + middle
        places.append(2 * steps / size[axis] - 1)
    grid = torch.stack(torch.meshgrid(*places, indexing="ij"), dim=-1).flip(-1)
    bend = dice.uniform(0.0, 4.0) * smooth_noise(dice, shape, target, scale_mm=30.0, channels=3).cpu()
    scale = torch.tensor([2 / s for s in reversed(size)])
    warped = grid + bend.movedim(0, -1) * scale
    values = _nearest(labels, warped)
    present = [int(v) for v in values.unique() if v]
    compact = torch.zeros(int(values.max()) + 1, dtype=torch.int64)
    for n, value in enumerate(present, start=1):
        compact[value] = n
    drawn = compact[values].to(dice.device)
    if dice.chance(0.8):
        # Most label maps name a few organs only; around them a scan shows tissue, not air.
        tissue = random_tissue(dice, shape, target)
        drawn = torch.where((drawn == 0) & (tissue > 0), tissue + len(present), drawn)
    return Anatomy(drawn, tuple(range(1, len(present) + 1)), target)
