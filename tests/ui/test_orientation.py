"""The letters at the canvas' edges, from geometry alone."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medmeta.core import Geometry, SliceRef
from napari_medmeta.ui.orientation import Edges, edges_of, plane_text

# Index grows to inferior, posterior and left: as scans are shown upright.
UPRIGHT = Geometry.from_parts((4, 6, 8)).reoriented().working


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [
        ((1, True), (2, True), Edges("A", "P", "R", "L")),
        ((0, True), (2, True), Edges("S", "I", "R", "L")),
        ((0, True), (1, True), Edges("S", "I", "A", "P")),
        ((1, False), (2, True), Edges("P", "A", "R", "L")),
        ((1, True), (2, False), Edges("A", "P", "L", "R")),
        ((2, True), (1, True), Edges("R", "L", "A", "P")),
    ],
)
def test_letters_follow_axes_and_directions(rows: tuple[int, bool], columns: tuple[int, bool], expected: Edges) -> None:
    assert edges_of(UPRIGHT, rows=rows, columns=columns) == expected


def test_a_scan_that_lies_the_other_way_has_the_letters_swapped() -> None:
    affine = np.array(UPRIGHT.affine)
    affine[:3, 2] *= -1
    affine[:3, 1] *= -1
    turned = Geometry(UPRIGHT.shape, affine)
    assert edges_of(turned, rows=(1, True), columns=(2, True)) == Edges("P", "A", "L", "R")


def test_the_plane_is_named_with_number_and_count() -> None:
    assert plane_text(UPRIGHT, SliceRef(0, 2)) == "Axial slice 2 (0–3)"
    assert plane_text(UPRIGHT, SliceRef(2, 0)) == "Sagittal slice 0 (0–7)"
