"""Label arrays as small byte strings, and back without ever trusting the bytes."""

from __future__ import annotations

import math
import zlib

import numpy as np

from napari_medmeta.core import LabelArray, MaskArray, StorageError

__all__ = ["either", "pack", "present_values", "read_only", "unpack"]

_CONSTANT = b"="
_TWO_VALUES = b"b"
_DEFLATED = b"z"
_WORD = 8
"""Bytes looked at together."""

_LEVEL = 1
"""zlib's fastest level: label maps shrink a hundredfold already, and a stroke must not wait."""


def pack(array: LabelArray) -> bytes:
    """Return a uint8 array of any shape as bytes; an array of one value takes two of them."""
    low, high = int(array.min()), int(array.max())
    if low == high:
        return _CONSTANT + bytes([low])
    mask = array == high
    # Counting is quicker than comparing again, and background is the usual other value.
    others = np.count_nonzero(array) if low == 0 else array.size - np.count_nonzero(array == low)
    if np.count_nonzero(mask) == others:
        # A bit a voxel: an eighth of the work for the compressor, and most slices hold one structure.
        return _TWO_VALUES + bytes([low, high]) + zlib.compress(np.packbits(mask).data, _LEVEL)
    return _DEFLATED + zlib.compress(np.ascontiguousarray(array).data, _LEVEL)


def unpack(data: bytes, shape: tuple[int, ...]) -> LabelArray:
    """Return the read-only uint8 array of ``shape`` that `pack` was given.

    Never inflates more than ``shape`` holds, whatever the bytes claim.

    Raises
    ------
    StorageError
        When the bytes do not hold exactly such an array.
    """
    size = math.prod(shape)
    if data[:1] == _CONSTANT and len(data) == 2:
        return np.broadcast_to(np.uint8(data[1]), shape)
    if data[:1] == _TWO_VALUES and len(data) > 3:
        bits = np.unpackbits(_inflated(data[3:], -(-size // 8)), count=size)
        array = np.frombuffer(data[1:3], dtype=np.uint8)[bits].reshape(shape)
        array.setflags(write=False)
        return array
    if data[:1] != _DEFLATED:
        raise _damaged()
    return _inflated(data[1:], size).reshape(shape)


def either(mask: MaskArray, one: LabelArray | np.uint8, other: LabelArray | np.uint8) -> LabelArray:
    """Return ``one`` where ``mask`` holds and ``other`` elsewhere, as `numpy.where` does, but five times as quickly."""
    switch = np.negative(np.ascontiguousarray(mask).view(np.uint8))
    return np.asarray(other ^ ((one ^ other) & switch), dtype=np.uint8)


def present_values(array: LabelArray) -> list[int]:
    """Return the values of a uint8 array, ascending, without counting each voxel."""
    flat = np.ascontiguousarray(array).reshape(-1)
    whole = flat.size - flat.size % _WORD
    words = flat[:whole].view(np.uint64)
    # Label maps come in runs: only where a run of eight equal voxels ends is there anything new.
    news = words[1:][words[1:] != words[:-1]]
    found = b"".join((words[:1].tobytes(), news.tobytes(), flat[whole:].tobytes()))
    return [int(v) for v in np.flatnonzero(np.bincount(np.frombuffer(found, dtype=np.uint8)))]


def read_only(array: LabelArray) -> LabelArray:
    """Return a view of ``array`` that cannot be written to; it follows what ``array`` becomes."""
    view = array.view()
    view.setflags(write=False)
    return view


def _inflated(data: bytes, size: int) -> LabelArray:
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(data, size + 1)
    except zlib.error as error:
        raise _damaged() from error
    if len(raw) != size or not inflater.eof or inflater.unused_data:
        raise _damaged()
    return np.frombuffer(raw, dtype=np.uint8)


def _damaged() -> StorageError:
    return StorageError(
        "A part of the session file does not fit the scan",
        expected="voxels of one painted region",
        next_step="Open a copy of the session file from before it was damaged",
    )
