"""Which way the patient lies on screen: a letter on each edge of the canvas, and the plane in a corner."""

from __future__ import annotations

from dataclasses import dataclass

from napari.components import ViewerModel
from napari.components.overlays import TextOverlay

from napari_medmeta.core import Geometry, SliceRef
from napari_medmeta.session.words import plane_names

__all__ = ["Compass", "Edges", "edges_of", "plane_text"]

OPPOSITE = {"R": "L", "L": "R", "A": "P", "P": "A", "I": "S", "S": "I"}
NARROW_PX = 560
"""On a canvas this wide or narrower the words about a slice reach the letter in the middle: they begin below it."""

MARK_SIZE = 14
"""Points: read at a glance from the other side of the slice, smaller than anything of the anatomy."""


@dataclass(frozen=True, slots=True)
class Edges:
    """The patient's direction at each edge of the canvas: A, P, L, R, S or I."""

    top: str
    bottom: str
    left: str
    right: str


PLACES = {"top": "top_center", "bottom": "bottom_center", "left": "middle_left", "right": "middle_right"}


def edges_of(geometry: Geometry, *, rows: tuple[int, bool], columns: tuple[int, bool]) -> Edges:
    """Return the letters at the edges.

    Parameters
    ----------
    rows, columns
        The array axis that runs down the screen and the one that runs across it, each with whether its
        index grows downwards or to the right.
    """
    codes = geometry.axis_codes
    bottom = codes[rows[0]] if rows[1] else OPPOSITE[codes[rows[0]]]
    right = codes[columns[0]] if columns[1] else OPPOSITE[codes[columns[0]]]
    return Edges(OPPOSITE[bottom], bottom, OPPOSITE[right], right)


def plane_text(geometry: Geometry, ref: SliceRef) -> str:
    """Return plane and number of a slice such as "Axial slice 22 (0–39)", counted from 0 as napari's slider does."""
    last = geometry.shape[ref.axis] - 1
    return f"{plane_names(geometry)[ref.axis].capitalize()} slice {ref.index} (0–{last})"


class Compass:
    """Write the orientation onto the canvas, unless something else uses its corner text."""

    def __init__(self, viewer: ViewerModel, geometry: Geometry) -> None:
        self._viewer, self._geometry = viewer, geometry
        self._written = ""
        self._last: tuple[SliceRef, str] | None = None
        self._position: object = None
        self._marks: dict[str, TextOverlay] = {}
        self._names = {edge: f"medmeta_{edge}" for edge in PLACES}
        viewer.canvas.events.size.connect(self._resized)

    def show(self, ref: SliceRef, words: str) -> None:
        """Tell how the slice ``ref`` lies on screen, and ``words`` about it."""
        self._last = ref, words
        self._show_marks()
        overlay = self._viewer.canvas.overlays.text
        if overlay.text not in ("", self._written):
            return
        flat = self._viewer.dims.ndisplay == 2
        narrow = self._viewer.canvas.size[1] <= NARROW_PX
        below = "\n" if narrow else ""
        self._written = f"{below}{plane_text(self._geometry, ref)}\n{words}" if flat else ""
        if self._written == overlay.text:
            return
        if self._position is None:
            self._position = overlay.position
        # The middle of the lower edge is the letter's.
        overlay.position = "top_left"
        overlay.text = self._written
        overlay.visible = bool(self._written)

    def clear(self) -> None:
        """Take our text and letters away."""
        self._viewer.canvas.events.size.disconnect(self._resized)
        overlays = self._viewer.canvas.overlays
        for edge, mark in self._marks.items():
            if overlays.get(self._names[edge]) is mark:
                del overlays[self._names[edge]]
        self._marks.clear()
        if self._written and overlays.text.text == self._written:
            overlays.text.text, overlays.text.visible = "", False
            overlays.text.position = self._position
        self._written = ""

    def edges(self) -> Edges | None:
        """Return the letters for what is on screen now, None in 3D."""
        dims = self._viewer.dims
        if dims.ndisplay != 2:
            return None
        rows, columns = (d - (dims.ndim - 3) for d in dims.displayed)
        down, right = self._viewer.scene.camera.orientation2d
        return edges_of(self._geometry, rows=(rows, str(down) == "down"), columns=(columns, str(right) == "right"))

    def _resized(self, event: object) -> None:
        if self._last is not None:
            self.show(*self._last)

    def _show_marks(self) -> None:
        edges = self.edges()
        if not self._marks:
            self._add_marks()
        for edge, mark in self._marks.items():
            letter = getattr(edges, edge) if edges is not None else ""
            if mark.text != letter:
                mark.text = letter
            if mark.visible != bool(letter):
                mark.visible = bool(letter)

    def _add_marks(self) -> None:
        for edge, place in PLACES.items():
            mark = TextOverlay(position=place, font_size=MARK_SIZE)
            self._viewer.canvas.overlays[self._names[edge]] = mark
            self._marks[edge] = mark
