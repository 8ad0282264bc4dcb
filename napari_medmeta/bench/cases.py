"""The scans to judge on: an image and a label volume on one grid each, in folders or named by a list."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from napari_medmeta.bench.protocol import chosen_structures
from napari_medmeta.core import InputError, LabelArray, MedmetaError, Volume, require_contrast
from napari_medmeta.io import read_labels, read_volume

__all__ = ["DEVELOPMENT_CASES", "Case", "LoadedCase", "covering_subset", "find_cases", "load_case", "source_of"]

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
        The folder's name, or the name in a list.
    image, label
        The two files, on one grid.
    modality, anatomy
        As the manifest tells, empty where there is none.
    structure_names
        Name by label value, where the manifest names them.
    collection
        Where the list names the collection; otherwise the id tells.
    strokes
        File with the strokes of a person, for the painting ``drawn``: 0 where they marked background, a structure's
        value where they marked it, anything above all labels where they said nothing.
    """

    id: str
    image: Path
    label: Path
    modality: str = ""
    anatomy: str = ""
    structure_names: tuple[tuple[int, str], ...] = ()
    collection: str = ""
    strokes: Path | None = None

    @property
    def is_development(self) -> bool:
        """Whether constants may be tuned on it."""
        return self.id in DEVELOPMENT_CASES

    @property
    def source(self) -> str:
        """The collection it comes from: as its list says, or the id up to the first number or patient."""
        return self.collection or source_of(self.id)


@dataclass(frozen=True, eq=False)
class LoadedCase:
    """A case in memory: the scan without any trace of where its truth lies, and truth and strokes apart."""

    case: Case
    volume: Volume
    truth: LabelArray
    strokes: LabelArray | None = None


def source_of(case_id: str) -> str:
    """Return the collection of a case id.

    Examples
    --------
    >>> source_of("acdc_001_ed"), source_of("chaos_t2_10"), source_of("totalseg_abdomen_ct_sm")
    ('acdc', 'chaos', 'totalseg')
    """
    return re.split(r"[_\-]", case_id, maxsplit=1)[0]


def find_cases(where: Path | str, *, only: tuple[str, ...] = ()) -> tuple[Case, ...]:
    """List the cases of a folder or of a list of files, sorted by id.

    In a folder, a case is a sub-folder with a file ``image.*`` and a file ``label.*``, and a file ``scribble.*`` where
    a person drew strokes. A ``cases.csv`` in the
    folder or beside it (columns case, modality, anatomy, structures) adds what is known of each. A list is a
    CSV or JSON file; each of its rows has an ``image`` and a ``label`` (paths, relative to the list), and may
    have ``case``, ``source``, ``modality``, ``anatomy``, ``structures`` and ``scribble`` (a path too).

    Raises
    ------
    InputError
        When there is no such folder or list, it holds no case, or a case named in ``only`` is missing.
    """
    root = Path(where)
    if root.is_file():
        cases = _in_list(root)
    elif root.is_dir():
        cases = _in_folder(root)
    else:
        raise InputError(
            f"There is no folder or list {root}",
            next_step="Give the folder that holds one sub-folder a case, or a CSV or JSON list of images and labels",
        )
    return _chosen(tuple(sorted(cases, key=lambda c: c.id)), only)


def covering_subset(cases: Iterable[Case]) -> tuple[Case, ...]:
    """Return one case of every source, the first that can be judged; held-out cases go first.

    It is the same for the same cases, in whatever order they come. Reads labels to see what can be judged.
    """
    by_source: dict[str, list[Case]] = {}
    for case in sorted(cases, key=lambda c: (c.is_development, c.id)):
        by_source.setdefault(case.source, []).append(case)
    chosen = (next((c for c in group if _can_be_judged(c)), group[0]) for group in by_source.values())
    return tuple(sorted(chosen, key=lambda c: c.id))


def load_case(case: Case) -> LoadedCase:
    """Read one case; methods are given ``volume`` only, which names no file.

    Raises
    ------
    MedmetaError
        When a file cannot be read or is blank, or image and label do not lie on one grid.
    """
    volume = read_volume(case.image)
    require_contrast(volume.array, name=case.id)
    truth, _ = read_labels(case.label, like=volume.geometry)
    # No path and no name: from these a method could find the truth.
    bare = Volume(volume.array, volume.geometry, volume.modality)
    strokes = None if case.strokes is None else read_labels(case.strokes, like=volume.geometry)[0]
    for array in (bare.array, truth, *(() if strokes is None else (strokes,))):
        array.setflags(write=False)
    return LoadedCase(case, bare, truth, strokes)


def _in_folder(root: Path) -> list[Case]:
    known = _manifest(root)
    cases = []
    for sub in sorted(p for p in root.iterdir() if p.is_dir()):
        image, label = _find(sub, "image"), _find(sub, "label")
        if image is not None and label is not None:
            row = {**known.get(sub.name, {}), "source": ""}
            cases.append(replace(_case(sub.name, image, label, row), strokes=_find(sub, "scribble")))
    if not cases:
        raise InputError(
            f"{root} holds no case",
            expected="one sub-folder a case, with image.nii.gz and label.nii.gz on one grid",
        )
    return cases


def _in_list(path: Path) -> list[Case]:
    """Read a CSV or JSON list of cases."""
    cases = []
    for number, row in enumerate(_rows(path), start=1):
        absent = [column for column in ("image", "label") if not row.get(column)]
        if absent:
            raise InputError(
                f"Row {number} of {path.name} has no {absent[0]}", expected="a path of an image and one of a label file"
            )
        image, label = (path.parent / row[column] for column in ("image", "label"))
        name = row.get("case") or image.name.removesuffix(next((x for x in _SUFFIXES if image.name.endswith(x)), ""))
        strokes = path.parent / row["scribble"] if row.get("scribble") else None
        cases.append(replace(_case(name, image, label, row), strokes=strokes))
    twice = sorted(name for name, count in Counter(c.id for c in cases).items() if count > 1)
    if not cases or twice:
        found = f"The case {twice[0]} stands twice in {path.name}" if twice else f"{path.name} holds no case"
        raise InputError(found, expected="a name of its own for each case, in the column case")
    return cases


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = json.loads(text) if path.suffix == ".json" else list(csv.DictReader(text.splitlines()))
    except (OSError, ValueError) as error:
        raise InputError(f"The list {path.name} cannot be read: {error}", expected="CSV or JSON in UTF-8") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"The list {path.name} is no list of cases", expected="one object for each case")
    return [{str(k): str(v) for k, v in row.items() if isinstance(v, str | int)} for row in rows]


def _can_be_judged(case: Case) -> bool:
    try:
        loaded = load_case(case)
    except MedmetaError:
        return False
    return bool(chosen_structures(loaded.truth, axis=loaded.volume.geometry.through_plane_axis))


def _case(name: str, image: Path, label: Path, row: Mapping[str, str]) -> Case:
    names = _structure_names(row.get("structures", ""))
    return Case(name, image, label, row.get("modality", ""), row.get("anatomy", ""), names, row.get("source", ""))


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
