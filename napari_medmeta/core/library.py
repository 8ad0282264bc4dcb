"""What is kept of a structure for the next patient: scattered samples and a few numbers, no image and no name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from napari_medmeta.core.errors import InputError
from napari_medmeta.core.trust import require_trust
from napari_medmeta.core.types import FloatArray, MaskArray, Modality

__all__ = ["MAX_NAME", "MAX_SAMPLES", "Expected", "KeptSamples", "LibraryEntry", "same_name"]

MAX_SAMPLES = 20_000
"""More samples than this in one entry are no summary any more, and no file of ours."""

MAX_NAME = 100
"""Letters in the name of a structure."""


@dataclass(frozen=True, eq=False)
class KeptSamples:
    """Voxels drawn at random from one scan, in random order: what they look like and about where they lay.

    Parameters
    ----------
    features
        (n, C) float32: the engine's features, normalised over the scan's body.
    places
        (n, 3) float32: towards the patient's left, back and head; 0 and 1 are the ends of the scan's body.
    offsets_mm
        (n, 3) float32: the same directions, in mm from the structure's centre.
    inside
        (n,) bool: whether the voxel belongs to the structure.
    ml
        (n,) float32: for how much of the scan's body the sample stands.
    embedding
        (n, E) float32: the learnt embedding; None where it was not kept.

    Raises
    ------
    InputError
        When the arrays do not fit each other, hold numbers that are not finite, or are too many.
    """

    features: FloatArray
    places: FloatArray
    offsets_mm: FloatArray
    inside: MaskArray
    ml: FloatArray
    embedding: FloatArray | None = None

    def __post_init__(self) -> None:
        n = len(self.inside)
        shapes = (self.places.shape, self.offsets_mm.shape, self.inside.shape, self.ml.shape)
        fits = self.features.ndim == 2 and len(self.features) == n and shapes == ((n, 3), (n, 3), (n,), (n,))
        if not fits or not 0 < n <= MAX_SAMPLES:
            raise InputError("The samples of a library entry do not fit each other", expected="one row for each sample")
        learnt = () if self.embedding is None else (self.embedding,)
        if any(e.ndim != 2 or len(e) != n for e in learnt):
            raise InputError("The samples of a library entry do not fit each other", expected="one row for each sample")
        numbers: tuple[npt.NDArray[np.float32], ...] = (self.features, self.places, self.offsets_mm, self.ml, *learnt)
        if not all(np.isfinite(a).all() for a in numbers) or (self.ml <= 0).any():
            raise InputError("The samples of a library entry hold numbers that cannot be", expected="finite numbers")
        if self.inside.all() or not self.inside.any():
            raise InputError("A library entry needs samples of the structure and of its surroundings")


@dataclass(frozen=True, eq=False)
class LibraryEntry:
    """One structure of one scan, as kept in the library.

    Parameters
    ----------
    id
        Random, so that an entry that comes back from another computer is known again.
    structure, colour
        What the user calls it, and ``#rrggbb``.
    modality, spacing_mm
        The kind of scan it was learnt on; spacing along the patient's left, back and head.
    day
        The day it was kept (UTC, ``yyyy-mm-dd``): not the day of the scan.
    features
        The engine's name for its features; entries of other features cannot be compared.
    volume_ml, extent_mm
        Its size; extent towards the patient's left, back and head.
    largest_share
        Share of its volume in its largest connected body.
    samples
        What was drawn from the scan.
    encoder
        The engine's name for what made the samples' embedding; empty where none was kept.
    trust
        How many times as far as usual each source of evidence deserved trust there, by the source's name; empty where
        that was not looked at.
    """

    id: str
    structure: str
    colour: str
    modality: Modality
    spacing_mm: tuple[float, float, float]
    day: str
    features: str
    volume_ml: float
    extent_mm: tuple[float, float, float]
    largest_share: float
    samples: KeptSamples
    trust: Mapping[str, float] = field(default_factory=dict)
    encoder: str = ""

    def __post_init__(self) -> None:
        require_trust(self.trust)
        if not self.structure.strip() or len(self.structure) > MAX_NAME:
            raise InputError("A library entry needs a name", expected=f"1 to {MAX_NAME} letters, such as Liver")
        sizes = (self.volume_ml, self.largest_share, *self.extent_mm, *self.spacing_mm)
        if not all(math.isfinite(v) and v > 0 for v in sizes):
            raise InputError("The sizes of a library entry cannot be", expected="numbers above 0")

    @property
    def prototypes(self) -> FloatArray:
        """(2, C) float32: the mean features of the surroundings and of the structure."""
        inside = self.samples.inside
        return np.stack([self.samples.features[~inside].mean(0), self.samples.features[inside].mean(0)])


@dataclass(frozen=True, slots=True)
class Expected:
    """How well an entry's own samples are told apart by the other entries of its name.

    Parameters
    ----------
    dice
        Dice in [0, 1]; None where there is no other entry to ask.
    others
        How many entries were asked.
    """

    dice: float | None
    others: int


def same_name(a: str, b: str) -> bool:
    """Whether two structures are called the same, but for case and spaces."""
    return " ".join(a.split()).casefold() == " ".join(b.split()).casefold()
