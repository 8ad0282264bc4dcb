"""napari's way out: a labels layer or an image layer, on the grid of the file that it came from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import napari
import numpy as np
import numpy.typing as npt
from napari.layers import Image, Labels, Layer
from napari.utils.notifications import show_warning

from napari_medmeta import io
from napari_medmeta.core import MedmetaError, UnsupportedImageError
from napari_medmeta.ui.label_names import names_of_layer
from napari_medmeta.ui.scan import Scan, geometry_of, scan_at, scan_record
from napari_medmeta.ui.strokes import BACKGROUND_STROKE

__all__ = ["write_image_layer", "write_labels_layer"]

PLACING = ("scale", "translate", "rotate", "shear", "affine", "metadata", "name")


def write_labels_layer(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write a labels layer; returns the written paths, none when it could not be written."""
    try:
        labels = _labels(np.asarray(data))
        layer = Labels(labels, **_placed(meta))
        viewer = napari.current_viewer()
        others = viewer.layers if viewer is not None else ()
        scan = scan_at(layer, others)
        names = names_of_layer(layer)
        if scan is not None:
            original = scan.grid.labels_to_original(labels)
            source = _source(scan, others)
            written = io.save_labels(path, original, scan.grid.original, names=names, source=source)
        else:
            written = io.save_labels(path, labels, geometry_of(layer), names=names)
    except MedmetaError as error:
        show_warning(error.message)
        return []
    return [str(written)]


def write_image_layer(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write an image layer on the grid on which it is shown; returns the written paths."""
    try:
        array = np.asarray(data)
        _require_3d(array)
        layer = Image(array, **_placed(meta))
        scan = scan_record(layer)
        geometry = scan.grid.working if scan is not None else geometry_of(layer)
        written = io.write_image(Path(path), array, geometry)
    except MedmetaError as error:
        show_warning(error.message)
        return []
    return [str(written)]


def _source(scan: Scan, others: Iterable[Layer]) -> io.ScanSource:
    """Return where the scan came from; a label layer knows its grid only, so an open scan on it is asked."""
    images = (scan_record(layer) for layer in others if isinstance(layer, Image))
    here = (s for s in images if s is not None and s.grid.original.same_grid(scan.grid.original))
    found = scan if scan.source is not None else next(here, scan)
    return io.ScanSource(found.source, name=found.name)


def _labels(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    _require_3d(array)
    if array.size and (array.min() < 0 or array.max() > np.iinfo(np.uint8).max):
        raise UnsupportedImageError(
            f"The labels reach from {array.min()} to {array.max()}",
            expected="0 for background and 1 to 254 for structures",
            next_step="Renumber the labels",
        )
    labels = array.astype(np.uint8)
    # A stroke that says "background" is background in a file.
    labels[labels == BACKGROUND_STROKE] = 0
    return labels


def _require_3d(array: npt.NDArray[Any]) -> None:
    if array.ndim != 3:
        raise UnsupportedImageError(f"The layer has {array.ndim} dimensions", expected="one 3D volume")


def _placed(meta: dict[str, Any]) -> dict[str, Any]:
    return {key: meta[key] for key in PLACING if key in meta}
