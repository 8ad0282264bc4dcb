"""``napari-medmeta segment``: a few painted slices, or the library, in; the whole volume out, without a window."""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medmeta.cli.options import (
    add_device,
    add_weights,
    integers,
    names,
    progress_bar,
    require_writable,
    structure_names,
    write_json,
)
from napari_medmeta.cli.source import require_source, source_of
from napari_medmeta.core.types import UNLABELLED

if TYPE_CHECKING:
    from napari_medmeta.cli.options import Subparsers
    from napari_medmeta.cli.source import Source
    from napari_medmeta.core import LabelArray, Progress, Proposal, Volume
    from napari_medmeta.engine import Segmenter
    from napari_medmeta.io import ScanSource

__all__ = ["add_parser", "run"]

MEGABYTE, GIGABYTE = 2.0**20, 2.0**30
LETTERS = 16
"""Of a digest: enough to tell weights apart."""
FEATURES_SHARE = 0.3
"""About the share of the time that features take; the bar need not be exact."""


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "segment",
        help="propose the whole volume from a few painted slices, or from the library",
        description="Propose the whole volume from a few painted slices, or from what the library keeps of earlier "
        "patients. Axes and slices are counted from 0 in the order (z, y, x) of the file.",
    )
    parser.add_argument("image", type=Path, metavar="IMAGE", help="the scan: an image file or a DICOM folder")
    learnt = parser.add_mutually_exclusive_group(required=True)
    learnt.add_argument(
        "--examples",
        type=Path,
        metavar="LABELS",
        help="painted slices on the scan's grid, 0 for background; every slice that holds a label counts as complete",
    )
    learnt.add_argument(
        "--from-library", action="store_true", help="propose what was kept of earlier patients, without any painting"
    )
    parser.add_argument(
        "--library", type=Path, metavar="FILE", help="with --from-library: another library file than your own"
    )
    parser.add_argument(
        "--structures",
        type=names,
        default=(),
        metavar="liver,spleen",
        help="with --from-library: which structures, numbered in this order (default: all that it keeps on such scans)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="OUT",
        help="where to write the labels, such as result.nii.gz, or seg.dcm for a DICOM segmentation of a DICOM series",
    )
    parser.add_argument(
        "--measurements",
        type=Path,
        metavar="TABLE",
        help="where to write volume, values and diameters of each structure, such as table.csv or table.json",
    )
    parser.add_argument(
        "--names",
        type=structure_names,
        default={},
        metavar="1=Liver,2=Spleen",
        help="what the structures are called; also chooses the codes of a DICOM segmentation",
    )
    parser.add_argument("--anonymous", action="store_true", help="leave patient and study out of a DICOM segmentation")
    parser.add_argument(
        "--slices", type=integers, default=(), metavar="10,40,70", help="further complete slices, also empty ones"
    )
    parser.add_argument(
        "--axis", choices=("auto", "0", "1", "2"), default="auto", help="axis along which the slices are complete"
    )
    parser.add_argument(
        "--unlabelled",
        type=_label_value,
        default=UNLABELLED,
        metavar="VALUE",
        help="value of voxels of which nothing is known (%(default)s)",
    )
    parser.add_argument(
        "--learner",
        metavar="NAME",
        help="let one family of meta-learners answer alone, such as siamese or memory_augmented, instead of all "
        "sources together",
    )
    add_weights(parser, "of the engine")
    add_device(parser)
    parser.add_argument(
        "--report", type=Path, metavar="report.json", help="where to write seconds, memory, expected Dice"
    )
    parser.add_argument("--series", metavar="UID", help="which series of a DICOM folder (see: napari-medmeta info)")
    parser.add_argument("--quiet", action="store_true", help="print nothing unless something goes wrong")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Segment ``args.image``; nothing is written unless the proposal is complete."""
    require_source(args)
    _require_learner(args.learner)
    used = _weights(args)
    _require_outputs(args)
    seconds: dict[str, float] = {}
    with _stage(seconds, "read"):
        volume, source = _read(args)
    with progress_bar("", quiet=args.quiet) as progress:
        segmenter, proposal = _propose(volume, source, args, seconds, progress)
    with _stage(seconds, "write"):
        _write(args, source.labels(proposal, volume), volume, source.names)
    report = _report(segmenter, volume, source, proposal, seconds) | {"learner": args.learner or "fused", **used}
    if args.report is not None:
        write_json(args.report, report)
    if not args.quiet:
        print("\n".join(_summary(args, source, report)))
    return 0


def _require_learner(name: str | None) -> None:
    from napari_medmeta.core import InputError

    if name is None:
        return
    from napari_medmeta.engine.choices import learner_names

    if name not in learner_names():
        raise InputError(f"There is no learner {name!r}", expected="one of " + ", ".join(learner_names()))


def _weights(args: argparse.Namespace) -> dict[str, object]:
    """Return what the report says of the weights; own ones are checked before anything is read."""
    from napari_medmeta.core.weights import own_parts

    if args.weights is None:
        return {"weights": "shipped"}
    return {"weights": {name: part.sha256[:LETTERS] for name, part in own_parts(args.weights).items()}}


def _require_outputs(args: argparse.Namespace) -> None:
    """Refuse names that could not be written, before minutes are spent on their content."""
    from napari_medmeta.io import require_savable, require_table_path

    require_savable(args.output, source=_source(args))
    if args.measurements is not None:
        require_table_path(args.measurements)
    for path in (args.output, args.measurements, args.report):
        if path is not None:
            require_writable(path)


def _source(args: argparse.Namespace) -> ScanSource:
    from napari_medmeta.io import ScanSource

    return ScanSource(args.image, args.series)


def _label_value(text: str) -> int:
    value = int(text) if text.isdigit() else -1
    if not 1 <= value <= UNLABELLED:
        raise argparse.ArgumentTypeError(f"{text!r} is not a label value from 1 to {UNLABELLED}")
    return value


def _read(args: argparse.Namespace) -> tuple[Volume, Source]:
    """Return the scan, and what is known of its structures."""
    from napari_medmeta.io import read_scan, require_savable

    volume = read_scan(args.image, series=args.series)
    require_savable(args.output, source=_source(args), geometry=volume.geometry)
    return volume, source_of(args, volume)


def _propose(
    volume: Volume, source: Source, args: argparse.Namespace, seconds: dict[str, float], progress: Progress
) -> tuple[Segmenter, Proposal]:
    from napari_medmeta.engine import Segmenter
    from napari_medmeta.engine.choices import FUSED, engine_config

    segmenter = Segmenter(device=args.device, config=engine_config(args.learner or FUSED, weights=args.weights))
    _require_memory(segmenter.memory_estimate_bytes(volume.geometry.shape))
    with _stage(seconds, "features"):
        segmenter.set_volume(volume, progress=lambda f, stage: progress(FEATURES_SHARE * f, stage))
    with _stage(seconds, "proposal"):
        rest = 1 - FEATURES_SHARE
        proposal = source.propose(segmenter, volume, lambda f, stage: progress(FEATURES_SHARE + rest * f, stage))
    return segmenter, proposal


def _require_memory(needed: int) -> None:
    from napari_medmeta.core import VolumeTooLargeError

    free = available_memory_bytes()
    if needed > free:
        raise VolumeTooLargeError(
            f"Segmenting this scan would take about {needed / GIGABYTE:.1f} GB of memory",
            expected=f"at most {free / GIGABYTE:.1f} GB, which is what is free",
            next_step="Close other programs, or crop or downsample the scan first",
        )


def available_memory_bytes() -> int:
    """Return how much memory is free."""
    import psutil

    return int(psutil.virtual_memory().available)


def peak_memory_bytes() -> int:
    """Return the most memory this process has held so far."""
    import psutil

    memory = psutil.Process().memory_info()
    if hasattr(memory, "peak_wset"):
        return int(memory.peak_wset)
    status = Path("/proc/self/status")
    if status.is_file():
        # Linux hands the peak in getrusage on from the parent process; VmHWM is this program's own.
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _write(args: argparse.Namespace, labels: LabelArray, volume: Volume, names: Mapping[int, str]) -> None:
    from napari_medmeta.core.measurements import MeasurementTable
    from napari_medmeta.io import save_labels, write_measurements

    save_labels(args.output, labels, volume.geometry, names=names, source=_source(args), anonymous=args.anonymous)
    if args.measurements is not None:
        table = MeasurementTable(volume.array, volume.geometry, modality=volume.modality)
        table.update(labels)
        write_measurements(args.measurements, [(names[s], table.measurement(s)) for s in sorted(names)])


def _report(
    segmenter: Segmenter, volume: Volume, source: Source, proposal: Proposal, seconds: Mapping[str, float]
) -> dict[str, object]:
    # The scan's name and path stay out: file names of scans often carry the patient's name.
    return {
        "device": segmenter.device,
        "seconds": {stage: round(value, 3) for stage, value in seconds.items()},
        "seconds_of_proposal": {stage: round(value, 3) for stage, value in proposal.seconds.items()},
        "peak_memory_mb": round(peak_memory_bytes() / MEGABYTE),
        "expected_dice": {str(s): round(value, 3) for s, value in sorted(proposal.expected_dice.items())},
        **source.about,
        "shape": list(volume.geometry.shape),
        "spacing_mm": [round(s, 4) for s in volume.geometry.spacing_mm],
        "notes": list(volume.notes),
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    from napari_medmeta import __version__

    others = {name: version(name) for name in ("torch", "numpy", "scikit-image", "SimpleITK")}
    return {"napari-medmeta": __version__, "python": platform.python_version(), **others}


def _summary(args: argparse.Namespace, source: Source, report: Mapping[str, Any]) -> list[str]:
    lines = [f"Wrote {args.output}"]
    where = "before anything was painted" if args.from_library else "on the slices that were not painted"
    for structure, value in report["expected_dice"].items():
        name = f"{source.names[int(structure)]} ({structure})" if args.from_library else f"structure {structure}"
        lines.append(f"  {name}: expected Dice {value:.2f} {where}")
    total = sum(report["seconds"].values())
    lines.append(f"  {total:.1f} s on {report['device']}, {report['peak_memory_mb']} MB of memory at most")
    return lines


@contextmanager
def _stage(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds[name] = time.perf_counter() - start
