"""Learn a structure of a finished scan for the next patient: scattered samples, never the image or the mask."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from napari_medmeta.core import Box, CancelToken, LabelArray, MissingExamplesError, Volume
from napari_medmeta.core.library import KeptSamples, LibraryEntry
from napari_medmeta.engine.adapted import adapted_trust
from napari_medmeta.engine.anatomy import Anatomy, Grid, coarse_grid, maps_of, survey
from napari_medmeta.engine.features import FeatureMaps, feature_count
from napari_medmeta.engine.library_memory import embedded_at
from napari_medmeta.engine.segmenter import Segmenter

__all__ = ["FEATURES", "KeepConfig", "detail_mm", "learn"]

FEATURES = f"gaussian-gradient-hessian-{feature_count()}-body-1"
"""Name of the features in the library; to be changed with them."""

Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class KeepConfig:
    """How much is kept of a structure.

    Parameters
    ----------
    inside, near, far
        Voxels drawn from the structure, from its surroundings, and from the rest of the body.
    most_share
        At most this share of the structure's voxels is kept: samples must not add up to a mask.
    near_mm
        How far the surroundings reach.
    most_voxels
        The scan is pooled until it holds at most so many voxels.
    """

    inside: int = 1200
    near: int = 1600
    far: int = 1200
    most_share: float = 0.25
    near_mm: float = 20.0
    most_voxels: int = 12_000_000


LEAST_INSIDE = 12
"""Fewer samples than this say nothing of a structure."""


def detail_mm(volume_ml: float) -> float:
    """Return the resolution at which a structure of this size is looked at: a twentieth of its diameter."""
    return float(np.clip(0.05 * (volume_ml * 1000) ** (1 / 3), 1.0, 3.0))


def learn(
    engine: Segmenter | FeatureMaps,
    volume: Volume,
    labels: LabelArray,
    *,
    structure: int,
    name: str,
    colour: str = "#e2703a",
    config: KeepConfig | None = None,
    seed: int = 0,
    cancel: CancelToken | None = None,
) -> LibraryEntry:
    """Return what is kept of one structure: samples, and how far each of the engine's sources deserved trust.

    Parameters
    ----------
    engine
        An engine that was given ``volume``, or the features of it; features alone say nothing of sources.
    labels
        (I, J, K) uint8: the finished segmentation.
    structure, name
        Its value in ``labels``, and what it is called.

    Raises
    ------
    MissingExamplesError
        When the structure is not there, or so small that its samples would give its shape away.
    Cancelled
        When ``cancel`` is set meanwhile.
    """
    config = config if config is not None else KeepConfig()
    mask = labels == structure
    count = int(np.count_nonzero(mask))
    if count == 0:
        raise MissingExamplesError(f"There is no {name} on this scan yet", next_step="Segment it first, then keep it")
    volume_ml = count * volume.geometry.voxel_volume_ml
    maps = maps_of(engine)
    anatomy = survey(maps, volume.geometry)
    grid = coarse_grid(maps, detail_mm(volume_ml), most=config.most_voxels)
    samples = _samples(anatomy, grid, mask, name, config, np.random.default_rng(seed))
    axis = volume.geometry.through_plane_axis
    trust = adapted_trust(engine, labels, structure, axis=axis, cancel=cancel) if isinstance(engine, Segmenter) else {}
    return LibraryEntry(
        id=uuid.uuid4().hex,
        structure=name,
        colour=colour,
        modality=volume.modality,
        spacing_mm=anatomy.spacing_mm,
        day=f"{datetime.now(UTC):%Y-%m-%d}",
        features=FEATURES,
        volume_ml=volume_ml,
        extent_mm=_extent(mask, anatomy),
        largest_share=_largest_share(mask),
        samples=samples,
        trust=trust,
        encoder=maps.embedding.encoder if maps.embedding is not None else "",
    )


def _samples(
    anatomy: Anatomy,
    grid: Grid,
    mask: npt.NDArray[np.bool_],
    name: str,
    config: KeepConfig,
    generator: np.random.Generator,
) -> KeptSamples:
    share = grid.pool(torch.from_numpy(mask)).numpy()
    spacing = [s * f for s, f in zip(anatomy.maps.spacing_mm, grid.factors, strict=True)]
    inside = share > 0.5
    if int(inside.sum() * config.most_share) < LEAST_INSIDE:
        raise MissingExamplesError(
            f"The {name} is too small to be kept: its samples would give its shape away",
            next_step="Keep larger structures only",
        )
    near = ~inside & (ndimage.distance_transform_edt(~inside, sampling=spacing) < config.near_mm)
    far = anatomy.body_on(grid) & ~inside & ~near
    voxel_ml = float(np.prod(spacing)) / 1000
    drawn: list[Index] = []
    weights: list[npt.NDArray[np.float32]] = []
    for where, most in ((inside, config.inside), (near, config.near), (far, config.far)):
        found = np.flatnonzero(where)
        most = min(most, int(len(found) * config.most_share))
        if most:
            drawn.append(generator.choice(found, most, replace=False))
            weights.append(np.full(most, len(found) * voxel_ml / most, dtype=np.float32))
    # In random order: the order of drawing would tell neighbours apart from strangers.
    order = generator.permutation(sum(len(d) for d in drawn))
    index, ml = np.concatenate(drawn)[order], np.concatenate(weights)[order]
    positions = anatomy.positions_mm(grid, index)
    centre = anatomy.positions_mm(grid, np.flatnonzero(inside)).mean(0)
    return KeptSamples(
        features=anatomy.features(grid, index),
        places=anatomy.places(positions),
        offsets_mm=(positions - centre).astype(np.float32),
        inside=inside.reshape(-1)[index],
        ml=ml,
        embedding=embedded_at(anatomy.maps, grid, index),
    )


def _extent(mask: npt.NDArray[np.bool_], anatomy: Anatomy) -> tuple[float, float, float]:
    box = Box.around(mask) or Box.whole(mask.shape)
    a, b, c = (box.shape[axis] * anatomy.maps.spacing_mm[axis] for axis in anatomy.axes)
    return a, b, c


def _largest_share(mask: npt.NDArray[np.bool_]) -> float:
    box = Box.around(mask) or Box.whole(mask.shape)
    bodies, _ = ndimage.label(mask[box.slices], structure=np.ones((3, 3, 3)))
    sizes = np.bincount(bodies.ravel())[1:]
    return float(sizes.max() / sizes.sum())
