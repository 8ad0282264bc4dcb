"""The scans to judge on: folders that hold an image and a label volume on one grid."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from napari_medmeta.core import InputError, LabelArray, Volume
from napari_medmeta.io import read_labels, read_volume

__all__ = ["DEVELOPMENT_CASES", "Case", "LoadedCase", "find_cases", "load_case", "source_of"]

DEVELOPMENT_CASES = frozenset(
    {
        "acdc_001_ed",
        "acdc_081_es",
        "brats_pat0001_1_flair",
        "chaos_t2_1",
        "cip_ct64_lung",
        "deeplesion_000001_02_01_008-023",
        "ivadomed_spleen2_ct",
        "la2018_06SR5RBR",
        "msd_hippocampus_001",
        "pyrad_brain1",
        "sct_t2_cord",
        "totalseg_abdomen_ct_sm",
    }
)
"""Cases on which constants of methods may be tuned; all others are held out and reported apart."""

_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")


@dataclass(frozen=True, slots=True)
class Case:
    """One scan with its truth, as files.

    Parameters
    ----------
    id
        The folder's name.
    image, label
        The two files, on one grid.
    modality, anatomy
        As the manifest tells, empty where there is none.
    structure_names
        Name by label value, where the manifest names them.
    """

    id: str
    image: Path
    label: Path
    modality: str = ""
    anatomy: str = ""
    structure_names: tuple[tuple[int, str], ...] = ()

    @property
    def is_development(self) -> bool:
        """Whether constants may be tuned on it."""
        return self.id in DEVELOPMENT_CASES

    @property
    def source(self) -> str:
        """The collection it comes from: the id up to the first number or patient."""
        return source_of(self.id)


@dataclass(frozen=True, eq=False)
class LoadedCase:
    """A case in memory: the scan without any trace of where its truth lies, and the truth apart."""

    case: Case
    volume: Volume
    truth: LabelArray


def source_of(case_id: str) -> str:
    """Return the collection of a case id.

    Examples
    --------
    >>> source_of("acdc_001_ed"), source_of("chaos_t2_10"), source_of("totalseg_abdomen_ct_sm")
    ('acdc', 'chaos', 'totalseg')
    """
    return re.split(r"[_\-]", case_id, maxsplit=1)[0]


def find_cases(folder: Path | str, *, only: tuple[str, ...] = ()) -> tuple[Case, ...]:
    """List the cases below ``folder``, sorted by id.

    A case is a sub-folder with a file ``image.*`` and a file ``label.*``. A ``cases.csv`` in ``folder`` or
    beside it (columns case, modality, anatomy, structures) adds what is known of each.

    Raises
    ------
    InputError
        When there is no such folder, it holds no case, or a case named in ``only`` is missing.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"There is no folder {root}", next_step="Give the folder that holds one sub-folder a case")
    known = _manifest(root)
    cases = []
    for sub in sorted(p for p in root.iterdir() if p.is_dir()):
        image, label = _find(sub, "image"), _find(sub, "label")
        if image is not None and label is not None:
            row = known.get(sub.name, {})
            names = _structure_names(row.get("structures", ""))
            cases.append(Case(sub.name, image, label, row.get("modality", ""), row.get("anatomy", ""), names))
    if not cases:
        raise InputError(
            f"{root} holds no case",
            expected="one sub-folder a case, with image.nii.gz and label.nii.gz on one grid",
        )
    return _chosen(tuple(cases), only)


def load_case(case: Case) -> LoadedCase:
    """Read one case; methods are given ``volume`` only, which names no file.

    Raises
    ------
    MedmetaError
        When a file cannot be read, or image and label do not lie on one grid.
    """
    volume = read_volume(case.image)
    truth, _ = read_labels(case.label, like=volume.geometry)
    # No path and no name: from these a method could find the truth.
    bare = Volume(volume.array, volume.geometry, volume.modality)
    for array in (bare.array, truth):
        array.setflags(write=False)
    return LoadedCase(case, bare, truth)


def _find(folder: Path, stem: str) -> Path | None:
    return next((folder / f"{stem}{s}" for s in _SUFFIXES if (folder / f"{stem}{s}").is_file()), None)


def _manifest(root: Path) -> dict[str, dict[str, str]]:
    path = next((p for p in (root / "cases.csv", root.parent / "cases.csv") if p.is_file()), None)
    if path is None:
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def _structure_names(text: str) -> tuple[tuple[int, str], ...]:
    pairs = (part.strip().partition(" ") for part in text.split(";"))
    return tuple((int(value), name.strip()) for value, _, name in pairs if value.isdigit())


def _chosen(cases: tuple[Case, ...], only: tuple[str, ...]) -> tuple[Case, ...]:
    if not only:
        return cases
    missing = sorted(set(only) - {c.id for c in cases})
    if missing:
        raise InputError(f"There is no case {missing[0]}", expected=", ".join(c.id for c in cases[:5]) + " ...")
    return tuple(c for c in cases if c.id in only)
