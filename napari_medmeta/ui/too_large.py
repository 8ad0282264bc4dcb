"""What is offered where a scan is too large: a region of it, or all of it on a coarser grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFrame,
    QGridLayout,
    QLabel,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_medmeta.core import Box, SliceRef, Triple
from napari_medmeta.ui.boxes import button
from napari_medmeta.ui.working_grid import region_around
from napari_medmeta.ui.wrapped import WrappedLabel

__all__ = ["RegionDialog", "TooLargeOffer", "ask_region", "region_in_view"]


class TooLargeOffer(QFrame):
    """Two ways on with a scan that is too large; not seen otherwise."""

    region_wanted = Signal()
    coarser_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._factor: Triple | None = None
        text = WrappedLabel(
            "This scan is too large to be worked on as a whole. What you save lies on all of it in any case."
        )
        self.region = button(
            "Work on a region …", "Choose the part that you need; it keeps its full detail", self.region_wanted.emit
        )
        self.coarser = button(
            "Work on a coarser grid",
            "Several voxels become one; outlines are as coarse as that",
            self.coarser_wanted.emit,
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for part in (text, self.region, self.coarser):
            layout.addWidget(part)
        self.hide()

    def offer(self, factor: Triple | None) -> None:
        """Offer a region, and every ``factor``-th voxel along each axis; None: no grid would do."""
        self._factor = factor
        self.coarser.setVisible(factor is not None)
        if factor is not None:
            steps = " x ".join(str(n) for n in factor)
            self.coarser.setText(f"Work on a coarser grid ({steps})")
            self.coarser.setToolTip(f"{steps} voxels become one; outlines are as coarse as that")
        self.show()

    def factor(self) -> Triple | None:
        """Return the coarser grid that is offered."""
        return self._factor


class RegionDialog(QDialog):
    """First and last slice along each axis, and whether that fits.

    Parameters
    ----------
    planes
        The planes' names by array axis.
    shape
        The scan's shape (I, J, K).
    box
        What is chosen at first.
    most_voxels
        What fits into the memory.
    """

    def __init__(
        self, planes: Sequence[str], shape: Triple, *, box: Box, most_voxels: int, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Which region?")
        self._most = most_voxels
        self._spins: list[tuple[QSpinBox, QSpinBox]] = []
        grid = QGridLayout()
        for axis, (name, size) in enumerate(zip(planes, shape, strict=True)):
            first, last = _spin(size, box.start[axis]), _spin(size, box.stop[axis] - 1)
            grid.addWidget(QLabel(f"{name.capitalize()} slices"), axis, 0)
            for column, part in ((1, first), (2, QLabel("to")), (3, last)):
                grid.addWidget(part, axis, column)
            for spin, what in ((first, "First"), (last, "Last")):
                spin.setAccessibleName(f"{what} {name} slice")
                spin.setToolTip(f"{what} {name} slice of the region, counted from 0 as napari's slider does")
                spin.valueChanged.connect(self._judge)
            self._spins.append((first, last))
        self._words = WrappedLabel()
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addLayout(grid)
        layout.addWidget(self._words)
        layout.addWidget(self.buttons)
        self._judge()

    def value(self) -> Box:
        """Return the chosen region; of size 0 where a last slice lies before the first."""
        starts, stops = zip(*((first.value(), last.value() + 1) for first, last in self._spins), strict=True)
        return Box((starts[0], starts[1], starts[2]), (stops[0], stops[1], stops[2]))

    def _judge(self) -> None:
        size = self.value().size
        fits = 0 < size <= self._most
        share = f"{size / 1e6:.1f} million voxels; about {self._most / 1e6:.1f} million fit into the memory"
        self._words.setText(f"{share}." if fits or not size else f"{share}: choose fewer slices.")
        ok = self.buttons.button(QDialogButtonBox.StandardButton.Ok)
        if isinstance(ok, QPushButton):
            ok.setEnabled(fits)


def ask_region(
    planes: Sequence[str], shape: Triple, *, box: Box, most_voxels: int, parent: QWidget | None = None
) -> Box | None:
    """Ask for a region; None when the user stepped back."""
    dialog = RegionDialog(planes, shape, box=box, most_voxels=most_voxels, parent=parent)
    return dialog.value() if dialog.exec() else None


def region_in_view(viewer: ViewerModel, image: Image, at: SliceRef, *, most_voxels: int) -> Box:
    """Return the region to begin with: a rectangle chosen on a shapes layer, else what is on screen."""
    i, j, k = image.data.shape
    shape: Triple = (int(i), int(j), int(k))
    chosen = viewer.layers.selection.active
    corners = _rectangle(chosen, image) if isinstance(chosen, Shapes) else None
    low, high = corners if corners is not None else np.asarray(image.corner_pixels)[:, -3:]
    start = [min(max(int(np.floor(v)), 0), n - 1) for v, n in zip(low, shape, strict=True)]
    stop = [min(max(int(np.ceil(v)) + 1, a + 1), n) for v, a, n in zip(high, start, shape, strict=True)]
    start[at.axis], stop[at.axis] = at.index, at.index + 1
    centre = [(a + b) // 2 for a, b in zip(start, stop, strict=True)]
    view = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    return region_around((centre[0], centre[1], centre[2]), view, shape, axis=at.axis, most_voxels=most_voxels)


def _rectangle(layer: Shapes, image: Image) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the lowest and the highest corner of the chosen (or last) shape, in voxels of ``image``."""
    if not layer.data or layer.ndim < 2:
        return None
    number = max(layer.selected_data, default=len(layer.data) - 1)
    world = np.array([layer.data_to_world(p) for p in np.asarray(layer.data[number])])
    if world.shape[1] < 3:
        # A flat layer lies on every slice: only its two axes count.
        world = np.pad(world, ((0, 0), (3 - world.shape[1], 0)))
    found = np.array([image.world_to_data(p[-3:]) for p in world])
    return found.min(axis=0), found.max(axis=0)


def _spin(size: int, value: int) -> QSpinBox:
    spin = QSpinBox()
    spin.setRange(0, size - 1)
    spin.setValue(value)
    return spin
