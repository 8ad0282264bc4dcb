"""Parts of the tabs and tables: a line of widgets, a table to be read, and other scans in the window with labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from napari.layers import Image, Labels
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QSizePolicy,
    QTableWidget,
    QWidget,
)

from napari_medmeta.core import BACKGROUND, MAX_STRUCTURES, InputError, LabelArray, Volume
from napari_medmeta.ui.case import Case
from napari_medmeta.ui.scan import geometry_of, scan_of_layer

__all__ = ["LabelledScan", "labelled_scans", "line", "named_choice", "reading_table", "table_texts"]

LETTERS = 10
"""Of a choice that are in sight at least: a long name must not make the whole dock wider."""


def line(*widgets: QWidget) -> QWidget:
    """Return ``widgets`` side by side."""
    whole = QWidget()
    layout = QHBoxLayout(whole)
    layout.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        layout.addWidget(widget)
    return whole


def named_choice(name: str, tip: str, combo: QComboBox) -> QWidget:
    """Return a list to choose from with its name in front of it."""
    label = QLabel(name)
    label.setBuddy(combo)
    for widget in (label, combo):
        widget.setToolTip(tip)
    combo.setAccessibleName(name)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(LETTERS)
    combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return line(label, combo)


def reading_table(columns: Sequence[str], tips: Sequence[str], *, name: str) -> QTableWidget:
    """Return an empty table that cannot be typed into, as wide as its words; each column's head has its tip."""
    table = QTableWidget(0, len(columns))
    table.setHorizontalHeaderLabels(list(columns))
    table.setAccessibleName(name)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    for column, tip in enumerate(tips):
        item = table.horizontalHeaderItem(column)
        if item is not None:
            item.setToolTip(tip)
    header, rows = table.horizontalHeader(), table.verticalHeader()
    if header is not None and rows is not None:
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        rows.setVisible(False)
    return table


def table_texts(table: QTableWidget) -> list[tuple[str, ...]]:
    """Return what the cells of a table say, row by row."""
    items = [[table.item(r, c) for c in range(table.columnCount())] for r in range(table.rowCount())]
    return [tuple(item.text() if item is not None else "" for item in row) for row in items]


@dataclass(frozen=True, eq=False)
class LabelledScan:
    """A scan in the window other than the open one, with labels on it.

    Parameters
    ----------
    name
        What to call both.
    image, labels
        Their layers, on the same grid.
    """

    name: str
    image: Image
    labels: Labels

    @property
    def volume(self) -> Volume:
        """The scan, (I, J, K)."""
        return scan_of_layer(self.image).volume(np.asarray(self.image.data))

    def values(self) -> LabelArray:
        """Return the labels, (I, J, K) on the grid of the scan.

        Raises
        ------
        InputError
            When they are no structures' numbers.
        """
        values = np.asarray(self.labels.data)
        low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
        if low < BACKGROUND or high > MAX_STRUCTURES:
            raise InputError(
                f"The labels of {self.labels.name} go from {low} to {high}",
                expected=f"0 for background and 1 to {MAX_STRUCTURES} for structures",
            )
        return values.astype(np.uint8)

    def hide(self) -> None:
        """Let the open scan be seen, which both would cover."""
        self.image.visible = self.labels.visible = False


def labelled_scans(layers: Sequence[object], case: Case) -> Iterator[LabelledScan]:
    """Find labels on scans other than the open one."""
    ours = (case.image, case.layers.segmentation, case.layers.proposal, case.layers.uncertainty)
    others = [layer for layer in layers if all(layer is not o for o in ours)]
    images = [layer for layer in others if isinstance(layer, Image) and layer.data.ndim == 3 and not layer.rgb]
    for labels in (layer for layer in others if isinstance(layer, Labels) and layer.data.ndim == 3):
        image = next((i for i in images if geometry_of(i).same_grid(geometry_of(labels))), None)
        if image is not None:
            yield LabelledScan(f"{labels.name} on {image.name}", image, labels)
