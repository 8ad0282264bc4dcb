"""From a scan on disk or a layer on screen to what a session needs: grid, voxels, identity."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer

from napari_medmeta.core import (
    Geometry,
    GridMap,
    LabelArray,
    Modality,
    UnsupportedImageError,
    Volume,
    require_contrast,
)
from napari_medmeta.session.words import plane_names
from napari_medmeta.ui.windowing import limits_for
from napari_medmeta.ui.working_grid import Grid

__all__ = [
    "METADATA_KEY",
    "Scan",
    "geometry_of",
    "label_arguments",
    "layer_arguments",
    "placement",
    "require_same_place",
    "scan_at",
    "scan_of",
    "scan_of_layer",
    "scan_record",
]

METADATA_KEY = "napari_medmeta"
"""Where a layer's metadata keeps the scan it belongs to."""

UNIT = "mm"

TILTED = (
    "The slices of this scan are tilted (gantry tilt or another shear), so it is shown and worked on straightened. "
    "Files are saved on the scan's own grid."
)
"""Said once, when such a scan is opened: slices on screen are not those of the scanner."""


@dataclass(frozen=True, eq=False)
class Scan:
    """A scan without its voxels: they are the image layer's own data, on ``grid.working``.

    Parameters
    ----------
    grid
        From the grid of the file to the grid on screen, and back.
    fingerprint
        The hash of the scan as it came from disk, by which its session is known again.
    is_part
        Whether it is a region of a scan, or a coarser one, with a session of its own.
    """

    grid: Grid
    fingerprint: str
    modality: Modality = Modality.OTHER
    name: str = "scan"
    source: Path | None = None
    notes: tuple[str, ...] = ()
    is_part: bool = False

    def volume(self, array: Any) -> Volume:
        """Return ``array`` (I, J, K on the grid on screen) as a volume."""
        return Volume(np.asarray(array), self.grid.working, self.modality, self.name, self.source, self.notes)


def scan_of(volume: Volume) -> Scan:
    """Return the scan of a volume that comes from disk, to be shown upright."""
    grid = volume.geometry.reoriented()
    return Scan(
        grid,
        volume.fingerprint,
        volume.modality,
        volume.name,
        volume.source,
        volume.notes if grid.is_exact else (*volume.notes, TILTED),
    )


def layer_arguments(volume: Volume) -> tuple[Any, dict[str, Any]]:
    """Return data and keyword arguments of the image layer that shows ``volume`` upright, in mm."""
    scan, grid = scan_of(volume), volume.geometry.reoriented()
    array = grid.image_to_working(volume.array)
    arguments = {
        "name": volume.name,
        "metadata": {METADATA_KEY: scan},
        "contrast_limits": limits_for(array, volume.modality),
        "colormap": "gray",
        **placement(scan.grid.working),
    }
    return array, arguments


def label_arguments(labels: LabelArray, geometry: Geometry, *, name: str) -> tuple[LabelArray, dict[str, Any]]:
    """Return data and keyword arguments of a labels layer for ``labels`` (I, J, K) on a file's grid."""
    grid = geometry.reoriented()
    scan = Scan(grid, fingerprint="", name=name)
    return grid.labels_to_working(labels), {
        "name": name,
        "metadata": {METADATA_KEY: scan},
        **placement(grid.working),
    }


def placement(geometry: Geometry) -> dict[str, Any]:
    """Return scale, translate and units that put an array on ``geometry`` at its place, in mm.

    napari's world axes are the grid's own axes, so that planes stay straight on screen; two scans of
    one examination still lie over each other.
    """
    translate = geometry.direction.T @ np.asarray(geometry.origin_mm)
    return {
        "scale": geometry.spacing_mm,
        "translate": tuple(float(v) for v in translate),
        "units": (UNIT,) * 3,
        "axis_labels": plane_names(geometry),
    }


def scan_record(layer: Layer) -> Scan | None:
    """Return the scan that our reader noted on ``layer``, while the layer still lies on its grid."""
    metadata: Mapping[str, Any] = layer.metadata
    scan = metadata.get(METADATA_KEY)
    if isinstance(scan, Scan) and tuple(layer.data.shape) == scan.grid.working.shape:
        return scan
    return None


def scan_of_layer(layer: Image) -> Scan:
    """Return the scan of an image layer, read by us or by any other plugin.

    Raises
    ------
    UnsupportedImageError
        When the layer is not one 3D volume of numbers, or when nothing is to be seen on it.
    """
    known = scan_record(layer)
    if known is not None:
        require_contrast(layer.data, name=layer.name)
        return known
    _require_volume(layer)
    require_contrast(layer.data, name=layer.name)
    geometry = geometry_of(layer)
    grid = GridMap(geometry, geometry, (0, 1, 2), (False, False, False))
    source = Path(layer.source.path) if layer.source.path else None
    bare = Volume(np.asarray(layer.data), geometry, Modality.OTHER, layer.name, source)
    return Scan(grid, bare.fingerprint, Modality.OTHER, layer.name, source)


def geometry_of(layer: Image | Labels) -> Geometry:
    """Return the grid of a layer from its whole transform (scale, rotation, shear, affine, position).

    napari's world axes (0, 1, 2) are taken as inferior, posterior and left, as `placement` puts upright
    scans; other readers do not tell.
    """
    points = np.vstack([np.zeros(3), np.eye(3)])
    world = np.array([layer.data_to_world(p)[-3:] for p in points])
    lps = world[:, ::-1] * (1.0, 1.0, -1.0)
    affine = np.eye(4)
    affine[:3, :3] = (lps[1:] - lps[0]).T
    affine[:3, 3] = lps[0]
    i, j, k = layer.data.shape
    return Geometry((int(i), int(j), int(k)), affine)


def require_same_place(layer: Labels, image: Image) -> None:
    """Raise `GeometryMismatchError` unless both layers put the same voxels at the same place on screen."""
    if layer.data.ndim != 3:
        raise UnsupportedImageError(f"“{layer.name}” has {layer.data.ndim} dimensions", expected="one 3D volume")
    what = f"“{layer.name}”"
    here, other = scan_record(image), scan_record(layer)
    if here is not None and other is not None:
        # On screen every grid lies straight; only the files' own grids tell how one is turned against the other.
        here.grid.working.require_same_grid(other.grid.working, what=what)
    geometry_of(image).require_same_grid(geometry_of(layer), what=what)


def scan_at(layer: Labels, others: Iterable[Layer]) -> Scan | None:
    """Return the scan on whose grid ``layer`` lies: its own, or that of an image at the same place."""
    own = scan_record(layer)
    if own is not None:
        return own
    here = geometry_of(layer)
    for other in others:
        scan = scan_record(other) if isinstance(other, Image) else None
        if scan is not None and geometry_of(other).same_grid(here):
            return scan
    return None


def _require_volume(layer: Image) -> None:
    if getattr(layer, "multiscale", False):
        raise UnsupportedImageError(
            f"“{layer.name}” is stored at several resolutions",
            expected="one 3D volume",
            next_step="Open one resolution of it as its own layer",
        )
    if getattr(layer, "rgb", False):
        raise UnsupportedImageError(
            f"“{layer.name}” is a colour image",
            expected="one grey value in each voxel",
            next_step="Open the scan itself, not a coloured picture of it",
        )
    if layer.data.ndim != 3:
        raise UnsupportedImageError(
            f"“{layer.name}” has {layer.data.ndim} dimensions",
            expected="one 3D volume",
            next_step="Choose a single 3D series; split a time series into its volumes first",
        )
