"""Opening a part of a scan as a scan of its own, whose labels come back onto the whole."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image
from qtpy.QtWidgets import QWidget

from napari_medmeta.core import VolumeTooLargeError
from napari_medmeta.session.words import plane_names
from napari_medmeta.ui.case import Case
from napari_medmeta.ui.scan import METADATA_KEY, Scan, placement
from napari_medmeta.ui.too_large import TooLargeOffer, ask_region, region_in_view
from napari_medmeta.ui.working_grid import WHOLE, Grid, PartGrid, coarse_enough, coarsened, cropped

__all__ = ["PartChooser", "part_arguments", "part_of"]


class PartChooser:
    """Choose a part of a scan that was refused as too large.

    Parameters
    ----------
    offer
        Shows the ways on.
    parent
        The window that questions belong to.
    """

    def __init__(self, offer: TooLargeOffer, parent: QWidget) -> None:
        self._offer, self._parent = offer, parent
        self._fits = 0

    def refused(self, error: VolumeTooLargeError, grid: Grid) -> None:
        """Offer what fits instead of the scan on ``grid``; half of it where nobody knows what fits."""
        i, j, k = grid.working.shape
        self._fits = error.fits_voxels if error.fits_voxels is not None else i * j * k // 2
        self._offer.offer(coarse_enough(grid.working, self._fits))

    def region(self, viewer: ViewerModel, case: Case) -> PartGrid | None:
        """Ask for a region, beginning with the rectangle that is chosen or with what is on screen."""
        grid = case.controller.scan.grid
        seen = region_in_view(viewer, case.image, case.controller.focus, most_voxels=self._fits)
        planes = plane_names(grid.working)
        box = ask_region(planes, grid.working.shape, box=seen, most_voxels=self._fits, parent=self._parent)
        return cropped(grid, box) if box is not None else None

    def coarser(self, case: Case) -> PartGrid | None:
        """Return the coarser grid that is offered."""
        factor = self._offer.factor()
        return coarsened(case.controller.scan.grid, factor) if factor is not None else None


def part_of(scan: Scan, grid: PartGrid) -> Scan:
    """Return the scan of a part: of the same source, yet with sessions of its own."""
    name = f"{scan.name} ({'region' if grid.factor == WHOLE else 'coarser grid'})"
    digest = hashlib.blake2b(f"{scan.fingerprint}{grid.name}".encode(), digest_size=16)
    return replace(scan, grid=grid, fingerprint=digest.hexdigest(), name=name, is_part=True)


def part_arguments(layer: Image, scan: Scan, grid: PartGrid) -> tuple[Any, dict[str, Any]]:
    """Return data and keyword arguments of the image layer that shows a part of the scan in ``layer``."""
    part = part_of(scan, grid)
    return grid.image_to_working(np.asarray(layer.data)), {
        "name": f"{layer.name} ({'region' if grid.factor == WHOLE else 'coarser grid'})",
        "metadata": {METADATA_KEY: part},
        "contrast_limits": tuple(layer.contrast_limits),
        "colormap": layer.colormap,
        **placement(grid.working),
    }
