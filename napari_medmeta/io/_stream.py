"""Bytes of a file, plain or gzip-compressed, read only as far as they are wanted."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from napari_medmeta.core.errors import InputError, StorageError, UnreadableFileError

__all__ = ["fill_from", "is_gzip", "open_stream", "refuse_leftover", "skip"]

GZIP_MAGIC = b"\x1f\x8b"
CHUNK_BYTES = 1 << 20


def is_gzip(path: Path) -> bool:
    """Whether the file is gzip-compressed, whatever its name says."""
    with path.open("rb") as handle:
        return handle.read(2) == GZIP_MAGIC


@contextmanager
def open_stream(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading; gzip is seen through. Failures inside become errors with a sentence.

    Raises
    ------
    UnreadableFileError
        When the file does not exist, is a folder, or its compressed data are damaged.
    StorageError
        When the system refuses to read it.
    """
    try:
        with gzip.open(path, "rb") if is_gzip(path) else path.open("rb") as handle:
            yield handle
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise truncated(path) from error
    except FileNotFoundError as error:
        raise UnreadableFileError(f"There is no file {path.name}", next_step="Check the name and the folder") from error
    except (InputError, StorageError):
        raise
    except OSError as error:
        raise StorageError(
            f"{path.name} could not be read ({error.strerror})", next_step="Check that you may read the file"
        ) from error


def truncated(path: Path) -> UnreadableFileError:
    """Return the error for a file whose data end early or are damaged."""
    return UnreadableFileError(
        f"{path.name} is incomplete or damaged: it ends before all voxels were read",
        expected="a complete file",
        next_step="Copy, download or export it again",
    )


def skip(handle: IO[bytes], count: int, *, path: Path) -> None:
    """Read ``count`` bytes away, in small steps (a compressed file cannot seek)."""
    while count > 0:
        got = len(handle.read(min(count, CHUNK_BYTES)))
        if got == 0:
            raise truncated(path)
        count -= got


def fill_from(handle: IO[bytes], array: npt.NDArray[np.generic], *, path: Path) -> None:
    """Fill a C-contiguous ``array`` with the next bytes of the file."""
    view = memoryview(array.reshape(-1).view(np.uint8))
    filled = 0
    while filled < len(view):
        chunk = handle.read(min(CHUNK_BYTES, len(view) - filled))
        if not chunk:
            raise truncated(path)
        view[filled : filled + len(chunk)] = chunk
        filled += len(chunk)


def refuse_leftover(handle: IO[bytes], *, path: Path) -> None:
    """Raise `UnreadableFileError` when more than zero padding follows the voxels.

    Then the header gives a smaller size than was written, and the voxels read are shuffled. Reading on
    to the end also makes gzip compare its checksum.
    """
    while chunk := handle.read(CHUNK_BYTES):
        if chunk.count(0) != len(chunk):
            raise UnreadableFileError(
                f"{path.name} holds more voxels than its header says",
                expected="as many voxels as the size in the header",
                next_step="The header is damaged: export the scan again",
            )
