"""``napari-medmeta carry``: the segmentation of a prior scan, carried to today's scan of the same patient."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medmeta.cli.options import progress_bar, require_writable, write_json

if TYPE_CHECKING:
    from napari_medmeta.cli.options import Subparsers
    from napari_medmeta.tasks.registration import Carried
    from napari_medmeta.tasks.registration_change import VolumeChange

__all__ = ["add_parser", "run"]

KINDS = ("rigid", "affine", "deformable")


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "carry",
        help="carry a prior scan's segmentation to today's scan",
        description="Lay a prior scan upon today's scan of the same patient, and carry its segmentation along. The "
        "result is a proposal: look at it, and correct it in the panel.",
    )
    parser.add_argument("prior", type=Path, metavar="PRIOR", help="the earlier scan: an image file or a DICOM folder")
    parser.add_argument("labels", type=Path, metavar="PRIOR_LABELS", help="its segmentation, on its grid")
    parser.add_argument("today", type=Path, metavar="TODAY", help="the scan that the segmentation is wanted for")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="LABELS",
        help="where to write the labels on today's grid, such as labels.nii.gz, or seg.dcm for a DICOM series",
    )
    parser.add_argument(
        "--kind",
        choices=KINDS,
        default=KINDS[-1],
        help="how much the body may have changed: moved (rigid), stretched as a whole (affine), "
        "or each place by itself (%(default)s)",
    )
    parser.add_argument(
        "--changes", type=Path, metavar="TABLE", help="where to write each structure's change of volume: .csv or .json"
    )
    parser.add_argument("--report", type=Path, metavar="report.json", help="where to write all of it, and how it went")
    parser.add_argument("--seed", type=int, default=0, help="seed of the places that are compared (%(default)s)")
    parser.add_argument("--anonymous", action="store_true", help="leave patient and study out of a DICOM segmentation")
    parser.add_argument("--quiet", action="store_true", help="print nothing unless something goes wrong")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry the labels; nothing is written unless all of it worked."""
    from napari_medmeta.io import ScanSource, read_named_labels, read_scan, require_savable, save_labels
    from napari_medmeta.tasks.registration import Kind, carry
    from napari_medmeta.tasks.registration_change import require_change_path, volume_changes, write_changes

    for path in (args.output, args.changes, args.report):
        if path is not None:
            require_writable(path)
    if args.changes is not None:
        require_change_path(args.changes)
    prior, today = read_scan(args.prior), read_scan(args.today)
    source = ScanSource(args.today, name=today.name)
    require_savable(args.output, source=source, geometry=today.geometry)
    named = read_named_labels(args.labels, like=prior.geometry, source=args.prior)
    with progress_bar("", quiet=args.quiet) as progress:
        carried = carry(prior, named.labels, today, kind=Kind(args.kind), seed=args.seed, progress=progress)
    labels = carried.labels()
    changes = volume_changes(named.labels, prior.geometry, labels, today.geometry, names=named.names)
    save_labels(args.output, labels, today.geometry, names=named.names, source=source, anonymous=args.anonymous)
    if args.changes is not None:
        write_changes(args.changes, changes)
    if args.report is not None:
        write_json(args.report, _report(args, carried, changes))
    if not args.quiet:
        print("\n".join(_summary(args.output, carried, changes)))
    return 0


def _report(args: argparse.Namespace, carried: Carried, changes: Sequence[VolumeChange]) -> dict[str, object]:
    # Names and paths of the scans stay out: they often carry the patient's name.
    from napari_medmeta import __version__
    from napari_medmeta.tasks.registration_change import change_row

    return {
        "kind": args.kind,
        "seed": args.seed,
        "stages": [
            {
                "name": stage.name,
                "likeness_before": round(stage.before, 4),
                "likeness_after": round(stage.after, 4),
                "kept": stage.kept,
                "seconds": round(stage.seconds, 3),
            }
            for stage in carried.stages
        ],
        "expected_dice": {str(s): round(d, 3) for s, d in carried.expected.of_structure.items()},
        "changes": [change_row(change) for change in changes],
        "notes": list(carried.notes),
        "version": __version__,
    }


def _summary(output: Path, carried: Carried, changes: Sequence[VolumeChange]) -> list[str]:
    lines = [f"Wrote {output}"]
    for change in changes:
        expected = carried.expected.of_structure.get(change.structure)
        told = "nothing of it lies in today's scan" if expected is None else f"expected Dice {expected:.2f}"
        lines.append(f"  {change.in_words()}; {told}")
    return [*lines, *(f"  {note}." for note in carried.notes)]
