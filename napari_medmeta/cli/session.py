"""``napari-medmeta session FILE``: what a session file holds, its audit trail, and its labels."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_medmeta.cli.options import Subparsers
    from napari_medmeta.session import Session

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "session",
        help="tell what a session file holds, and export its labels and audit trail",
        description="Replay a session file, tell what it holds, and export its labels and audit trail.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="session file (.medmeta)")
    parser.add_argument("--audit", type=Path, metavar="OUT.csv", help="write every event in plain words")
    parser.add_argument("--export", type=Path, metavar="LABELS", help="write what was painted and accepted")
    parser.add_argument(
        "--scan",
        type=Path,
        metavar="SCAN",
        help="the scan that the session belongs to: the labels are written on its own grid "
        "(without it, on the session's upright one)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Open the session and do what was asked."""
    from napari_medmeta.core import UnreadableFileError
    from napari_medmeta.session import Session

    if not args.file.is_file():
        raise UnreadableFileError(f"There is no session file {args.file}", next_step="Check the name")
    session = Session.open(args.file)
    try:
        print("\n".join(_lines(session)))
        if args.audit is not None:
            _write_audit(session, args.audit)
        if args.export is not None:
            _export(session, args.export, args.scan)
    finally:
        session.close()
    return 0


def _lines(session: Session) -> list[str]:
    shape = " x ".join(str(n) for n in session.geometry.shape)
    records = list(session.events())
    lines = [f"scan: {shape} voxels", f"events: {len(records)}"]
    if records:
        lines.append(f"from {records[0].time:%Y-%m-%d %H:%M} to {records[-1].time:%Y-%m-%d %H:%M} (UTC)")
    for structure in session.structures:
        volume = session.voxel_count(structure.id) * session.geometry.voxel_volume_ml
        lines.append(f"{structure.id} {structure.name}: {volume:.1f} ml")
    lines.append(f"example slices: {len(session.support().examples)}")
    lines.append(f"score: {session.score().sentence}")
    return [*lines, session.opening_note] if session.opening_note else lines


def _write_audit(session: Session, path: Path) -> None:
    from napari_medmeta.session.audit import write_audit

    print(f"audit trail: {write_audit(path, list(session.events()))}")


def _export(session: Session, path: Path, scan: Path | None) -> None:
    from napari_medmeta import io
    from napari_medmeta.core import GridMap

    labels, grid = session.labels, session.geometry
    if scan is not None:
        original = io.read_volume(scan).geometry
        mapped: GridMap = original.reoriented()
        mapped.working.require_same_grid(session.geometry, what="The session")
        labels, grid = mapped.labels_to_original(session.labels), original
    names = {s.id: s.name for s in session.structures}
    print(f"labels: {io.write_labels(path, labels, grid, names=names)}")
