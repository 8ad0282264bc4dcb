"""A memory that outlasts the scan: what was confirmed on earlier scans is written from the library, and read here.

The memory-augmented network (learners/memory_augmented.py) with the library as its past: the entries of a structure
are written one after the other in the order in which they were kept. Before each write the memory is read for the
entry's own voxels, as it would have been on that scan; what was read counts as used, and when the memory is full the
rows of least usage give way (Santoro et al., ICML 2016, eq. 5 to 8). So the memory follows from the library alone, and
an entry that is removed leaves no trace.

What an entry holds of a slice that was painted, accepted or corrected are samples of the learnt embedding with their
place in the structure (core/library.py). Keys of two scans can be compared as the encoder takes its normalisation from
each scan itself (embedding.py); it was never trained to make them alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_medmeta.core import MissingExamplesError
from napari_medmeta.core.library import LibraryEntry
from napari_medmeta.core.types import FloatArray
from napari_medmeta.engine.anatomy import Grid
from napari_medmeta.engine.features import FeatureMaps
from napari_medmeta.engine.learners.memory_augmented import CHUNK, ExternalMemory, MemoryAugmentedLearner
from napari_medmeta.engine.learners.thinning import balanced

__all__ = ["LibraryMemory", "embedded_at", "written"]

ROWS, ROWS_AN_ENTRY = 512, 256
"""Rows of the memory of one structure, and at most so many from one entry: as many in all as are written of the
slices of one scan, so that from the third entry on the least used give way."""

ACROSS = 0.7
"""Of the structure's radius: the unit of places within a slice, as for the places on one scan (learners/base.py)."""


def embedded_at(maps: FeatureMaps, grid: Grid, index: npt.NDArray[np.int64]) -> FloatArray | None:
    """Return the (n, E) float32 learnt embedding at the pooled voxels of the flat ``index``; None where there is none.

    It is sampled in the middle of each pooled voxel.
    """
    if maps.embedding is None:
        return None
    # Without the spacing: in voxels of the scan.
    places = [torch.from_numpy(grid.coordinates_mm(axis, 1.0)) for axis in range(3)]
    plane, columns = grid.shape[1] * grid.shape[2], grid.shape[2]
    out = np.zeros((len(index), maps.embedding.maps.shape[0]), dtype=np.float32)
    order = np.argsort(index, kind="stable")
    firsts = index[order] // plane
    # Slab by slab: the embedding of the whole grid in single precision would not fit beside the maps.
    for i, rows in zip(*_runs(firsts, order), strict=True):
        slab = maps.embedding.sampled([places[0][i : i + 1], places[1], places[2]])[:, 0]
        j, k = np.divmod(index[rows] % plane, columns)
        out[rows] = slab[:, torch.from_numpy(j), torch.from_numpy(k)].T.cpu().numpy()
    return out


def _runs(values: npt.NDArray[np.int64], order: npt.NDArray[np.int64]) -> tuple[list[int], list[npt.NDArray[np.int64]]]:
    """Return each of the ascending ``values`` once, and the part of ``order`` where it stands."""
    starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]]) if len(values) else np.zeros(0, dtype=np.int64)
    return [int(values[s]) for s in starts], np.split(order, starts[1:]) if len(starts) else []


@dataclass(frozen=True, eq=False)
class LibraryMemory:
    """What the entries of one structure wrote.

    Parameters
    ----------
    unit_mm
        (3,) float32: the units of places towards the patient's left, back and head.
    """

    learner: MemoryAugmentedLearner
    memory: ExternalMemory
    unit_mm: Tensor

    @torch.inference_mode()
    def probability(self, embedded: FloatArray, offsets_mm: FloatArray) -> FloatArray:
        """Return (n,) float32: of (n, E) voxels at (n, 3) mm from the structure's centre, how likely each is in it."""
        queries, places = torch.from_numpy(embedded), _places(offsets_mm, self.unit_mm)
        parts = [
            self.learner.read(self.memory, q, p)[0].softmax(0)[1]
            for q, p in zip(queries.split(CHUNK), places.split(CHUNK), strict=True)
        ]
        return np.asarray(torch.cat(parts).numpy(), dtype=np.float32)


@torch.inference_mode()
def written(learner: MemoryAugmentedLearner, entries: Sequence[LibraryEntry], *, encoder: str) -> LibraryMemory:
    """Return the memory of a structure after ``entries`` were written one after the other.

    Parameters
    ----------
    encoder
        Name of the weights that embedded the scan to be asked about: what others embedded cannot be compared.

    Raises
    ------
    MissingExamplesError
        When none of them holds the embedding of that encoder.
    """
    usable = [e for e in entries if e.samples.embedding is not None and e.encoder == encoder]
    if not usable:
        raise MissingExamplesError(
            "The library keeps nothing of these structures that the memory could read",
            expected="structures kept with the same weights as those in use now",
            next_step="Keep them once more from a finished scan, or go on without this learner",
        )
    # A copy: the engine's own learner stays where the engine computes.
    learner = deepcopy(learner).cpu()
    radius = float(np.median([(3e3 * e.volume_ml / (4 * np.pi)) ** (1 / 3) for e in usable]))
    unit = torch.tensor([ACROSS * radius, ACROSS * radius, radius])
    memory = _empty(learner)
    for entry in usable:
        memory = _with_entry(learner, memory, entry, unit)
    return LibraryMemory(learner, memory, unit)


def _empty(learner: MemoryAugmentedLearner) -> ExternalMemory:
    nothing = learner.rows(torch.zeros(0, learner.value.in_features), torch.zeros(0, 3), torch.zeros(0, 2))
    return ExternalMemory.of(nothing, evictable=ROWS)


def _with_entry(
    learner: MemoryAugmentedLearner, memory: ExternalMemory, entry: LibraryEntry, unit: Tensor
) -> ExternalMemory:
    """Return the memory after reading for an entry's voxels and writing them."""
    inside = torch.from_numpy(entry.samples.inside.astype(np.int64))
    kept = balanced(inside, ROWS_AN_ENTRY)
    embedded = torch.from_numpy(np.asarray(entry.samples.embedding, dtype=np.float32))[kept]
    places = _places(entry.samples.offsets_mm, unit)[kept]
    rows = learner.rows(embedded, places, F.one_hot(inside[kept], 2).float())
    if len(memory.rows):
        memory = memory.used(learner.read(memory, embedded, places)[1])
    return memory.predicted(rows)


def _places(offsets_mm: FloatArray, unit: Tensor) -> Tensor:
    """Return (n, 3) places in the learner's order: along the body first, as along the stack of an axial scan."""
    return (torch.from_numpy(np.asarray(offsets_mm, dtype=np.float32)) / unit).flip(1)
