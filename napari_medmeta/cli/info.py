"""``napari-medmeta info PATH``: what a file or DICOM folder holds."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_medmeta.cli.options import Subparsers

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "info",
        help="tell what a file or DICOM folder holds",
        description="Tell what an image file or a DICOM folder holds: grid, modality, range of values, series.",
    )
    parser.add_argument("path", type=Path, metavar="PATH", help="image file or DICOM folder")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what ``args.path`` holds."""
    from napari_medmeta.io import describe

    found = describe(args.path)
    if args.json:
        print(json.dumps(found, indent=2, ensure_ascii=False, default=str))
    else:
        print("\n".join(_lines(found)))
    return 0


def _lines(found: Mapping[str, object], indent: str = "") -> list[str]:
    lines = []
    for key, value in found.items():
        title = f"{indent}{key.replace('_', ' ')}:"
        if isinstance(value, Mapping):
            lines += [title, *_lines(value, indent + "  ")]
        elif isinstance(value, Sequence) and value and isinstance(value[0], Mapping):
            lines.append(title)
            for number, item in enumerate(value, start=1):
                lines += [f"{indent}  {number}.", *_lines(item, indent + "     ")]
        elif value not in (None, "", (), []):
            lines.append(f"{title} {_text(value, joint=_joint(key, value))}")
    return lines


def _text(value: object, *, joint: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return joint.join(_text(v, joint=joint) for v in value)
    return str(value)


def _joint(key: str, value: object) -> str:
    if isinstance(value, (list, tuple)) and any(isinstance(v, str) for v in value):
        return "; "
    return " to " if "range" in key else " x "
