"""Patients with a known finding, measured from true masks and from masks that the engine proposed.

A case belongs to a patient by the columns ``patient`` and ``phase`` of the list of cases; without them the id is
split at its last underscore, and the phase is what stands after the comma of the anatomy, such as "heart,
end-diastole". The column ``finding`` names the finding; cases without one are left out.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_medmeta.bench.cases import Case, LoadedCase, load_case
from napari_medmeta.bench.methods.ours import Engine
from napari_medmeta.bench.protocol import anatomy_of
from napari_medmeta.core import InputError, LabelArray, Progress
from napari_medmeta.core.diagnosis import MeasuredCase
from napari_medmeta.tasks.diagnosis_features import MeasuredScan, join_scans, measure_scan

__all__ = ["Patient", "Proposals", "find_patients", "measure_patients"]


@dataclass(frozen=True, slots=True)
class Patient:
    """One patient: a finding and the scan of each phase."""

    id: str
    finding: str
    scans: tuple[tuple[str, Case], ...]


@dataclass(frozen=True)
class Proposals:
    """Masks that the engine proposes from ``k`` painted slices, kept in ``folder`` so that a stopped run goes on."""

    folder: Path
    k: int
    engine: Engine

    def labels(self, loaded: LoadedCase) -> LabelArray:
        """Return (I, J, K) labels: painted slices as painted, the rest as proposed."""
        path = self.folder / f"{loaded.case.id}-k{self.k}-{self.engine.version}.npz"
        if path.exists():
            with np.load(path) as kept:
                return np.asarray(kept["labels"], dtype=np.uint8)
        task = anatomy_of(loaded.truth, loaded.volume.geometry, case_id=loaded.case.id).task(k=self.k)
        labels = task.saved(self.engine.segment(loaded.volume, task.support))
        self.folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        np.savez_compressed(part, labels=labels)
        part.replace(path)
        return labels


def find_patients(cases: Sequence[Case], data: Path) -> tuple[Patient, ...]:
    """Group ``cases`` into patients of a known finding, sorted by id.

    Raises
    ------
    InputError
        When there is no list with findings, or it does not name two.
    """
    rows = _rows(data)
    groups: dict[tuple[str, str], list[tuple[str, Case]]] = {}
    for case in cases:
        row = rows.get(case.id, {})
        if row.get("finding"):
            patient = row.get("patient") or case.id.rpartition("_")[0] or case.id
            phase = row.get("phase") or case.anatomy.partition(",")[2].strip() or case.id.rpartition("_")[2]
            groups.setdefault((patient, row["finding"]), []).append((phase, case))
    found = tuple(Patient(p, finding, tuple(sorted(scans))) for (p, finding), scans in sorted(groups.items()))
    if len({p.finding for p in found}) < 2:
        raise InputError(
            f"The cases in {data.name} have no two findings",
            expected="a cases.csv with the columns case and finding",
            next_step="Give the folder of cases whose list names a finding for each patient",
        )
    return found


def measure_patients(
    patients: Sequence[Patient], *, proposals: Proposals | None, progress: Progress
) -> tuple[MeasuredCase, ...]:
    """Measure every patient from true masks, or from ``proposals``."""
    found = []
    for n, patient in enumerate(patients):
        progress(n / len(patients), patient.id)
        found.append(join_scans({phase: _measured(case, proposals) for phase, case in patient.scans}))
    return tuple(found)


def _measured(case: Case, proposals: Proposals | None) -> MeasuredScan:
    loaded = load_case(case)
    labels = loaded.truth if proposals is None else proposals.labels(loaded)
    names: Mapping[int, str] = dict(case.structure_names) or {int(v): f"structure {v}" for v in np.unique(labels) if v}
    return measure_scan(loaded.volume, labels, names)


def _rows(data: Path) -> dict[str, dict[str, str]]:
    places = (data,) if data.is_file() else (data / "cases.csv", data.parent / "cases.csv")
    path = next((p for p in places if p.is_file() and p.suffix == ".csv"), None)
    if path is None:
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {row["case"]: row for row in csv.DictReader(file) if row.get("case")}
