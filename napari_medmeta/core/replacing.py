"""Files that appear whole or not at all, and what the disk refused in plain words."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from napari_medmeta.core.errors import MedmetaError, StorageError

__all__ = ["replacing"]


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Hand out a temporary name in the same folder; it takes the place of ``path`` when all went well.

    Raises
    ------
    StorageError
        When it cannot be written; what was there before stays.
    """
    # Writers tell the format by the ending, of which this is one in two parts.
    ending = ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix.lower()
    temporary = path.with_name(f".writing-{secrets.token_hex(8)}{ending}")
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
    except MedmetaError:
        raise
    except (OSError, RuntimeError) as error:
        raise _storage_error(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _flush(path: Path) -> None:
    """Make sure that the bytes are on the disk before the name points to them."""
    with path.open("rb+") as handle:
        os.fsync(handle.fileno())


def _storage_error(path: Path, error: Exception) -> StorageError:
    number = getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StorageError(
            f"The disk is full: {path.name} was not written", next_step="Free some space and save again"
        )
    if not path.parent.is_dir():
        return StorageError(f"There is no folder {path.parent}", next_step="Create it, or choose another one")
    if number == errno.EACCES and path.is_file() and os.access(path.parent, os.W_OK):
        # Windows does not let go of a file that a spreadsheet or a viewer shows.
        return StorageError(
            f"{path.name} cannot be replaced: another program has it open, or it is write-protected",
            next_step="Close it there and save again, or choose another name",
        )
    if number in (errno.EACCES, errno.EPERM, errno.EROFS) or not os.access(path.parent, os.W_OK):
        return StorageError(
            f"You may not write into the folder {path.parent}", next_step="Choose another folder to save into"
        )
    reason = getattr(error, "strerror", None) or "the disk may be full"
    return StorageError(f"{path.name} could not be written ({reason})", next_step="Choose another folder to save into")
