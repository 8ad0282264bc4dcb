"""The frames of a folder, sorted into series and, where one series mixes several volumes, into parts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from napari_medmeta.core.errors import MedmetaError, UnreadableFileError, UnsupportedImageError
from napari_medmeta.io._suffix import DICOM_SUFFIXES
from napari_medmeta.io.dicom.frames import Frame
from napari_medmeta.io.dicom.grid import SAME_PLACE_MM, Stack, normal_of, place_along, stack_of
from napari_medmeta.io.dicom.headers import KIND, NotAnImage, is_dicom, read_frames
from napari_medmeta.io.dicom.pixels import require_readable_pixels

__all__ = ["FolderContent", "Part", "read_folder"]

PARALLEL_COSINE = 0.9999
"""Slices turned by less than 0.8 degrees against each other count as parallel."""

PART_MARK = "#"
"""A DICOM UID holds digits and dots only, so this can be put behind it."""


@dataclass(frozen=True, eq=False)
class Part:
    """Frames that make one volume, or the sentence that says why they do not.

    ``uid`` is the SeriesInstanceUID, with ``#2`` behind it for the second volume of one series.
    """

    uid: str
    frames: tuple[Frame, ...]
    label: str
    stack: Stack | None
    problem: MedmetaError | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class FolderContent:
    """The parts of all series, and why other DICOM objects of the folder are not among them."""

    parts: tuple[Part, ...]
    refused: tuple[MedmetaError, ...]


def read_folder(path: Path) -> FolderContent:
    """Read every DICOM header in a folder and its sub-folders, or of one file.

    Raises
    ------
    UnreadableFileError
        When there is no such folder or file.
    """
    if not path.exists():
        raise UnreadableFileError(f"There is no file or folder {path.name}", next_step="Check the name and the folder")
    by_series: dict[str, list[Frame]] = {}
    refused: list[MedmetaError] = []
    damaged: list[MedmetaError] = []
    for file in _dicom_files(path):
        try:
            frames = read_frames(file)
        except NotAnImage as error:
            refused.append(error)
            continue
        except MedmetaError as error:
            damaged.append(error)
            continue
        by_series.setdefault(frames[0].file.series_uid, []).extend(frames)
    notes = _damaged_notes(damaged)
    parts = tuple(part for uid in sorted(by_series) for part in _parts(uid, by_series[uid], notes))
    return FolderContent(parts, (*damaged, *refused))


def _dicom_files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for folder, subfolders, names in os.walk(path):
        subfolders.sort()
        for name in sorted(names):
            file = Path(folder, name)
            # A DICOMDIR lists the folder's files; it is no image and all of them are looked at anyway.
            # What is named as DICOM and is none counts as a damaged slice, not as something else.
            if name.upper() != "DICOMDIR" and (file.suffix.lower() in DICOM_SUFFIXES or is_dicom(file)):
                yield file


def _damaged_notes(damaged: Sequence[MedmetaError]) -> tuple[str, ...]:
    if not damaged:
        return ()
    return (f"{len(damaged)} DICOM file{'s' if len(damaged) > 1 else ''} of the folder could not be read.",)


def _parts(uid: str, frames: Sequence[Frame], notes: tuple[str, ...]) -> Iterator[Part]:
    frames, copies = _without_copies(frames)
    if copies:
        notes = (*notes, f"{copies} slice{'s were' if copies > 1 else ' was'} there twice and counted once.")
    groups = [g for scouts in _scouts_apart(frames) for g in _by_direction(scouts)]
    pieces = [piece for group in groups for piece in _by_marks(group)]
    opened = [done for piece in pieces for done in _opened(piece)]
    opened.sort(key=lambda piece: (-len(piece.frames), piece.label))
    for number, piece in enumerate(opened, start=1):
        name = uid if len(opened) == 1 else f"{uid}{PART_MARK}{number}"
        yield Part(name, tuple(piece.frames), piece.label, piece.stack, piece.problem, (*notes, *piece.notes))


@dataclass(frozen=True, eq=False)
class _Piece:
    frames: list[Frame]
    label: str = ""
    stack: Stack | None = None
    problem: MedmetaError | None = None
    notes: tuple[str, ...] = ()


def _opened(piece: _Piece) -> list[_Piece]:
    """Try to make a volume; where that fails, see whether each image type makes one of its own."""
    stack, problem = _try_stack(piece.frames)
    if problem is None:
        return [replace(piece, stack=stack)]
    halves = _split_once(piece, 0)
    tried = [(half, *_try_stack(half.frames)) for half in halves]
    if len(halves) == 1 or any(failed for _, _, failed in tried):
        return [replace(piece, problem=problem)]
    note = f"The series was split by image type, since as a whole it is no volume: {problem.found}."
    return [replace(half, stack=made, notes=(note,)) for half, made, _ in tried]


def _without_copies(frames: Sequence[Frame]) -> tuple[list[Frame], int]:
    # The UID alone would not do: some anonymising programs give the same one to every slice.
    unique = {(f.file.instance_uid, f.index, f.position, f.kind, f.marks): f for f in reversed(frames)}
    return list(reversed(unique.values())), len(frames) - len(unique)


def _scouts_apart(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Split scout views (localizers) from the scan."""
    scouts = [f for f in frames if _is_scout(f)]
    others = [f for f in frames if not _is_scout(f)]
    return [group for group in (others, scouts) if group]


def _is_scout(frame: Frame) -> bool:
    return any(word.upper() == "LOCALIZER" for word in frame.kind)


def _by_direction(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Split into parallel slices."""
    groups: list[list[Frame]] = []
    for frame in frames:
        home = next((g for g in groups if _parallel(g[0], frame)), None)
        if home is None:
            groups.append([frame])
        else:
            home.append(frame)
    if len(groups) > 2 and max(len(g) for g in groups) == 1:  # radial slices: one scan, but no volume
        return [list(frames)]
    return groups


def _parallel(a: Frame, b: Frame) -> bool:
    if a.orientation is None or b.orientation is None:
        return a.orientation == b.orientation
    return all(_cosine(a.orientation[part], b.orientation[part]) > PARALLEL_COSINE for part in (slice(3), slice(3, 6)))


def _cosine(a: Sequence[float], b: Sequence[float]) -> float:
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.dot(a, b)) / lengths if lengths else 0.0


def _by_marks(frames: list[Frame]) -> list[_Piece]:
    """Split frames of the same place by what tells them apart: echo, time point, b-value and so on."""
    pieces = [_Piece(frames)]
    for number in range(len(frames[0].marks)):
        pieces = [
            part
            for piece in pieces
            for part in (_split_once(piece, number) if _share_a_place(piece.frames) else [piece])
        ]
    return pieces


def _split_once(piece: _Piece, number: int) -> list[_Piece]:
    groups = (_by_rank(piece.frames, number) if number else None) or _by_value(piece.frames, number)
    if len(groups) == 1:
        return [piece]
    values = [{frame.marks[number][1] for frame in group} for group in groups]
    common = set.intersection(*(set(value.split()) for group in values for value in group))
    name = piece.frames[0].marks[number][0]
    parts = []
    for place, (group, found) in enumerate(zip(groups, values, strict=True), start=1):
        telling = " ".join(word for word in min(found).split() if word not in common) if len(found) == 1 else ""
        label = telling if name == KIND else f"{name} {_plain(telling) or place}"
        parts.append(_Piece(group, f"{piece.label} {label}".strip()))
    return parts


def _by_value(frames: Sequence[Frame], number: int) -> list[list[Frame]]:
    groups: dict[str, list[Frame]] = {}
    for frame in frames:
        groups.setdefault(frame.marks[number][1], []).append(frame)
    return list(groups.values())


def _by_rank(frames: Sequence[Frame], number: int) -> list[list[Frame]] | None:
    """Group the first image of every place, the second, and so on; None where their numbers do not allow it.

    In a beating heart the trigger times differ a little from slice to slice, and acquisitions are often
    numbered through: only the order at one place tells which images belong together.
    """
    try:
        ranked = [sorted(place, key=lambda f: float(f.marks[number][1])) for place in _places(frames)]
    except ValueError:
        return None
    count = len(ranked[0])
    if any(len(place) != count or len({f.marks[number][1] for f in place}) != count for place in ranked):
        return None
    return [[place[rank] for place in ranked] for rank in range(count)]


def _plain(value: str) -> str:
    """Return ``value`` when it is a short number; free text could name the patient, and lists are unreadable."""
    return value if re.fullmatch(r"[\d.]{1,8}", value) else ""


def _share_a_place(frames: Sequence[Frame]) -> bool:
    try:
        return len(_places(frames)) < len(frames)
    except MedmetaError:  # no position: the problem is told by `stack_of`
        return False


def _places(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Group the frames that lie at the same place, in the order along their normal."""
    normal = normal_of(frames[0])
    ordered = sorted(frames, key=lambda f: place_along(f, normal))
    groups = [[ordered[0]]]
    for before, frame in pairwise(ordered):
        if place_along(frame, normal) - place_along(before, normal) < SAME_PLACE_MM:
            groups[-1].append(frame)
        else:
            groups.append([frame])
    return groups


def _try_stack(frames: Sequence[Frame]) -> tuple[Stack | None, MedmetaError | None]:
    try:
        _require_one_kind_of_pixels(frames)
        for frame in frames:
            require_readable_pixels(frame)
        _require_different_places(frames)
        return stack_of(frames), None
    except MedmetaError as error:
        return None, error


def _require_one_kind_of_pixels(frames: Sequence[Frame]) -> None:
    if _is_scout(frames[0]):
        raise UnsupportedImageError(
            "This is a scout view (localizer), not a volume", next_step="Choose the scan itself"
        )
    if "MOSAIC" in frames[0].kind:
        raise UnsupportedImageError(
            "Each image is a mosaic of many slices", next_step="Export the series as enhanced or single-slice DICOM"
        )
    if not all(_parallel(frames[0], f) for f in frames):
        raise UnsupportedImageError(
            "The slices are not parallel to each other", expected="parallel slices", next_step="Choose another series"
        )
    _require_same({f"{f.file.columns} x {f.file.rows}" for f in frames}, "sizes", "pixels")
    _require_same({_spacing_words(f) for f in frames}, "pixel sizes", "mm")
    _require_same({str(f.dtype) for f in frames}, "kinds of stored values", "")
    _require_same({f.file.modality for f in frames}, "kinds of scan", "")
    if len({(f.slope is None, f.intercept is None) for f in frames}) > 1:
        raise UnreadableFileError(
            "Some slices say how their grey values are scaled and others do not",
            expected="the same in every slice",
            next_step="A file is damaged: export the series again",
        )


def _spacing_words(frame: Frame) -> str:
    return "unknown" if frame.spacing_mm is None else " x ".join(f"{s:.4g}" for s in frame.spacing_mm)


def _require_same(values: Iterable[str], what: str, unit: str) -> None:
    found = sorted(values)
    if len(found) > 1:
        raise UnsupportedImageError(
            f"The slices have different {what}: {' and '.join(found[:3])} {unit}".rstrip(),
            expected="the same in every slice",
            next_step="Export the series again, or choose another one",
        )


def _require_different_places(frames: Sequence[Frame]) -> None:
    if len(frames) > 1 and _share_a_place(frames):
        raise UnsupportedImageError(
            "Several slices lie at the same place, and nothing in the files tells them apart "
            "(several time points, echoes or reconstructions in one series)",
            expected="one slice at each place",
            next_step="Export one of them as a series of its own",
        )
