"""What the panel expects, after the user has accepted and corrected."""

from __future__ import annotations

import numpy as np
import pytest
from ui_fakes import SHAPE, InlineRunner, NearestSliceEngine, make_volume

from napari_medmeta.core import SliceRef
from napari_medmeta.session import Session
from napari_medmeta.ui.controller import Controller
from napari_medmeta.ui.scan import scan_of


@pytest.fixture
def controller() -> Controller:
    """The liver painted on slice 2 and proposed everywhere with an expected Dice of 0.55."""
    volume = make_volume()
    scan = scan_of(volume)
    session = Session.create(scan.grid.working, fingerprint=scan.fingerprint)
    session.add_structure("Liver")
    made = Controller(session, scan=scan, volume=volume, runner=InlineRunner(NearestSliceEngine(dice=0.55)))
    session.paint(SliceRef(0, 2), block(5, 10), value=1)
    return made


def block(start: int, stop: int) -> np.ndarray:
    mask = np.zeros(SHAPE[1:], dtype=bool)
    mask[start:stop, 6:12] = True
    return mask


def test_the_strip_and_the_table_follow_what_was_accepted(controller: Controller) -> None:
    assert controller.strip().dice[4] == pytest.approx(0.55)
    controller.look_at(SliceRef(0, 3))
    assert controller.accept_slice()
    assert controller.strip().dice[4] > 0.55
    assert controller.rows()[0].expected_dice > 0.55
    controller.undo()
    assert controller.strip().dice[4] == pytest.approx(0.55)
    assert controller.rows()[0].expected_dice == pytest.approx(0.55)


def test_nothing_is_expected_where_nothing_is_left_to_look_at(controller: Controller) -> None:
    controller.confidence_wanted = 0.5
    assert controller.rows()[0].expected_dice is not None
    assert controller.accept_confident()
    assert not controller.open_proposals()
    assert controller.rows()[0].expected_dice is None


def test_corrections_turn_a_proposal_into_a_hint(controller: Controller) -> None:
    assert not controller.is_hint(SliceRef(0, 5))
    for index in (1, 3, 4):
        controller.session.paint(SliceRef(0, index), block(5, 10), value=0)
        controller.session.paint(SliceRef(0, index), block(14, 19), value=1)
    assert controller.slice_confidence(SliceRef(0, 5)) < 0.5
    assert controller.is_hint(SliceRef(0, 5))


def test_what_is_accepted_together_follows_what_was_accepted_singly(controller: Controller) -> None:
    controller.confidence_wanted = 0.65
    controller.accept_confident()
    assert not controller.labels[5].any()
    for index in (1, 3, 4):
        controller.look_at(SliceRef(0, index))
        controller.accept_slice()
    controller.accept_confident()
    assert controller.labels[5].any()
