"""Bytes of a file, plain or gzip-compressed, read only as far as they are wanted."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt

from napari_medmeta.core.errors import MedmetaError, StorageError, UnreadableFileError

__all__ = ["CHUNK_BYTES", "fill_from", "open_plain", "open_stream", "refuse_leftover", "skip", "truncated"]

GZIP_MAGIC = b"\x1f\x8b"
CHUNK_BYTES = 1 << 20


@contextmanager
def open_plain(path: Path) -> Iterator[BinaryIO]:
    """Open a file's own bytes. Failures inside become errors with a sentence.

    Raises
    ------
    UnreadableFileError
        When the file does not exist or is a folder.
    StorageError
        When the system refuses to read it.
    """
    try:
        with BoundedFile(path) as handle:
            yield handle
    except MedmetaError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UnreadableFileError(f"There is no file {path.name}", next_step="Check the name and the folder") from error
    except IsADirectoryError as error:
        raise UnreadableFileError(f"{path.name} is a folder", next_step="Choose a file in it") from error
    except OSError as error:
        raise StorageError(
            f"{path.name} could not be read ({error.strerror})", next_step="Check that you may read the file"
        ) from error


@contextmanager
def open_stream(path: Path) -> Iterator[BinaryIO]:
    """Open a file and see through gzip; errors as `open_plain`, and `UnreadableFileError` for damaged gzip."""
    with open_plain(path) as plain:
        compressed = plain.read(2) == GZIP_MAGIC
        plain.seek(0)
        if not compressed:
            yield plain
            return
        try:
            with gzip.GzipFile(fileobj=plain, mode="rb") as unpacked:
                yield cast(BinaryIO, unpacked)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise truncated(path) from error


class BoundedFile(io.BufferedReader):
    """A file of which no read takes more memory than the file has bytes left.

    Python takes the memory first, whatever length a damaged header asks for.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "rb"))
        self._bytes = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """Return at most ``size`` of the bytes left."""
        if size is not None and size > CHUNK_BYTES:
            size = min(size, max(0, self._bytes - self.tell()))
        return super().read(size)


def truncated(path: Path) -> UnreadableFileError:
    """Return the error for a file whose data end early or are damaged."""
    return UnreadableFileError(
        f"{path.name} is incomplete or damaged: it ends before all voxels were read",
        expected="a complete file",
        next_step="Copy, download or export it again",
    )


def skip(handle: BinaryIO, count: int, *, path: Path) -> None:
    """Read ``count`` bytes away, in small steps (a compressed file cannot seek)."""
    while count > 0:
        got = len(handle.read(min(count, CHUNK_BYTES)))
        if got == 0:
            raise truncated(path)
        count -= got


def fill_from(handle: BinaryIO, array: npt.NDArray[np.generic], *, path: Path) -> None:
    """Fill a C-contiguous ``array`` with the next bytes of the file."""
    view = array.reshape(-1).view(np.uint8)
    filled = 0
    while filled < view.size:
        chunk = handle.read(min(CHUNK_BYTES, view.size - filled))
        if not chunk:
            raise truncated(path)
        view[filled : filled + len(chunk)] = np.frombuffer(chunk, np.uint8)
        filled += len(chunk)


def refuse_leftover(handle: BinaryIO, *, path: Path) -> None:
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
