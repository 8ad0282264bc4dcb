"""The worst cases as pictures: scan, truth and proposal on the slice that went wrong most.

Proposals are not kept with the runs, so they are made again; the same run gives the same answer. These pictures
show patients: they go into the page beside the runs, never into one that is published.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageColor
from scipy import ndimage

from napari_medmeta.bench.cases import load_case
from napari_medmeta.bench.document import Block, Photo, Text
from napari_medmeta.bench.methods import build_methods
from napari_medmeta.bench.protocol import Placement, Task, make_task
from napari_medmeta.bench.scores import region_dice
from napari_medmeta.bench.setting import Setting
from napari_medmeta.bench.store import Run
from napari_medmeta.core import Box, LabelArray, MaskArray, MedmetaError, Modality, Volume
from napari_medmeta.core.jobs import Progress, silent

__all__ = ["photo", "photos", "worst_slice"]

HEIGHT, WIDTH = 280, 360
"""Most pixels of one picture: three fit side by side on a page."""
MARGIN = 0.25
"""What is shown around the structures, as a share of their own width: enough to find one's way."""
SOFT_TISSUE_HU = (-160.0, 240.0)
"""The window of 400 around 40 HU that abdomens are read in; for structures of such values on CT."""
PERCENTILES = (1.0, 99.0)
NEAR = 10
"""Voxels around the structures whose greys must be told apart: air and bone far away may be black and white."""
FLIPPED = ("S", "A", "R")
"""Axes that grow this way are turned: the head and the patient's front at the top, their right on the left."""
COLOURS = ("#ff5a5f", "#3ec7ff", "#ffd23f", "#7bd88f", "#c792ea", "#ff9f43", "#54e0c7", "#f78fb3")
FILL = 0.25
OUTLINE = 2
GAP = 8


def photos(runs: Sequence[Run], setting: Setting, *, progress: Progress = silent) -> Iterator[Block]:
    """Yield a picture for each run of exactly painted examples, or the reason why there is none."""
    for number, run in enumerate(runs):
        progress(number / len(runs), f"picture {number + 1} of {len(runs)}: {run.key.case}")
        try:
            yield _photo_of(run, setting)
        except (MedmetaError, ArithmeticError, ImportError, MemoryError, OSError, RuntimeError, ValueError) as error:
            yield Text(f"{run.key.case}: there is no picture, as the proposal could not be made again ({error}).")
    progress(1.0, "pictures")


def worst_slice(labels: LabelArray, task: Task) -> int:
    """Return the slice along the task's axis with the most wrong voxels, among those that were not painted."""
    others = tuple(a for a in range(3) if a != task.axis)
    wrong = np.count_nonzero(labels != task.truth, axis=others)
    return int(np.argmax(np.where(task.scored, wrong, -1)))


def photo(volume: Volume, task: Task, labels: LabelArray, *, index: int) -> bytes:
    """Return scan, truth and proposal of one slice side by side as PNG, structures in colours, grey by percentiles.

    Parameters
    ----------
    index
        The slice along the task's axis.
    """
    geometry = volume.geometry
    rows, columns = (a for a in range(3) if a != task.axis)
    window = _window(task.truth, labels, axis=task.axis)
    flips = tuple(slice(None, None, -1 if geometry.axis_codes[a] in FLIPPED else 1) for a in (rows, columns))
    plane, truth, proposal = (
        np.take(a, index, axis=task.axis)[window][flips] for a in (volume.array, task.truth, labels)
    )
    size = _size(plane.shape, (geometry.spacing_mm[rows], geometry.spacing_mm[columns]))
    shown = (truth > 0) | (proposal > 0)
    grey = _grey(plane, limits=_limits(plane, shown, modality=volume.modality))
    grey = np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC).convert("RGB"))
    larger = (np.asarray(Image.fromarray(m).resize(size, Image.Resampling.NEAREST)) for m in (truth, proposal))
    return _png([grey, *(_coloured(grey, found, task.structures) for found in larger)])


def _photo_of(run: Run, setting: Setting) -> Photo:
    key = run.key
    loaded = load_case(setting.case_by_id[key.case])
    placement = Placement(key.placement)
    task = make_task(
        loaded.truth, loaded.volume.geometry, k=key.k, placement=placement, seed=key.seed, case_id=key.case
    )
    plan = setting.plan
    (method,) = build_methods((key.method,), device=plan.device, seed=key.seed, weights=plan.weights)
    labels = method.segment(loaded.volume, task.support)
    index = worst_slice(labels, task)
    here = np.arange(len(task.scored)) == index
    dice = [
        f"{setting.structure_name(key.case, s)} {run.dice.get(s) or 0:.2f} ({'none' if d is None else f'{d:.2f}'} here)"
        for s, d in region_dice(labels, task, slices=here).items()
    ]
    caption = (
        f"{key.case}: Dice {run.mean_dice or 0:.3f} with k={key.k}. Slice {index} of axis {task.axis}, painted were "
        f"{', '.join(map(str, task.painted))}. Scan, truth, proposal. {'; '.join(dice)}"
    )
    return Photo(photo(loaded.volume, task, labels, index=index), caption)


def _window(truth: LabelArray, labels: LabelArray, *, axis: int) -> tuple[slice, slice]:
    """Return the part of a slice that holds every structure on any slice, and a margin."""
    seen = np.any((truth > 0) | (labels > 0), axis=axis)
    box = Box.around(seen[None])
    if box is None:
        return slice(None), slice(None)
    out = []
    for part, size in zip(box.slices[1:], seen.shape, strict=True):
        margin = int(np.ceil((part.stop - part.start) * MARGIN))
        out.append(slice(max(part.start - margin, 0), min(part.stop + margin, size)))
    return out[0], out[1]


def _limits(plane: npt.NDArray[np.number], shown: MaskArray, *, modality: Modality) -> tuple[float, float]:
    """Return the values shown as black and as white."""
    low, high = SOFT_TISSUE_HU
    if modality is Modality.CT and shown.any() and low < np.median(plane[shown]) < high:
        return low, high
    near = ndimage.binary_dilation(shown, iterations=NEAR) if shown.any() else np.ones_like(shown)
    dark, bright = np.percentile(plane[near], PERCENTILES)
    return float(dark), float(bright)


def _grey(plane: npt.NDArray[np.number], *, limits: tuple[float, float]) -> npt.NDArray[np.uint8]:
    low, high = limits
    grey = np.clip((plane.astype(np.float32) - low) / max(high - low, 1e-6), 0.0, 1.0) * 255
    return np.asarray(grey.astype(np.uint8))


def _size(shape: Sequence[int], pixel_mm: tuple[float, float]) -> tuple[int, int]:
    """Return (width, height) in pixels: as high or as wide as allowed, in true proportions."""
    height_mm, width_mm = shape[0] * pixel_mm[0], shape[1] * pixel_mm[1]
    scale = min(HEIGHT / height_mm, WIDTH / width_mm)
    return max(1, round(width_mm * scale)), max(1, round(height_mm * scale))


def _coloured(
    grey: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8], structures: Sequence[int]
) -> npt.NDArray[np.uint8]:
    out = grey.astype(np.float32)
    for number, structure in enumerate(structures):
        mask = labels == structure
        colour = np.array(ImageColor.getrgb(COLOURS[number % len(COLOURS)]), dtype=np.float32)
        out[mask] = (1 - FILL) * out[mask] + FILL * colour
        out[mask & ~ndimage.binary_erosion(mask, iterations=OUTLINE)] = colour
    return out.astype(np.uint8)


def _png(panels: Sequence[npt.NDArray[np.uint8]]) -> bytes:
    gap = np.zeros((panels[0].shape[0], GAP, 3), dtype=np.uint8)
    row = np.concatenate([part for panel in panels for part in (panel, gap)][:-1], axis=1)
    out = io.BytesIO()
    Image.fromarray(row).save(out, format="PNG", optimize=True)
    return out.getvalue()
