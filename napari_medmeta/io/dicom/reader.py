"""A DICOM folder or file to one image: choose the series, place it, read it, give it its units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_medmeta.core.errors import InputError, MedmetaError, UnsupportedImageError
from napari_medmeta.core.types import Modality
from napari_medmeta.io._image import Image, scaled
from napari_medmeta.io._suffix import WRITABLE_SUFFIXES, suffix_of
from napari_medmeta.io.dicom.grid import Stack
from napari_medmeta.io.dicom.pixels import read_stored_values
from napari_medmeta.io.dicom.series import PART_MARK, FolderContent, Part, read_folder
from napari_medmeta.io.limits import require_memory

__all__ = ["SeriesInfo", "list_series", "read_dicom", "series_name"]

MODALITIES = {"CT": Modality.CT, "MR": Modality.MR}
SHOWN_SERIES = 6


@dataclass(frozen=True, slots=True)
class SeriesInfo:
    """One volume of a DICOM folder.

    ``uid`` chooses it in `read_volume`. ``size`` is (slices, rows, columns); it and ``spacing_mm``
    are None where ``problem`` says why the volume cannot be opened. ``notes`` are those known before the
    pixels are read.
    """

    uid: str
    description: str
    modality: str
    slices: int
    spacing_mm: tuple[float, float, float] | None
    size: tuple[int, int, int] | None
    problem: str | None
    notes: tuple[str, ...] = ()

    @property
    def series_uid(self) -> str:
        """SeriesInstanceUID (0020,000E); several volumes of one series share it."""
        return self.uid.partition(PART_MARK)[0]


def list_series(folder: Path | str) -> tuple[SeriesInfo, ...]:
    """Return the volumes of a DICOM folder (or file), sub-folders included; empty without any image."""
    return tuple(_info(part) for part in read_folder(Path(folder)).parts)


def read_dicom(path: Path, *, series: str | None = None, memory_limit_bytes: int | None = None) -> Image:
    """Read one volume of a DICOM folder, or of one multi-frame file, as (slices, rows, columns).

    Values are rescaled by each slice's slope and intercept: Hounsfield units for CT.

    Raises
    ------
    InputError
        When the folder holds several volumes and ``series`` does not choose one, or none that opens.
    UnreadableFileError
        When pixels are missing or damaged.
    VolumeTooLargeError
        When it would not fit into memory.
    """
    content = read_folder(path)
    part, notes = _choose(content, path, series)
    if part.stack is None:
        raise part.problem or _nothing(path)
    stack = part.stack
    first = stack.frames[0]
    # The file's bytes, stored values and real ones exist at the same time; the last take up to 4 bytes.
    require_memory(stack.geometry.shape, 2 * first.dtype.itemsize + 4, limit_bytes=memory_limit_bytes)
    stored = read_stored_values(stack.frames)
    array = _rescaled(stored, stack)
    modality = MODALITIES.get(first.file.modality, Modality.OTHER)
    notes = (*notes, *part.notes, *stack.notes, *_rescale_note(stack), *_padding_note(stored, stack))
    return Image(array, stack.geometry, modality, series_name(part), notes)


def _choose(content: FolderContent, path: Path, series: str | None) -> tuple[Part, tuple[str, ...]]:
    usable = [part for part in content.parts if part.stack is not None]
    if series is not None:
        part = _named(content, series)
        return part, _left_out(content, part) if usable == [part] else ()
    if len(usable) > 1:
        notes = dict.fromkeys(note for part in usable for note in part.notes)
        raise InputError(
            " ".join([f"The folder holds {len(usable)} volumes: {_words(usable)}.", *notes]),
            expected="the choice of one",
            next_step="Choose one of these series",
        )
    if usable:
        return usable[0], _left_out(content, usable[0])
    if len(content.parts) == 1:
        return content.parts[0], ()
    raise _none_usable(content, path)


def _named(content: FolderContent, series: str) -> Part:
    parts = [p for p in content.parts if series in (p.uid, p.uid.partition(PART_MARK)[0])]
    exact = [p for p in parts if p.uid == series]
    usable = [p for p in parts if p.stack is not None]
    if len(exact) == 1 or len(parts) == 1:
        return (exact or parts)[0]
    if len(usable) == 1:
        return usable[0]
    if parts:
        raise InputError(
            f"The series holds {len(parts)} volumes: {_words(parts)}",
            next_step=f"Choose one by its number, such as {parts[0].uid}",
        )
    raise InputError(
        f"The folder holds no series {series}",
        expected=", ".join(p.uid for p in content.parts[:SHOWN_SERIES]) or "a folder with a DICOM image",
    )


def _none_usable(content: FolderContent, path: Path) -> MedmetaError:
    if content.parts:
        reasons = [
            f"{series_name(p)}: {p.problem.found}" for p in content.parts[:SHOWN_SERIES] if p.problem is not None
        ]
        return UnsupportedImageError(
            f"None of the {len(content.parts)} image series in {path.name} can be opened. " + "; ".join(reasons)
        )
    if content.refused:
        first = content.refused[0]
        if len(content.refused) == 1:
            return first
        return UnsupportedImageError(
            f"{path.name} holds {len(content.refused)} DICOM files and no scan. The first: {first.found}",
            next_step=first.next_step,
        )
    return _nothing(path)


def _nothing(path: Path) -> MedmetaError:
    if path.is_dir() and not any(path.iterdir()):
        return UnsupportedImageError(
            f"The folder {path.name} is empty",
            expected="a folder with the slices of a CT or MR scan",
            next_step="Choose the folder that the scan was exported into",
        )
    scans = _scan_files(path)
    if scans:
        return UnsupportedImageError(
            f"The folder {path.name} holds no DICOM images, but {len(scans)} other scan{'s' if len(scans) > 1 else ''}",
            expected="one scan at a time",
            next_step=f"Choose a file, such as {scans[0]}",
        )
    return UnsupportedImageError(
        f"{path.name} holds no DICOM images",
        expected="a folder with the slices of a CT or MR scan",
        next_step="Choose the folder that the scan was exported into",
    )


def _scan_files(folder: Path) -> list[str]:
    """Return the names of the scans in ``folder`` that are files of their own."""
    return sorted(p.name for p in folder.iterdir() if suffix_of(p) in WRITABLE_SUFFIXES) if folder.is_dir() else []


def _left_out(content: FolderContent, chosen: Part) -> tuple[str, ...]:
    return tuple(
        f"{series_name(p)} ({len(p.frames)} images) in the same folder was left out: {_reason(p, p.problem)}."
        for p in content.parts
        if p is not chosen and p.problem is not None
    )


def _reason(part: Part, problem: MedmetaError) -> str:
    """Return what is wrong with ``part`` without its files' names, which are often the patient's."""
    reason = problem.found
    for name in {frame.file.path.name for frame in part.frames}:
        reason = reason.replace(name, "one file")
    return reason


def _words(parts: Sequence[Part]) -> str:
    named = [f"{series_name(p)}, {len(p.frames)} slices{_distance(p)} ({p.uid})" for p in parts[:SHOWN_SERIES]]
    return "; ".join(named) + (" and more" if len(parts) > SHOWN_SERIES else "")


def _distance(part: Part) -> str:
    return "" if part.stack is None else f" every {part.stack.geometry.spacing_mm[0]:.3g} mm"


def series_name(part: Part) -> str:
    """Return a short name without anything of the patient."""
    file = part.frames[0].file
    words = file.description or f"{file.modality or 'DICOM'} series"
    return f"{words} {part.label}".strip()


def _info(part: Part) -> SeriesInfo:
    geometry = None if part.stack is None else part.stack.geometry
    return SeriesInfo(
        uid=part.uid,
        description=series_name(part),
        modality=part.frames[0].file.modality,
        slices=len(part.frames),
        spacing_mm=None if geometry is None else geometry.spacing_mm,
        size=None if geometry is None else geometry.shape,
        problem=None if part.problem is None else part.problem.message,
        notes=(*part.notes, *(() if part.stack is None else part.stack.notes)),
    )


def _rescaled(stored: npt.NDArray[Any], stack: Stack) -> npt.NDArray[Any]:
    scales = {frame.rescale for frame in stack.frames}
    if len(scales) == 1:
        slope, intercept = scales.pop()
        return scaled(stored, slope=slope, intercept=intercept)
    slices = [
        scaled(stored[n : n + 1], slope=frame.rescale[0], intercept=frame.rescale[1])
        for n, frame in enumerate(stack.frames)
    ]
    wide = np.result_type(*{s.dtype for s in slices})
    # float64 is what numpy takes for int32 beside float32; float32 holds every value a scanner stores.
    return np.concatenate(slices).astype(np.float32 if wide.kind == "f" else wide)


def _rescale_note(stack: Stack) -> tuple[str, ...]:
    # Usual for PET, where each slice has its own slope; of a CT one wants to know.
    if stack.frames[0].file.modality == "PT" or len({frame.rescale for frame in stack.frames}) == 1:
        return ()
    return ("The slices have different grey-value scalings; each was scaled by its own.",)


def _padding_note(stored: npt.NDArray[Any], stack: Stack) -> tuple[str, ...]:
    frame = stack.frames[0]
    if frame.file.padding is None or not (stored == frame.file.padding).any():
        return ()
    value = frame.file.padding * frame.rescale[0] + frame.rescale[1]
    return (f"Voxels outside the scanner's circle hold the filler value {value:g}.",)
