"""Colours that can be read: how much two of them stand out from each other, and what to do where it is too little."""

from __future__ import annotations

from qtpy.QtGui import QColor
from qtpy.QtWidgets import QWidget

__all__ = ["ENOUGH", "contrast", "error_style", "mixed", "readable_on", "style", "with_contrast"]

ENOUGH = 4.5
"""For text of the usual size (WCAG 2.1, success criterion 1.4.3)."""

STEPS = 20

ERROR_COLOUR = "#e2703a"


def contrast(one: QColor, other: QColor) -> float:
    """Return the contrast of two colours, 1 to 21 (WCAG 2.1, "contrast ratio" and "relative luminance")."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def readable_on(ground: QColor) -> QColor:
    """Return black or white, whichever stands out more; its contrast is 4.58 at least, on every colour."""
    return max(QColor("black"), QColor("white"), key=lambda ink: contrast(ink, ground))


def with_contrast(colour: QColor, ground: QColor) -> QColor:
    """Return the colour nearest to ``colour``, towards black or white, that can be read on ``ground``."""
    ink = readable_on(ground)
    tried = (mixed(ink, colour, step / STEPS) for step in range(STEPS))
    return next((found for found in tried if contrast(found, ground) >= ENOUGH), ink)


def mixed(one: QColor, other: QColor, share: float) -> QColor:
    """Return a colour with ``share`` of ``one``, in [0, 1], and the rest of ``other``."""
    red, green, blue = (
        round(share * a + (1 - share) * b) for a, b in zip(one.getRgb()[:3], other.getRgb()[:3], strict=True)
    )
    return QColor(red, green, blue)


def error_style(ground: QColor) -> str:
    """Return the style of words on ``ground`` that say that something went wrong."""
    return f"color: {with_contrast(QColor(ERROR_COLOUR), ground).name()};"


def style(widget: QWidget, wanted: str) -> None:
    """Give ``widget`` a style, unless it has it."""
    # Setting a style, even the same one, costs a pass over the window.
    if widget.styleSheet() != wanted:
        widget.setStyleSheet(wanted)


def _luminance(colour: QColor) -> float:
    red, green, blue = (_linear(v / 255) for v in colour.getRgb()[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)
