"""Which DICOM series is meant: by its folder, or by one of its slices."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import napari
from qtpy.QtWidgets import QApplication, QDialog, QWidget

from napari_medmeta import io
from napari_medmeta.ui.dialogs import SeriesChooser

__all__ = ["Wanted", "choose_series", "series_of_slice"]

MOST_FILES = 5000
"""The folder of a dropped slice is looked through only up to here: it may be one that holds everything."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be read: a file, or a folder and what of it.

    Parameters
    ----------
    volume
        The volume's own name in a DICOM folder, None where there is none to choose.
    series_uid
        The series that it belongs to.
    """

    path: Path
    volume: str | None = None
    series_uid: str | None = None


def series_of_slice(file: Path) -> str | None:
    """Return the series that ``file`` is one slice of, None for a whole scan or another kind of file."""
    if not file.is_file() or not io.is_dicom(file):
        return None
    found = io.list_series(file)
    return found[0].series_uid if len(found) == 1 and found[0].slices == 1 else None


def choose_series(path: Path) -> Wanted | None:
    """Return what to read for ``path``, after a question where several series fit; None when the user stepped back.

    One slice stands for its series, with the others of it in its folder.
    """
    if path.is_dir():
        return _one_of(path, io.list_series(path))
    uid = series_of_slice(path)
    if uid is None or _is_crowded(path.parent):
        return Wanted(path)
    beside = [s for s in io.list_series(path.parent) if s.series_uid == uid]
    # Without its neighbours a slice is no scan; reading it says so.
    return _one_of(path.parent, beside) if any(s.problem is None for s in beside) else Wanted(path)


def _one_of(folder: Path, series: Sequence[io.SeriesInfo]) -> Wanted | None:
    usable = [s for s in series if s.problem is None]
    if not usable:
        return Wanted(folder)
    if len(usable) == 1 or QApplication.instance() is None:
        return Wanted(folder, usable[0].uid, usable[0].series_uid)
    chooser = SeriesChooser(series, _window())
    if chooser.exec() != QDialog.DialogCode.Accepted:
        return None
    number = chooser.value()
    return Wanted(folder, series[number].uid, series[number].series_uid) if number is not None else None


def _window() -> QWidget | None:
    """Return the window to ask in front of: a question without one has neither its theme nor its place."""
    from napari_medmeta.ui.commands import panel_of

    viewer = napari.current_viewer()
    panel = panel_of(viewer) if viewer is not None else None
    return panel or QApplication.activeWindow()


def _is_crowded(folder: Path) -> bool:
    files = (name for _, _, names in os.walk(folder) for name in names)
    return next(islice(files, MOST_FILES, None), None) is not None
