"""Curves of a benchmark as SVG, drawn with matplotlib where it is installed.

The same figures give the same bytes, so that a page made twice differs only where the runs do. Words stay words
(the reader's own sans serif), which keeps the files small.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from napari_medmeta.bench.statistics import Bin

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["INK", "Line", "can_draw", "curves", "reliability_chart"]

INK = "#6e7781"
"""Of axes and words: readable on white and on dark pages alike."""
OURS_COLOUR = "#d1242f"
PEER_COLOURS = ("#0969da", "#1a7f37", "#9a6700", "#8250df", "#0f9d9d", "#bf3989", "#bc4c00", "#57606a")
"""Distinct on white and on dark ground; used over again with the next dash pattern when there are more lines."""
DASHES = ("-", "--", ":", "-.")
MARKERS = "osD^vP"
SIZE_INCHES = (7.6, 4.0)
SQUARE_INCHES = (4.6, 4.2)


@dataclass(frozen=True, slots=True)
class Line:
    """One curve.

    Parameters
    ----------
    low, high
        Ends of the interval at each point; empty for none.
    style
        Number of its colour, so that a method looks the same in every figure.
    strong
        Whether it is the one to look at.
    steps
        Whether the value holds until the next point.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    style: int = 0
    strong: bool = False
    steps: bool = False


def can_draw() -> bool:
    """Tell whether matplotlib is installed."""
    from importlib.util import find_spec

    return find_spec("matplotlib") is not None


def curves(lines: Sequence[Line], *, x: str, y: str, ticks: Sequence[float] = (), bottom: float = 0.0) -> str:
    """Draw lines over a common axis and return the SVG.

    Parameters
    ----------
    x, y
        What the axes show.
    ticks
        Where the horizontal axis is marked; chosen from the values when empty.
    bottom
        Where the vertical axis starts.
    """

    def draw(axes: Axes) -> None:
        # From the lowest end to the highest: read backwards, the legend stands in the order of the curves' ends.
        for line in sorted(lines, key=lambda line: line.y[-1]):
            _draw_line(axes, line)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.set_ylim(bottom=bottom)
        if ticks:
            axes.set_xticks(list(ticks))
        axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), reverse=True)

    return _svg(draw, SIZE_INCHES)


def reliability_chart(bins: Sequence[tuple[str, Sequence[Bin]]]) -> str:
    """Draw expected against true Dice for each series of bins, beside the line on which both are equal."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=":")
        most = max((b.count for _, series in bins for b in series), default=1)
        for number, (name, series) in enumerate(bins):
            colour = PEER_COLOURS[number % len(PEER_COLOURS)]
            x, y = [b.expected for b in series], [b.true for b in series]
            axes.plot(x, y, color=colour, linewidth=1.5, label=name)
            axes.scatter(x, y, s=[12 + 90 * b.count / most for b in series], color=colour)
        axes.set_xlabel("expected Dice")
        axes.set_ylabel("true Dice")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_aspect("equal")
        axes.legend(loc="upper left")

    return _svg(draw, SQUARE_INCHES)


def _draw_line(axes: Axes, line: Line) -> None:
    colour = OURS_COLOUR if line.strong else PEER_COLOURS[line.style % len(PEER_COLOURS)]
    dash = "-" if line.strong else DASHES[line.style // len(PEER_COLOURS) % len(DASHES)]
    width, order = (2.6, 3.0) if line.strong else (1.3, 2.0)
    marker = "" if line.steps else MARKERS[line.style % len(MARKERS)]
    axes.plot(
        line.x,
        line.y,
        color=colour,
        linestyle=dash,
        linewidth=width,
        zorder=order,
        marker=marker,
        markersize=4,
        drawstyle="steps-post" if line.steps else "default",
        label=line.name,
    )
    if line.low:
        step: Literal["post"] | None = "post" if line.steps else None
        axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.15, linewidth=0, step=step)


def _svg(draw: Callable[[Axes], None], size: tuple[float, float]) -> str:
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with rc_context(_style()):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        draw(axes)
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    # What is left of the metadata says only that it is a picture, with the addresses of whoever defined the word.
    return re.sub(r"\s*<metadata>.*?</metadata>", "", out.getvalue(), flags=re.DOTALL)


def _style() -> Any:  # matplotlib names every setting in its types
    inks = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color")
    # Words as words; a fixed salt and no date, so that the same figure is the same file.
    fixed = {"svg.fonttype": "none", "svg.hashsalt": "medmeta", "font.family": "sans-serif", "font.size": 10}
    return {**fixed, **dict.fromkeys(inks, INK), "legend.frameon": False, "legend.fontsize": 9}
