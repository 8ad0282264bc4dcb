"""The text on progress bars can be read on both of their halves."""

from __future__ import annotations

from typing import Any

import pytest
from napari.utils.theme import get_theme
from qtpy.QtGui import QColor

from napari_medmeta.ui.boxes import WorkLine
from napari_medmeta.ui.explain_box import AGAINST_COLOUR, FOR_COLOUR
from napari_medmeta.ui.readable_bar import DONE_COLOUR, ReadableBar, contrast, readable_on

ENOUGH = 4.5
"""WCAG 2.1, success criterion 1.4.3."""

THEMES = ("dark", "light")


def bar_in(qtbot: Any, theme_name: str, colour: str = DONE_COLOUR) -> ReadableBar:
    theme = get_theme(theme_name)
    bar = ReadableBar(colour=colour)
    bar.setStyleSheet(f"QWidget {{ background: {theme.background.as_hex()}; color: {theme.text.as_hex()}; }}")
    qtbot.addWidget(bar)
    bar.setRange(0, 100)
    bar.resize(200, 18)
    bar.ensurePolished()
    return bar


def seen(bar: ReadableBar) -> tuple[set[str], set[str]]:
    """The colours of the left and of the right half, as painted."""
    image = bar.grab().toImage()
    middle = image.width() // 2
    halves = (range(4, middle - 2), range(middle + 2, image.width() - 4))
    return tuple({image.pixelColor(x, y).name() for x in half for y in range(2, image.height() - 2)} for half in halves)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [("#000000", "#ffffff", 21.0), ("#ffffff", "#ffffff", 1.0), ("#777777", "#ffffff", 4.48)],
)
def test_contrast_is_that_of_the_guideline(one: str, other: str, expected: float) -> None:
    assert contrast(QColor(one), QColor(other)) == pytest.approx(expected, abs=0.01)
    assert contrast(QColor(other), QColor(one)) == contrast(QColor(one), QColor(other))


def test_white_on_light_blue_is_not_readable_and_black_is() -> None:
    light_blue = QColor("#8fc1e8")
    assert contrast(QColor("white"), light_blue) < ENOUGH
    assert readable_on(light_blue) == QColor("black")
    assert readable_on(QColor("#1c3f78")) == QColor("white")


@pytest.mark.parametrize("grey", range(0, 256, 5))
def test_on_every_grey_there_is_a_readable_colour(grey: int) -> None:
    ground = QColor(grey, grey, grey)
    assert contrast(readable_on(ground), ground) >= ENOUGH


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("colour", [DONE_COLOUR, FOR_COLOUR, AGAINST_COLOUR])
def test_text_is_readable_on_both_halves(qtbot: Any, theme: str, colour: str) -> None:
    bar = bar_in(qtbot, theme, colour)
    bar.setFormat("MMMMMMMMMMMMMMM")
    bar.setValue(50)
    for ground, found in zip(bar.colours(), seen(bar), strict=True):
        assert ground.name() in found
        assert max(contrast(QColor(name), ground) for name in found) >= ENOUGH


@pytest.mark.parametrize("theme", THEMES)
def test_the_halves_are_told_apart(qtbot: Any, theme: str) -> None:
    done, rest = bar_in(qtbot, theme).colours()
    assert contrast(done, rest) > 1.5


def test_at_rest_nothing_is_done(qtbot: Any) -> None:
    bar = bar_in(qtbot, "dark")
    bar.setFormat("")
    bar.setValue(0)
    assert all(bar.colours()[0].name() not in half for half in seen(bar))


def test_the_panels_own_bar_is_readable(qtbot: Any) -> None:
    line = WorkLine()
    qtbot.addWidget(line)
    assert len(line.findChildren(ReadableBar)) == 1
