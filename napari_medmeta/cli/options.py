"""Options and small helpers that several subcommands share."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, TypeAlias

from napari_medmeta.core.errors import StorageError
from napari_medmeta.core.replacing import replacing
from napari_medmeta.core.types import MAX_STRUCTURES

if TYPE_CHECKING:
    from napari_medmeta.core.jobs import Progress

    Subparsers: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = [
    "add_device",
    "add_file_to_actions",
    "add_weights",
    "integers",
    "names",
    "progress_bar",
    "require_writable",
    "structure_names",
    "without_folders",
    "write_json",
]

DEVICES = ("auto", "cpu", "cuda")


def add_device(parser: argparse.ArgumentParser, *, default: str = "auto") -> None:
    """Add ``--device``."""
    parser.add_argument(
        "--device",
        choices=DEVICES,
        default=default,
        help="where to compute; auto takes a graphics card if there is one",
    )


def add_file_to_actions(actions: Subparsers, *, metavar: str) -> None:
    """Let ``--file``, an option of the command itself, stand behind the action as well, where most would write it."""
    for action in set(actions.choices.values()):
        action.add_argument(
            "--file", type=Path, default=argparse.SUPPRESS, metavar=metavar, help="the same as before the action"
        )


def add_weights(parser: argparse.ArgumentParser, which: str) -> None:
    """Add ``--weights``; ``which`` says of what."""
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="DIR",
        help=f"own weights {which}: the files that napari-medmeta train wrote into DIR replace those of the package, "
        "the others stay",
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


def structure_names(text: str) -> dict[int, str]:
    """Parse ``1=Liver,2=Spleen``."""
    found = {}
    for part in text.split(","):
        value, _, name = (word.strip() for word in part.partition("="))
        if not value.isdecimal() or not 1 <= int(value) <= MAX_STRUCTURES or not name:
            raise argparse.ArgumentTypeError(f"{part!r} does not name a structure: write 1=Liver,2=Spleen")
        found[int(value)] = name
    return found


@contextmanager
def progress_bar(name: str, *, quiet: bool = False) -> Iterator[Progress]:
    """Show a bar on the error stream while the block runs; nothing where that is not a terminal."""
    from tqdm import tqdm

    # None: tqdm stays silent by itself when the stream is no terminal.
    form = "{desc} {bar} {percentage:3.0f}%"
    with tqdm(total=100, desc=name, disable=True if quiet else None, leave=False, bar_format=form) as bar:

        def show(fraction: float, stage: str, /) -> None:
            bar.set_description_str(stage, refresh=False)
            bar.update(round(100 * fraction) - bar.n)

        yield show


def require_writable(path: Path) -> None:
    """Raise `StorageError` when ``path`` could not be written, before minutes are spent on its content."""
    folder = path.parent
    if not folder.is_dir():
        raise StorageError(f"There is no folder {folder}", next_step="Create it, or choose another one")
    if path.is_dir():
        raise StorageError(f"{path} is a folder", expected="the name of a file to write")
    if not os.access(folder, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise StorageError(f"You may not write {path}", next_step="Choose another folder to save into")


def without_folders(word: str) -> str:
    """Return a word of a command line with its path, if it holds one, cut to the last name.

    Where somebody keeps their scans is nobody else's business. Windows knows both kinds of slashes.

    Examples
    --------
    >>> without_folders("--weights=siamese=/media/me/best")
    '--weights=siamese=best'
    """
    name, equals, path = word.rpartition("=")
    return f"{name}{equals}{PureWindowsPath(path).name}" if "/" in path or "\\" in path else word


def write_json(path: Path, values: Mapping[str, object]) -> None:
    """Write ``values`` whole or not at all.

    Raises
    ------
    StorageError
        When the file cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
