"""A prior segmentation on the open scan: carried, shown, corrected, measured; and that the window never waits."""

from __future__ import annotations

import json
import threading
from typing import Any

import numpy as np
import pytest
from ui_fakes import SHAPE, InlineRunner, make_volume

from napari_medmeta.core import Box, InputError, Proposal, SliceRef
from napari_medmeta.io import write_image, write_labels
from napari_medmeta.session import Session
from napari_medmeta.tasks.registration import Carried
from napari_medmeta.tasks.registration_expectation import Expected
from napari_medmeta.tasks.registration_map import Alignment, Carrying
from napari_medmeta.ui.applications import ApplicationsWidget
from napari_medmeta.ui.carried import CarriedHere, better_of
from napari_medmeta.ui.controller import Controller, Work
from napari_medmeta.ui.followup import FollowUpDesk, LoadedPrior, Prior, Request, prior_in_memory
from napari_medmeta.ui.followup_tab import NO_PRIOR, FollowUpTab
from napari_medmeta.ui.scan import label_arguments, layer_arguments, scan_of


def prior_labels() -> Any:
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:4, 3:9, 4:10] = 2
    return labels


def prior(names: dict[int, str] | None = None) -> Prior:
    return prior_in_memory("yesterday", make_volume(), prior_labels, {2: "Liver"} if names is None else names)


class Carrier:
    """Carries labels by one slice."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.fail_with: Exception | None = None
        self.gate: threading.Event | None = None
        self.threads: set[str] = set()
        self.dice = 0.83
        self.never_arrives = False

    def __call__(self, request: Request) -> tuple[LoadedPrior, Carried]:
        self.asked.append(request)
        self.threads.add(threading.current_thread().name)
        request.report(0.5, "rigid")
        while self.gate is not None and not self.gate.wait(0.01):
            request.cancel.raise_if_cancelled()
        if self.fail_with is not None:
            raise self.fail_with
        loaded = request.prior.load()
        moved = np.roll(loaded.labels == 2, 1, axis=0).astype(np.float32) * (not self.never_arrives)
        slices = {SliceRef(0, i): 0.8 for i in range(2, 5)}
        carrying = Carrying(Box.whole(SHAPE), (2,), moved[None])
        expected = Expected({2: self.dice}, slices)
        return loaded, Carried(carrying, SHAPE, Alignment(), expected, (), ("It was left out",))


def desk_of(carrier: Carrier | None = None, *, path: Any = None) -> tuple[Controller, FollowUpDesk, list[str]]:
    volume = make_volume()
    scan = scan_of(volume)
    session = Session.create(scan.grid.working, fingerprint=scan.fingerprint, path=path)
    session.auto_propose = False
    controller = Controller(session, scan=scan, volume=volume, runner=InlineRunner())
    said: list[str] = []
    controller.told.connect(said.append)
    controller.failed.connect(lambda error: said.append(error.message))
    return (
        controller,
        FollowUpDesk(controller, volume, carried=CarriedHere(controller), carrying=carrier or Carrier()),
        said,
    )


def engine_proposal(controller: Controller, *, slice_dice: float) -> Proposal:
    labels = np.zeros(SHAPE, np.uint8)
    labels[0:5, 0:2, 0:2] = 1
    return Proposal(
        controller.session.generation,
        Box.whole(SHAPE),
        labels,
        np.full(SHAPE, 0.9, np.float32),
        Box.whole(SHAPE),
        expected_dice={1: slice_dice},
        slice_dice={SliceRef(0, i): slice_dice for i in range(5)},
    )


def shown(controller: Controller) -> Any:
    return np.asarray(controller.proposed_labels(Box.whole(SHAPE)))


def test_carried_labels_are_proposed_under_the_table_s_structure_of_the_same_name() -> None:
    controller, desk, said = desk_of()
    controller.add_structure("Spleen")
    controller.add_structure("liver")
    assert desk.carry(prior())
    assert [s.name for s in controller.structures] == ["Spleen", "liver"]
    np.testing.assert_array_equal(shown(controller), np.roll(prior_labels(), 1, axis=0))
    assert desk.expected_dice == {2: 0.83}
    assert "liver (expected Dice 0.83)" in said[-1]


def test_structures_that_the_table_lacks_are_added_to_it() -> None:
    controller, desk, _ = desk_of()
    desk.carry(prior(names={}))
    assert [s.name for s in controller.structures] == ["Structure 2"]
    assert set(np.unique(shown(controller))) == {0, controller.structures[0].id}


def test_a_carried_slice_is_accepted_like_any_other() -> None:
    controller, desk, _ = desk_of()
    desk.carry(prior())
    controller.look_at(SliceRef(0, 3))
    assert controller.accept_slice()
    number = controller.structures[0].id
    np.testing.assert_array_equal(controller.labels[3], np.where(prior_labels()[2] > 0, number, 0))


def test_the_panel_says_that_a_slice_was_carried_from_the_earlier_scan() -> None:
    controller, desk, _ = desk_of()
    desk.carry(prior())
    controller.look_at(SliceRef(0, 3))
    assert controller.hint().startswith("This slice is carried from the earlier scan: accept it (A)")


def test_the_change_of_volume_follows_corrections() -> None:
    controller, desk, _ = desk_of()
    desk.carry(prior())
    (before,) = desk.changes()
    assert before.prior_ml == pytest.approx(before.today_ml)
    mask = np.zeros(SHAPE[1:], bool)
    mask[15:17, 18:20] = True
    controller.session.paint(SliceRef(0, 0), mask, value=controller.structures[0].id)
    (after,) = desk.changes()
    per_voxel = controller.session.geometry.voxel_volume_ml
    assert after.today_ml == pytest.approx(before.today_ml + 4 * per_voxel)


def test_slices_that_promise_more_as_carried_stay_when_the_engine_proposes() -> None:
    controller, desk, _ = desk_of()
    desk.carry(prior())
    engine = engine_proposal(controller, slice_dice=0.3)
    blended = controller.blend(engine)
    number = controller.structures[0].id
    np.testing.assert_array_equal(blended.labels[3], np.where(prior_labels()[2] > 0, number, 0))


def test_slices_that_promise_more_from_the_engine_are_the_engine_s() -> None:
    _, desk, _ = controller, desk, _ = desk_of()
    desk.carry(prior())
    carried, engine = controller.session.proposal, engine_proposal(controller, slice_dice=0.95)
    assert carried is not None
    np.testing.assert_array_equal(better_of(engine, carried).labels, engine.labels)


def whole(labels: Any, slice_dice: dict[SliceRef, float]) -> Proposal:
    return Proposal(
        generation=0,
        box=Box.whole(SHAPE),
        labels=labels.astype(np.uint8),
        confidence=np.full(SHAPE, 0.9, np.float32),
        covered=Box.whole(SHAPE),
        slice_dice=slice_dice,
    )


def test_a_carried_slice_stays_where_the_engine_holds_nothing_unless_little_is_expected_of_it() -> None:
    labels = np.zeros(SHAPE)
    labels[:3, 3:9, 4:10] = 1
    carried = whole(labels, {SliceRef(0, 0): 0.5, SliceRef(0, 1): 0.51, SliceRef(0, 2): 0.9})
    only_one = np.where(np.arange(SHAPE[0])[:, None, None] == 2, labels, 0)
    engine = whole(only_one, {SliceRef(0, 2): 0.95})
    assert list(better_of(engine, carried).labels.any(axis=(1, 2))[:3]) == [False, True, True]
    assert better_of(engine, carried).slice_dice == {SliceRef(0, 1): 0.51, SliceRef(0, 2): 0.95}


def test_nothing_is_compared_with_an_engine_that_judged_along_another_axis() -> None:
    labels = np.zeros(SHAPE)
    labels[:3, 3:9, 4:10] = 1
    carried = whole(labels, {SliceRef(0, 1): 0.9})
    engine = whole(np.zeros(SHAPE), {SliceRef(1, 4): 0.6})
    assert not better_of(engine, carried).labels.any()


def test_without_a_prior_the_user_is_told_what_to_do() -> None:
    carrier = Carrier()
    _, desk, said = desk_of(carrier)
    assert not desk.carry(None)
    assert "No earlier scan is chosen" in said[-1]
    assert carrier.asked == []


def test_a_refusal_is_told_and_the_desk_is_at_rest() -> None:
    carrier = Carrier()
    carrier.fail_with = InputError("The structures lie outside")
    controller, desk, said = desk_of(carrier)
    desk.carry(prior())
    assert said[-1].startswith("The structures lie outside")
    assert not desk.busy
    assert controller.structures == ()


def test_a_closed_scan_gives_the_controller_back_as_it_was_and_a_closed_desk_leaves_what_was_carried() -> None:
    controller, desk, _ = desk_of()
    engine = engine_proposal(controller, slice_dice=0.1)
    assert controller.blend(engine) is engine
    desk.carry(prior())
    engine = engine_proposal(controller, slice_dice=0.1)
    desk.close()
    assert controller.blend(engine) is not engine
    desk._carried.close()
    assert controller.blend(engine) is engine


def reopened(path: Any) -> tuple[Controller, FollowUpDesk]:
    volume = make_volume()
    scan = scan_of(volume)
    session = Session.open(path, fingerprint=scan.fingerprint, geometry=scan.grid.working)
    controller = Controller(session, scan=scan, volume=volume, runner=InlineRunner())
    carried = CarriedHere(controller)
    desk = FollowUpDesk(controller, volume, carried=carried, carrying=Carrier())
    assert carried.recall()
    return controller, desk


def test_what_was_carried_and_not_accepted_is_there_when_the_session_is_opened_again(tmp_path: Any) -> None:
    controller, desk, _ = desk_of(path=tmp_path / "scan.medmeta")
    desk.carry(prior())
    controller.look_at(SliceRef(0, 3))
    controller.accept_slice()
    labels, still_open, changes = np.array(controller.labels), shown(controller), desk.changes()
    assert still_open.any()
    controller.close()
    controller, desk = reopened(tmp_path / "scan.medmeta")
    np.testing.assert_array_equal(controller.labels, labels)
    np.testing.assert_array_equal(shown(controller), still_open)
    assert desk.changes() == changes
    assert desk.expected_dice == {1: 0.83}
    assert desk.notes == ("It was left out",)
    controller.look_at(SliceRef(0, 4))
    assert controller.is_proposed(SliceRef(0, 4))
    assert controller.accept_slice()
    np.testing.assert_array_equal(controller.labels[4], np.where(prior_labels()[3] > 0, 1, 0))
    controller.close()


def test_once_the_session_is_opened_again_the_engine_s_answer_does_not_hide_what_was_carried(tmp_path: Any) -> None:
    controller, desk, _ = desk_of(path=tmp_path / "scan.medmeta")
    desk.carry(prior())
    before = controller.blend(engine_proposal(controller, slice_dice=0.3))
    controller.close()
    controller, _ = reopened(tmp_path / "scan.medmeta")
    after = controller.blend(engine_proposal(controller, slice_dice=0.3))
    np.testing.assert_array_equal(after.labels, before.labels)
    np.testing.assert_array_equal(after.confidence, before.confidence)
    controller.close()


def test_what_the_engine_had_answered_by_then_is_shown_beside_what_was_carried(tmp_path: Any) -> None:
    controller, desk, _ = desk_of(path=tmp_path / "scan.medmeta")
    desk.carry(prior())
    controller.receive(engine_proposal(controller, slice_dice=0.95))
    carried = CarriedHere(controller)
    assert carried.recall()
    # On these slices it promises more, and with it the slice beyond that it says nothing of.
    np.testing.assert_array_equal(shown(controller)[:2], engine_proposal(controller, slice_dice=0.95).labels[:2])
    controller.close()


def test_the_table_is_saved(tmp_path: Any) -> None:
    _, desk, said = desk_of()
    desk.carry(prior())
    assert desk.export(tmp_path / "t.json")
    assert json.loads((tmp_path / "t.json").read_text())[0]["name"] == "Liver"
    assert not desk.export(tmp_path / "t.doc")
    assert "cannot be written" in said[-1] or "not a table" in said[-1]


@pytest.fixture
def tab(panel: Any, qtbot: Any) -> Any:
    carrier = Carrier()
    made = FollowUpTab(panel, carrying=carrier)
    qtbot.addWidget(made)
    made.carrier = carrier
    yield made
    made.release()


def test_labels_on_another_scan_in_the_window_can_be_carried(panel: Any, tab: Any, qtbot: Any) -> None:
    assert tab._prior.currentText() == NO_PRIOR
    earlier = make_volume()
    data, arguments = layer_arguments(earlier)
    panel.viewer.add_image(data, **{**arguments, "name": "earlier"})
    labels, placed = label_arguments(prior_labels(), earlier.geometry, name="organs")
    panel.viewer.add_labels(labels, **placed)
    tab.list_priors()
    assert tab._prior.currentText() == "organs on earlier"
    assert tab.carry()
    # They would cover today's scan, on which the proposal is to be looked at.
    assert [layer.name for layer in panel.viewer.layers if not layer.visible] == ["earlier", "organs"]
    qtbot.waitUntil(lambda: bool(tab.texts()), timeout=5000)
    assert tab.texts()[0][0] == "Structure 2"


def test_a_carried_segmentation_is_back_when_the_scan_is_opened_again(panel: Any, tab: Any, qtbot: Any) -> None:
    tab._priors = [prior()]
    tab.carry()
    qtbot.waitUntil(lambda: bool(tab.texts()), timeout=5000)
    layer, rows, still_open = panel.case.image, tab.texts(), shown(panel.case.controller)
    assert still_open.any()
    panel.close_case()
    assert tab.texts() == []
    assert panel.open_layer(layer)
    qtbot.waitUntil(lambda: bool(tab.texts()), timeout=5000)
    assert tab.texts() == rows
    np.testing.assert_array_equal(shown(panel.case.controller), still_open)
    assert tab._notes.text() == "It was left out."


def test_what_was_carried_stays_when_the_applications_are_closed(panel: Any, tab: Any, qtbot: Any) -> None:
    tab._priors = [prior()]
    tab.carry()
    qtbot.waitUntil(lambda: bool(tab.texts()), timeout=5000)
    rows = tab.texts()
    other = FollowUpTab(panel)
    qtbot.addWidget(other)
    assert other.texts() == rows
    other.release()


def test_labels_that_are_no_structures_numbers_are_refused_in_words(panel: Any, tab: Any, qtbot: Any) -> None:
    earlier = make_volume()
    data, arguments = layer_arguments(earlier)
    panel.viewer.add_image(data, **{**arguments, "name": "earlier"})
    labels, placed = label_arguments(prior_labels(), earlier.geometry, name="organs")
    panel.viewer.add_labels(labels.astype(np.int32) * 1000, **placed)
    tab.list_priors()
    tab.carry()
    qtbot.waitUntil(lambda: not tab.desk.busy, timeout=5000)
    assert "The labels of organs go from 0 to 2000" in panel.message()
    assert tab.texts() == []


def test_files_of_the_same_names_are_told_apart_by_their_folders(tab: Any, tmp_path: Any) -> None:
    for folder in ("2019", "2021"):
        tab.use_files(tmp_path / folder / "scan.nii.gz", tmp_path / folder / "organs.nii.gz")
    assert [tab._prior.itemText(n) for n in range(2)] == [f"{y}: organs.nii.gz on scan.nii.gz" for y in (2019, 2021)]
    assert tab._prior.currentIndex() == 1


def test_little_hope_is_told_with_its_most_likely_cause() -> None:
    carrier = Carrier()
    _, desk, said = desk_of(carrier)
    desk.carry(prior())
    assert "same part of the body" not in said[-1]
    carrier.dice = 0.3
    desk.carry(prior())
    assert "expected Dice 0.30" in said[-1]
    assert said[-1].endswith("do both scans show the same part of the body?")


def test_it_is_told_when_most_of_what_was_labelled_did_not_arrive() -> None:
    carrier = Carrier()
    _, desk, said = desk_of(carrier)
    carrier.never_arrives = True
    desk.carry(prior())
    assert said[-1].endswith("do both scans show the same part of the body?")


def test_files_are_read_and_carried_off_the_window_s_thread(tab: Any, qtbot: Any, tmp_path: Any) -> None:
    volume = make_volume()
    write_image(tmp_path / "scan.nii.gz", volume.array, volume.geometry)
    write_labels(tmp_path / "organs.nii.gz", prior_labels(), volume.geometry)
    tab.use_files(tmp_path / "scan.nii.gz", tmp_path / "organs.nii.gz")
    assert tab.carry()
    qtbot.waitUntil(lambda: bool(tab.texts()), timeout=5000)
    name, before, today, change, percent, expected = tab.texts()[0]
    assert (name, expected) == ("Structure 2", "0.83")
    assert before == today
    assert (change, percent) == ("+0.0", "+0")
    assert threading.current_thread().name not in tab.carrier.threads
    assert tab._notes.text() == "It was left out."


def test_stop_ends_the_work_and_changes_nothing(panel: Any, tab: Any, qtbot: Any, tmp_path: Any) -> None:
    tab.carrier.gate = threading.Event()
    tab._priors = [prior()]
    assert tab.carry()
    qtbot.waitUntil(lambda: bool(tab.carrier.asked), timeout=5000)
    assert tab._stop.isEnabled()
    assert not tab._carry.isEnabled()
    tab.stop()
    assert tab.carrier.asked[0].cancel.cancelled
    assert not tab.desk.busy
    qtbot.wait(50)
    assert panel.case.controller.session.proposal is None
    assert tab.texts() == []


def test_the_engine_s_stop_ends_the_work_too(panel: Any, tab: Any) -> None:
    tab.carrier.gate = threading.Event()
    tab._priors = [prior()]
    tab.carry()
    panel.case.controller.worked.emit(Work(stage="Stopped"))
    assert not tab.desk.busy


def test_a_tab_without_a_scan_says_what_to_do(panel_only: Any, qtbot: Any) -> None:
    made = FollowUpTab(panel_only)
    qtbot.addWidget(made)
    assert made.says_what_to_do()
    assert not made.carry()
    made.release()


def test_the_follow_up_has_its_place_among_the_applications(panel: Any, qtbot: Any) -> None:
    dock = ApplicationsWidget(panel)
    qtbot.addWidget(dock)
    assert isinstance(dock.tab("Follow-up"), FollowUpTab)
    dock.release()
