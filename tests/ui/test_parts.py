"""Each small panel both ways: a value in, a wish out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QLineEdit, QProgressBar, QPushButton, QRadioButton, QScrollArea, QTableWidget

from napari_medmeta.session import PaintMode, SliceState
from napari_medmeta.ui.boxes import HintLine, PaintBox, ProposalBox, SaveBox, ScanBox, WorkLine
from napari_medmeta.ui.dialogs import SeriesChooser
from napari_medmeta.ui.footer import Footer
from napari_medmeta.ui.key_help import KeyHelp
from napari_medmeta.ui.keys import KEYS, chosen_keys
from napari_medmeta.ui.slice_strip import STATE_COLOURS, STATE_WORDS, SliceStrip, StripValue
from napari_medmeta.ui.structure_table import COMMON_STRUCTURES, KEY, LOCK, NAME, StructureRow, StructureTable
from napari_medmeta.ui.windowing import CT_WINDOWS
from napari_medmeta.ui.work import Work

LIVER = StructureRow(1, "Liver", "#ff0000", 1, volume_ml=12.34, expected_dice=0.876)
SPLEEN = StructureRow(2, "Spleen", "#00ff00", 2, locked=True)


def press(widget: Any, text: str) -> None:
    (found,) = [b for b in widget.findChildren(QPushButton) if b.text().startswith(text)]
    found.click()


def table(qtbot: Any) -> tuple[StructureTable, QTableWidget]:
    widget = StructureTable()
    qtbot.addWidget(widget)
    widget.key_prefix = "Ctrl+"
    widget.set_value((LIVER, SPLEEN), active=1)
    (inner,) = widget.findChildren(QTableWidget)
    return widget, inner


def test_the_table_shows_its_rows(qtbot: Any) -> None:
    widget, inner = table(qtbot)
    texts = [[inner.item(r, c).text() for c in range(inner.columnCount())] for r in range(2)]
    assert texts == [["", "Liver", "Ctrl+1", "", "12.3", "0.88"], ["", "Spleen", "Ctrl+2", "", "0.0", "–"]]
    assert inner.item(1, LOCK).checkState() == Qt.CheckState.Checked
    assert widget.active() == 1
    assert inner.item(0, NAME).font().bold()


def test_showing_rows_says_nothing(qtbot: Any) -> None:
    widget, _ = table(qtbot)
    with qtbot.assertNotEmitted(widget.chosen), qtbot.assertNotEmitted(widget.renamed):
        widget.set_value((LIVER,), active=1)


def test_typing_a_name_adds_it(qtbot: Any) -> None:
    widget, _ = table(qtbot)
    (entry,) = widget.findChildren(QLineEdit)
    entry.setText("  Aorta ")
    with qtbot.waitSignal(widget.added) as heard:
        qtbot.keyClick(entry, Qt.Key.Key_Return)
    assert heard.args == ["Aorta"]
    assert entry.text() == ""


def test_common_organs_are_offered_while_typing(qtbot: Any) -> None:
    widget, _ = table(qtbot)
    (entry,) = widget.findChildren(QLineEdit)
    completer = entry.completer()
    completer.setCompletionPrefix("kidn")
    offered = {completer.completionModel().index(n, 0).data() for n in range(completer.completionCount())}
    assert offered == {name for name in COMMON_STRUCTURES if "kidn" in name.lower()}
    assert offered


def test_an_empty_name_adds_nothing(qtbot: Any) -> None:
    widget, _ = table(qtbot)
    with qtbot.assertNotEmitted(widget.added):
        press(widget, "Add")


def test_choosing_a_row(qtbot: Any) -> None:
    widget, inner = table(qtbot)
    with qtbot.waitSignal(widget.chosen) as heard:
        inner.selectRow(1)
    assert heard.args == [2]


def test_a_new_name_is_only_shown_once_it_is_taken(qtbot: Any) -> None:
    widget, inner = table(qtbot)
    with qtbot.waitSignal(widget.renamed) as heard:
        inner.item(0, NAME).setText("Left lobe")
    assert heard.args == [1, "Left lobe"]
    assert inner.item(0, NAME).text() == "Liver"


def test_a_click_on_the_lock_asks_for_the_other_state(qtbot: Any) -> None:
    widget, inner = table(qtbot)
    with qtbot.waitSignal(widget.locked) as heard:
        inner.cellClicked.emit(1, LOCK)
    assert heard.args == [2, False]
    with qtbot.assertNotEmitted(widget.locked):
        inner.cellClicked.emit(1, KEY)


def strip(qtbot: Any, states: list[SliceState], dice: dict[int, float] | None = None) -> SliceStrip:
    widget = SliceStrip()
    qtbot.addWidget(widget)
    widget.resize(26, 100)
    widget.set_value(StripValue(states, dice or {}, 0))
    return widget


def test_a_click_on_the_strip_goes_to_that_slice(qtbot: Any) -> None:
    widget = strip(qtbot, [SliceState.UNTOUCHED] * 10)
    with qtbot.waitSignal(widget.slice_chosen) as heard:
        qtbot.mouseClick(widget, Qt.MouseButton.LeftButton, pos=widget.rect().center())
    assert heard.args in ([4], [5])


def test_a_better_proposal_is_a_stronger_colour(qtbot: Any) -> None:
    widget = strip(qtbot, [SliceState.PROPOSED] * 2, {0: 0.2, 1: 1.0})
    worse, better = (int(sum(c)) for c in widget.row_colours(2)[:, 0].astype(int))
    assert better > worse


def test_an_example_is_seen_even_where_slices_share_a_row(qtbot: Any) -> None:
    states = [SliceState.PROPOSED] * 100
    states[50] = SliceState.EXAMPLE
    widget = strip(qtbot, states)
    example = tuple(int(STATE_COLOURS[SliceState.EXAMPLE][i : i + 2], 16) for i in (1, 3, 5))
    assert example in {tuple(int(v) for v in c) for c in widget.row_colours(20)[:, 0]}


def test_an_example_that_is_not_used_is_half_as_wide_in_the_strip_and_said_so(qtbot: Any) -> None:
    widget = strip(qtbot, [SliceState.EXAMPLE] * 2)
    widget.set_value(StripValue([SliceState.EXAMPLE] * 2, {}, 0, unused=frozenset({1})))
    used, unused = widget.row_colours(2)
    np.testing.assert_array_equal(used[0], used[1])
    np.testing.assert_array_equal(unused[0], used[0])
    assert tuple(unused[1]) == tuple(int(STATE_COLOURS[SliceState.UNTOUCHED][i : i + 2], 16) for i in (1, 3, 5))
    assert widget.words(1) == "Slice 1: painted, a complete example, not used as an example"
    assert "not used" not in widget.words(0)


def test_the_strip_says_in_words_what_it_shows(qtbot: Any) -> None:
    widget = strip(qtbot, [SliceState.PROPOSED, SliceState.ACCEPTED], {0: 0.87, 1: 0.5})
    assert widget.words(0) == "Slice 0: proposed, expected Dice 0.87"
    assert widget.words(1) == "Slice 1: accepted"


def test_every_state_has_a_colour_and_words() -> None:
    assert set(STATE_COLOURS) == set(SliceState) == set(STATE_WORDS)
    assert len(set(STATE_COLOURS.values())) == len(SliceState)


def test_the_strip_paints_without_slices_and_with_many(qtbot: Any) -> None:
    widget = strip(qtbot, [])
    assert not widget.grab().isNull()
    widget.set_value(StripValue([SliceState.EXAMPLE] * 700, {}, 699))
    image = widget.grab().toImage()
    assert image.pixelColor(20, 50).name() == STATE_COLOURS[SliceState.EXAMPLE]


def test_the_paint_box_tells_the_mode(qtbot: Any) -> None:
    box = PaintBox()
    qtbot.addWidget(box)
    whole, sparse = box.findChildren(QRadioButton)
    with qtbot.waitSignal(box.mode_chosen) as heard:
        sparse.click()
    assert heard.args == [PaintMode.SCRIBBLE]
    box.set_mode(PaintMode.COMPLETE)
    assert whole.isChecked()


def test_background_has_its_own_brush_only_among_scribbles(qtbot: Any) -> None:
    box = PaintBox()
    qtbot.addWidget(box)
    (background,) = [b for b in box.findChildren(QPushButton) if b.text() == "Background"]
    assert not background.isEnabled()
    box.set_mode(PaintMode.SCRIBBLE)
    assert background.isEnabled()


def test_the_proposal_box_offers_only_what_makes_sense(qtbot: Any) -> None:
    box = ProposalBox()
    qtbot.addWidget(box)
    box.set_open(on_slice=False, anywhere=True)
    states = {b.text(): b.isEnabled() for b in box.findChildren(QPushButton)}
    assert not states["Accept slice"]
    assert not states["Reject"]
    assert states["Accept all above"]


def test_undo_says_what_it_would_undo(qtbot: Any) -> None:
    box = ProposalBox()
    qtbot.addWidget(box)
    box.set_history("paint the liver on axial slice 12", "")
    (undo,) = [b for b in box.findChildren(QPushButton) if b.text() == "Undo"]
    (redo,) = [b for b in box.findChildren(QPushButton) if b.text() == "Redo"]
    assert "paint the liver" in undo.toolTip()
    assert undo.isEnabled()
    assert not redo.isEnabled()


def test_the_proposal_box_says_what_is_wanted(qtbot: Any) -> None:
    box = ProposalBox()
    qtbot.addWidget(box)
    box.set_open(on_slice=True, anywhere=True)
    for text, signal in (
        ("Propose", box.propose_wanted),
        ("Accept slice", box.accept_wanted),
        ("Accept all", box.accept_confident_wanted),
        ("Reject", box.reject_wanted),
    ):
        with qtbot.waitSignal(signal):
            press(box, text)
    (outline,) = [b for b in box.findChildren(QCheckBox) if b.text() == "Outline"]
    with qtbot.waitSignal(box.contour_changed) as heard:
        outline.click()
    assert heard.args == [False]


def test_work_can_be_stopped_only_while_there_is_some(qtbot: Any) -> None:
    line = WorkLine()
    qtbot.addWidget(line)
    (bar,) = line.findChildren(QProgressBar)
    (stop,) = line.findChildren(QPushButton)
    assert not stop.isEnabled()
    line.set_work("Proposing", 0.5)
    assert bar.value() == 500
    with qtbot.waitSignal(line.cancel_wanted):
        stop.click()
    line.set_work("", None)
    assert not stop.isEnabled()


def test_scan_and_window_are_chosen_by_number(qtbot: Any) -> None:
    box = ScanBox()
    qtbot.addWidget(box)
    box.set_scans(["a", "b"], chosen=1)
    box.set_windows(CT_WINDOWS)
    with qtbot.waitSignal(box.scan_chosen) as heard:
        box._scans.activated.emit(0)
    assert heard.args == [0]


def test_hint_and_footer_show_their_text(qtbot: Any) -> None:
    hint, footer = HintLine(), Footer()
    for widget in (hint, footer):
        qtbot.addWidget(widget)
    hint.set_text("Paint the liver on one slice.")
    footer.set_message("Saved.")
    assert hint.text() == "Paint the liver on one slice."
    assert footer.message() == "Saved."


def test_the_save_box_asks(qtbot: Any) -> None:
    box = SaveBox()
    qtbot.addWidget(box)
    with qtbot.waitSignal(box.save_wanted):
        press(box, "Save")
    with qtbot.waitSignal(box.help_wanted):
        press(box, "?")


def test_every_button_has_a_tooltip(qtbot: Any) -> None:
    for make in (PaintBox, ProposalBox, SaveBox, WorkLine, StructureTable):
        widget = make()
        qtbot.addWidget(widget)
        if isinstance(widget, ProposalBox):
            widget.set_history("", "")
        assert all(b.toolTip() for b in widget.findChildren(QPushButton))


def test_the_help_lists_every_key(qtbot: Any) -> None:
    keys = chosen_keys({"accept_slice": "Q"})
    help_window = KeyHelp(keys)
    qtbot.addWidget(help_window)
    text = "\n".join(help_window.lines())
    assert all(row.does in text for row in KEYS)
    assert "<b>Q</b>" in text


class Row:
    def __init__(self, description: str, problem: str | None = None) -> None:
        self.description, self.problem = description, problem
        self.modality, self.slices = "CT", 30
        self.spacing_mm = None if problem else (5.0, 0.7, 0.7)


def test_a_series_that_cannot_be_opened_cannot_be_chosen(qtbot: Any) -> None:
    chooser = SeriesChooser([Row("scout", "one slice only"), Row("portal venous")])
    qtbot.addWidget(chooser)
    assert chooser.value() == 1
    (inner,) = chooser.findChildren(QTableWidget)
    assert inner.item(0, 0).toolTip() == "one slice only"
    assert inner.item(1, 3).text() == "5 × 0.7 × 0.7"


def test_series_are_not_numbered(qtbot: Any) -> None:
    chooser = SeriesChooser([Row("portal venous"), Row("arterial")])
    qtbot.addWidget(chooser)
    (inner,) = chooser.findChildren(QTableWidget)
    assert inner.verticalHeader().isHidden()


def test_no_series_that_opens_means_no_choice(qtbot: Any) -> None:
    chooser = SeriesChooser([Row("scout", "one slice only")])
    qtbot.addWidget(chooser)
    assert chooser.value() is None


def test_a_long_hint_is_never_cut_off(qtbot: Any) -> None:
    widget = HintLine()
    qtbot.addWidget(widget)
    widget.setFixedWidth(200)
    widget.show()
    widget.set_text("one line")
    short = widget._label.minimumHeight()
    widget.set_text("a sentence that goes on and on " * 6)
    assert widget._label.minimumHeight() >= 4 * short
    widget.set_text("one line")
    assert widget._label.minimumHeight() == short


def test_the_table_is_as_high_as_its_rows_within_limits(qtbot: Any) -> None:
    widget, inner = table(qtbot)
    widget.show()
    heights = []
    for count in (1, 2, 5, 8, 30):
        widget.set_value([StructureRow(n, f"Organ {n}", "#ff0000") for n in range(1, count + 1)], active=1)
        qtbot.wait(20)
        heights.append(inner.height())
    row = inner.verticalHeader().defaultSectionSize()
    assert heights[0] == heights[1] >= 2 * row
    assert heights[2] == heights[1] + 3 * row
    assert heights[3] == heights[4] < 11 * row


def test_no_window_can_be_chosen_before_a_scan_is_open(qtbot: Any) -> None:
    widget = ScanBox()
    qtbot.addWidget(widget)
    assert not widget._windows.isEnabled()
    widget.set_windows(CT_WINDOWS)
    assert widget._windows.isEnabled()


def test_the_list_of_keys_fits_onto_a_small_screen(qtbot: Any) -> None:
    help_window = KeyHelp(chosen_keys({}))
    qtbot.addWidget(help_window)
    wanted = help_window.sizeHint()
    # 1280 x 720 less the frame and the desktop's bars.
    assert wanted.height() <= 660
    assert wanted.width() <= 1200


def test_on_a_smaller_screen_the_keys_are_scrolled_and_the_window_can_be_closed(qtbot: Any) -> None:
    help_window = KeyHelp(chosen_keys({}))
    qtbot.addWidget(help_window)
    help_window.show()
    help_window.resize(500, 300)
    (room,) = help_window.findChildren(QScrollArea)
    (close,) = help_window.findChildren(QPushButton)
    qtbot.waitUntil(lambda: room.verticalScrollBar().maximum() > 0)
    assert help_window.rect().contains(close.geometry().translated(close.parentWidget().pos()))


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ("features", "Reading the scan"),
        ("proposing", "Proposing"),
        ("recalling Left kidney", "Recalling Left kidney"),
        ("", ""),
    ],
)
def test_work_is_told_in_plain_words(stage: str, words: str) -> None:
    assert Work(stage, 0.5).in_words == words
