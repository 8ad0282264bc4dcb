"""The controller with a fake engine and no window."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ui_fakes import SHAPE, InlineRunner, NearestSliceEngine, make_volume

from napari_medmeta import io
from napari_medmeta.core import Box, Geometry, MedmetaError, Proposal, SliceRef, Support, Volume
from napari_medmeta.engine.learners.registry import DEFAULT_SOURCES
from napari_medmeta.session import PaintMode, Session, SliceState
from napari_medmeta.session.boxes import DrawnBox
from napari_medmeta.ui.advice import SHAPE_SOURCE
from napari_medmeta.ui.controller import Controller
from napari_medmeta.ui.scan import scan_of
from napari_medmeta.ui.strokes import BACKGROUND_STROKE, Edit
from napari_medmeta.ui.worker import Started


@pytest.fixture
def runner() -> InlineRunner:
    return InlineRunner()


@pytest.fixture
def controller(runner: InlineRunner) -> Controller:
    volume = make_volume()
    scan = scan_of(volume)
    session = Session.create(scan.grid.working, fingerprint=scan.fingerprint)
    made = Controller(session, scan=scan, volume=scan.volume(volume.array), runner=runner)
    made.add_structure("Liver")
    made.look_at(SliceRef(0, 2))
    return made


def stroke(index: int = 2, *, value: int = 1, rows: slice = slice(5, 10), columns: slice = slice(6, 12)) -> list[Edit]:
    box = Box((index, rows.start, columns.start), (index + 1, rows.stop, columns.stop))
    return [Edit(box, np.ones(box.shape, dtype=bool), value)]


def heard(controller: Controller) -> tuple[list[str], list[MedmetaError]]:
    told: list[str] = []
    failed: list[MedmetaError] = []
    controller.told.connect(told.append)
    controller.failed.connect(failed.append)
    return told, failed


def test_painting_asks_for_a_proposal_with_the_slice_on_screen_first(controller: Controller, runner: Any) -> None:
    controller.paint(stroke())
    assert runner.engine.focuses == [SliceRef(0, 2)]
    assert controller.session.proposal is not None
    assert controller.is_proposed(SliceRef(0, 3))


def test_nothing_is_asked_before_anything_is_painted(controller: Controller, runner: Any) -> None:
    _, failed = heard(controller)
    assert not controller.propose()
    assert runner.engine.asked == []
    assert "Liver" in failed[0].message


def test_an_empty_example_alone_asks_for_nothing(controller: Controller, runner: Any) -> None:
    controller.mark_complete()
    assert controller.session.slice_state(SliceRef(0, 2)) is SliceState.EMPTY_EXAMPLE
    assert runner.engine.asked == []


def test_every_new_example_asks_again(controller: Controller, runner: Any) -> None:
    controller.paint(stroke())
    controller.look_at(SliceRef(0, 3))
    controller.accept_slice()
    assert len(runner.engine.asked) == 2
    assert len(runner.engine.asked[1].examples) == 2


def test_undo_asks_again_without_the_example(controller: Controller, runner: Any) -> None:
    controller.paint(stroke())
    controller.paint(stroke(4))
    controller.undo()
    assert [e.ref.index for e in runner.engine.asked[-1].examples] == [2]


def test_an_old_answer_is_dropped(controller: Controller) -> None:
    controller.paint(stroke())
    proposal = controller.session.proposal
    assert proposal is not None
    controller.set_auto_propose(False)
    controller.paint(stroke(4))
    before = controller.session.proposal
    controller.receive(proposal)
    assert controller.session.proposal is before


def test_choosing_by_number_and_a_number_that_is_not_there(controller: Controller) -> None:
    told, _ = heard(controller)
    controller.add_structure("Spleen")
    assert controller.choose_number(1)
    assert controller.session.active == 1
    assert not controller.choose_number(5)
    assert "no structure 5" in told[-1]


def test_a_name_twice_is_refused_with_a_sentence(controller: Controller) -> None:
    _, failed = heard(controller)
    assert not controller.add_structure("Liver")
    assert failed[0].message.endswith(".")
    assert len(controller.structures) == 1


def test_a_click_without_a_structure_says_what_to_do(runner: InlineRunner) -> None:
    volume = make_volume()
    scan = scan_of(volume)
    session = Session.create(scan.grid.working, fingerprint="x")
    empty = Controller(session, scan=scan, volume=scan.volume(volume.array), runner=runner)
    _, failed = heard(empty)
    assert not empty.click((2, 3, 3), background=False)
    assert "Add one to the table" in failed[0].message


def test_clicks_mark_structure_and_background(controller: Controller) -> None:
    controller.click((2, 3, 3), background=False)
    controller.click((2, 9, 9), background=True)
    (example,) = controller.session.support().examples
    assert example.labels[3, 3] == 1
    assert example.known[9, 9]
    assert not example.is_complete
    ((ref, mask),) = controller.background_strokes()
    assert ref == SliceRef(0, 2)
    assert mask[9, 9]
    assert not mask[3, 3]


@pytest.mark.parametrize("others", [0, 1])
def test_a_clicked_slice_says_how_to_go_on_also_while_another_structure_is_missing(
    controller: Controller, others: int
) -> None:
    for number in range(others):
        controller.add_structure(f"Organ {number}")
        controller.choose_number(1)
    controller.look_at(SliceRef(0, 2))
    controller.click((2, 3, 3), background=False)
    controller.click((2, 9, 9), background=True)
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[2, 2:6, 2:6] = 1
    confidence = np.full(SHAPE, 0.8, dtype=np.float32)
    answer = controller.session.proposal
    assert answer is not None
    controller.session.set_proposal(replace(answer, box=Box.whole(SHAPE), labels=labels, confidence=confidence))
    assert controller.is_proposed(SliceRef(0, 2))
    assert controller.hint().startswith("Click or stroke on until the proposal nearly fits. ")
    assert ("Organ 0 has no example yet" in controller.hint()) == bool(others)
    assert ("accept it (A)" in controller.hint()) != bool(others)


def test_the_background_stroke_says_background(controller: Controller) -> None:
    controller.set_mode(PaintMode.SCRIBBLE)
    controller.paint(stroke(value=BACKGROUND_STROKE))
    assert not controller.labels.any()
    assert controller.session.support().examples[0].known.any()


def test_accepting_all_above_a_confidence(controller: Controller) -> None:
    controller.paint(stroke())
    controller.confidence_wanted = 0.95
    controller.accept_confident()
    assert controller.session.slice_state(SliceRef(0, 3)) is SliceState.PROPOSED
    controller.confidence_wanted = 0.85
    controller.accept_confident()
    assert controller.session.slice_state(SliceRef(0, 3)) is SliceState.ACCEPTED


def test_accepting_a_piece_needs_a_voxel_under_the_cursor(controller: Controller) -> None:
    controller.paint(stroke())
    told, _ = heard(controller)
    assert not controller.accept_piece(None)
    assert "Point at" in told[0]
    assert controller.accept_piece((3, 6, 7))


def test_a_rejected_slice_shows_nothing(controller: Controller) -> None:
    controller.paint(stroke())
    controller.look_at(SliceRef(0, 3))
    controller.reject_slice()
    assert not controller.proposed_labels(Box.of_slice(SliceRef(0, 3), SHAPE)).any()


def test_a_proposal_below_the_floor_is_a_hint() -> None:
    runner = InlineRunner(NearestSliceEngine(dice=0.3))
    volume = make_volume()
    scan = scan_of(volume)
    session = Session.create(scan.grid.working, fingerprint="x")
    made = Controller(session, scan=scan, volume=scan.volume(volume.array), runner=runner)
    made.add_structure("Liver")
    made.paint(stroke())
    assert made.is_hint(SliceRef(0, 3))
    made.confidence_floor = 0.2
    assert not made.is_hint(SliceRef(0, 3))


@pytest.mark.parametrize(("floor", "erasing", "kept"), [(0.95, False, 0), (0.95, True, 29), (0.5, False, 29)])
def test_painting_leaves_a_hint_out_and_erasing_mends_it(
    controller: Controller, floor: float, erasing: bool, kept: int
) -> None:
    told, _ = heard(controller)
    controller.paint(stroke())
    ref, value = SliceRef(0, 3), 0 if erasing else 1
    controller.confidence_floor = floor
    controller.look_at(ref)
    proposed = controller.proposed_labels(Box.of_slice(ref, SHAPE))[0] == 1
    assert controller.takes_over(ref, erasing=erasing) == bool(kept)
    at = np.zeros(SHAPE, dtype=bool)
    row, column = (int(n[0]) for n in np.nonzero(proposed))
    at[3, row, column] = True
    controller.paint((Edit(Box.whole(SHAPE), at, value),))
    others = controller.labels[3][proposed & ~at[3]]
    assert np.count_nonzero(others) == kept
    assert controller.labels[3, row, column] == value
    assert ("left out" in "".join(told)) == (not kept)


def test_what_answers_a_click_on_its_own_slice_is_taken_over_however_unsure(controller: Controller) -> None:
    controller.click((3, 8, 8), background=False)
    answer = controller.session.proposal
    assert answer is not None
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[3:5, 6:10, 6:10] = 1
    whole, sure = Box.whole(SHAPE), np.full(SHAPE, 0.8, dtype=np.float32)
    weak = {SliceRef(0, 3): 0.4, SliceRef(0, 4): 0.4}
    controller.receive(replace(answer, box=whole, labels=labels, confidence=sure, slice_dice=weak))
    assert controller.is_hint(SliceRef(0, 3))
    assert controller.takes_over(SliceRef(0, 3), erasing=False)
    assert not controller.takes_over(SliceRef(0, 4), erasing=False)


def test_the_table_tells_volume_and_expected_dice(controller: Controller) -> None:
    controller.paint(stroke())
    (row,) = controller.rows()
    assert row.number == 1
    # 5 x 6 voxels of 5 x 1 x 1 mm
    assert row.volume_ml == pytest.approx(0.15)
    assert row.expected_dice == pytest.approx(0.9)


def test_the_strip_tells_every_slice(controller: Controller) -> None:
    controller.paint(stroke())
    value = controller.strip()
    assert len(value.states) == SHAPE[0]
    assert value.states[2] is SliceState.EXAMPLE
    assert value.states[3] is SliceState.PROPOSED
    assert value.dice[3] == pytest.approx(0.9)
    assert value.current == 2


def test_undo_with_nothing_to_undo_is_said(controller: Controller) -> None:
    told, _ = heard(controller)
    controller.undo()
    assert not controller.undo()
    assert "nothing to undo" in told[-1]


def test_saving_puts_the_labels_on_the_files_own_grid(tmp_path: Path) -> None:
    shape = (4, 5, 6)
    # A file whose axes run the other way: left, anterior, superior.
    direction = np.array([[1.0, 0, 0], [0, -1.0, 0], [0, 0, 1.0]])
    geometry = Geometry.from_parts(shape, spacing_mm=(1, 2, 3), direction=direction)
    volume = make_volume(shape)
    volume = type(volume)(volume.array, geometry)
    scan = scan_of(volume)
    session = Session.create(scan.grid.working, fingerprint="x")
    made = Controller(
        session, scan=scan, volume=scan.volume(scan.grid.image_to_working(volume.array)), runner=InlineRunner()
    )
    made.add_structure("Liver")
    mask = np.zeros(scan.grid.working.shape, dtype=bool)
    mask[1, 2, 3] = True
    made.look_at(SliceRef(0, 1))
    made.paint([Edit(Box((1, 2, 3), (2, 3, 4)), np.ones((1, 1, 1), dtype=bool), 1)])
    assert made.save(tmp_path / "out.nii.gz", with_proposals=False)
    written, grid = io.read_labels(tmp_path / "out.nii.gz")
    assert grid.same_grid(geometry) or grid.shape == geometry.shape[::-1]
    expected = scan.grid.working.to_world([1, 2, 3])
    (found,) = grid.to_world(np.argwhere(written == 1))
    assert np.allclose(found, expected)


def test_open_proposals_are_saved_only_when_asked(controller: Controller) -> None:
    controller.paint(stroke())
    assert controller.open_proposals()
    assert np.count_nonzero(controller.result(with_proposals=False)) == 30
    assert np.count_nonzero(controller.result(with_proposals=True)) == 30 * SHAPE[0]


def test_an_answer_that_came_in_parts_is_saved_as_a_whole(controller: Controller) -> None:
    controller.paint(stroke())
    last = Box((SHAPE[0] - 1, 0, 0), SHAPE)
    labels, sure = np.ones(last.shape, np.uint8), np.ones(last.shape, np.float32)
    controller.receive(Proposal(controller.session.generation, last, labels, sure, last))
    assert controller.open_proposals()
    assert np.count_nonzero(controller.result(with_proposals=True)) == 30 * (SHAPE[0] - 1) + last.size


def test_a_place_that_cannot_be_written_is_a_sentence(controller: Controller, tmp_path: Path) -> None:
    _, failed = heard(controller)
    assert not controller.save(tmp_path / "no" / "folder" / "out.nii.gz", with_proposals=False)
    assert failed


def test_labels_of_another_shape_are_refused(controller: Controller) -> None:
    _, failed = heard(controller)
    assert not controller.use_labels(np.ones((3, 4, 5), dtype=np.uint8))
    assert failed


def test_a_label_layer_becomes_examples(controller: Controller, runner: Any) -> None:
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[1, 3:6, 3:6] = 1
    assert controller.use_labels(labels)
    assert controller.session.slice_state(SliceRef(0, 1)) is SliceState.EXAMPLE
    assert len(runner.engine.asked) == 1


def test_an_empty_label_layer_is_refused(controller: Controller) -> None:
    _, failed = heard(controller)
    empty = np.zeros(SHAPE, dtype=np.uint8)
    assert not controller.use_labels(empty)
    assert failed


def test_closing_stops_the_engine(controller: Controller, runner: InlineRunner) -> None:
    controller.close()
    assert runner.closed


def test_across_the_examples_plane_no_expected_dice_is_claimed(controller: Controller) -> None:
    controller.paint(stroke())
    assert "expected Dice 0.90" in controller.words(SliceRef(0, 3))
    assert "80% sure on average" in controller.words(SliceRef(1, 6))
    controller.confidence_floor = 0.95
    assert "only a hint" in controller.words(SliceRef(0, 3))
    controller.look_at(SliceRef(0, 3))
    assert "too unsure" in controller.hint()
    assert "Paint the slice anew (the hint is left out)" in controller.hint()


def test_the_hint_tells_why_a_slice_was_suggested_until_it_is_left_and_nothing_else_does(
    controller: Controller,
) -> None:
    controller.paint(stroke())
    told, _ = heard(controller)
    controller.led.connect(lambda ref, region: controller.look_at(ref))
    assert controller.next_slice()
    assert "Liver" in controller.hint()
    assert not any(told)
    controller.look_at(SliceRef(0, 2))
    assert "Liver" not in controller.hint()


def test_why_a_slice_was_suggested_is_told_where_the_hint_asks_for_something_more_urgent(
    controller: Controller,
) -> None:
    controller.paint(stroke())
    controller.add_structure("Spleen")
    told, _ = heard(controller)
    controller.led.connect(lambda ref, region: controller.look_at(ref))
    assert controller.next_slice()
    assert "Spleen has no example yet" in controller.hint()
    assert controller.advice.reason_for(controller.focus) == told[-1] != ""


def test_an_example_that_is_dropped_is_shown_as_such(controller: Controller) -> None:
    controller.paint(stroke())
    controller.weigh_example(SliceRef(0, 2), 0.0)
    assert controller.strip().unused == {2}
    assert "not used" in controller.words(SliceRef(0, 2))
    controller.weigh_example(SliceRef(0, 2), 1.0)
    assert controller.strip().unused == frozenset()
    assert "not used" not in controller.words(SliceRef(0, 2))


def test_why_a_slice_was_suggested_is_taken_back_when_it_is_left(controller: Controller) -> None:
    controller.paint(stroke())
    withdrawn: list[str] = []
    controller.withdrawn.connect(withdrawn.append)
    controller.led.connect(lambda ref, region: controller.look_at(ref))
    controller.next_slice()
    assert withdrawn == []
    reason = controller.advice.reason_for(controller.focus)
    controller.look_at(SliceRef(0, 5) if controller.focus != SliceRef(0, 5) else SliceRef(0, 4))
    assert withdrawn == [reason]


def test_a_slice_with_a_box_and_a_proposal_can_be_accepted(controller: Controller) -> None:
    box = DrawnBox(1, (4, 5), (12, 15))
    assert controller.draw_boxes(SliceRef(0, 2), (box,))
    assert controller.words(SliceRef(0, 2)) == "a box is drawn"
    # All around the box is background, and painting it grey would hide the scan.
    assert not list(controller.background_strokes())
    assert not controller.is_proposed(SliceRef(0, 2))
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[2] = box.inside(SHAPE[1:])
    whole = Box.whole(SHAPE)
    controller.receive(Proposal(controller.session.generation, whole, labels, np.ones(SHAPE, np.float32), whole))
    assert controller.is_proposed(SliceRef(0, 2))
    assert "full example" in controller.hint()
    assert controller.accept_slice()
    assert controller.boxes() == {}


@pytest.mark.parametrize(("share", "said"), [(0.62, "Liver (62%)"), (0.5, ""), (0.1, "")])
def test_it_is_said_when_the_plain_shape_is_trusted_more_than_what_is_learnt(
    controller: Controller, share: float, said: str
) -> None:
    controller.paint(stroke())
    whole = Box.whole(SHAPE)
    trust = {1: {"shape": share, "trees": 1 - share}}
    nothing, sure = np.zeros(SHAPE, np.uint8), np.ones(SHAPE, np.float32)
    expected = {1: 0.9}
    controller.receive(
        Proposal(controller.session.generation, whole, nothing, sure, whole, expected_dice=expected, trust=trust)
    )
    assert (said in controller.advice.sources()) if said else controller.advice.sources() == ""


def test_the_name_of_the_shape_is_the_engines() -> None:
    assert SHAPE_SOURCE in DEFAULT_SOURCES


def test_a_proposal_for_one_slice_says_nothing_of_what_it_relies_on(controller: Controller) -> None:
    controller.paint(stroke())
    plane = Box.of_slice(SliceRef(0, 3), SHAPE)
    nothing, sure = np.zeros(plane.shape, np.uint8), np.ones(plane.shape, np.float32)
    trust = {1: {"shape": 1.0}}
    controller.receive(Proposal(controller.session.generation, plane, nothing, sure, plane, trust=trust))
    assert controller.advice.sources() == ""


def test_a_slice_that_is_suggested_without_a_proposal_is_not_to_be_accepted(controller: Controller) -> None:
    controller.paint(stroke())
    nothing, whole = np.zeros(SHAPE, np.uint8), Box.whole(SHAPE)
    controller.receive(Proposal(controller.session.generation, whole, nothing, np.ones(SHAPE, np.float32), whole))
    controller.advice.lead(SliceRef(0, 4), "Does the Liver go on here?")
    controller.look_at(SliceRef(0, 4))
    assert "Accept" not in controller.hint()
    assert "Paint it if it goes on" in controller.hint()
    controller.mark_complete()
    assert "Paint it if it goes on" not in controller.hint()


def test_where_every_other_slice_is_done_none_is_suggested_and_that_is_said(controller: Controller) -> None:
    told, _ = heard(controller)
    assert not controller.next_slice()
    assert "first there has to be a proposal" in told[-1]
    controller.paint(stroke())
    for index in range(SHAPE[0] - 1):
        controller.session.paint_slice(SliceRef(0, index), np.ones(SHAPE[1:], np.uint8))
    controller.look_at(SliceRef(0, SHAPE[0] - 1))
    assert not controller.next_slice()
    assert "the others are done" in told[-1]


class ReadingRunner(InlineRunner):
    """Still reads the scan."""

    def load(self, volume: Volume, /) -> None:
        self._callback(Started("features"))

    def propose(self, support: Support, /, *, focus: SliceRef | None) -> None:
        """Keep the question until the scan is read."""


@pytest.mark.parametrize("automatic", [True, False])
def test_while_the_scan_is_read_nobody_is_told_to_ask_for_what_comes_by_itself(automatic: bool) -> None:
    volume = make_volume()
    scan = scan_of(volume)
    session = Session.create(scan.grid.working, fingerprint=scan.fingerprint)
    made = Controller(session, scan=scan, volume=scan.volume(volume.array), runner=ReadingRunner())
    made.set_auto_propose(automatic)
    assert "Add a structure" in made.hint()
    made.add_structure("Liver")
    assert "Paint the Liver" in made.hint()
    made.paint(stroke())
    assert ("comes by itself" in made.hint()) is automatic
    assert ("Ask for a proposal" in made.hint()) is not automatic


def test_why_a_slice_was_suggested_is_taken_back_when_it_is_decided(controller: Controller) -> None:
    controller.paint(stroke())
    withdrawn: list[str] = []
    controller.withdrawn.connect(withdrawn.append)
    controller.led.connect(lambda ref, region: controller.look_at(ref))
    controller.next_slice()
    reason = controller.advice.reason_for(controller.focus)
    controller.paint(stroke(controller.focus.index))
    assert withdrawn == [reason]


def test_accepting_many_slices_says_how_many(controller: Controller) -> None:
    controller.paint(stroke())
    told, _ = heard(controller)
    controller.confidence_wanted = 0.5
    assert controller.accept_confident()
    assert "slices" in told[-1]
    controller.confidence_wanted = 1.0
    controller.accept_confident()
    assert "No open slice" in told[-1]
