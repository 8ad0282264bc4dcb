"""The scans of a folder, one after the other: which were not begun, which are in progress, which are finished.

The state is kept in the user's own folder, under hashes of the scans' names: names of files and folders
are often the patients'. The scans' folder itself is never written to.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from napari_medmeta import io
from napari_medmeta.core import InputError, StorageError
from napari_medmeta.ui.opening import SCAN_SUFFIXES, user_folder

__all__ = ["CaseState", "Worklist", "scans_in"]

LABEL_WORDS = ("label", "seg", "mask")
MOST_SCANS = 10_000
"""More scans than this are no worklist, but the wrong folder."""

SAMPLED_FILES = 8
"""A folder is a DICOM series when one of its first files is DICOM."""


class CaseState(StrEnum):
    """How far one scan is."""

    NOT_BEGUN = "not begun"
    IN_PROGRESS = "in progress"
    FINISHED = "finished"


def scans_in(folder: Path) -> tuple[Path, ...]:
    """Return every scan below ``folder`` in the order of names: image files, and folders of DICOM files.

    Files named as labels, segmentations or masks are left out.

    Raises
    ------
    InputError
        When there is none.
    """
    found: list[Path] = []
    for scan in _walk(folder):
        found.append(scan)
        if len(found) > MOST_SCANS:
            raise InputError(f"There are more than {MOST_SCANS} scans in {folder.name}", next_step="Choose one part")
    if not found:
        raise InputError(
            f"There is no scan in {folder.name}",
            expected="NIfTI, NRRD or MHA files, or folders of DICOM files",
            next_step="Choose another folder",
        )
    return tuple(found)


def _walk(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        folders.sort()
        here = Path(where)
        images = sorted(f for f in files if f.lower().endswith(SCAN_SUFFIXES) and not _named_label(f))
        if images:
            yield from (here / f for f in images)
        elif any(_is_dicom(here / f) for f in sorted(files)[:SAMPLED_FILES]):
            folders.clear()
            yield here


def _named_label(name: str) -> bool:
    return any(word in name.lower() for word in LABEL_WORDS)


def _is_dicom(file: Path) -> bool:
    return not file.name.lower().endswith(SCAN_SUFFIXES) and io.can_read(file)


class Worklist:
    """The scans of one folder and how far each is.

    Parameters
    ----------
    folder
        Where the scans are.
    kept_in
        Where the state is kept; None: in the user's own folder.
    """

    def __init__(self, folder: Path, *, kept_in: Path | None = None) -> None:
        self.folder = folder.resolve()
        self.scans: Sequence[Path] = scans_in(self.folder)
        self._file = (kept_in or user_folder().parent / "worklists") / f"{_hash(str(self.folder))}.json"
        self._states = self._load()

    def state(self, scan: Path) -> CaseState:
        """Return how far ``scan`` is."""
        return self._states.get(self._key(scan), CaseState.NOT_BEGUN)

    def mark(self, scan: Path, state: CaseState) -> None:
        """Note how far ``scan`` is; a finished one stays finished when it is only looked at again.

        Raises
        ------
        StorageError
            When the note cannot be kept.
        """
        if self.state(scan) is CaseState.FINISHED and state is CaseState.IN_PROGRESS:
            return
        self._states[self._key(scan)] = state
        text = json.dumps({key: str(value) for key, value in self._states.items()}, indent=0)
        beside = self._file.with_suffix(".part")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(text, encoding="utf-8")
            os.replace(beside, self._file)
        except OSError as error:
            raise StorageError(
                f"The worklist cannot be kept ({error.strerror})", next_step="Free some space on the disk"
            ) from error

    def next_after(self, scan: Path | None) -> Path | None:
        """Return the next scan that is not finished, around the end to the beginning; None when all others are."""
        here = self.scans.index(scan) if scan in self.scans else -1
        order = [*self.scans[here + 1 :], *self.scans[: max(here, 0)]]
        return next((s for s in order if self.state(s) is not CaseState.FINISHED), None)

    def sentence(self, scan: Path | None = None) -> str:
        """Say in one line how far the folder is."""
        counts = {state: sum(1 for s in self.scans if self.state(s) is state) for state in CaseState}
        where = (
            f"Case {self.scans.index(scan) + 1} of {len(self.scans)}"
            if scan in self.scans
            else (f"{len(self.scans)} case{'' if len(self.scans) == 1 else 's'}")
        )
        return f"{where}: " + ", ".join(f"{counts[state]} {state}" for state in reversed(CaseState) if counts[state])

    def _key(self, scan: Path) -> str:
        return _hash(scan.relative_to(self.folder).as_posix())

    def _load(self) -> dict[str, CaseState]:
        # A lost or damaged note only means that cases look not begun; their sessions know better.
        with suppress(OSError, ValueError, AttributeError):
            content = json.loads(self._file.read_text(encoding="utf-8"))
            return {str(key): CaseState(value) for key, value in content.items()}
        return {}


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
