"""``napari-medmeta library``: what the example library keeps for the next patient."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medmeta.cli.kept import SHORT, named
from napari_medmeta.cli.options import add_file_to_actions, require_writable
from napari_medmeta.cli.source import library_file

if TYPE_CHECKING:
    from napari_medmeta.cli.options import Subparsers
    from napari_medmeta.core.library import LibraryEntry
    from napari_medmeta.session.library import Library

__all__ = ["add_parser", "run"]


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
    export.add_argument("entries", nargs="*", metavar="ID", help="which, as `list` shows them")
    export.add_argument("--name", help="all entries of this structure")
    export.add_argument("--all", action="store_true", help="all entries")
    export.add_argument("--overwrite", action="store_true", help="replace OUT.medlib where it is there already")
    take = actions.add_parser("import", help="take over all entries of another library file")
    take.add_argument("input", type=Path, metavar="IN.medlib")
    add_file_to_actions(actions, metavar="LIBRARY")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do what was asked, and say what was done."""
    library = library_file(args.file)
    if args.action != "import":
        _require_there(args.file)
    match args.action:
        case "list":
            print("\n".join(_line(e) for e in library.entries()) or "The library is empty.")
        case "show":
            print("\n".join(_details(library, _named(library, args.entry))))
        case "rename":
            _rename(library, _named(library, args.entry), args.name)
        case "remove":
            _remove(library, [_named(library, entry) for entry in args.entries])
        case "export":
            _export(library, args)
        case "import":
            new = library.import_from(args.input)
            print(f"new entries: {new} (the library holds {len(library.entries())} now)")
    return 0


def _require_there(path: Path | None) -> None:
    """Refuse a library that was named and is not there; one's own is begun with the first structure kept."""
    from napari_medmeta.core import UnreadableFileError

    if path is not None and not path.is_file():
        raise UnreadableFileError(f"There is no library {path}", next_step="Check --file")


def _rename(library: Library, entry: LibraryEntry, name: str) -> None:
    library.rename(entry.id, name)
    print(f"renamed: {entry.structure} is now {_named(library, entry.id).structure}")


def _remove(library: Library, entries: Sequence[LibraryEntry]) -> None:
    once = {entry.id: entry for entry in entries}
    library.remove(once)
    print("\n".join(f"removed: {_line(entry)}" for entry in once.values()))


def _export(library: Library, args: argparse.Namespace) -> None:
    from napari_medmeta.core import StorageError
    from napari_medmeta.session.library import LIBRARY_SUFFIX

    chosen = _chosen(library, args)
    output: Path = args.output
    if output.suffix != LIBRARY_SUFFIX:
        raise StorageError(f"{output.name} is no name for a library", expected=f"one that ends in {LIBRARY_SUFFIX}")
    require_writable(output)
    if output.exists() and not args.overwrite:
        raise StorageError(f"There is a file {output} already", next_step="Choose another name, or add --overwrite")
    library.export(output, [e.id for e in chosen])
    print("\n".join([f"exported: {output}", *(f"  {_line(e)}" for e in chosen)]))


def _chosen(library: Library, args: argparse.Namespace) -> Sequence[LibraryEntry]:
    """Return what is to be exported: never all of it by mere silence."""
    from napari_medmeta.core import InputError

    ways = [bool(args.entries), args.name is not None, args.all]
    if sum(ways) != 1:
        found = "Nothing was chosen to export" if not any(ways) else "Entries were chosen in two ways"
        raise InputError(found, expected="ids as `list` shows them, or --name NAME, or --all")
    if args.entries:
        named = {e.id: e for e in (_named(library, entry) for entry in args.entries)}
        return tuple(named.values())
    entries = library.entries(args.name)
    if not entries:
        known = ", ".join(library.names())
        what = "is empty" if not known else f"keeps no {args.name}"
        raise InputError(f"The library {what}", expected=f"one of {known}" if known else "a structure kept before")
    return entries


def _named(library: Library, prefix: str) -> LibraryEntry:
    return named(library.entries(), prefix, one="entry", several="entries", command="library")


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
