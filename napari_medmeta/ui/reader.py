"""napari's way in: NIfTI, NRRD, MetaImage and DICOM, upright, in mm, in a sensible window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import napari
import numpy as np
import numpy.typing as npt
from napari.utils.notifications import show_info, show_warning
from qtpy.QtWidgets import QApplication, QDialog

from napari_medmeta import io
from napari_medmeta.core import Geometry, MedmetaError, Volume
from napari_medmeta.ui.dialogs import SeriesChooser
from napari_medmeta.ui.scan import label_arguments, layer_arguments, scan_record

__all__ = ["get_reader"]

LayerData = tuple[Any, ...]
LABEL_WORDS = ("label", "seg", "mask")
MOST_LABELS = 255
"""A file with more values than a label can have is a scan."""

NOTHING: list[LayerData] = [(None,)]
"""What napari understands as "read, and there is no layer"."""


def get_reader(path: str | Sequence[str]) -> Callable[[Any], list[LayerData]] | None:
    """Return a reader for a scan or a label file, or None for what is not ours."""
    first = path if isinstance(path, str) else (path[0] if len(path) == 1 else None)
    if first is None or not io.can_read(Path(first)):
        return None
    return _read


def _read(path: str | Sequence[str]) -> list[LayerData]:
    file = Path(path if isinstance(path, str) else path[0])
    try:
        series, chosen = _choose_series(file)
        return _layers(io.read_volume(file, series=series), file) if chosen else NOTHING
    except MedmetaError as error:
        show_warning(error.message)
        return NOTHING


def _layers(volume: Volume, file: Path) -> list[LayerData]:
    if _is_labels(volume, file):
        data, arguments = label_arguments(volume.array.astype(np.uint8), volume.geometry, name=volume.name)
        return [(data, arguments, "labels")]
    data, arguments = layer_arguments(volume)
    if volume.notes:
        show_info(" ".join(volume.notes))
    return [(data, arguments, "image")]


def _is_labels(volume: Volume, file: Path) -> bool:
    named = any(word in file.name.lower() for word in LABEL_WORDS)
    if not named and not _scan_is_open(volume.geometry):
        return False
    return _holds_labels(volume.array)


def _holds_labels(array: npt.NDArray[Any]) -> bool:
    low, high = array.min(), array.max()
    if low < 0 or high > MOST_LABELS:
        return False
    # A scan stored in one byte has nearly every value; segmentations have a few.
    values = np.unique(array)
    return len(values) <= MOST_LABELS // 2 and bool(np.all(values == np.floor(values)))


def _scan_is_open(geometry: Geometry) -> bool:
    viewer = napari.current_viewer()
    if viewer is None:
        return False
    scans = (scan_record(layer) for layer in viewer.layers if isinstance(layer, napari.layers.Image))
    return any(scan is not None and scan.grid.original.same_grid(geometry) for scan in scans)


def _choose_series(path: Path) -> tuple[str | None, bool]:
    if not path.is_dir():
        return None, True
    series = io.list_series(path)
    if len([s for s in series if s.problem is None]) < 2 or QApplication.instance() is None:
        only = [s.uid for s in series if s.problem is None]
        return (only[0] if only else None), True
    chooser = SeriesChooser(series)
    if chooser.exec() != QDialog.DialogCode.Accepted:
        return None, False
    number = chooser.value()
    return (series[number].uid, True) if number is not None else (None, False)
