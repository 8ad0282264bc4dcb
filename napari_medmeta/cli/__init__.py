"""The command line: one module a subcommand, each with ``add_parser(subparsers)`` and ``run(args) -> int``.

Subcommands import what is heavy inside ``run``, so that ``--help`` and mistakes answer at once.
"""

from __future__ import annotations

import argparse
import errno
import io
import sys
from collections.abc import Sequence

from napari_medmeta import __version__
from napari_medmeta.cli import bench, carry, demo, detect, diagnose, evaluate, info, library, segment, session, train
from napari_medmeta.core.errors import Cancelled, MedmetaError

__all__ = ["main"]

EXIT_BAD_INPUT = 2
EXIT_STOPPED = 130
"""128 + SIGINT, as shells expect after Ctrl-C."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 done, 2 input refused, 130 stopped with Ctrl-C."""
    _print_any_letter()
    args = _parser().parse_args(argv)
    try:
        return int(args.run(args))
    except (KeyboardInterrupt, Cancelled):
        print("Stopped. Nothing unfinished was kept.", file=sys.stderr)
        return EXIT_STOPPED
    except MedmetaError as error:
        print(f"napari-medmeta: {error.message}", file=sys.stderr)
    except MemoryError:
        print("napari-medmeta: The memory is full. Close other programs, or crop the scan first.", file=sys.stderr)
    except OSError as error:
        print(f"napari-medmeta: {_file_trouble(error)}", file=sys.stderr)
    return EXIT_BAD_INPUT


def _print_any_letter() -> None:
    """Print the code of a letter that the output does not know: names may hold any letter, a pipe on Windows few."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _file_trouble(error: OSError) -> str:
    where = f": {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk is full{where}. Free some space and try again."
    if isinstance(error, PermissionError):
        return f"Permission was refused{where}. Choose another folder."
    if isinstance(error, FileNotFoundError):
        return f"There is no such file{where}."
    return f"{error.strerror or error}{where}."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="napari-medmeta",
        description="Few-shot segmentation of CT and MRI: a few painted slices in, the whole volume out.",
        epilog="Not a medical device: every result must be checked by a person.",
    )
    parser.add_argument("--version", action="version", version=f"napari-medmeta {__version__}")
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in (segment, detect, carry, info, session, library, bench, evaluate, diagnose, train, demo):
        command.add_parser(subparsers)
    return parser
