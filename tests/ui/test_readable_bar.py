"""Text can be read in every theme: on both halves of a progress bar, and where something went wrong."""

from __future__ import annotations

from typing import Any

import pytest
from napari.utils.theme import get_theme
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QLabel, QProgressBar, QVBoxLayout, QWidget

from napari_medmeta.core import InputError
from napari_medmeta.ui.applications import ApplicationsWidget
from napari_medmeta.ui.boxes import WorkLine
from napari_medmeta.ui.contrast import ENOUGH, contrast, readable_on, with_contrast
from napari_medmeta.ui.explain_box import AGAINST_COLOUR, FOR_COLOUR
from napari_medmeta.ui.footer import Footer
from napari_medmeta.ui.news_line import NewsLine
from napari_medmeta.ui.readable_bar import DONE_COLOUR, ReadableBar

THEMES = ("dark", "light")


def sheet(theme_name: str) -> str:
    theme = get_theme(theme_name)
    return f"QWidget {{ background: {theme.background.as_hex()}; color: {theme.text.as_hex()}; }}"


def bar_in(qtbot: Any, theme_name: str, colour: str = DONE_COLOUR) -> ReadableBar:
    bar = ReadableBar(colour=colour)
    bar.setStyleSheet(sheet(theme_name))
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


def test_the_bars_of_all_applications_are_readable(panel: Any, qtbot: Any) -> None:
    dock = ApplicationsWidget(panel)
    qtbot.addWidget(dock)
    bars = dock.findChildren(QProgressBar)
    assert len(bars) >= 2
    assert all(isinstance(bar, ReadableBar) for bar in bars)
    dock.release()


@pytest.mark.parametrize("ground", ["#262930", "#efebe9", "#808080"])
@pytest.mark.parametrize("colour", ["#e2703a", "#777777"])
def test_a_colour_is_moved_until_it_can_be_read(colour: str, ground: str) -> None:
    assert contrast(with_contrast(QColor(colour), QColor(ground)), QColor(ground)) >= ENOUGH


def test_a_colour_that_can_be_read_stays_as_it_is() -> None:
    assert with_contrast(QColor("#e2703a"), QColor("#262930")).name() == "#e2703a"


@pytest.mark.parametrize("theme", THEMES)
def test_messages_errors_and_small_print_can_be_read(qtbot: Any, theme: str) -> None:
    footer = Footer()
    qtbot.addWidget(footer)
    footer.setStyleSheet(sheet(theme))
    footer.set_message("There is no folder", is_error=True)
    footer.set_session("Session: scan.medmeta")
    footer.set_machine("Runs on cpu")
    footer.show()
    qtbot.waitExposed(footer)
    ground = footer.palette().window().color()
    inks = {label.text(): label.palette().windowText().color() for label in footer.findChildren(QLabel)}
    assert len(inks) == 3
    assert all(contrast(ink, ground) >= ENOUGH for ink in inks.values())
    assert len({ink.name() for ink in inks.values()}) == 2


def test_colours_follow_the_theme(qtbot: Any) -> None:
    footer = Footer()
    qtbot.addWidget(footer)
    footer.set_message("There is no folder", is_error=True)
    footer.show()
    qtbot.waitExposed(footer)
    (label,) = [x for x in footer.findChildren(QLabel) if x.text() == footer.message()]
    for theme in THEMES:
        footer.setStyleSheet(sheet(theme))
        ground = QColor(get_theme(theme).background.as_hex())
        assert contrast(label.palette().windowText().color(), ground) >= ENOUGH


def test_what_went_wrong_can_be_read_below_the_tabs_in_every_theme(panel: Any, qtbot: Any) -> None:
    around = QWidget()
    qtbot.addWidget(around)
    line = NewsLine(panel)
    (label,) = line.findChildren(QLabel)
    QVBoxLayout(around).addWidget(line)
    around.show()
    panel.case.controller.failed.emit(InputError("There is no folder"))
    inks = set()
    for theme in THEMES:
        around.setStyleSheet(sheet(theme))
        ground, ink = QColor(get_theme(theme).background.as_hex()), label.palette().windowText().color()
        assert contrast(ink, ground) >= ENOUGH
        inks.add(ink.name())
    assert len(inks) == 2
    panel.case.controller.told.emit("Done")
    assert label.palette().windowText().color() == QColor(get_theme(THEMES[-1]).text.as_hex())
    line.release()
