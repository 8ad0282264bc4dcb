"""The loop as one row of pictures: example slices, proposal, result."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image

from napari_medmeta.cli.loop import Loop, Round
from napari_medmeta.cli.picture import (
    Panel,
    RGBArray,
    as_rgb,
    coloured,
    column,
    resized,
    row,
    shaded_surface,
    with_lines,
)
from napari_medmeta.core import LabelArray, SliceRef, label_slice

__all__ = ["story"]

CT_WINDOW = (-160.0, 240.0)
"""Soft tissue, in Hounsfield units."""
EXAMPLES_SHOWN = 3
HEIGHT = 320
"""Of the panels, in pixels: four of them fit a page's width at twice the screen's resolution."""


def story(loop: Loop, first: Round, last: Round) -> Image.Image:
    """Return the row: painted slices; one unpainted slice and a coronal cut of the proposal; the result in 3D."""
    colours = {s.id: s.colour for s in loop.session.structures}
    spacing = loop.session.geometry.spacing_mm
    unpainted = _halfway(first.task.painted)
    painted = first.task.painted
    panels = (
        Panel(f"{len(painted)} slices painted", _examples(loop, painted, colours)),
        Panel(f"proposed: slice {unpainted} of {loop.task.truth.shape[0]}", _axial(loop, first, unpainted, colours)),
        Panel("proposed: all slices (dashed: painted)", _coronal(loop, first, colours)),
        Panel(
            f"result, Dice {last.mean_dice:.2f}",
            shaded_surface(last.labels, colours, spacing_mm=spacing, height=HEIGHT),
        ),
    )
    return row(panels)


def _halfway(painted: tuple[int, ...]) -> int:
    middle = len(painted) // 2
    return sum(sorted(painted)[max(0, middle - 1) : middle + 1]) // min(2, len(painted))


def _examples(loop: Loop, painted: tuple[int, ...], colours: Mapping[int, str]) -> RGBArray:
    shown = sorted(painted, reverse=True)[:EXAMPLES_SHOWN]
    each = (HEIGHT - 4 * (len(shown) - 1)) // len(shown)
    images = [_slice(loop, loop.task.truth, SliceRef(0, index), colours, height=each) for index in shown]
    missing = HEIGHT - column(images).shape[0]
    return np.pad(column(images), ((0, missing), (0, 0), (0, 0)))


def _axial(loop: Loop, round_: Round, index: int, colours: Mapping[int, str]) -> RGBArray:
    return _slice(loop, round_.labels, SliceRef(0, index), colours, height=HEIGHT)


def _coronal(loop: Loop, round_: Round, colours: Mapping[int, str]) -> RGBArray:
    # The plane that cuts most of the organs; head up, as radiologists look at it.
    plane = int(np.argmax(np.count_nonzero(loop.task.truth, axis=(0, 2))))
    ref = SliceRef(1, plane)
    image = as_rgb(label_slice(loop.phantom.volume.array, ref)[::-1], window=CT_WINDOW)
    image = coloured(image, label_slice(round_.labels, ref)[::-1], colours)
    count, spacing = loop.task.truth.shape[0], loop.session.geometry.spacing_mm
    image = resized(image, height=HEIGHT, pixel_mm=(spacing[0], spacing[2]))
    return with_lines(image, [1 - (index + 0.5) / count for index in round_.task.painted])


def _slice(loop: Loop, labels: LabelArray, ref: SliceRef, colours: Mapping[int, str], *, height: int) -> RGBArray:
    rows, columns = _body(loop)
    image = as_rgb(label_slice(loop.phantom.volume.array, ref)[rows, columns], window=CT_WINDOW)
    return resized(coloured(image, label_slice(labels, ref)[rows, columns], colours), height=height)


def _body(loop: Loop) -> tuple[slice, slice]:
    """Return the rows and columns that hold the body: all that is denser than air and lung."""
    dense = np.median(loop.phantom.volume.array, axis=0) > -500
    rows, columns = np.flatnonzero(dense.any(axis=1)), np.flatnonzero(dense.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
