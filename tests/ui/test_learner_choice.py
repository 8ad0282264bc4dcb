"""Tests of the list from which the learner is chosen that proposes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from qtpy.QtWidgets import QFileDialog
from ui_fakes import NearestSliceEngine, make_volume

from napari_medmeta.core import InputError, WeightsError
from napari_medmeta.ui.learner_choice import FUSED, TITLES, Answerer, LearnerSection, shipped_families
from napari_medmeta.ui.preferences import Preferences
from napari_medmeta.ui.scan import layer_arguments


class Switchable(NearestSliceEngine):
    """An engine that remembers how it was set up, and may refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.configs: list[Any] = []
        self.proposed = 0

    def reconfigure(self, config: Any, **_: Any) -> None:
        if config == "refused":
            raise InputError("The weights are damaged")
        self.configs.append(config)

    def propose(self, *arguments: Any, **named: Any) -> Any:
        self.proposed += 1
        return super().propose(*arguments, **named)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Switchable:
    configs = {FUSED: "fused", "siamese": "siamese", "maml": "refused"}

    def config(name: str, *, weights: Path | None = None) -> Any:
        return configs[name] if weights is None else (configs[name], weights)

    monkeypatch.setattr("napari_medmeta.engine.choices.engine_config", config)
    return Switchable()


@pytest.fixture
def section(panel: Any) -> LearnerSection:
    made = LearnerSection(panel, families=("siamese", "maml"))
    panel.case_changed.connect(made.follow_case)
    made.follow_case()
    return made


def shown(section: LearnerSection) -> str:
    return section._list.currentText()


def test_every_family_has_a_title() -> None:
    from napari_medmeta.engine.learners.registry import FAMILIES

    assert {FUSED, *FAMILIES} <= set(TITLES)


def test_only_families_with_weights_are_offered() -> None:
    from napari_medmeta.engine.learners.registry import FAMILIES

    assert set(shipped_families()) <= set(FAMILIES)


def test_a_chosen_learner_answers_from_then_on(section: LearnerSection, engine: Switchable, qtbot: Any) -> None:
    section.choose("siamese")
    qtbot.waitUntil(lambda: section.chosen.learner == "siamese", timeout=5000)
    assert engine.configs == ["siamese"]
    assert shown(section) == TITLES["siamese"]


def test_what_is_painted_is_proposed_anew(section: LearnerSection, panel: Any, engine: Switchable, qtbot: Any) -> None:
    controller = panel.case.controller
    labels = controller.labels.copy()
    labels[3, 4:9, 4:9] = 1
    assert controller.use_labels(labels)
    qtbot.waitUntil(lambda: engine.proposed == 1 and not controller.work.busy, timeout=5000)
    section.choose("siamese")
    qtbot.waitUntil(lambda: engine.proposed == 2, timeout=5000)
    assert section.chosen.learner == "siamese"


def test_a_learner_that_cannot_be_used_leaves_the_one_before(
    section: LearnerSection, panel: Any, engine: Switchable, qtbot: Any
) -> None:
    section.choose("maml")
    qtbot.waitUntil(lambda: "damaged" in panel.message(), timeout=5000)
    assert section.chosen.learner == FUSED
    assert shown(section) == TITLES[FUSED]
    assert engine.configs == []


def test_a_stopped_change_leaves_the_one_before(section: LearnerSection, panel: Any, qtbot: Any) -> None:
    section._wanted = Answerer("siamese")
    section._show()
    assert shown(section) == TITLES["siamese"]
    panel.case.controller.cancel()
    qtbot.waitUntil(lambda: shown(section) == TITLES[FUSED], timeout=5000)
    assert section.chosen.learner == FUSED


def test_without_a_scan_the_choice_holds_for_the_next_one(panel_only: Any) -> None:
    section = LearnerSection(panel_only, families=("siamese",))
    section.follow_case()
    section.choose("siamese")
    assert section.chosen.learner == "siamese"
    section.follow_case()
    assert section.chosen.learner == "siamese"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of own weights of the network, as far as can be told without the engine."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "fusion.safetensors").write_bytes(b"weights")
    record = {"training": {}, "sha256": hashlib.sha256(b"weights").hexdigest()}
    (folder / "fusion.json").write_text(json.dumps(record))
    return folder


def notes(panel: Any) -> list[str]:
    return [e.sentence for e in panel.case.controller.session.events() if e.verb == "choose_engine"]


def test_own_weights_answer_from_then_on_and_those_of_the_package_again(
    section: LearnerSection, panel: Any, engine: Switchable, own: Path, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(own))
    assert not section._back.isVisibleTo(section)
    section._own.click()
    qtbot.waitUntil(lambda: section.chosen.weights == own, timeout=5000)
    assert section._weights.text() == "Own weights: mine"
    section._back.click()
    qtbot.waitUntil(lambda: section.chosen == Answerer(), timeout=5000)
    assert engine.configs == [("fused", own), "fused"]
    assert section._weights.text() == "Weights of the package"
    assert notes(panel) == [
        "let all sources together propose, with own weights (fusion)",
        "let all sources together propose, with the weights of the package",
    ]


def test_no_folder_chosen_changes_nothing(
    section: LearnerSection, engine: Switchable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: "")
    section._own.click()
    assert section.chosen == section._wanted == Answerer()


def test_own_weights_stay_when_another_learner_is_chosen(section: LearnerSection, own: Path, qtbot: Any) -> None:
    section.choose_weights(own)
    qtbot.waitUntil(lambda: section.chosen.weights == own, timeout=5000)
    section.choose("siamese")
    qtbot.waitUntil(lambda: section.chosen == Answerer("siamese", own), timeout=5000)


def test_a_bad_folder_is_refused_in_words_and_nothing_changes(
    section: LearnerSection, panel: Any, engine: Switchable, tmp_path: Path, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(name: str, *, weights: Path | None = None) -> Any:
        raise WeightsError(f"The folder {weights} holds no weights")

    monkeypatch.setattr("napari_medmeta.engine.choices.engine_config", refused)
    section.choose_weights(tmp_path)
    qtbot.waitUntil(lambda: "holds no weights" in panel.message(), timeout=5000)
    assert section.chosen == Answerer()
    assert (engine.configs, notes(panel)) == ([], [])


def test_without_a_scan_a_bad_folder_is_refused_at_once_and_a_good_one_kept(
    panel_only: Any, own: Path, tmp_path: Path
) -> None:
    section = LearnerSection(panel_only, families=("siamese",))
    section.follow_case()
    section.choose_weights(tmp_path / "nowhere")
    assert "There is no folder" in section._state.text()
    assert section.chosen == Answerer()
    section.choose_weights(own)
    assert section.chosen == Answerer(FUSED, own)
    assert section._state.text() == ""


def test_own_weights_that_went_bad_give_way_before_the_next_scan(panel_only: Any, own: Path) -> None:
    section = LearnerSection(panel_only, families=("siamese",))
    section.choose_weights(own)
    assert section.recheck() == ""
    (own / "fusion.safetensors").write_bytes(b"others")
    assert "weights of the package are used" in section.recheck()
    assert section.chosen == Answerer()


def test_a_scan_that_is_opened_with_own_weights_has_them_in_its_record(
    panel: Any, engine: Switchable, own: Path
) -> None:
    section = LearnerSection(panel, families=("siamese",))
    section.choose_weights(own)
    assert notes(panel) == []
    section.follow_case()
    assert notes(panel) == ["let all sources together propose, with own weights (fusion)"]


def test_own_weights_of_the_preferences_answer_from_the_start(viewer: Any, make_panel: Any, own: Path) -> None:
    panel = make_panel(viewer, preferences=Preferences(weights_folder=str(own)))
    assert panel.learner.chosen == Answerer(FUSED, own)
    assert panel.learner._weights.text() == "Own weights: mine"


def test_bad_weights_of_the_preferences_give_way_with_a_word(
    viewer: Any, make_panel: Any, tmp_path: Path, qtbot: Any
) -> None:
    panel = make_panel(viewer, preferences=Preferences(weights_folder=str(tmp_path / "nowhere")))
    data, arguments = layer_arguments(make_volume())
    viewer.add_image(data, **arguments)
    qtbot.waitUntil(lambda: panel.case is not None, timeout=5000)
    assert "There is no folder" in panel.message()
    assert panel.learner.chosen == Answerer()
