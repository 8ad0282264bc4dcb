"""Options and small helpers that several subcommands share."""

from __future__ import annotations

import argparse
import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from napari_medmeta.core.errors import StorageError

if TYPE_CHECKING:
    Subparsers: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_device", "integers", "names", "require_writable", "write_json"]

DEVICES = ("auto", "cpu", "cuda", "mps")


def add_device(parser: argparse.ArgumentParser, *, default: str = "auto") -> None:
    """Add ``--device``."""
    parser.add_argument(
        "--device",
        choices=DEVICES,
        default=default,
        help="where to compute; auto takes a graphics card if there is one",
    )


def integers(text: str) -> tuple[int, ...]:
    """Parse ``10,40,70``."""
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 10,40,70") from None


def names(text: str) -> tuple[str, ...]:
    """Parse ``one,two``."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def require_writable(path: Path) -> None:
    """Raise `StorageError` when ``path`` could not be written, before minutes are spent on its content."""
    folder = path.parent
    if not folder.is_dir():
        raise StorageError(f"There is no folder {folder}", next_step="Create it, or choose another one")
    if path.is_dir():
        raise StorageError(f"{path} is a folder", expected="the name of a file to write")
    if not os.access(folder, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise StorageError(f"You may not write {path}", next_step="Choose another folder to save into")


def write_json(path: Path, values: Mapping[str, object]) -> None:
    """Write ``values`` whole or not at all."""
    temporary = path.with_name(f".writing-{secrets.token_hex(8)}.json")
    try:
        temporary.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise StorageError(
            f"{path} could not be written ({error.strerror})", next_step="Choose another folder"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()
