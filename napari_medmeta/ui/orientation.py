"""Which way the patient lies on screen, as letters."""

from __future__ import annotations

from collections.abc import Sequence

from napari.components import ViewerModel

from napari_medmeta.core import Geometry, SliceRef
from napari_medmeta.session.words import plane_names

__all__ = ["Compass", "orientation_text"]

OPPOSITE = {"R": "L", "L": "R", "A": "P", "P": "A", "I": "S", "S": "I"}


def orientation_text(geometry: Geometry, ref: SliceRef, *, rows: tuple[int, bool], columns: tuple[int, bool]) -> str:
    """Return one line such as "Axial slice 22    ↑ A    ← R".

    Parameters
    ----------
    rows, columns
        The array axis that runs down the screen and the one that runs across it, each with whether its
        index grows downwards or to the right.
    """
    codes = geometry.axis_codes
    top = _start(codes[rows[0]], forwards=rows[1])
    left = _start(codes[columns[0]], forwards=columns[1])
    plane = plane_names(geometry)[ref.axis].capitalize()
    return f"{plane} slice {ref.index}    ↑ {top}    ← {left}"


class Compass:
    """Write the orientation into a corner of the canvas, unless something else uses that text."""

    def __init__(self, viewer: ViewerModel, geometry: Geometry) -> None:
        self._viewer, self._geometry = viewer, geometry
        self._written = ""

    def show(self, ref: SliceRef, words: str) -> None:
        """Tell how the slice ``ref`` lies on screen, and ``words`` about it."""
        overlay = self._viewer.canvas.overlays.text
        if overlay.text not in ("", self._written):
            return
        self._written = self._text(ref, words)
        if self._written == overlay.text:
            return
        overlay.text = self._written
        overlay.visible = bool(self._written)

    def clear(self) -> None:
        """Take our text away."""
        overlay = self._viewer.canvas.overlays.text
        if self._written and overlay.text == self._written:
            overlay.text, overlay.visible = "", False
        self._written = ""

    def _text(self, ref: SliceRef, words: str) -> str:
        dims = self._viewer.dims
        if dims.ndisplay != 2:
            return ""
        extra = dims.ndim - 3
        shown: Sequence[int] = [d - extra for d in dims.displayed]
        down, right = getattr(self._viewer.camera, "orientation2d", ("down", "right"))
        where = orientation_text(
            self._geometry,
            ref,
            rows=(shown[0], str(down) == "down"),
            columns=(shown[1], str(right) == "right"),
        )
        return f"{words}\n{where}"


def _start(code: str, *, forwards: bool) -> str:
    return OPPOSITE[code] if forwards else code
