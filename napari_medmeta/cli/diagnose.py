"""``napari-medmeta diagnose``: compare a segmented case with a few cases of each known finding (a research aid)."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medmeta.cli.kept import SHORT, named, own_file
from napari_medmeta.cli.options import (
    add_file_to_actions,
    names,
    progress_bar,
    require_writable,
    structure_names,
    write_json,
)
from napari_medmeta.core.diagnosis import RESEARCH_AID

if TYPE_CHECKING:
    from napari_medmeta.cli.options import Subparsers
    from napari_medmeta.core.diagnosis import KnownCase, MeasuredCase
    from napari_medmeta.session.diagnosis_library import CaseLibrary
    from napari_medmeta.tasks.diagnosis import Clue, Diagnosis
    from napari_medmeta.tasks.diagnosis_features import MeasuredScan

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "diagnose",
        help="compare a segmented case with a few cases of each known finding (a research aid)",
        description=f"{RESEARCH_AID} Measurements are kept, no image and no name.",
    )
    parser.add_argument("--file", type=Path, metavar="CASES", help="the library of cases (default: your own)")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    keep = actions.add_parser("keep", help="measure cases whose finding is known, and keep the measurements")
    _add_scans(keep)
    keep.add_argument("--finding", help="what the case shows, such as normal; never a patient's name")
    keep.add_argument(
        "--from", dest="source", type=Path, metavar="DATA",
        help="many cases at once: a folder with a cases.csv (columns case, finding), or such a list",
    )  # fmt: skip
    keep.add_argument("--cases", type=names, default=(), metavar="A,B", help="which of them (default: all)")
    ask = actions.add_parser("ask", help="compare a case with the kept ones")
    _add_scans(ask)
    ask.add_argument("--report", type=Path, metavar="report.json", help="where to write the whole answer")
    actions.add_parser("list", help="list the kept cases")
    actions.add_parser("check", help="recognise each kept case from the others")
    rename = actions.add_parser("rename", help="give a kept case another finding")
    rename.add_argument("case", metavar="ID", help="as `list` shows it")
    rename.add_argument("finding", metavar="FINDING")
    remove = actions.add_parser("remove", help="forget kept cases")
    remove.add_argument("cases", nargs="+", metavar="ID", help="as `list` shows them")
    export = actions.add_parser("export", help="write the kept cases into one portable file")
    export.add_argument("output", type=Path, metavar="OUT.medcases")
    take = actions.add_parser("import", help="take over all cases of another file")
    take.add_argument("input", type=Path, metavar="IN.medcases")
    add_file_to_actions(actions, metavar="CASES")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do what was asked."""
    library = _library(args.file)
    match args.action:
        case "keep":
            print("\n".join(_keep(args, library)))
        case "ask":
            print("\n".join(_ask(args, library)))
        case "list":
            print("\n".join(map(_line, library.cases())) or "The library of cases is empty.")
        case "check":
            from napari_medmeta.tasks.diagnosis import Diagnoser

            print(f"{Diagnoser(library.cases()).check().words}\n{RESEARCH_AID}")
        case "rename":
            library.rename(_named(library, args.case), args.finding)
        case "remove":
            print(f"removed: {library.remove([_named(library, case) for case in args.cases])}")
        case "export":
            print(f"exported: {library.export(args.output)}")
        case "import":
            print(f"new cases: {library.import_from(args.input)}")
    return 0


def _add_scans(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scan",
        nargs="+",
        action="append",
        default=[],
        metavar="FILE",
        help="IMAGE LABELS, or IMAGE LABELS PHASE such as end-systole; once for each scan of the case",
    )
    parser.add_argument(
        "--names", type=structure_names, default={}, metavar="1=Liver,2=Spleen", help="names of the structures"
    )


def _keep(args: argparse.Namespace, library: CaseLibrary) -> list[str]:
    from napari_medmeta.core import InputError
    from napari_medmeta.session.diagnosis_library import new_case

    if (args.source is None) == (args.finding is None):
        raise InputError(
            "It is not clear what to keep",
            expected="--finding NAME with --scan IMAGE LABELS, or --from DATA for many cases",
        )
    if args.source is not None:
        known = _measured_list(args)
    else:
        known = [new_case(args.finding, _measured(args.scan, args.names))]
    library.add(known)
    return [*(f"kept: {_line(case)}" for case in known), "No image was kept.", RESEARCH_AID]


def _ask(args: argparse.Namespace, library: CaseLibrary) -> list[str]:
    from napari_medmeta.tasks.diagnosis import Diagnoser

    if args.report is not None:
        require_writable(args.report)
    diagnoser = Diagnoser(library.cases())
    answer = diagnoser.classify(_measured(args.scan, args.names))
    checked = diagnoser.check().words
    if args.report is not None:
        write_json(args.report, {"notice": RESEARCH_AID, **_report(answer), "check": checked})
    return [RESEARCH_AID, "", *_told(answer), checked]


def _measured_list(args: argparse.Namespace) -> list[KnownCase]:
    from napari_medmeta.bench.cases import find_cases
    from napari_medmeta.bench.diagnosis_patients import find_patients, measure_patients
    from napari_medmeta.session.diagnosis_library import new_case

    patients = find_patients(find_cases(args.source, only=args.cases), args.source)
    with progress_bar("measuring") as progress:
        measured = measure_patients(patients, proposals=None, progress=progress)
    return [new_case(patient.finding, case) for patient, case in zip(patients, measured, strict=True)]


def _measured(scans: Sequence[Sequence[str]], given: Mapping[int, str]) -> MeasuredCase:
    """Read and measure the scans of one case."""
    from napari_medmeta.core import InputError
    from napari_medmeta.tasks.diagnosis_features import join_scans

    if not scans or not all(2 <= len(words) <= 3 for words in scans):
        raise InputError("A case needs its scans", expected="--scan IMAGE LABELS, or --scan IMAGE LABELS PHASE")
    phases = [words[2] if len(words) == 3 else "" for words in scans]
    if len(set(phases)) < len(phases):
        raise InputError(
            "Two scans of the case have the same phase",
            expected="--scan IMAGE LABELS PHASE, each with a phase of its own, when a case has several scans",
        )
    found = (_measured_scan(Path(words[0]), Path(words[1]), given) for words in scans)
    return join_scans(dict(zip(phases, found, strict=True)))


def _measured_scan(image: Path, labels: Path, given: Mapping[int, str]) -> MeasuredScan:
    import numpy as np

    from napari_medmeta.core.types import BACKGROUND, UNLABELLED
    from napari_medmeta.io import read_named_labels, read_scan
    from napari_medmeta.tasks.diagnosis_features import measure_scan

    volume = read_scan(image)
    found = read_named_labels(labels, like=volume.geometry, source=image)
    values = [int(v) for v in np.unique(found.labels) if v not in (BACKGROUND, UNLABELLED)]
    named = {v: f"structure {v}" for v in values} | dict(found.names) | dict(given)
    return measure_scan(volume, found.labels, {v: named[v] for v in values})


def _library(path: Path | None) -> CaseLibrary:
    from napari_medmeta.session.diagnosis_library import CASES_SUFFIX, CaseLibrary

    return CaseLibrary(own_file(f"cases{CASES_SUFFIX}") if path is None else path)


def _named(library: CaseLibrary, prefix: str) -> str:
    return named(library.cases(), prefix, one="case", several="cases", command="diagnose").id


def _line(case: KnownCase) -> str:
    measured = case.measured
    phases = f" at {', '.join(measured.phases)}" if any(measured.phases) else ""
    structures = ", ".join(measured.structures)
    return f"{case.id[:SHORT]}  {case.finding}  {measured.modality}  {structures}{phases}  kept on {case.day}"


def _told(answer: Diagnosis) -> list[str]:
    from napari_medmeta.tasks.diagnosis import percent

    lines = [answer.headline]
    lines += [f"  {percent(x.probability):>6}  {x.finding} ({x.cases} kept)" for x in answer.likely]
    near = ", ".join(f"{n.finding} ({n.case[:SHORT]}, {n.distance:.1f})" for n in answer.nearest)
    lines += [f"Nearest kept cases (1 is usual between two people of one finding): {near}"]
    lines += _clues("Speaks for it:", answer.speaks_for) + _clues("Speaks against it:", answer.speaks_against)
    return [*lines, f"Measurements compared: {answer.measurements}."]


def _clues(title: str, clues: Iterable[Clue]) -> list[str]:
    told = [f"  {clue.words}" for clue in clues]
    return [title, *told] if told else []


def _report(answer: Diagnosis) -> dict[str, object]:
    return {
        "answer": answer.headline,
        "none_of_these": answer.none_of_these,
        "distance": round(answer.distance, 3),
        "limit": round(answer.limit, 3),
        "probabilities": {x.finding: round(x.probability, 4) for x in answer.likely},
        "nearest": [{"case": n.case, "finding": n.finding, "distance": round(n.distance, 3)} for n in answer.nearest],
        "speaks_for": [c.words for c in answer.speaks_for],
        "speaks_against": [c.words for c in answer.speaks_against],
        "measurements": answer.measurements,
    }
