"""napari's way in: NIfTI, NRRD, MetaImage and DICOM, upright, in mm, in a sensible window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import napari
import numpy as np
import numpy.typing as npt
from napari.utils.notifications import show_info, show_warning

from napari_medmeta import io
from napari_medmeta.core import Geometry, GeometryMismatchError, MedmetaError, Volume
from napari_medmeta.ui.label_names import NAMES_KEY
from napari_medmeta.ui.scan import Scan, label_arguments, layer_arguments, scan_record
from napari_medmeta.ui.series import Wanted, choose_series, series_of_slice

__all__ = ["get_reader"]

LayerData = tuple[Any, ...]
LABEL_WORDS = ("label", "seg", "mask")
OTHERS_SUFFIXES = (".zarr", ".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp", ".npy")
OTHERS_NAMES = (".zarray", ".zgroup", ".zattrs", "zarr.json")
"""What other readers make of a folder: pictures as a stack, or an array in chunks."""

FILES_LOOKED_AT = 64
"""A reader is asked while the window waits; what a folder is shows in its first files."""

MOST_LABELS = 255
"""A file with more values than a label can have is a scan."""

SERIES_KEY = "napari_medmeta_series"
"""Where an image layer's metadata keeps the DICOM series that it was read from."""

NOTHING: list[LayerData] = [(None,)]
"""What napari understands as "read, and there is no layer"."""


def get_reader(path: str | Sequence[str]) -> Callable[[Any], list[LayerData]] | None:
    """Return a reader for a scan or a label file, or None for what is not ours.

    Folders without a scan and files that only claim to be DICOM are ours too, to say in words what is wrong.
    """
    first = path if isinstance(path, str) else (path[0] if len(path) == 1 else None)
    if first is None:
        return None
    chosen = Path(first)
    return _read if io.can_read(chosen) or _is_explained(chosen) else None


def _is_explained(path: Path) -> bool:
    """Whether nobody else could open ``path`` either, so that our words are better than none."""
    if not path.is_dir():
        return path.is_file() and path.suffix.lower() in io.DICOM_SUFFIXES
    inside = [file for file, _ in zip(path.rglob("*"), range(FILES_LOOKED_AT), strict=False)]
    return not any(_is_others(file) for file in (path, *inside))


def _is_others(path: Path) -> bool:
    return path.suffix.lower() in OTHERS_SUFFIXES or path.name in OTHERS_NAMES


def _read(path: str | Sequence[str]) -> list[LayerData]:
    file = Path(path if isinstance(path, str) else path[0])
    try:
        if io.is_dicom_labels(file):
            # A DICOM file's own name is often the patient's.
            return _label_layer(_dicom_labels(file), name="DICOM segmentation")
        if _is_open(series_of_slice(file)):
            # Somebody dropped all slices of a series: the first of them opened it.
            _tell("The series of this slice is open already.")
            return NOTHING
        wanted = choose_series(file)
        return _layers(io.read_volume(wanted.path, series=wanted.volume), wanted) if wanted is not None else NOTHING
    except MedmetaError as error:
        _refuse(error)
        return NOTHING


def _refuse(error: MedmetaError) -> None:
    show_warning(error.message)
    # napari shows the first words only, and not for long.
    _tell(error.message, is_error=True)


def _tell(text: str, *, is_error: bool = False) -> None:
    from napari_medmeta.ui.commands import panel_of

    viewer = napari.current_viewer()
    panel = panel_of(viewer) if viewer is not None else None
    if panel is not None:
        panel.body.footer.set_message(text, is_error=is_error)


def _layers(volume: Volume, wanted: Wanted) -> list[LayerData]:
    if _is_labels(volume, wanted.path):
        return _label_layer(io.read_named_labels(wanted.path), name=volume.name)
    data, arguments = layer_arguments(volume)
    arguments["metadata"] = {**arguments["metadata"], SERIES_KEY: wanted.series_uid}
    if volume.notes:
        show_info(" ".join(volume.notes))
    return [(data, arguments, "image")]


def _dicom_labels(file: Path) -> io.NamedLabels:
    """Read a SEG or RTSTRUCT onto the open scan that it fits; a SEG alone comes on its own grid."""
    scans = _open_scans()
    if not scans:
        return io.read_named_labels(file)
    for scan in scans[:-1]:
        with suppress(GeometryMismatchError):
            return io.read_named_labels(file, like=scan.grid.original, source=scan.source)
    return io.read_named_labels(file, like=scans[-1].grid.original, source=scans[-1].source)


def _label_layer(found: io.NamedLabels, *, name: str) -> list[LayerData]:
    data, arguments = label_arguments(found.labels, found.geometry, name=name)
    if found.names:
        arguments["metadata"] = {**arguments["metadata"], NAMES_KEY: dict(found.names)}
        # napari shows this beside the cursor.
        arguments["features"] = {"index": [0, *found.names], "structure": ["", *found.names.values()]}
    if found.notes:
        show_info(" ".join(found.notes))
    return [(data, arguments, "labels")]


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
    return any(scan.grid.original.same_grid(geometry) for scan in _open_scans())


def _is_open(series: str | None) -> bool:
    viewer = napari.current_viewer()
    layers = viewer.layers if viewer is not None else ()
    return series is not None and any(layer.metadata.get(SERIES_KEY) == series for layer in layers)


def _open_scans() -> list[Scan]:
    viewer = napari.current_viewer()
    layers = viewer.layers if viewer is not None else ()
    found = (scan_record(layer) for layer in layers if isinstance(layer, napari.layers.Image))
    return [scan for scan in found if scan is not None]
