"""``napari-medmeta detect``: what looks like a few painted lesions, as a table of candidates, without a window."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medmeta.cli.options import add_device, integers, progress_bar, require_writable
from napari_medmeta.core.types import MAX_STRUCTURES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medmeta.cli.options import Subparsers
    from napari_medmeta.core import GridMap, MaskArray, Progress, Support, Volume
    from napari_medmeta.core.library import LibraryEntry
    from napari_medmeta.engine import Segmenter
    from napari_medmeta.session import Session
    from napari_medmeta.tasks.detection import Candidate, LesionExamples, Outline

__all__ = ["add_parser", "run"]

NO_EXAMPLES = "No lesion was given to learn from"


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "detect",
        help="find what looks like a few painted lesions",
        description="Find what looks like a few lesions: painted on this scan, on other scans, or kept in the "
        "library. All examples given are used together. Or go on with what was painted and dismissed in a session.",
        epilog="A research aid: candidates are to be looked at by a person, and lesions may be missed.",
    )
    parser.add_argument("image", type=Path, metavar="SCAN", help="the scan: an image file or a DICOM folder")
    parser.add_argument("--examples", type=Path, metavar="LABELS", help="lesions painted on some slices of this scan")
    parser.add_argument(
        "--from",
        dest="others",
        type=Path,
        action="append",
        default=[],
        metavar="SCAN2",
        help="another scan of the same kind with painted lesions; may be given more than once",
    )
    parser.add_argument(
        "--from-labels",
        dest="other_labels",
        type=Path,
        action="append",
        default=[],
        metavar="LABELS2",
        help="its painted lesions, one for each --from and in the same order",
    )
    parser.add_argument(
        "--from-library", metavar="NAME", help="lesions kept in the library under this name or id, of the scan's kind"
    )
    parser.add_argument("--library", type=Path, metavar="FILE", help="the library file (default: your own)")
    parser.add_argument(
        "--session",
        type=Path,
        metavar="FILE",
        help="a session file on this scan: what is painted and accepted in it are the examples, and candidates "
        "dismissed in it do not come back",
    )
    parser.add_argument(
        "--dismissed",
        type=Path,
        metavar="MASKS",
        help="outlines on this scan that are no lesions, such as the --masks of an earlier list",
    )
    parser.add_argument(
        "--dismissed-values", type=integers, default=(), metavar="2,5", help="only these values of it (default: all)"
    )
    parser.add_argument(
        "--structure",
        type=_structure,
        metavar="N",
        help="value of the lesions in the label files (default: all), "
        "or their number in the session (default: the one chosen there)",
    )
    parser.add_argument(
        "--slices", type=integers, default=(), metavar="10,40", help="further complete slices of this scan, also empty"
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="TABLE", help="where to write the candidates, .csv or .json"
    )
    parser.add_argument(
        "--masks", type=Path, metavar="OUT", help="where to write their outlines, such as candidates.nii.gz"
    )
    parser.add_argument("--most", type=_count, default=30, metavar="N", help="at most so many candidates (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all that is drawn at random (%(default)s)")
    parser.add_argument("--series", metavar="UID", help="which series of a DICOM folder (see: napari-medmeta info)")
    parser.add_argument("--quiet", action="store_true", help="print nothing unless something goes wrong")
    add_device(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Look for lesions on ``args.image``; nothing is written unless the list is complete."""
    _require_possible(args)
    from napari_medmeta.io import read_scan

    volume = read_scan(args.image, series=args.series)
    here = _from_session(args, volume) if args.session is not None else _from_files(args, volume)
    with progress_bar("detect", quiet=args.quiet) as progress:
        found = _detected(args, here, progress)
    listed = _write(args, found, here, volume)
    if not args.quiet:
        print("\n".join(_summary(args.output, listed)))
    return 0


@dataclass(frozen=True, eq=False)
class _Here:
    """What is known on the scan itself.

    Parameters
    ----------
    volume
        The scan: as in its file, or on the upright grid of a session.
    support
        Its painted slices with the lesions as ``structure``, None where nothing is painted.
    known
        (I, J, K) bool: lesions that are painted or accepted.
    dismissed
        What is none.
    """

    volume: Volume
    support: Support | None
    structure: int
    known: MaskArray | None
    dismissed: tuple[Outline, ...]


def _structure(text: str) -> int:
    value = int(text) if text.isdigit() else 0
    if not 1 <= value <= MAX_STRUCTURES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a label value from 1 to {MAX_STRUCTURES}")
    return value


def _count(text: str) -> int:
    value = int(text) if text.isdigit() else 0
    if not 1 <= value <= MAX_STRUCTURES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {MAX_STRUCTURES}")
    return value


def _require_possible(args: argparse.Namespace) -> None:
    """Refuse what could not be done, before minutes are spent on it."""
    from napari_medmeta.core import InputError, MissingExamplesError, UnreadableFileError
    from napari_medmeta.io import require_savable, require_table_path

    if len(args.others) != len(args.other_labels):
        raise InputError(
            f"{len(args.others)} other scans and {len(args.other_labels)} label files were given",
            expected="one --from-labels for each --from, in the same order",
        )
    if args.examples is not None and args.session is not None:
        raise InputError("--examples and --session were both given", expected="one of the two")
    if args.session is not None and not args.session.is_file():
        raise UnreadableFileError(f"There is no session file {args.session}", next_step="Check the name")
    if args.examples is None and args.session is None and not args.others and args.from_library is None:
        raise MissingExamplesError(
            NO_EXAMPLES, next_step="Give --examples, --session, --from with --from-labels, or --from-library"
        )
    require_table_path(args.output)
    require_writable(args.output)
    if args.masks is not None:
        require_savable(args.masks)
        require_writable(args.masks)


def _from_files(args: argparse.Namespace, volume: Volume) -> _Here:
    support, known = None, None
    if args.examples is not None:
        support = _painted(args.examples, volume, args.structure, args.slices)
        labels, _ = support.labels_and_known()
        known = labels == 1
    return _Here(volume, support, 1, known, _dismissed(args, volume))


def _from_session(args: argparse.Namespace, volume: Volume) -> _Here:
    from dataclasses import replace

    from napari_medmeta.session import Session
    from napari_medmeta.tasks.detection_marks import marks_of

    upright = volume.geometry.reoriented()
    shown = replace(volume, array=upright.image_to_working(volume.array), geometry=upright.working)
    session = Session.open(args.session, geometry=upright.working)
    try:
        _require_same_scan(session, volume, shown)
        structure = _structure_of(session, args.structure)
        support, known = session.support(), session.labels == structure
        dismissed = marks_of(session, structure).dismissed
    finally:
        session.close()
    painted = support if structure in support.painted_structures() else None
    return _Here(shown, painted, structure, known, (*dismissed, *_dismissed(args, volume, upright)))


def _require_same_scan(session: Session, *ways: Volume) -> None:
    """Refuse a session of another scan with the same grid, such as one resampled to an atlas.

    ``ways``: the scan as in its file, and as on screen, which is how a session knows a scan that napari opened.
    """
    from napari_medmeta.core import GeometryMismatchError

    if session.fingerprint not in {volume.fingerprint for volume in ways}:
        raise GeometryMismatchError(
            "This session was made on another scan", next_step="Give the scan that it belongs to, or another session"
        )


def _structure_of(session: Session, wanted: int | None) -> int:
    from napari_medmeta.core import MissingExamplesError

    structure = wanted if wanted is not None else session.active
    if structure not in {s.id for s in session.structures} or structure is None:
        listed = ", ".join(f"{s.id} ({s.name})" for s in session.structures) or "none"
        raise MissingExamplesError(
            f"The session has no structure {structure}" if structure is not None else "The session has no structure",
            expected=f"one of {listed}",
            next_step="Choose one by --structure",
        )
    return structure


def _dismissed(args: argparse.Namespace, volume: Volume, upright: GridMap | None = None) -> tuple[Outline, ...]:
    import numpy as np

    from napari_medmeta.core import UNLABELLED
    from napari_medmeta.io import read_named_labels
    from napari_medmeta.tasks.detection import outlines_in

    if args.dismissed is None:
        return ()
    labels = read_named_labels(args.dismissed, like=volume.geometry).labels
    unwanted = labels == UNLABELLED
    if args.dismissed_values:
        unwanted |= ~np.isin(labels, args.dismissed_values)
    kept = np.where(unwanted, 0, labels).astype(np.uint8)
    return outlines_in(kept if upright is None else upright.labels_to_working(kept))


def _detected(args: argparse.Namespace, here: _Here, progress: Progress) -> tuple[Candidate, ...]:
    from dataclasses import replace

    from napari_medmeta.core import MissingExamplesError
    from napari_medmeta.tasks.detection import DetectionConfig, detect, examples_on, joined

    parts = _from_elsewhere(args, here.volume, progress)
    engine = _engine(here.volume, args.device, progress)
    if here.support is not None:
        grid = here.volume.geometry
        parts.append(examples_on(engine, grid, here.support, structure=here.structure, seed=args.seed))
    if not parts:
        raise MissingExamplesError(
            "No lesion is painted in the session yet", next_step="Paint one, or give --from or --from-library"
        )
    config = DetectionConfig()
    config = replace(config, candidates=replace(config.candidates, most=args.most))
    return detect(
        engine,
        here.volume,
        joined(parts),
        known=here.known,
        dismissed=here.dismissed,
        config=config,
        seed=args.seed,
        progress=progress,
    )


def _from_elsewhere(args: argparse.Namespace, volume: Volume, progress: Progress) -> list[LesionExamples]:
    from napari_medmeta.io import read_scan
    from napari_medmeta.tasks.detection import examples_of_entries, examples_on
    from napari_medmeta.tasks.detection_kinds import require_alike

    parts = []
    for scan, labels in zip(args.others, args.other_labels, strict=True):
        # One scan at a time: its features are gone before the next one is read.
        other = read_scan(scan)
        note = require_alike(other.modality, volume.modality, name=scan.name)
        if note:
            print(f"Note: {note}", file=sys.stderr)
        support = _painted(labels, other, args.structure, ())
        engine = _engine(other, args.device, progress)
        parts.append(examples_on(engine, other.geometry, support, structure=1, seed=args.seed))
    if args.from_library is not None:
        parts.append(examples_of_entries(_entries(args, volume)))
    return parts


def _entries(args: argparse.Namespace, volume: Volume) -> Sequence[LibraryEntry]:
    from napari_medmeta.cli.source import library_file
    from napari_medmeta.core import MissingExamplesError
    from napari_medmeta.core.library import same_name

    name = args.from_library
    kept = [e for e in library_file(args.library).entries() if e.modality is volume.modality]
    wanted = [e for e in kept if same_name(e.structure, name) or e.id.startswith(name)]
    if not wanted:
        raise MissingExamplesError(
            f"The library keeps no {name} on {volume.modality} scans",
            next_step="See what it keeps: napari-medmeta library list",
        )
    return wanted


def _painted(path: Path, volume: Volume, structure: int | None, slices: Sequence[int]) -> Support:
    """Return the painted slices with every wanted lesion as structure 1."""
    import numpy as np

    from napari_medmeta.core import BACKGROUND, UNLABELLED, guess_axis, support_from_labels
    from napari_medmeta.io import read_named_labels

    labels = read_named_labels(path, like=volume.geometry).labels
    lesion = labels == structure if structure is not None else (labels != BACKGROUND) & (labels != UNLABELLED)
    values = np.where(lesion, 1, np.where(labels == UNLABELLED, UNLABELLED, BACKGROUND)).astype(np.uint8)
    return support_from_labels(values, axis=guess_axis(values, volume.geometry), slices=slices)


def _engine(volume: Volume, device: str, progress: Progress) -> Segmenter:
    """Return an engine that knows ``volume``: it refuses what does not fit, and keeps no more than does."""
    from napari_medmeta.engine import EngineConfig, Segmenter
    from napari_medmeta.engine.learners import hand_made_learners

    # Lesions are found by the hand-made features alone: with other learners the learnt ones would be computed too.
    engine = Segmenter(device=device, config=EngineConfig(learners=hand_made_learners(), network=False))
    engine.set_volume(volume, progress=progress)
    return engine


def _write(args: argparse.Namespace, found: Sequence[Candidate], here: _Here, volume: Volume) -> Sequence[Candidate]:
    """Write outlines and table on the grid of the scan's file; return the list as written."""
    from napari_medmeta.io import save_labels
    from napari_medmeta.tasks.detection_candidates import renumbered
    from napari_medmeta.tasks.detection_table import candidate_labels, write_candidates

    working, original = here.volume.geometry, volume.geometry
    if args.masks is not None:
        names = {n: f"Candidate {n}" for n in range(1, len(found) + 1)}
        labels = candidate_labels(found, working.shape)
        labels = labels if here.volume is volume else original.reoriented().labels_to_original(labels)
        save_labels(args.masks, labels, original, names=names)
    listed = found if here.volume is volume else [renumbered(c, working, original) for c in found]
    write_candidates(args.output, listed)
    return listed


def _summary(output: Path, found: Sequence[Candidate]) -> list[str]:
    what = f"{len(found)} candidates, the best first" if len(found) > 1 else "1 candidate" if found else "no candidates"
    lines = [f"Wrote {output}: {what}"]
    for number, candidate in enumerate(found[:10], start=1):
        x, y, z = candidate.centre_mm
        lines.append(
            f"  {number:2d}  score {candidate.score:.2f}  {candidate.volume_ml:.2f} ml  {candidate.longest_mm:.0f} mm"
            f"  slice {candidate.ref.index}  at ({x:.0f}, {y:.0f}, {z:.0f}) mm"
        )
    return lines
