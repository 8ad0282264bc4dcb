"""Label arrays as small byte strings, and back without ever trusting the bytes."""

from __future__ import annotations

import math
import zlib

import numpy as np

from napari_medmeta.core import LabelArray, StorageError

__all__ = ["pack", "unpack"]

_CONSTANT = b"="
_DEFLATED = b"z"
_LEVEL = 1
"""zlib's fastest level: label maps shrink a hundredfold already, and a stroke must not wait."""


def pack(array: LabelArray) -> bytes:
    """Return a uint8 array of any shape as bytes; an array of one value takes two of them."""
    first = array.flat[0]
    if (array == first).all():
        return _CONSTANT + bytes([int(first)])
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
    if data[:1] != _DEFLATED:
        raise _damaged()
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(data[1:], size + 1)
    except zlib.error as error:
        raise _damaged() from error
    if len(raw) != size or not inflater.eof or inflater.unused_data:
        raise _damaged()
    return np.frombuffer(raw, dtype=np.uint8).reshape(shape)


def _damaged() -> StorageError:
    return StorageError(
        "A part of the session file does not fit the scan",
        expected="voxels of one painted region",
        next_step="Open a copy of the session file from before it was damaged",
    )
