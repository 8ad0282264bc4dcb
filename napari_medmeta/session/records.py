"""What was said on each slice, kept apart, so that removing one slice leaves what the others said.

`Session.labels` is the sum of all slices' claims: where slices of different axes cross, the newest
claim wins, and what no one claimed on a complete slice is background. Because every slice keeps its own
claims, taking one away gives the very labels that would be there had it never been painted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from napari_medmeta.core import BACKGROUND, LabelArray, MaskArray, SliceRef, Triple, label_slice
from napari_medmeta.session.model import OUTDATED, PAINTED, UNDECIDED, Layer, Offer, SliceRecord
from napari_medmeta.session.packing import either, pack, present_values, unpack

__all__ = [
    "Window",
    "bounds",
    "compose_slice",
    "compose_volume",
    "count_labels",
    "has_background",
    "newest_elsewhere",
    "own_claims",
    "same_claims",
    "slice_shape",
    "with_background_outdated",
    "with_claims",
    "without_structure",
]

Window: TypeAlias = tuple[slice, slice]
"""Rows and columns of a part of a slice."""


_FEW = 12
"""Up to so many values, one quick comparison for each takes less time than counting all at once."""


def slice_shape(shape: Triple, axis: int) -> tuple[int, int]:
    """Return (rows, columns) of the slices along ``axis``."""
    rows, columns = (n for a, n in enumerate(shape) if a != axis)
    return rows, columns


def with_claims(
    record: SliceRecord, labels: LabelArray, codes: LabelArray, *, tick: int, newest_crossing: int
) -> SliceRecord:
    """Return the record with further claimed voxels.

    Parameters
    ----------
    labels, codes
        (rows, columns) uint8; claimed where ``codes`` is not 0.
    tick
        The time of this claim, newer than all before.
    newest_crossing
        Tick of the newest claim on slices of other axes. Only claims older than that need a layer of
        their own, as only then something could lie between them.
    """
    window = bounds(codes != 0)
    if window is None:
        return record
    kept = record.layers
    if kept and kept[-1].tick > newest_crossing:
        old = kept[-1]
        window = _union(window, _window(old))
        labels, codes = labels[window], codes[window]
        old_labels, old_codes = _inflate((old,), codes.shape, corner=_corner(window))
        fresh = codes != 0
        labels, codes = either(fresh, labels, old_labels), either(fresh, codes, old_codes)
        kept = kept[:-1]
    else:
        labels, codes = labels[window], codes[window]
    return replace(record, layers=(*kept, _layer(labels, codes, tick, corner=_corner(window))))


def bounds(mask: MaskArray) -> Window | None:
    """Return the (rows, columns) slices that hold every true voxel of a 2D mask, None for no voxel."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not rows.size:
        return None
    columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def own_claims(record: SliceRecord, shape: tuple[int, int]) -> tuple[LabelArray, LabelArray]:
    """Return (rows, columns) labels and codes of what was claimed on this very slice."""
    return _inflate(record.layers, shape)


def has_background(record: SliceRecord) -> bool:
    """Whether background is known from this slice."""
    return record.complete or any(layer.background for layer in record.layers)


def with_background_outdated(record: SliceRecord, shape: tuple[int, int]) -> SliceRecord:
    """Return the record with its background strokes marked as older than the structure table."""

    def outdate(layer: Layer) -> Layer:
        labels, codes = _inflate((layer,), shape)
        codes[(labels == BACKGROUND) & (codes != 0)] = OUTDATED
        return _layer(labels, codes, layer.tick)

    return replace(record, layers=tuple(outdate(v) if v.background else v for v in record.layers))


def same_claims(one: SliceRecord, other: SliceRecord) -> bool:
    """Whether two records say the same, whenever it was said."""

    def said(record: SliceRecord) -> SliceRecord:
        return replace(record, layers=tuple(replace(layer, tick=0) for layer in record.layers))

    return said(one) == said(other)


def without_structure(record: SliceRecord, structure: int, shape: tuple[int, int]) -> SliceRecord | None:
    """Return the record without a structure, None when nothing is left of it.

    On a complete slice its voxels turn into background; a stroke of it was never made.
    """
    layers = []
    for layer in record.layers:
        labels, codes = _inflate((layer,), shape)
        gone = (labels == structure) & (codes != 0)
        if not gone.any():
            layers.append(layer)
            continue
        labels[gone] = BACKGROUND
        codes[gone] = PAINTED if record.complete else 0
        if codes.any():
            layers.append(_layer(labels, codes, layer.tick))
    if not layers and not record.complete:
        return None
    offers = tuple(o for o in (_offer_without(o, structure) for o in record.offers) if o is not None)
    return replace(record, layers=tuple(layers), looked_for=record.looked_for - {structure}, offers=offers)


def _offer_without(offer: Offer, structure: int) -> Offer | None:
    labels = unpack(offer.labels, offer.shape)
    if not (labels == structure).any():
        return offer
    rest = either(labels == structure, np.uint8(BACKGROUND), labels)
    return replace(offer, labels=pack(rest)) if rest.any() else None


def count_labels(labels: LabelArray) -> npt.NDArray[np.int64]:
    """Return for each of the 256 values how many voxels of ``labels`` (I, J, K) have it, background not counted."""
    counts = np.zeros(256, dtype=np.int64)
    found = [value for value in present_values(labels) if value != BACKGROUND]
    if len(found) <= _FEW:
        for value in found:
            counts[value] = np.count_nonzero(labels == value)
        return counts
    # Slice by slice, as counting turns every voxel into eight bytes.
    for part in labels:
        if part.any():
            counts += np.bincount(part.ravel(), minlength=256)
    counts[BACKGROUND] = 0
    return counts


def newest_elsewhere(records: Mapping[SliceRef, SliceRecord], axis: int) -> int:
    """Return the tick of the newest claim on slices of other axes than ``axis``, 0 for none."""
    return max((record.tick for ref, record in records.items() if ref.axis != axis), default=0)


def compose_slice(
    records: Mapping[SliceRef, SliceRecord], ref: SliceRef, shape: Triple
) -> tuple[LabelArray, LabelArray]:
    """Return (rows, columns) labels and status on the slice ``ref`` as all ``records`` together say."""
    labels = np.zeros(slice_shape(shape, ref.axis), dtype=np.uint8)
    status = np.zeros_like(labels)
    crossing = {r: record for r, record in records.items() if r == ref or r.axis != ref.axis}
    for other, record in crossing.items():
        if record.complete:
            _line(status, ref, other)[...] = PAINTED
    for other, layer in _in_order(crossing.items()):
        own_labels, own_codes = _inflate((layer,), slice_shape(shape, other.axis))
        codes = _line(own_codes, other, ref)
        claimed = codes != 0
        _line(labels, ref, other)[claimed] = _line(own_labels, other, ref)[claimed]
        _line(status, ref, other)[claimed] = _status_of(codes[claimed])
    return labels, status


def compose_volume(records: Mapping[SliceRef, SliceRecord], shape: Triple) -> tuple[LabelArray, LabelArray]:
    """Return (I, J, K) labels and status as all ``records`` together say."""
    labels = np.zeros(shape, dtype=np.uint8)
    status = np.zeros(shape, dtype=np.uint8)
    for ref, record in records.items():
        if record.complete:
            label_slice(status, ref)[...] = PAINTED
    for ref, layer in _in_order(records.items()):
        own_labels, codes = _inflate((layer,), slice_shape(shape, ref.axis))
        claimed = codes != 0
        label_slice(labels, ref)[claimed] = own_labels[claimed]
        label_slice(status, ref)[claimed] = _status_of(codes[claimed])
    return labels, status


def _in_order(records: Iterable[tuple[SliceRef, SliceRecord]]) -> Iterator[tuple[SliceRef, Layer]]:
    layers = [(ref, layer) for ref, record in records for layer in record.layers]
    return iter(sorted(layers, key=lambda pair: pair[1].tick))


def _line(array: LabelArray, own: SliceRef, other: SliceRef) -> LabelArray:
    """Return the view of a slice's ``array`` where the slice ``own`` meets ``other``: all of it, or one line."""
    if own == other:
        return array
    position = [a for a in range(3) if a != own.axis].index(other.axis)
    view: LabelArray = array[other.index] if position == 0 else array[:, other.index]
    return view


def _status_of(codes: LabelArray) -> LabelArray:
    return either(codes == OUTDATED, np.uint8(PAINTED), codes)


def _inflate(
    layers: tuple[Layer, ...], shape: tuple[int, ...], *, corner: tuple[int, int] = (0, 0)
) -> tuple[LabelArray, LabelArray]:
    """Return labels and codes of ``shape`` (rows, columns), whose first voxel is ``corner`` of the slice."""
    labels = np.zeros(shape, dtype=np.uint8)
    codes = np.full(shape, UNDECIDED, dtype=np.uint8)
    for layer in layers:
        rows, columns = (slice(a - c, a - c + n) for a, n, c in zip(layer.start, layer.shape, corner, strict=True))
        new = unpack(layer.codes, layer.shape)
        claimed = new != 0
        labels[rows, columns][claimed] = unpack(layer.labels, layer.shape)[claimed]
        codes[rows, columns][claimed] = new[claimed]
    return labels, codes


def _layer(labels: LabelArray, codes: LabelArray, tick: int, *, corner: tuple[int, int] = (0, 0)) -> Layer:
    claimed = codes != 0
    window = bounds(claimed) or (slice(0, 0), slice(0, 0))
    claimed, codes = claimed[window], codes[window]
    # One form for the same claims, so that records can be compared and packed well.
    crop = either(claimed, labels[window], np.uint8(BACKGROUND))
    background = bool((claimed & (crop == BACKGROUND) & (codes != OUTDATED)).any())
    start = (corner[0] + window[0].start, corner[1] + window[1].start)
    return Layer(tick, start, (crop.shape[0], crop.shape[1]), pack(crop), pack(codes), background)


def _window(layer: Layer) -> Window:
    rows, columns = (slice(a, a + n) for a, n in zip(layer.start, layer.shape, strict=True))
    return rows, columns


def _union(one: Window, other: Window) -> Window:
    rows, columns = (slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
    return rows, columns


def _corner(window: Window) -> tuple[int, int]:
    return window[0].start, window[1].start
