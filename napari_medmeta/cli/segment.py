"""``napari-medmeta segment``: a few painted slices in, the whole volume out, without a window."""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medmeta.cli.options import add_device, integers, require_writable, write_json
from napari_medmeta.core.types import MAX_STRUCTURES, UNLABELLED

if TYPE_CHECKING:
    from napari_medmeta.cli.options import Subparsers
    from napari_medmeta.core import LabelArray, Progress, Proposal, Support, Volume
    from napari_medmeta.engine import Segmenter
    from napari_medmeta.io import ScanSource

__all__ = ["add_parser", "run"]

MEGABYTE, GIGABYTE = 2.0**20, 2.0**30
FEATURES_SHARE = 0.3
"""About the share of the time that features take; the bar need not be exact."""


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "segment",
        help="propose the whole volume from a few painted slices",
        description="Propose the whole volume from a few painted slices. Axes and slices are counted from 0 in the "
        "order (z, y, x) of the file.",
    )
    parser.add_argument("image", type=Path, metavar="IMAGE", help="the scan: an image file or a DICOM folder")
    parser.add_argument(
        "--examples",
        type=Path,
        required=True,
        metavar="LABELS",
        help="painted slices on the scan's grid, 0 for background; every slice that holds a label counts as complete",
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
        type=_names,
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
    add_device(parser)
    parser.add_argument(
        "--report", type=Path, metavar="report.json", help="where to write seconds, memory, expected Dice"
    )
    parser.add_argument("--series", metavar="UID", help="which series of a DICOM folder (see: napari-medmeta info)")
    parser.add_argument("--quiet", action="store_true", help="print nothing unless something goes wrong")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Segment ``args.image``; nothing is written unless the proposal is complete."""
    _require_outputs(args)
    seconds: dict[str, float] = {}
    with _stage(seconds, "read"):
        volume, support, names = _read(args)
    with _progress(quiet=args.quiet) as progress:
        segmenter, proposal = _propose(volume, support, args.device, seconds, progress)
    with _stage(seconds, "write"):
        _write(args, _with_examples(proposal, support), volume, names)
    report = _report(segmenter, volume, support, proposal, seconds)
    if args.report is not None:
        write_json(args.report, report)
    if not args.quiet:
        print("\n".join(_summary(args.output, report)))
    return 0


def _require_outputs(args: argparse.Namespace) -> None:
    """Refuse names that could not be written, before minutes are spent on their content."""
    from napari_medmeta.io import require_measurement_path, require_savable

    require_savable(args.output, source=_source(args))
    if args.measurements is not None:
        require_measurement_path(args.measurements)
    for path in (args.output, args.measurements, args.report):
        if path is not None:
            require_writable(path)


def _source(args: argparse.Namespace) -> ScanSource:
    from napari_medmeta.io import ScanSource

    return ScanSource(args.image, args.series)


def _names(text: str) -> dict[int, str]:
    names = {}
    for part in text.split(","):
        value, found, name = part.partition("=")
        if not found or not value.strip().isdigit() or not 1 <= int(value) <= MAX_STRUCTURES or not name.strip():
            raise argparse.ArgumentTypeError(f"{part!r} does not name a structure: write 1=Liver,2=Spleen")
        names[int(value)] = name.strip()
    return names


def _label_value(text: str) -> int:
    value = int(text) if text.isdigit() else -1
    if not 1 <= value <= UNLABELLED:
        raise argparse.ArgumentTypeError(f"{text!r} is not a label value from 1 to {UNLABELLED}")
    return value


def _read(args: argparse.Namespace) -> tuple[Volume, Support, Mapping[int, str]]:
    """Return the scan, its examples, and the structures' names: given, else the file's, else their numbers."""
    from napari_medmeta.core import guess_axis, support_from_labels
    from napari_medmeta.io import read_named_labels, read_volume, require_savable

    volume = read_volume(args.image, series=args.series)
    require_savable(args.output, source=_source(args), geometry=volume.geometry)
    examples = read_named_labels(args.examples, like=volume.geometry, source=args.image)
    labels = examples.labels
    guessed = args.axis == "auto"
    axis = guess_axis(labels, volume.geometry, unlabelled=args.unlabelled) if guessed else int(args.axis)
    support = support_from_labels(labels, axis=axis, slices=args.slices, unlabelled=args.unlabelled)
    _require_contrast(support)
    numbered = {s: f"structure {s}" for s in support.structures}
    return volume, support, {s: {**numbered, **examples.names, **args.names}[s] for s in support.structures}


def _require_contrast(support: Support) -> None:
    """Refuse examples that show one structure and nothing that it is not."""
    from napari_medmeta.core import MissingExamplesError

    if not any(e.negative(s).any() for s in support.structures for e in support.examples):
        raise MissingExamplesError(
            "The examples show one structure only, and no voxel where it is not",
            expected="background (0) or a second structure on at least one example slice",
            next_step="Mark some background, or name a slice without the structure with --slices",
        )


def _propose(
    volume: Volume, support: Support, device: str, seconds: dict[str, float], progress: Progress
) -> tuple[Segmenter, Proposal]:
    from napari_medmeta.engine import Segmenter

    segmenter = Segmenter(device=device)
    _require_memory(segmenter.memory_estimate_bytes(support.shape))
    with _stage(seconds, "features"):
        segmenter.set_volume(volume, progress=lambda f, stage: progress(FEATURES_SHARE * f, stage))
    with _stage(seconds, "proposal"):
        rest = 1 - FEATURES_SHARE
        proposal = segmenter.segment(support, progress=lambda f, stage: progress(FEATURES_SHARE + rest * f, stage))
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


def _with_examples(proposal: Proposal, support: Support) -> LabelArray:
    """Return the proposal on the whole grid, with every painted voxel as it was painted."""
    labels, known = support.labels_and_known()
    out = proposal.volume(support.shape)
    out[known] = labels[known]
    return out


def _write(args: argparse.Namespace, labels: LabelArray, volume: Volume, names: Mapping[int, str]) -> None:
    from napari_medmeta.core.measurements import MeasurementTable
    from napari_medmeta.io import save_labels, write_measurements

    save_labels(args.output, labels, volume.geometry, names=names, source=_source(args), anonymous=args.anonymous)
    if args.measurements is not None:
        table = MeasurementTable(volume.array, volume.geometry, modality=volume.modality)
        table.update(labels)
        write_measurements(args.measurements, [(names[s], table.measurement(s)) for s in sorted(names)])


def _report(
    segmenter: Segmenter, volume: Volume, support: Support, proposal: Proposal, seconds: Mapping[str, float]
) -> dict[str, object]:
    # The scan's name and path stay out: file names of scans often carry the patient's name.
    return {
        "device": segmenter.device,
        "seconds": {stage: round(value, 3) for stage, value in seconds.items()},
        "seconds_of_proposal": {stage: round(value, 3) for stage, value in proposal.seconds.items()},
        "peak_memory_mb": round(peak_memory_bytes() / MEGABYTE),
        "expected_dice": {str(s): round(value, 3) for s, value in sorted(proposal.expected_dice.items())},
        "structures": list(support.structures),
        "examples": [{"axis": e.ref.axis, "slice": e.ref.index, "complete": e.is_complete} for e in support.examples],
        "shape": list(support.shape),
        "spacing_mm": [round(s, 4) for s in volume.geometry.spacing_mm],
        "notes": list(volume.notes),
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    from napari_medmeta import __version__

    others = {name: version(name) for name in ("torch", "numpy", "scikit-image", "SimpleITK")}
    return {"napari-medmeta": __version__, "python": platform.python_version(), **others}


def _summary(output: Path, report: Mapping[str, Any]) -> list[str]:
    lines = [f"Wrote {output}"]
    for structure, value in report["expected_dice"].items():
        lines.append(f"  structure {structure}: expected Dice {value:.2f} on the slices that were not painted")
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


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Progress]:
    """Show a bar on the error stream while the block runs; nothing where that is not a terminal."""
    from tqdm import tqdm

    # None: tqdm stays silent by itself when the stream is no terminal.
    with tqdm(
        total=100, disable=True if quiet else None, leave=False, bar_format="{desc} {bar} {percentage:3.0f}%"
    ) as bar:

        def show(fraction: float, stage: str, /) -> None:
            bar.set_description_str(stage, refresh=False)
            bar.update(round(100 * fraction) - bar.n)

        yield show
