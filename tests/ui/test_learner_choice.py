"""Tests of the list from which the learner is chosen that proposes."""

from __future__ import annotations

from typing import Any

import pytest
from ui_fakes import NearestSliceEngine

from napari_medmeta.core import InputError
from napari_medmeta.ui.learner_choice import FUSED, TITLES, LearnerSection, shipped_families


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
    monkeypatch.setattr("napari_medmeta.engine.choices.engine_config", configs.__getitem__)
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
    qtbot.waitUntil(lambda: section.chosen == "siamese", timeout=5000)
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
    assert section.chosen == "siamese"


def test_a_learner_that_cannot_be_used_leaves_the_one_before(
    section: LearnerSection, panel: Any, engine: Switchable, qtbot: Any
) -> None:
    section.choose("maml")
    qtbot.waitUntil(lambda: "damaged" in panel.message(), timeout=5000)
    assert section.chosen == FUSED
    assert shown(section) == TITLES[FUSED]
    assert engine.configs == []


def test_a_stopped_change_leaves_the_one_before(section: LearnerSection, panel: Any, qtbot: Any) -> None:
    section._wanted = "siamese"
    section._show()
    assert shown(section) == TITLES["siamese"]
    panel.case.controller.cancel()
    qtbot.waitUntil(lambda: shown(section) == TITLES[FUSED], timeout=5000)
    assert section.chosen == FUSED


def test_without_a_scan_the_choice_holds_for_the_next_one(panel_only: Any) -> None:
    section = LearnerSection(panel_only, families=("siamese",))
    section.follow_case()
    section.choose("siamese")
    assert section.chosen == "siamese"
    section.follow_case()
    assert section.chosen == "siamese"
