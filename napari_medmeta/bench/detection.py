"""Lesion detection judged: how many lesions are found at how many false finds a scan, beside plain baselines.

Three protocols. "Other patient": lesions painted on three slices of one scan, looked for on the scans of the
same kind of other patients. "Same scan": one slice painted of the largest lesion, the others looked for.
"Inserted": soft balls of random size and brightness put into a real scan, one slice painted of two of them,
the others looked for; their truth is exact, and they are no real lesions.

A candidate finds a lesion when the two overlap with an intersection over union of at least 0.1, as in
nnDetection (Baumgartner et al., MICCAI 2021). One of which at least half lies in lesions is never false.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from napari_medmeta.bench.applications import Evaluation
from napari_medmeta.bench.cases import Case, load_case
from napari_medmeta.bench.detection_methods import METHODS, Task
from napari_medmeta.bench.detection_scores import FALSE_FINDS, HIT_IOU, Find, Outcome, finds_of, interval, sensitivity
from napari_medmeta.bench.document import Block, Table, Text
from napari_medmeta.core import Box, Geometry, Progress, Volume, support_from_labels
from napari_medmeta.core.types import LabelArray, MaskArray
from napari_medmeta.engine.anatomy import survey
from napari_medmeta.engine.features import FeatureMaps, compute_features

__all__ = ["add_options", "evaluate", "inserted", "lesions_of", "painted"]

LEAST_ML = 0.05
"""Specks of a label file that are smaller are no lesions, and nobody paints them."""

CORE = (1, 3, 4)
"""Necrosis, non-enhancing and enhancing tumour: what contrast shows of a glioma; oedema shows on FLAIR only."""

SLICES = 3
INSERTED, INSERTED_PAINTED = 8, 2
RADII_MM = (4.0, 9.0)
LEAST_SLICES = 0.75
"""A lesion's radius in slice distances, at least: thinner ones would fall between two slices."""

BRIGHTNESS = (1.5, 3.0)
"""Of inserted lesions, above what lies there, in robust standard deviations of the body."""
EDGE_MM = 1.0

PROTOCOLS = {
    "other": "Other patient: painted on three slices of one patient, looked for on another of the same kind",
    "same": "Same scan: the largest lesion painted on one slice, the others looked for",
    "inserted": "Inserted into real scans: two of eight painted on one slice each, the others looked for",
}
KINDS = ("lesion", "tumour")
VERSION = 1
"""To be raised with any change of a method, so that measurements of the one before are not taken for its own."""


@dataclass(frozen=True, eq=False)
class _Scan:
    """A case made ready: ``truth`` numbers its lesions from 1."""

    case: Case
    volume: Volume
    truth: LabelArray

    @cached_property
    def maps(self) -> FeatureMaps:
        """Its features, computed when wanted."""
        return compute_features(self.volume, device=torch.device("cpu"))


@dataclass(frozen=True, eq=False)
class _Planned:
    """One run: learn on a case, look on another or the same."""

    protocol: str
    painted: str
    scan: _Scan
    build: Callable[[], Task]

    @cached_property
    def task(self) -> Task:
        """What is asked, made ready when wanted."""
        return self.build()


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what only detection can be told."""
    parser.add_argument(
        "--protocols", default=",".join(PROTOCOLS), help=f"which of {', '.join(PROTOCOLS)} (default: all)"
    )
    parser.add_argument(
        "--largest",
        type=int,
        default=3_000_000,
        metavar="VOXELS",
        help="insert lesions into scans up to this size only, as each needs its features anew (%(default)s)",
    )


def evaluate(cases: Sequence[Case], options: argparse.Namespace, progress: Progress, /) -> Evaluation:
    """Measure on the cases whose anatomy tells of a lesion or tumour."""
    wanted = [p for p in options.protocols.split(",") if p in PROTOCOLS]
    chosen = [c for c in cases if any(kind in c.anatomy.lower() for kind in KINDS)]
    groups: dict[tuple[str, str], list[Case]] = {}
    for case in chosen:
        groups.setdefault((case.source, case.modality), []).append(case)
    outcomes: list[Outcome] = []
    for n, group in enumerate(groups.values()):
        for planned in _runs([_ready(case) for case in group], wanted, options):
            for name in METHODS:
                progress(n / len(groups), f"{planned.scan.case.id}, {name}")
                outcomes.append(_judged(planned, name, options))
    return Evaluation("Lesion detection", _blocks(outcomes, wanted), tuple(_rows(outcomes)))


def lesions_of(labels: LabelArray, voxel_ml: float) -> LabelArray:
    """Return (I, J, K) uint8: the connected lesions (26 neighbours), numbered from 1, specks left out."""
    pieces, count = ndimage.label(labels > 0, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(pieces.ravel(), minlength=count + 1) * voxel_ml
    kept = [n for n in range(1, count + 1) if sizes[n] >= LEAST_ML]
    numbers = np.zeros(count + 1, dtype=np.uint8)
    numbers[sorted(kept, key=lambda n: -sizes[n])] = np.arange(1, len(kept) + 1, dtype=np.uint8)
    return np.asarray(numbers[pieces], dtype=np.uint8)


def painted(lesion: MaskArray, *, axis: int, slices: int) -> LabelArray:
    """Return (I, J, K) uint8 with ``lesion`` on a few slices: its largest, or evenly through its middle half."""
    area = lesion.sum(axis=tuple(a for a in range(3) if a != axis))
    # The tips of a lesion are not what one paints first.
    held = np.flatnonzero(area > 0.1 * area.max())
    if slices == 1:
        indices = [int(area.argmax())]
    else:
        indices = sorted({int(i) for i in np.quantile(held, np.linspace(0.25, 0.75, slices)).round()})
    labels = np.zeros(lesion.shape, dtype=np.uint8)
    view, source = np.moveaxis(labels, axis, 0), np.moveaxis(lesion, axis, 0)
    view[indices] = source[indices]
    return labels


def inserted(volume: Volume, maps: FeatureMaps, taken: MaskArray, *, seed: int) -> tuple[Volume, LabelArray]:
    """Return the scan with soft balls put into its body, away from ``taken``, and the balls numbered from 1."""
    draw = np.random.default_rng(seed)
    anatomy = survey(maps, volume.geometry)
    body = anatomy.body_grid.upsample(torch.from_numpy(anatomy.body.astype(np.float32))[None])[0].numpy() > 0.5
    free = body & ~taken
    spacing = np.asarray(volume.geometry.spacing_mm)
    low, high = np.percentile(volume.array[body], (25, 75))
    array, truth = volume.array.astype(np.float32), np.zeros(volume.geometry.shape, dtype=np.uint8)
    for number in range(1, INSERTED + 1):
        radius = max(float(draw.uniform(*RADII_MM)), LEAST_SLICES * float(spacing.max()))
        room = ndimage.distance_transform_edt(np.pad(free, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
        places = np.argwhere(room > radius + EDGE_MM)
        if not len(places):
            continue
        centre = places[int(draw.integers(len(places)))]
        window, profile = _ball(centre, radius, spacing, volume.geometry.shape, draw)
        array[window] += profile * np.float32(draw.uniform(*BRIGHTNESS) * (high - low) / 1.349)
        truth[window][profile > 0.5] = number
        free[window] &= profile < 0.1
    return Volume(array, volume.geometry, volume.modality), truth


def _ball(
    centre: npt.NDArray[np.int64],
    radius: float,
    spacing: npt.NDArray[np.float64],
    shape: Sequence[int],
    draw: np.random.Generator,
) -> tuple[tuple[slice, ...], npt.NDArray[np.float32]]:
    """Return where an ellipsoid with a soft edge lies, and how much of each voxel is in it."""
    reach = np.ceil((1.3 * radius + 3 * EDGE_MM) / spacing).astype(int)
    window = tuple(slice(max(0, c - r), min(n, c + r + 1)) for c, r, n in zip(centre, reach, shape, strict=True))
    axes = radius * draw.uniform(0.8, 1.2, 3)
    grids = np.meshgrid(*(np.arange(w.start, w.stop) for w in window), indexing="ij")
    away = np.sqrt(sum(((g - c) * s / a) ** 2 for g, c, s, a in zip(grids, centre, spacing, axes, strict=True)))
    return window, (1 / (1 + np.exp((away - 1) * radius / EDGE_MM))).astype(np.float32)


def _ready(case: Case) -> _Scan:
    loaded = load_case(case)
    volume = loaded.volume
    # Skull-stripped scans are empty around the brain; nothing is found there, and it takes time.
    filled = Box.around(volume.array > volume.array.min()) or Box.whole(volume.geometry.shape)
    affine = np.array(volume.geometry.affine)
    affine[:3, 3] = volume.geometry.to_world(filled.start)
    cropped = Volume(volume.array[filled.slices], Geometry(filled.shape, affine), volume.modality)
    labels = loaded.truth[filled.slices]
    if case.source == "brats" and "post-contrast" in case.modality:
        labels = np.isin(labels, CORE).astype(np.uint8)
    truth = lesions_of(labels, volume.geometry.voxel_volume_ml)
    return _Scan(case, cropped, truth)


def _runs(scans: Sequence[_Scan], wanted: Sequence[str], options: argparse.Namespace) -> Iterator[_Planned]:
    for scan in scans:
        if "other" in wanted:
            for other in (s for s in scans if s is not scan):
                yield _Planned("other", other.case.id, scan, partial(_across, other, scan))
        if "same" in wanted and scan.truth.max() > 1:
            yield _Planned("same", scan.case.id, scan, partial(_within, scan))
        if "inserted" in wanted and scan.volume.array.size <= options.largest:
            yield _Planned("inserted", scan.case.id, scan, partial(_put_in, scan, options.seed))


def _across(other: _Scan, scan: _Scan) -> Task:
    axis = other.volume.geometry.through_plane_axis
    support = support_from_labels(painted(other.truth > 0, axis=axis, slices=SLICES), axis=axis)
    return Task(other.volume, other.maps, support, scan.volume, scan.maps, scan.truth)


def _within(scan: _Scan) -> Task:
    return _same(scan.volume, scan.maps, scan.truth, (1,))


def _put_in(scan: _Scan, seed: int) -> Task:
    volume, truth = inserted(scan.volume, scan.maps, scan.truth > 0, seed=seed)
    maps = compute_features(volume, device=torch.device("cpu"))
    return _same(volume, maps, truth, range(1, INSERTED_PAINTED + 1), also=scan.truth > 0)


def _same(
    volume: Volume, maps: FeatureMaps, truth: LabelArray, numbers: Sequence[int], *, also: MaskArray | None = None
) -> Task:
    """Return the task of finding the lesions but ``numbers``, each of which is painted on its largest section.

    A painted slice is painted whole, so other lesions on it are painted as well. What is painted somewhere
    is not asked for; neither that nor ``also`` is false.
    """
    axis = volume.geometry.through_plane_axis
    labels = np.zeros(truth.shape, dtype=np.uint8)
    for number in numbers:
        labels |= painted(truth == number, axis=axis, slices=1)
    sliced = np.moveaxis(labels, axis, 0)
    shown = np.flatnonzero(sliced.any(axis=(1, 2)))
    sliced[shown] = np.moveaxis(truth, axis, 0)[shown] > 0
    seen = np.isin(truth, [int(n) for n in np.unique(truth[labels > 0]) if n])
    ignored = seen if also is None else seen | also
    asked = np.where(seen, 0, truth).astype(np.uint8)
    return Task(volume, maps, support_from_labels(labels, axis=axis), volume, maps, asked, ignored)


def _judged(planned: _Planned, name: str, options: argparse.Namespace) -> Outcome:
    """Return what a method finds; what an earlier run into the same folder measured is not measured again."""
    kept = options.out / "detection-runs" / f"{planned.protocol}_{planned.painted}_{planned.scan.case.id}_{name}.json"
    stamp = [options.seed, VERSION]
    if kept.is_file():
        told = json.loads(kept.read_text(encoding="utf-8"))
        if told["stamp"] == stamp:
            return _outcome(planned, name, tuple(Find(*f) for f in told["finds"]), told["lesions"])
    task = planned.task
    finds = finds_of(METHODS[name](task), task.truth, task.ignored)
    lesions = len(np.unique(task.truth[task.truth > 0]))
    kept.parent.mkdir(parents=True, exist_ok=True)
    write = {"stamp": stamp, "lesions": lesions, "finds": [astuple(f) for f in finds]}
    kept.write_text(json.dumps(write), encoding="utf-8")
    return _outcome(planned, name, finds, lesions)


def _outcome(planned: _Planned, name: str, finds: tuple[Find, ...], lesions: int) -> Outcome:
    case = planned.scan.case
    return Outcome(planned.protocol, name, planned.painted, case.id, case.is_development, finds, lesions)


def _blocks(outcomes: Sequence[Outcome], wanted: Sequence[str]) -> tuple[Block, ...]:
    blocks: list[Block] = [
        Text(
            f"A lesion is found by a candidate with an intersection over union of at least {HIT_IOU}; in brackets the "
            "range that holds the figure in 95 % of bootstrap samples of the scans. Runs that an earlier command had "
            "measured into the same folder are taken over, and are not in the minutes below."
        )
    ]
    for protocol in wanted:
        for development in (False, True):
            part = [o for o in outcomes if o.protocol == protocol and o.development is development and o.lesions]
            if part:
                blocks += [Text(_words(protocol, part, development=development)), _table(part)]
    return tuple(blocks)


def _words(protocol: str, part: Sequence[Outcome], *, development: bool) -> str:
    one = [o for o in part if o.method == part[0].method]
    scans = f"{len(one)} runs on {len({o.case for o in one})} scans, {sum(o.lesions for o in one)} lesions in all"
    which = "development cases" if development else "held-out cases"
    return f"{PROTOCOLS[protocol]} ({which}: {scans})."


def _table(part: Sequence[Outcome]) -> Table:
    header = ("method", *(f"found at {f:g} false a scan" for f in FALSE_FINDS), "found at all", "candidates a scan")
    rows = []
    for method in METHODS:
        own = [o for o in part if o.method == method]
        cells = ["{:.2f} [{:.2f}, {:.2f}]".format(*interval(own, f)) for f in FALSE_FINDS]
        count = np.mean([len(o.finds) for o in own])
        rows.append((method, *cells, f"{sensitivity(own, np.inf):.2f}", f"{count:.0f}"))
    return Table(header, tuple(rows))


def _rows(outcomes: Sequence[Outcome]) -> Iterator[Mapping[str, object]]:
    for o in outcomes:
        about = {"protocol": o.protocol, "method": o.method, "painted_on": o.example, "case": o.case}
        for rank, find in enumerate(sorted(o.finds, key=lambda f: -f.score), start=1):
            found = {"score": round(find.score, 4), "iou": round(find.iou, 4), "lesion": find.lesion}
            yield {**about, "lesions": o.lesions, "rank": rank, **found, "false": find.false}
        if not o.finds:
            yield {**about, "lesions": o.lesions}
