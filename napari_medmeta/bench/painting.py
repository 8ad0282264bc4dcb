"""How the simulated radiologist paints an example slice: exactly, as people err, in strokes, on another axis.

============== =========================================================================================
``exact``      the slice of the truth
``jitter-N``   the outline wobbles: displaced by a smooth random field of N mm standard deviation
``shift-N``    each structure is drawn N mm too large or too small, the same way on every slice
``missed-N``   N times, a structure is forgotten on one of the slices that show it
``wrong-slice-N`` one example holds the labels of the slice N further on
``scribbles``  a stroke along the middle of each structure, and one around all of them for the background
``axis-N``     slices along the Nth array axis after the through-plane one
``drawn``      strokes that a person drew, from the case's own file
============== =========================================================================================

Level 0 is exact painting. Observers differ by 2 mm (spinal cord), 4 mm (oesophagus) and 7 mm (heart) on
average (Collier et al., Journal of Applied Clinical Medical Physics 2003, 4:17), so 1 to 4 are real levels for
``jitter`` and ``shift``. Everything random is drawn from the names of case, mode and slice and the seed, so
that neither the order of the runs nor the other examples change it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.morphology import skeletonize

from napari_medmeta.bench.methods.interpolation import signed_distance_mm
from napari_medmeta.core import BACKGROUND, InputError, LabelArray, MaskArray, SliceExample, SliceRef

__all__ = [
    "EXACT",
    "Mode",
    "Painting",
    "drawn",
    "jittered",
    "paint",
    "parse_painting",
    "scribbled",
    "seeded",
    "shifted",
]

WOBBLE_MM = 5.0
"""Over this length an outline errs to one side: about the width of a fingertip's brush stroke on a scan."""
STROKE_VOXELS = 3
"""Width of a scribble: a thin brush."""
RING_MM = 6.0
"""How far outside of all structures the background stroke runs: clearly off them, near enough to tell their edge."""
KEPT = 0.5
"""Share of a middle line or ring that is drawn, in pieces, as nobody traces all of it (ScribblePrompt, ECCV 2024)."""


class Mode(StrEnum):
    """A way to paint examples."""

    EXACT = "exact"
    JITTER = "jitter"
    SHIFT = "shift"
    MISSED = "missed"
    WRONG_SLICE = "wrong-slice"
    SCRIBBLES = "scribbles"
    AXIS = "axis"
    DRAWN = "drawn"


_WITHOUT_LEVEL = frozenset({Mode.EXACT, Mode.SCRIBBLES, Mode.DRAWN})
_ONCE = frozenset({Mode.MISSED, Mode.WRONG_SLICE})
_COUNTED = _ONCE | {Mode.AXIS}
"""Their level is a whole number."""


@dataclass(frozen=True, slots=True)
class Painting:
    """A mode with its level; 0 is exact painting."""

    mode: Mode = Mode.EXACT
    level: float = 0.0

    @property
    def slug(self) -> str:
        """Name on the command line and in the store, such as ``jitter-1`` or ``missed``."""
        if self.mode in _WITHOUT_LEVEL or (self.mode in _ONCE and self.level == 1):
            return self.mode.value
        return f"{self.mode.value}-{self.level:g}"

    def axis(self, through_plane: int) -> int:
        """Return the array axis of the example slices."""
        return (through_plane + int(self.level)) % 3 if self.mode is Mode.AXIS else through_plane


EXACT = Painting()


def parse_painting(slug: str) -> Painting:
    """Return the painting of a slug; a level left out is 1.

    Raises
    ------
    InputError
        When there is no such mode, or its level makes no sense.

    Examples
    --------
    >>> parse_painting("jitter-0.5"), parse_painting("missed").slug
    (Painting(mode=<Mode.JITTER: 'jitter'>, level=0.5), 'missed')
    """
    name, _, number = slug.rpartition("-")
    try:
        level = float(number)
    except ValueError:
        name, level = slug, 1.0
    mode = next((m for m in Mode if m.value == name), None)
    # An axis, a slice or a forgotten structure cannot be had by halves.
    whole = mode not in _COUNTED or level == int(level)
    if mode is None or not 0 <= level < math.inf or not whole or (mode in _WITHOUT_LEVEL and name != slug):
        raise InputError(f"There is no way of painting {slug!r}", expected=f"one of {', '.join(Mode)}, with a level")
    return Painting(mode, 0.0 if mode in _WITHOUT_LEVEL else level)


def seeded(*words: object) -> np.random.Generator:
    """Return a generator that depends on ``words`` alone."""
    digest = hashlib.blake2b("/".join(str(w) for w in words).encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def paint(
    truth: LabelArray,
    refs: Sequence[SliceRef],
    painting: Painting,
    *,
    spacing_mm: tuple[float, float, float],
    seed: int,
    case_id: str,
) -> tuple[SliceExample, ...]:
    """Return the examples of the slices ``refs`` of ``truth`` (I, J, K), painted in this way.

    Each array is a copy of its own: a view would keep the whole truth within reach.
    """
    words = (case_id, painting.slug, seed)
    slices = {ref: np.array(truth[ref.slicer]) for ref in refs}
    known = {ref: np.ones(labels.shape, dtype=bool) for ref, labels in slices.items()}
    level, structures = painting.level, [int(v) for v in np.unique(truth) if v != BACKGROUND]
    if painting.mode is Mode.MISSED:
        _forget(slices, int(level), seeded(*words))
    elif painting.mode is Mode.WRONG_SLICE:
        _mistake_slice(slices, truth, int(level), seeded(*words))
    for ref, labels in slices.items():
        rng = seeded(*words, ref.index)
        plane = _plane(spacing_mm, ref.axis)
        if painting.mode is Mode.JITTER:
            slices[ref] = jittered(labels, level, plane, rng)
        elif painting.mode is Mode.SHIFT:
            signs = {s: seeded(*words, "structure", s).choice((-1, 1)) for s in structures}
            slices[ref] = shifted(labels, {s: level * sign for s, sign in signs.items()}, plane)
        elif painting.mode is Mode.SCRIBBLES:
            known[ref] = scribbled(labels, plane, rng)
    return tuple(SliceExample(ref, np.where(known[ref], labels, 0), known[ref]) for ref, labels in slices.items())


def drawn(strokes: LabelArray, refs: Sequence[SliceRef], structures: Sequence[int]) -> tuple[SliceExample, ...]:
    """Return the examples of the slices ``refs`` of ``strokes`` (I, J, K), as a person drew them.

    A stroke on ``structures`` or on the background (0) is known, every other value says nothing.
    """
    examples = []
    for ref in refs:
        labels = np.array(strokes[ref.slicer])
        known = np.isin(labels, (BACKGROUND, *structures))
        examples.append(SliceExample(ref, np.where(known, labels, np.uint8(BACKGROUND)), known))
    return tuple(examples)


def jittered(
    labels: LabelArray, level_mm: float, spacing_mm: tuple[float, float], rng: np.random.Generator
) -> LabelArray:
    """Return (R, C) labels displaced by a smooth field of ``level_mm`` standard deviation."""
    where = np.indices(labels.shape, dtype=np.float64)
    for axis, spacing in enumerate(spacing_mm):
        where[axis] += _smooth_noise(labels.shape, spacing_mm, rng) * level_mm / spacing
    return np.asarray(ndimage.map_coordinates(labels, where, order=0, mode="nearest"), dtype=np.uint8)


def shifted(labels: LabelArray, by_mm: Mapping[int, float], spacing_mm: tuple[float, float]) -> LabelArray:
    """Return (R, C) labels with each structure's outline moved outwards (> 0) or inwards (< 0) by ``by_mm``.

    Where two structures would meet, the deeper one has the voxel. A structure that would vanish keeps its core.
    """
    out = np.zeros(labels.shape, dtype=np.uint8)
    best = np.zeros(labels.shape, dtype=np.float32)
    for structure in (int(v) for v in np.unique(labels) if v != BACKGROUND):
        distance = signed_distance_mm(labels == structure, spacing_mm)
        # At most half of the way to its middle, so that something is left.
        offset = max(by_mm[structure], -float(distance.max()) / 2)
        distance = distance + np.float32(offset)
        wins = distance > best
        out[wins], best[wins] = structure, distance[wins]
    return out


def scribbled(labels: LabelArray, spacing_mm: tuple[float, float], rng: np.random.Generator) -> MaskArray:
    """Return (R, C) bool: the voxels under the strokes, each inside of what it marks."""
    strokes = np.zeros(labels.shape, dtype=bool)
    kept = _kept(labels.shape, spacing_mm, rng)
    for structure in (int(v) for v in np.unique(labels) if v != BACKGROUND):
        mask = labels == structure
        line = skeletonize(mask)  # type: ignore[no-untyped-call]
        drawn = line & kept
        strokes |= _thick(drawn if drawn.any() else line) & mask
    anything = labels != BACKGROUND
    if anything.any():
        distance = ndimage.distance_transform_edt(~anything, sampling=spacing_mm)
        ring = np.abs(distance - RING_MM) <= max(spacing_mm) / 2
        drawn = ring & kept
        strokes |= _thick(drawn if drawn.any() else ring) & ~anything
    return strokes


def _forget(slices: dict[SliceRef, LabelArray], times: int, rng: np.random.Generator) -> None:
    """Erase a structure from one slice, ``times`` times; only one that another slice shows too."""
    for _ in range(times):
        shown = [(ref, int(s)) for ref, labels in slices.items() for s in np.unique(labels) if s != BACKGROUND]
        seen = [s for _, s in shown]
        candidates = [(ref, s) for ref, s in shown if seen.count(s) > 1]
        if not candidates:
            return
        ref, structure = candidates[int(rng.integers(len(candidates)))]
        labels = slices[ref]
        labels[labels == structure] = BACKGROUND


def _mistake_slice(slices: dict[SliceRef, LabelArray], truth: LabelArray, away: int, rng: np.random.Generator) -> None:
    """Give one slice the labels of the slice ``away`` before or after it, where that shows any structure."""
    candidates = []
    for ref in slices:
        for index in (ref.index - away, ref.index + away):
            if 0 <= index < truth.shape[ref.axis] and truth[SliceRef(ref.axis, index).slicer].any():
                candidates.append((ref, SliceRef(ref.axis, index)))
    if candidates:
        ref, other = candidates[int(rng.integers(len(candidates)))]
        slices[ref] = np.array(truth[other.slicer])


def _plane(spacing_mm: tuple[float, float, float], axis: int) -> tuple[float, float]:
    first, second = (s for a, s in enumerate(spacing_mm) if a != axis)
    return first, second


def _smooth_noise(
    shape: tuple[int, ...], spacing_mm: tuple[float, float], rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), [WOBBLE_MM / s for s in spacing_mm], mode="wrap")
    return np.asarray(noise / max(float(noise.std()), 1e-9))


def _kept(shape: tuple[int, ...], spacing_mm: tuple[float, float], rng: np.random.Generator) -> MaskArray:
    noise = _smooth_noise(shape, spacing_mm, rng)
    return np.asarray(noise <= np.quantile(noise, KEPT))


def _thick(line: MaskArray) -> MaskArray:
    return np.asarray(ndimage.binary_dilation(line, np.ones((STROKE_VOXELS, STROKE_VOXELS))))
