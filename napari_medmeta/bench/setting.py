"""What a report says of its own making: the plan, the command, the machine, what was left out."""

from __future__ import annotations

import os
import platform
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from napari_medmeta import __version__
from napari_medmeta.bench.cases import Case, source_of
from napari_medmeta.bench.interactive_store import SessionRun
from napari_medmeta.bench.plan import Plan, Skipped
from napari_medmeta.bench.store import Run, RunKey

__all__ = ["Setting", "left_out", "made_by", "without_folders"]

PACKAGES = (
    *("numpy", "scipy", "scikit-image", "scikit-learn", "torch", "monai", "SimpleITK", "itk-growcut"),
    *("itk-morphologicalcontourinterpolation", "napari-labelprop", "nnInteractive", "matplotlib"),
)
TOLD_ONE_BY_ONE = 4
"""Failures of one kind, or cases; a longer list tells no more (`runs.csv` does)."""
_FOLDERS = re.compile(r"(?<![\w.])(?:~|[A-Za-z]:)?(?:[/\\][^\s/\\:'\"]+)+[/\\](?=[^\s/\\])")


@dataclass(frozen=True)
class Setting:
    """What a table must say of its own making.

    Parameters
    ----------
    command
        The exact command line.
    skipped
        Cases that could not be judged, each with the reason.
    missing
        Methods that could not run, each with the reason.
    wall_seconds
        From the start of the command to the report, None when unknown; what was finished before does not count.
    """

    plan: Plan
    command: str
    skipped: tuple[Skipped, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    wall_seconds: float | None = None

    @cached_property
    def case_by_id(self) -> dict[str, Case]:
        """The cases by id."""
        return {c.id: c for c in self.plan.cases}

    def source(self, case: str) -> str:
        """Return the collection of a case."""
        known = self.case_by_id.get(case)
        return known.source if known else source_of(case)

    def structure_name(self, case: str, structure: int) -> str:
        """Return what the manifest calls a structure of a case, or the collection and the label value."""
        known = self.case_by_id.get(case)
        name = dict(known.structure_names).get(structure, "") if known else ""
        return name.strip("? ") or f"{self.source(case)} label {structure}"


def made_by(setting: Setting, runs: Iterable[Run], sessions: Iterable[SessionRun]) -> tuple[str, ...]:
    """Return sentences on versions, machine, seed and time."""
    plan = setting.plan
    versions = ", ".join(f"{name} {found}" for name in PACKAGES if (found := _version(name)))
    memory = psutil.virtual_memory().total / 1024**3
    spent = [r.seconds for r in runs] + [x.machine_seconds for s in sessions for x in s.rounds]
    time = f"{_duration(sum(spent))} of answers in all (a vote counts its members' again)"
    if setting.wall_seconds is not None:
        time += f"; {_duration(setting.wall_seconds)} for the command, without what was finished before"
    return (
        f"napari-medmeta {__version__}, Python {platform.python_version()}, {versions}.",
        f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GB of memory, {platform.system()} {platform.machine()}; "
        f"device {plan.device}, seed {plan.seed}, {len(plan.cases)} cases.",
        f"{time}.",
    )


def left_out(setting: Setting, runs: Iterable[Run], sessions: Iterable[SessionRun]) -> tuple[str, ...]:
    """Return sentences on what was skipped, what failed and what had nothing to score, without folders."""
    lines = [f"{s.case}: {s.reason}" for s in setting.skipped]
    lines += [f"{name}: {why}" for name, why in setting.missing.items()]
    ordered = sorted(runs, key=lambda r: r.key)
    lines += _failures(r for r in ordered if r.failure)
    lines += [
        f"{s.key.case}, {s.key.method}, policy {s.key.policy}: {s.failure} (after {len(s.rounds)} rounds)"
        for s in sorted(sessions, key=lambda s: s.key)
        if s.failure
    ]
    nothing = {(r.key.case, r.key.k) for r in ordered if r.mean_dice is None and not r.failure}
    lines += [f"{case}, k={k}: no structure has a voxel off the painted slices" for case, k in sorted(nothing)]
    return tuple(without_folders(line) for line in lines)


def without_folders(text: str) -> str:
    """Return ``text`` with paths cut to their last name: where somebody keeps their scans is nobody else's business."""
    return _FOLDERS.sub("", text)


def _failures(runs: Iterable[Run]) -> list[str]:
    # A method that cannot do something fails on every case in the same words: told once.
    groups: dict[tuple[str, str, str], list[RunKey]] = defaultdict(list)
    for run in runs:
        groups[run.key.method, run.key.painting, run.failure].append(run.key)
    return [
        f"{method}, {painting} painting, {_which(keys)}: {failure} (counted as 0)"
        for (method, painting, failure), keys in sorted(groups.items())
    ]


def _which(keys: Sequence[RunKey]) -> str:
    if len(keys) <= TOLD_ONE_BY_ONE:
        return "; ".join(f"{k.case}, k={k.k}, {k.placement} placement" for k in keys)
    cases = sorted({k.case for k in keys})
    more = f" and {len(cases) - TOLD_ONE_BY_ONE} more" if len(cases) > TOLD_ONE_BY_ONE else ""
    return f"{len(keys)} runs on {', '.join(cases[:TOLD_ONE_BY_ONE])}{more}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        found = re.search(r"^model name\s*:\s*(.+)$", info.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.processor() or "unknown processor"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
