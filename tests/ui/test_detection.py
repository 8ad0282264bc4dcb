"""Candidates on the open scan: the list, accepting, dismissing, and that the window never waits."""

from __future__ import annotations

import csv
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.layers import Points
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QPushButton
from ui_fakes import SHAPE, InlineRunner, make_volume

from napari_medmeta.core import Box, InputError, Modality, Proposal, SliceRef, Volume
from napari_medmeta.core.measurements import axial_axis
from napari_medmeta.session import Session
from napari_medmeta.tasks.detection import Candidate
from napari_medmeta.ui.applications import ApplicationsWidget
from napari_medmeta.ui.controller import Controller, Work
from napari_medmeta.ui.detection import DetectionDesk, Row, Standing
from napari_medmeta.ui.detection_points import marks_along
from napari_medmeta.ui.detection_request import Elsewhere, Request, from_other_scan
from napari_medmeta.ui.detection_tab import COLUMNS, DetectionTab
from napari_medmeta.ui.scan import layer_arguments, scan_of
from napari_medmeta.ui.worker import Question

PLACES = ((1, 4, 4), (3, 10, 12), (4, 15, 18))


def candidate(place: tuple[int, int, int], score: float, volume: Volume) -> Candidate:
    i, j, k = place
    box = Box((i, j - 1, k - 1), (i + 2, j + 2, k + 2))
    x, y, z = volume.geometry.to_world(place)
    return Candidate(
        score=score,
        likelihood=0.7,
        contrast=0.5,
        volume_ml=0.09,
        longest_mm=4.2,
        centre_mm=(float(x), float(y), float(z)),
        voxel=place,
        ref=SliceRef(axial_axis(volume.geometry), i),
        box=box,
        mask=np.ones(box.shape, bool),
    )


class Detector:
    """Three places, but what is known or dismissed."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.fail_with: Exception | None = None
        self.gate: threading.Event | None = None
        self.threads: set[str] = set()
        self.never: set[tuple[int, int, int]] = set()

    def __call__(self, engine: Any, request: Request) -> tuple[Candidate, ...]:
        self.asked.append(request)
        self.threads.add(threading.current_thread().name)
        request.report(0.25, "looking for lesions")
        while self.gate is not None and not self.gate.wait(0.01):
            request.cancel.raise_if_cancelled()
        if self.fail_with is not None:
            raise self.fail_with
        made = [candidate(p, 0.9 - 0.1 * n, request.volume) for n, p in enumerate(PLACES)]
        gone = {d.voxel for d in request.dismissed} | self.never
        return tuple(c for c in made if c.voxel not in gone and not c.overlap(request.known))


class LosingRunner(InlineRunner):
    """Loses the first question, as when another one takes its place."""

    def __init__(self) -> None:
        super().__init__()
        self.lost = 0

    def ask(self, question: Question, /) -> None:
        if self.lost == 0:
            self.lost += 1
        else:
            super().ask(question)


def desk_of(
    detector: Detector, runner: InlineRunner | None = None, *, path: Path | None = None
) -> tuple[Controller, DetectionDesk, list[str]]:
    volume = make_volume()
    scan = scan_of(volume)
    session = Session.create(scan.grid.working, fingerprint=scan.fingerprint, path=path)
    session.auto_propose = False
    controller = Controller(session, scan=scan, volume=volume, runner=runner or InlineRunner())
    controller.add_structure("Lesion")
    said: list[str] = []
    controller.told.connect(said.append)
    controller.failed.connect(lambda error: said.append(error.message))
    return controller, DetectionDesk(controller, volume, detecting=detector), said


def paint(controller: Controller) -> None:
    mask = np.zeros(SHAPE[1:], dtype=bool)
    mask[3:6, 17:20] = True
    controller.session.paint(SliceRef(0, 2), mask, value=1)


def standings(desk: DetectionDesk) -> list[Standing]:
    return [row.standing for row in desk.rows]


def test_candidates_are_listed_the_best_first() -> None:
    controller, desk, said = desk_of(Detector())
    paint(controller)
    assert desk.find()
    assert [row.candidate.voxel for row in desk.rows] == list(PLACES)
    assert not desk.busy
    assert said[-1].startswith("3 candidates")


def test_without_a_painted_lesion_the_user_is_told_what_to_do() -> None:
    detector = Detector()
    _, desk, said = desk_of(detector)
    assert not desk.find()
    assert "No lesion is painted" in said[-1]
    assert detector.asked == []


def test_lesions_elsewhere_need_none_painted_here() -> None:
    detector = Detector()
    _, desk, _ = desk_of(detector)
    elsewhere = Elsewhere("Library: Lesion", lambda engine: pytest.fail("not called by this detector"))
    assert desk.find(elsewhere)
    assert detector.asked[0].elsewhere is elsewhere


def other_scan(kind: Modality) -> Elsewhere:
    volume = replace(make_volume(), modality=kind)
    return from_other_scan("lesions on old", volume, lambda: pytest.fail("not called by this detector"))


def test_lesions_on_a_scan_of_another_kind_are_not_learnt_and_the_list_stays() -> None:
    detector = Detector()
    controller, _, said = desk_of(detector)
    volume = replace(make_volume(), modality=Modality.CT)
    desk = DetectionDesk(controller, volume, detecting=detector)
    assert not desk.find(other_scan(Modality.MR))
    assert said[-1].startswith("“lesions on old” is a scan of another kind (MR). Expected: CT")
    assert detector.asked == []
    assert not desk.busy


def test_that_another_scan_seems_to_be_of_another_kind_is_told_with_the_list() -> None:
    detector = Detector()
    controller, _, said = desk_of(detector)
    desk = DetectionDesk(controller, replace(make_volume(), modality=Modality.OTHER), detecting=detector)
    assert desk.find(other_scan(Modality.CT))
    assert "3 candidates" in said[-1]
    assert "“lesions on old” looks like a CT and the scan does not." in said[-1]
    assert desk.find(other_scan(Modality.OTHER))
    assert "looks like" not in said[-1]


def test_accepting_paints_the_candidate_as_accepted_and_is_undone_in_one_step() -> None:
    controller, desk, _ = desk_of(Detector())
    paint(controller)
    desk.find()
    chosen = desk.rows[1].candidate
    before = np.array(controller.labels)
    assert desk.accept(1)
    assert (controller.labels[chosen.box.slices] == 1).all()
    assert np.count_nonzero(controller.labels != before) == chosen.voxels
    assert standings(desk) == [Standing.OPEN, Standing.OPEN, Standing.ACCEPTED]
    controller.undo()
    np.testing.assert_array_equal(controller.labels, before)
    assert standings(desk) == [Standing.OPEN] * 3


def test_a_candidate_brought_back_stays_in_the_list_though_the_search_no_longer_finds_it(tmp_path: Path) -> None:
    detector = Detector()
    controller, desk, _ = desk_of(detector, path=tmp_path / "scan.medmeta")
    paint(controller)
    desk.find()
    desk.dismiss(0)
    detector.never = {PLACES[0]}
    desk.bring_back(2)
    assert [row.candidate.voxel for row in desk.rows] == list(PLACES)
    assert standings(desk) == [Standing.OPEN] * 3
    controller, detector, desk = reopened(controller, tmp_path / "scan.medmeta")
    detector.never = {PLACES[0]}
    desk.find()
    assert [row.candidate.voxel for row in desk.rows] == list(PLACES)


def test_a_candidate_brought_back_is_listed_once_when_it_is_found_again_or_accepted() -> None:
    controller, desk, _ = desk_of(Detector())
    paint(controller)
    desk.find()
    desk.dismiss(0)
    desk.bring_back(2)
    desk.find()
    assert standings(desk) == [Standing.OPEN] * 3
    desk.accept(0)
    assert standings(desk) == [Standing.OPEN, Standing.OPEN, Standing.ACCEPTED]
    desk.find()
    assert standings(desk) == [Standing.OPEN, Standing.OPEN, Standing.ACCEPTED]


def test_a_candidate_brought_back_can_be_dismissed_again() -> None:
    controller, desk, _ = desk_of(Detector())
    paint(controller)
    desk.find()
    desk.dismiss(0)
    desk.bring_back(2)
    desk.dismiss(0)
    assert standings(desk) == [Standing.OPEN, Standing.OPEN, Standing.DISMISSED]


def test_an_accepted_candidate_becomes_an_example_and_the_list_is_made_again() -> None:
    detector = Detector()
    controller, desk, _ = desk_of(detector)
    paint(controller)
    desk.find()
    desk.accept(0)
    assert len(detector.asked) == 2
    again = detector.asked[-1]
    assert again.known[PLACES[0]]
    labels, known = again.support.labels_and_known()
    assert labels[PLACES[0]] == 1
    assert known[PLACES[0]]


def test_only_the_candidate_is_accepted_not_what_is_proposed_beside_it() -> None:
    controller, desk, _ = desk_of(Detector())
    paint(controller)
    desk.find()
    chosen = desk.rows[1].candidate
    labels = np.zeros(SHAPE, np.uint8)
    labels[3, 5:16, 5:20] = 1
    whole = Box.whole(SHAPE)
    controller.receive(Proposal(controller.session.generation, whole, labels, np.full(SHAPE, 0.9, np.float32), whole))
    before = np.count_nonzero(controller.labels)
    assert desk.accept(1)
    assert np.count_nonzero(controller.labels) == before + chosen.voxels


def test_a_locked_structure_is_not_accepted_into() -> None:
    controller, desk, said = desk_of(Detector())
    paint(controller)
    desk.find()
    controller.lock_structure(1, True)
    before = np.array(controller.labels)
    assert not desk.accept(0)
    np.testing.assert_array_equal(controller.labels, before)
    assert standings(desk) == [Standing.OPEN] * 3
    assert not said[-1].startswith("3 candidates")


def test_dismissing_makes_the_list_again_without_it() -> None:
    detector = Detector()
    controller, desk, _ = desk_of(detector)
    paint(controller)
    desk.find()
    assert desk.dismiss(0)
    assert [d.voxel for d in detector.asked[-1].dismissed] == [PLACES[0]]
    assert standings(desk) == [Standing.OPEN, Standing.OPEN, Standing.DISMISSED]
    assert desk.rows[2].candidate.voxel == PLACES[0]
    assert not desk.dismiss(2)


def test_a_dismissal_is_taken_back() -> None:
    detector = Detector()
    controller, desk, _ = desk_of(detector)
    paint(controller)
    desk.find()
    desk.dismiss(0)
    assert desk.bring_back(2)
    assert detector.asked[-1].dismissed == ()
    assert standings(desk) == [Standing.OPEN] * 3


def test_going_to_a_candidate_shows_its_slice() -> None:
    controller, desk, _ = desk_of(Detector())
    paint(controller)
    desk.find()
    led: list[Any] = []
    controller.led.connect(lambda ref, box: led.append((ref, box)))
    assert desk.go_to(1)
    # The frame is one slice thick.
    assert led == [(SliceRef(0, 3), Box((3, 9, 11), (4, 12, 14)))]
    assert not desk.go_to(7)


def test_an_error_is_told_and_ends_the_work() -> None:
    detector = Detector()
    controller, desk, said = desk_of(detector)
    paint(controller)
    detector.fail_with = InputError("The lesions cannot be learnt")
    desk.find()
    assert said[-1] == "The lesions cannot be learnt."
    assert not desk.busy


def test_a_lost_question_is_asked_again() -> None:
    runner = LosingRunner()
    controller, desk, _ = desk_of(Detector(), runner)
    paint(controller)
    desk.find()
    assert desk.busy
    controller.worked.emit(Work())
    assert len(desk.rows) == 3
    assert not desk.busy


def test_stopping_keeps_the_list_and_drops_the_late_answer() -> None:
    runner = LosingRunner()
    runner.lost = 1
    detector = Detector()
    controller, desk, _ = desk_of(detector, runner)
    paint(controller)
    desk.find()
    runner.lost = 0
    desk.dismiss(0)
    waiting = desk.rows
    desk.stop()
    assert not desk.busy
    controller.worked.emit(Work())
    assert desk.rows == waiting or [r.candidate for r in desk.rows] == [r.candidate for r in waiting]
    assert len(detector.asked) == 1


def test_removing_the_structure_empties_the_list() -> None:
    controller, desk, _ = desk_of(Detector())
    paint(controller)
    desk.find()
    controller.undo()
    controller.remove_structure(1)
    assert desk.rows == ()


def test_the_list_is_saved_with_the_voxels_of_the_file(tmp_path: Path) -> None:
    controller, desk, _ = desk_of(Detector())
    paint(controller)
    desk.find()
    desk.dismiss(2)
    assert desk.export(tmp_path / "list.csv")
    with (tmp_path / "list.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["score"] for row in rows] == ["0.9", "0.8"]
    original = controller.scan.grid.original
    for row, place in zip(rows, PLACES, strict=False):
        here = original.to_world([int(row[f"centre_{a}"]) for a in "ijk"])
        np.testing.assert_allclose(here, controller.scan.grid.working.to_world(place), atol=1e-6)


def test_a_list_with_another_suffix_is_refused(tmp_path: Path) -> None:
    controller, desk, said = desk_of(Detector())
    paint(controller)
    desk.find()
    assert not desk.export(tmp_path / "list.txt")
    assert "names no table" in said[-1]


def reopened(controller: Controller, path: Path) -> tuple[Controller, Detector, DetectionDesk]:
    """Close the session, as when the scan is closed, and open it again with a desk of its own."""
    controller.session.close()
    session = Session.open(path, fingerprint=controller.session.fingerprint)
    again = Controller(session, scan=controller.scan, volume=make_volume(), runner=InlineRunner())
    detector = Detector()
    return again, detector, DetectionDesk(again, make_volume(), detecting=detector)


def test_what_was_said_to_candidates_is_there_when_the_scan_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "scan.medmeta"
    controller, desk, _ = desk_of(Detector(), path=path)
    paint(controller)
    desk.find()
    desk.dismiss(2)
    desk.accept(0)
    controller, detector, desk = reopened(controller, path)
    assert standings(desk) == [Standing.ACCEPTED, Standing.DISMISSED]
    assert [row.candidate.voxel for row in desk.rows] == [PLACES[0], PLACES[2]]
    assert detector.asked == []
    desk.find()
    assert [d.voxel for d in detector.asked[0].dismissed] == [PLACES[2]]
    assert standings(desk) == [Standing.OPEN, Standing.ACCEPTED, Standing.DISMISSED]


def test_a_dismissal_of_an_earlier_window_is_taken_back_without_a_search(tmp_path: Path) -> None:
    path = tmp_path / "scan.medmeta"
    controller, desk, _ = desk_of(Detector(), path=path)
    paint(controller)
    desk.find()
    desk.dismiss(0)
    controller, detector, desk = reopened(controller, path)
    assert desk.bring_back(0)
    assert standings(desk) == [Standing.OPEN]
    assert detector.asked == []
    controller, detector, desk = reopened(controller, path)
    assert standings(desk) == [Standing.OPEN]


def test_each_structure_has_candidates_of_its_own() -> None:
    detector = Detector()
    controller, desk, _ = desk_of(detector)
    paint(controller)
    desk.find()
    desk.dismiss(0)
    elsewhere = Elsewhere("Library: Cyst", lambda engine: pytest.fail("not called by this detector"))
    controller.add_structure("Cyst")
    desk.find(elsewhere)
    assert detector.asked[-1].dismissed == ()
    controller.session.set_active(1)
    desk.find()
    assert [d.voxel for d in detector.asked[-1].dismissed] == [PLACES[0]]


def test_a_closed_desk_hears_nothing() -> None:
    detector = Detector()
    controller, desk, _ = desk_of(detector)
    paint(controller)
    desk.find()
    desk.close()
    paint(controller)
    assert len(detector.asked) == 1


# The tab in a real viewer


@pytest.fixture
def detector() -> Detector:
    return Detector()


@pytest.fixture
def tab(panel: Any, detector: Detector, qtbot: Any) -> Any:
    made = DetectionTab(panel, detecting=detector)
    qtbot.addWidget(made)
    yield made
    made.release()


def points_in(viewer: Any) -> list[Points]:
    return [layer for layer in viewer.layers if isinstance(layer, Points)]


def button(tab: DetectionTab, text: str) -> QPushButton:
    (found,) = [b for b in tab.findChildren(QPushButton) if b.text() == text]
    return found


def listed(tab: DetectionTab, qtbot: Any) -> None:
    paint(tab.panel.case.controller)
    button(tab, "Find candidates").click()
    qtbot.waitUntil(lambda: not tab.desk.busy and len(tab.texts()) == 3, timeout=10_000)


def test_the_tab_lists_candidates_and_marks_them_by_points(
    tab: DetectionTab, viewer: Any, qtbot: Any, detector: Detector
) -> None:
    active = viewer.layers.selection.active
    listed(tab, qtbot)
    first = dict(zip(COLUMNS, tab.texts()[0], strict=True))
    assert first["Score"] == "0.90"
    assert first["ml"] == "0.09"
    assert first["mm"] == "4"
    assert first["Slice"] == "1"
    (layer,) = points_in(viewer)
    # Each reaches over two slices, and is marked on both.
    np.testing.assert_array_equal(layer.data[::2], PLACES)
    np.testing.assert_array_equal(layer.data[1::2], np.add(PLACES, (1, 0, 0)))
    assert list(layer.features["number"]) == ["1", "1", "2", "2", "3", "3"]
    assert viewer.layers.selection.active is active
    assert detector.threads == {"napari-medmeta engine"}


def test_choosing_a_row_goes_to_its_slice(tab: DetectionTab, qtbot: Any) -> None:
    listed(tab, qtbot)
    tab.choose(2)
    assert tab.panel.case.layers.current() == SliceRef(0, 4)


def test_a_click_on_the_chosen_row_leads_back_to_it(tab: DetectionTab, qtbot: Any) -> None:
    listed(tab, qtbot)
    tab.show()
    tab.choose(2)
    tab.panel.case.layers.go_to(SliceRef(0, 0))
    middle = tab._table.visualItemRect(tab._table.item(2, 1)).center()
    qtbot.mouseClick(tab._table.viewport(), Qt.MouseButton.LeftButton, pos=middle)
    assert tab.panel.case.layers.current() == SliceRef(0, 4)


def test_the_buttons_accept_dismiss_and_bring_back(tab: DetectionTab, viewer: Any, qtbot: Any) -> None:
    listed(tab, qtbot)
    assert not button(tab, "Accept").isEnabled()
    tab.choose(0)
    button(tab, "Accept").click()
    qtbot.waitUntil(lambda: not tab.desk.busy and tab.texts()[-1][-1] == "accepted", timeout=10_000)
    assert tab.panel.case.controller.labels[PLACES[0]] == 1
    tab.choose(0)
    button(tab, "Dismiss").click()
    qtbot.waitUntil(lambda: not tab.desk.busy and tab.texts()[-1][-1] == "dismissed", timeout=10_000)
    (layer,) = points_in(viewer)
    assert set(layer.features["number"]) == {"1", "2"}
    tab.choose(2)
    button(tab, "Bring back").click()
    qtbot.waitUntil(lambda: not tab.desk.busy and "dismissed" not in tab.texts()[-1], timeout=10_000)


def test_slices_and_points_follow_the_plane_on_screen(tab: DetectionTab, viewer: Any, qtbot: Any) -> None:
    listed(tab, qtbot)
    axis = tab.panel.case.controller.focus.axis
    other = (axis + 1) % 3
    tab.panel.case.layers.go_to(SliceRef(other, 5))
    assert [row[COLUMNS.index("Slice")] for row in tab.texts()] == [str(p[other]) for p in PLACES]
    (layer,) = points_in(viewer)
    first = layer.data[np.asarray(layer.features["number"] == "1")]
    assert sorted(set(first[:, other])) == [3, 4, 5]


def test_a_list_of_dismissed_ones_alone_is_not_offered_to_be_saved(
    tab: DetectionTab, qtbot: Any, detector: Detector
) -> None:
    detector.never = set(PLACES[1:])
    paint(tab.panel.case.controller)
    button(tab, "Find candidates").click()
    qtbot.waitUntil(lambda: not tab.desk.busy and len(tab.texts()) == 1, timeout=10_000)
    assert button(tab, "Save list …").isEnabled()
    tab.choose(0)
    button(tab, "Dismiss").click()
    qtbot.waitUntil(lambda: not tab.desk.busy, timeout=10_000)
    assert not button(tab, "Save list …").isEnabled()


def test_after_a_verdict_the_next_candidate_is_chosen_and_on_screen(tab: DetectionTab, qtbot: Any) -> None:
    listed(tab, qtbot)
    tab.choose(0)
    button(tab, "Dismiss").click()
    assert tab.panel.case.layers.current() == SliceRef(0, PLACES[1][0])
    qtbot.waitUntil(lambda: not tab.desk.busy and tab.texts()[-1][-1] == "dismissed", timeout=10_000)
    # The list was made again: what is chosen is what is on screen.
    assert tab.desk.rows[tab._chosen()].candidate.voxel == PLACES[1]
    assert button(tab, "Accept").isEnabled()


def test_nothing_is_chosen_when_the_candidate_on_screen_left_the_list(tab: DetectionTab, qtbot: Any) -> None:
    listed(tab, qtbot)
    tab.choose(1)
    tab.panel.case.controller.session.paint_slice(SliceRef(0, PLACES[1][0]), np.ones(SHAPE[1:], np.uint8))
    button(tab, "Find candidates").click()
    qtbot.waitUntil(lambda: not tab.desk.busy and PLACES[1] not in open_places(tab), timeout=10_000)
    assert not button(tab, "Accept").isEnabled()


def open_places(tab: DetectionTab) -> list[tuple[int, int, int]]:
    return [row.candidate.voxel for row in tab.desk.rows if row.standing is Standing.OPEN]


def test_the_window_goes_on_while_lesions_are_looked_for(tab: DetectionTab, qtbot: Any, detector: Detector) -> None:
    detector.gate = threading.Event()
    paint(tab.panel.case.controller)
    tab.look()
    assert tab.desk is not None
    qtbot.waitUntil(lambda: tab.desk.progress[0] == 0.25, timeout=10_000)
    assert button(tab, "Stop").isEnabled()
    button(tab, "Stop").click()
    assert not tab.desk.busy
    assert tab.texts() == []


def test_closing_the_scan_takes_the_points_away(tab: DetectionTab, viewer: Any, qtbot: Any) -> None:
    listed(tab, qtbot)
    tab.panel.close_case()
    assert points_in(viewer) == []
    assert tab.says_what_to_do()


def test_labels_on_another_scan_can_be_learnt_from(tab: DetectionTab, viewer: Any) -> None:
    other = make_volume((4, 10, 12), name="second")
    data, arguments = layer_arguments(other)
    viewer.add_image(data, **arguments)
    placed = {name: arguments[name] for name in ("scale", "translate", "units", "axis_labels")}
    viewer.add_labels(np.ones(data.shape, np.uint8), name="old lesions", **placed)
    tab.list_sources()
    names = [tab._source.itemText(n) for n in range(tab._source.count())]
    assert names == ["Lesions painted on this scan", "old lesions on second"]


def test_the_applications_hold_the_lesions_tab(panel: Any, qtbot: Any) -> None:
    widget = ApplicationsWidget(panel)
    qtbot.addWidget(widget)
    assert isinstance(widget.tab("Lesions"), DetectionTab)
    widget.release()


def shaped(mask: Any, voxel: tuple[int, int, int]) -> Row:
    found = candidate(voxel, 0.9, make_volume())
    start = (1, 3, 3)
    box = Box(start, tuple(a + n for a, n in zip(start, mask.shape, strict=True)))
    return Row(replace(found, box=box, mask=np.asarray(mask, bool)), Standing.OPEN)


def test_a_candidate_is_marked_on_every_slice_that_it_reaches_and_on_no_other() -> None:
    mask = np.zeros((4, 3, 3))
    mask[0, 1, 1] = mask[1, 0, :] = mask[3, 2, 2] = 1
    marks = list(marks_along(shaped(mask, (1, 4, 4)), 0))
    assert [list(place) for place, _ in marks] == [[1, 4, 4], [2, 3, 4], [4, 5, 5]]
    assert [share for _, share in marks] == pytest.approx([1.0, 1 - 0.5 / 3, 0.5])


def test_a_candidate_on_one_slice_is_marked_once() -> None:
    assert len(list(marks_along(shaped(np.ones((1, 3, 3)), (1, 4, 4)), 0))) == 1
