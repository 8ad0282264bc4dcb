"""``napari-medmeta library``: what the example library keeps for the next patient."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medmeta.cli.source import library_file

if TYPE_CHECKING:
    from napari_medmeta.cli.options import Subparsers
    from napari_medmeta.core.library import LibraryEntry
    from napari_medmeta.session.library import Library

__all__ = ["add_parser", "run"]

SHORT = 8
"""Letters of an entry's id that are shown; as many as needed to tell it apart are enough to name it."""


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "library",
        help="list, rename, remove, export and import the structures kept for the next patient",
        description="The example library keeps scattered samples and a few numbers of each structure, no image.",
    )
    parser.add_argument("--file", type=Path, metavar="LIBRARY", help="the library file (default: your own)")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="list all entries")
    show = actions.add_parser("show", help="tell everything about one entry, and how useful it is")
    rename = actions.add_parser("rename", help="give an entry's structure another name")
    remove = actions.add_parser("remove", help="forget entries")
    for action in (show, rename):
        action.add_argument("entry", metavar="ID", help="as `list` shows it")
    rename.add_argument("name", metavar="NAME")
    remove.add_argument("entries", nargs="+", metavar="ID", help="as `list` shows them")
    export = actions.add_parser("export", help="write entries into one portable file")
    export.add_argument("output", type=Path, metavar="OUT.medlib")
    export.add_argument("--name", help="only entries of this structure")
    take = actions.add_parser("import", help="take over all entries of another library file")
    take.add_argument("input", type=Path, metavar="IN.medlib")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do what was asked."""
    library = library_file(args.file)
    match args.action:
        case "list":
            print("\n".join(_line(e) for e in library.entries()) or "The library is empty.")
        case "show":
            print("\n".join(_details(library, _named(library, args.entry))))
        case "rename":
            library.rename(_named(library, args.entry).id, args.name)
        case "remove":
            ids = [_named(library, entry).id for entry in args.entries]
            print(f"removed: {library.remove(ids)}")
        case "export":
            chosen = None if args.name is None else [e.id for e in library.entries(args.name)]
            print(f"exported: {library.export(args.output, chosen)}")
        case "import":
            print(f"new entries: {library.import_from(args.input)}")
    return 0


def _named(library: Library, prefix: str) -> LibraryEntry:
    from napari_medmeta.core import InputError

    found = [e for e in library.entries() if e.id.startswith(prefix)]
    if len(found) != 1:
        what = "No entry" if not found else f"{len(found)} entries"
        raise InputError(f"{what} of the library begins with {prefix}", next_step="See: napari-medmeta library list")
    return found[0]


def _line(entry: LibraryEntry) -> str:
    return f"{entry.id[:SHORT]}  {entry.structure}  {entry.modality}  {entry.volume_ml:.1f} ml  kept on {entry.day}"


def _details(library: Library, entry: LibraryEntry) -> list[str]:
    from napari_medmeta.engine.recall import usefulness

    judged = usefulness(entry, library.entries(entry.structure))
    useful = "no other entry to compare with" if judged.dice is None else f"Dice {judged.dice:.2f} by {judged.others}"
    size, spacing = (" x ".join(f"{v:.3g}" for v in values) for values in (entry.extent_mm, entry.spacing_mm))
    return [
        _line(entry),
        f"extent: {size} mm (left, back, head)",
        f"learnt at a spacing of {spacing} mm",
        f"samples: {int(entry.samples.inside.sum())} inside, {int((~entry.samples.inside).sum())} around",
        f"its samples predicted by the others: {useful}",
    ]
