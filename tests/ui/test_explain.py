"""Why a voxel is what it is: asked by key, shown as pictures, bars and points."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QPoint
from qtpy.QtWidgets import QLabel, QProgressBar, QScrollArea
from ui_fakes import SHAPE, InlineRunner, NearestSliceEngine, make_volume

from napari_medmeta.core import MissingExamplesError, SliceRef, Support, Triple
from napari_medmeta.core.explanation import ExampleShare, ExampleVoxel, Explanation, SourceShare
from napari_medmeta.session import Session
from napari_medmeta.ui.body import PanelBody
from napari_medmeta.ui.controller import Controller
from napari_medmeta.ui.explain_box import ExampleCard, ExplainBox, ExplainValue
from napari_medmeta.ui.explain_picture import SIDE, thumbnail
from napari_medmeta.ui.explainer import Explainer
from napari_medmeta.ui.keys import chosen_keys
from napari_medmeta.ui.scan import scan_of
from napari_medmeta.ui.worker import Answered, EngineWorker, Failed, Question

FIRST, SECOND = SliceRef(0, 1), SliceRef(0, 4)


def explain(engine: Any, support: Support, voxel: Triple, names: dict[int, str], proposal: Any) -> Explanation:
    """Every example counts the same."""
    share = 1 / len(support.examples)
    examples = tuple(ExampleShare(e.ref, share, (ExampleVoxel((e.ref.index, 6, 7), share),)) for e in support.examples)
    sources = (SourceShare("shape", 1, 0.8, 0.6), SourceShare("matching", 0, 0.3, -0.4))
    return Explanation(voxel, 1, 0.9, False, examples, sources, f"It is {names[1]}.", support.generation)


def mask() -> np.ndarray:
    found = np.zeros(SHAPE[1:], dtype=bool)
    found[5:10, 6:12] = True
    return found


class SlowRunner(InlineRunner):
    """Keeps questions until they are released."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Question] = []

    def ask(self, question: Question, /) -> None:
        self.waiting.append(question)

    def release(self, number: int) -> None:
        self._callback(Answered(self.waiting[number](self.engine)))


def controller_with(runner: InlineRunner) -> Controller:
    volume = make_volume()
    scan = scan_of(volume)
    session = Session.create(scan.grid.working, fingerprint=scan.fingerprint)
    controller = Controller(session, scan=scan, volume=volume, runner=runner)
    controller.add_structure("Liver")
    return controller


@pytest.fixture
def controller() -> Controller:
    made = controller_with(InlineRunner())
    for ref in (FIRST, SECOND):
        made.session.paint(ref, mask(), value=1)
    return made


def test_the_explanation_comes_back_and_is_told(controller: Controller) -> None:
    told: list[str] = []
    controller.told.connect(told.append)
    explainer = Explainer(controller, explaining=explain)
    assert explainer.explain((2, 6, 7))
    assert explainer.value is not None
    assert [e.ref for e in explainer.value.examples] == [FIRST, SECOND]
    assert "It is Liver." in told


def test_without_examples_or_voxel_it_says_why_not() -> None:
    controller = controller_with(InlineRunner())
    told: list[str] = []
    controller.told.connect(told.append)
    explainer = Explainer(controller, explaining=explain)
    assert not explainer.explain(None)
    assert not explainer.explain((2, 6, 7))
    assert told[0].startswith("Point at a voxel")
    assert told[1].startswith("There is nothing to explain yet.")


def test_only_the_answer_to_the_newest_question_is_shown() -> None:
    runner = SlowRunner()
    controller = controller_with(runner)
    controller.session.paint(FIRST, mask(), value=1)
    explainer = Explainer(controller, explaining=explain)
    explainer.explain((2, 6, 7))
    explainer.explain((3, 6, 7))
    runner.release(1)
    runner.release(0)
    assert explainer.value is not None
    assert explainer.value.voxel == (3, 6, 7)
    explainer.clear()
    runner.release(1)
    assert explainer.value is None


def test_not_using_an_example_explains_the_same_voxel_anew(controller: Controller) -> None:
    explainer = Explainer(controller, explaining=explain)
    explainer.explain((2, 6, 7))
    assert explainer.do_not_use(FIRST)
    assert explainer.value is not None
    assert [e.ref for e in explainer.value.examples] == [SECOND]
    assert np.array_equal(controller.session.labels[1] == 1, mask())
    controller.undo()
    assert [e.ref for e in explainer.value.examples] == [FIRST, SECOND]


def test_using_less_halves_the_weight_and_at_last_drops_the_example(controller: Controller) -> None:
    explainer = Explainer(controller, explaining=explain)
    weights = []
    for _ in range(4):
        explainer.use_less(FIRST)
        weights.append(controller.session.example_weight(FIRST))
    assert weights == [0.5, 0.25, 0.125, 0.0]
    explainer.use_again(FIRST)
    assert controller.session.example_weight(FIRST) == 1.0


def test_painting_elsewhere_explains_anew_once_the_proposal_follows(controller: Controller) -> None:
    explainer = Explainer(controller, explaining=explain)
    explainer.explain((2, 6, 7))
    controller.session.paint(SliceRef(0, 5), mask(), value=1)
    assert explainer.value is not None
    assert explainer.value.generation == controller.session.generation


# -- the worker


def test_questions_are_answered_in_the_background_and_proposals_go_on(qtbot: Any) -> None:
    worker = EngineWorker(NearestSliceEngine)
    events: list[Any] = []
    worker.listen(events.append)
    worker.ask(lambda engine: threading.current_thread().name)
    qtbot.waitUntil(lambda: any(isinstance(e, Answered) for e in events))
    (answered,) = [e for e in events if isinstance(e, Answered)]
    assert answered.answer == "napari-medmeta engine"
    worker.close()


def test_a_question_that_cannot_be_answered_is_a_sentence(qtbot: Any) -> None:
    def refuse(engine: Any) -> object:
        raise MissingExamplesError("The scan is still being read")

    worker = EngineWorker(NearestSliceEngine)
    events: list[Any] = []
    worker.listen(events.append)
    worker.ask(refuse)
    qtbot.waitUntil(lambda: any(isinstance(e, Failed) for e in events))
    worker.ask(lambda engine: 1)
    qtbot.waitUntil(lambda: any(isinstance(e, Answered) for e in events))
    worker.close()


# -- the pictures


def test_a_thumbnail_shows_the_slice_around_the_voxel_with_outline_and_cross() -> None:
    image = np.zeros((3, 50, 50), np.float32)
    image[1] = 100
    labels = np.zeros(image.shape, np.uint8)
    labels[1, 5:45, 5:45] = 2
    picture = thumbnail(
        image,
        labels,
        ref=SliceRef(0, 1),
        voxel=(1, 25, 25),
        spacing_mm=(3, 1, 1),
        limits=(0, 200),
        colours={2: (1, 2, 3)},
    )
    assert picture.shape == (SIDE, SIDE, 3)
    assert (picture[SIDE // 2, SIDE // 2] == 255).all()
    assert (picture == (1, 2, 3)).all(axis=2).any()
    assert abs(int(picture[SIDE // 2 + 10, SIDE // 2 + 10, 0]) - 127) <= 1


def test_beyond_the_scan_a_thumbnail_is_black() -> None:
    image = np.full((3, 8, 8), 100, np.float32)
    labels = np.zeros(image.shape, np.uint8)
    picture = thumbnail(
        image, labels, ref=SliceRef(0, 1), voxel=(1, 0, 0), spacing_mm=(3, 1, 1), limits=(0, 100), colours={}
    )
    assert (picture[0] == 0).all()


# -- the box


def card(ref: SliceRef) -> ExampleCard:
    return ExampleCard(ref, f"Axial slice {ref.index}", 0.6, 1.0, np.zeros((SIDE, SIDE, 3), np.uint8))


def test_the_box_names_examples_and_sources_and_says_what_is_wanted(qtbot: Any) -> None:
    box = ExplainBox("E")
    qtbot.addWidget(box)
    assert any("press E" in text for text in box.texts())
    sources = (SourceShare("shape", 1, 0.8, 0.6), SourceShare("matching", 0, 0.3, -0.4))
    box.set_value(
        ExplainValue("Liver (90% sure)", "Because.", (card(FIRST),), sources, ((SECOND, "Axial slice 4", 0.0),))
    )
    texts = " ".join(box.texts())
    for expected in ("Liver (90% sure)", "Because.", "Axial slice 1", "Shape", "Matching", "Axial slice 4 is not used"):
        assert expected in texts
    from qtpy.QtWidgets import QPushButton

    buttons = {b.text(): b for b in box.findChildren(QPushButton)}
    for name, signal, ref in (
        ("Go there", box.go_wanted, FIRST),
        ("Use less", box.less_wanted, FIRST),
        ("Do not use", box.drop_wanted, FIRST),
        ("Use fully", box.again_wanted, SECOND),
    ):
        with qtbot.waitSignal(signal) as caught:
            buttons[name].click()
        assert caught.args == [ref]


# -- the whole in a viewer


@pytest.fixture
def explained(panel: Any, viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A panel with two examples, whose mouse is over a voxel between them, and E pressed."""
    panel.explain._explaining = explain
    panel.explain.follow_case()
    session = panel.case.controller.session
    for ref in (FIRST, SECOND):
        session.paint(ref, mask(), value=1)
    qtbot.waitUntil(lambda: session.proposal is not None and session.proposal.generation == session.generation)
    monkeypatch.setattr(panel.case.layers.planes, "under_cursor", lambda: (2, 6, 7))
    panel.explain.ask()
    qtbot.waitUntil(lambda: panel.explain.points.layer is not None)
    return panel


def test_points_lie_on_the_example_voxels_and_take_no_selection(explained: Any, viewer: Any) -> None:
    points = explained.explain.points.layer
    assert points in viewer.layers
    assert points.data.tolist() == [[2, 6, 7], [1, 6, 7], [4, 6, 7]]
    assert viewer.layers.selection.active is not points
    assert points not in viewer.layers.selection
    assert np.allclose(points.scale, explained.case.image.scale)


def test_what_was_asked_for_is_brought_into_sight_and_what_is_explained_anew_is_not(
    explained: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    revealed: list[Any] = []
    monkeypatch.setattr(explained.explain, "_reveal", revealed.append)
    explained.explain.ask()
    qtbot.waitUntil(lambda: revealed == [explained.explain.box])
    explained.case.controller.session.paint(SliceRef(0, 5), mask(), value=1)
    qtbot.waitUntil(lambda: any("33%" in bar.format() for bar in explained.explain.box.findChildren(QProgressBar)))
    assert len(revealed) == 1


def test_a_box_further_down_is_scrolled_to(qtbot: Any) -> None:
    body = PanelBody(chosen_keys({}))
    qtbot.addWidget(body)
    below = QLabel("asked for")
    body.add_section("Further down", below)
    body.resize(420, 400)
    body.show()
    area = body.findChild(QScrollArea)
    assert area.verticalScrollBar().value() == 0
    body.reveal(below)
    qtbot.waitUntil(lambda: area.viewport().rect().contains(below.mapTo(area.viewport(), QPoint(0, 0))))
    assert area.verticalScrollBar().value() > 0


def test_closing_the_explanation_removes_the_points(explained: Any, viewer: Any) -> None:
    points = explained.explain.points.layer
    explained.explain.box.close_wanted.emit()
    assert points not in viewer.layers
    assert any("press Shift+E" in text for text in explained.explain.box.texts())


def test_go_there_shows_the_example(explained: Any) -> None:
    explained.explain.box.go_wanted.emit(SECOND)
    assert explained.case.layers.current() == SECOND


def test_dropping_an_example_changes_the_proposal_and_the_explanation(explained: Any, qtbot: Any, engine: Any) -> None:
    explained.explain.box.drop_wanted.emit(FIRST)
    qtbot.waitUntil(lambda: [e.ref for e in explained.explain.explainer.value.examples] == [SECOND])
    assert [e.ref for e in engine.asked[-1].examples] == [SECOND]
    assert any("slice 1 is not used" in text for text in explained.explain.box.texts())


def test_closing_the_scan_takes_the_points_away(explained: Any, viewer: Any) -> None:
    explained.close_case()
    assert not any(layer.name == "Why" for layer in viewer.layers)
    explained.explain.ask()


def test_the_real_engine_explains_in_the_background(
    viewer: Any, make_panel: Callable[..., Any], qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_medmeta.core.phantoms import simple_blobs
    from napari_medmeta.engine import Segmenter
    from napari_medmeta.ui.scan import layer_arguments

    phantom = simple_blobs()
    panel = make_panel(viewer, make_engine=lambda: Segmenter(device="cpu"))
    data, arguments = layer_arguments(phantom.volume)
    viewer.add_image(data, **arguments)
    qtbot.waitUntil(lambda: panel.case is not None)
    controller = panel.case.controller
    controller.add_structure("Blob")
    truth = phantom.volume.geometry.reoriented().labels_to_working((phantom.labels == 1).astype(np.uint8))
    for index in (8, 14):
        controller.session.paint_slice(SliceRef(0, index), np.ascontiguousarray(truth[index]))
    row, column = (int(n) for n in np.argwhere(truth[11])[len(np.argwhere(truth[11])) // 2])
    monkeypatch.setattr(panel.case.layers.planes, "under_cursor", lambda: (11, row, column))
    panel.explain.ask()
    qtbot.waitUntil(lambda: panel.explain.explainer.value is not None, timeout=60_000)
    found = panel.explain.explainer.value
    assert found.label == 1
    assert {e.ref.index for e in found.examples} <= {8, 14}


def test_an_explanation_renewed_after_a_change_says_nothing_over_that_change(controller: Controller) -> None:
    explainer = Explainer(controller, explaining=explain)
    explainer.explain((2, 6, 7))
    before = explainer.value
    told: list[str] = []
    controller.told.connect(told.append)
    controller.undo()
    assert explainer.value is not before
    assert told == [f"Undone: {controller.session.redo_text}."]


def test_what_was_said_of_a_voxel_is_taken_back_on_another_slice(controller: Controller) -> None:
    explainer = Explainer(controller, explaining=explain)
    taken: list[str] = []
    controller.withdrawn.connect(taken.append)
    controller.look_at(SliceRef(0, 2))
    explainer.explain((2, 6, 7))
    assert taken == []
    controller.look_at(SliceRef(0, 5))
    controller.look_at(SliceRef(0, 4))
    assert taken == ["It is Liver."]
    assert explainer.value is not None
