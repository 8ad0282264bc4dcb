"""The honest score, with a clock that only moves when it is told to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_medmeta.core import Geometry, MaskArray, SliceRef
from napari_medmeta.session import Outcome, PaintMode, Session
from napari_medmeta.session.score import LONGEST_GAP_S

Square = Callable[..., MaskArray]
DAY = 24 * 3600.0


class Clock:
    """Seconds since 1970, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def case(geometry: Geometry, clock: Clock) -> Session:
    session = Session.create(geometry, fingerprint="a scan", clock=clock)
    session.add_structure("liver")
    return session


def axial(index: int) -> SliceRef:
    return SliceRef(0, index)


def liver_everywhere(session: Session) -> np.ndarray:
    labels = np.zeros(session.geometry.shape, np.uint8)
    labels[:, 1:4, 1:4] = 1
    return labels


def test_at_first_nothing_is_finished(case: Session) -> None:
    score = case.score()
    assert (score.finished, score.proposed, score.even_after) == (0, 0, None)
    assert score.sentence == "No slice is finished yet."


def test_a_painted_slice_takes_the_time_since_the_event_before(case: Session, clock: Clock, square: Square) -> None:
    clock.wait(12)
    case.paint(axial(1), square(1, 3), value=1)
    clock.wait(8)
    case.paint(axial(1), square(3, 4), value=1)
    score = case.score()
    assert score.outcomes == {axial(1): Outcome.PAINTED}
    assert score.painting_seconds == 20
    assert score.review_seconds is None


def test_of_a_pause_only_a_minute_counts(case: Session, clock: Clock, square: Square) -> None:
    clock.wait(3600)
    case.paint(axial(1), square(1, 3), value=1)
    assert case.score().seconds == LONGEST_GAP_S


def test_looking_around_is_work_and_no_pause(case: Session, clock: Clock, square: Square) -> None:
    for index in range(3):
        clock.wait(40)
        case.look_at(axial(index))
    clock.wait(5)
    case.paint(axial(1), square(1, 3), value=1)
    assert case.score().seconds == 125


def test_a_clock_that_is_set_back_takes_no_time_away(case: Session, clock: Clock, square: Square) -> None:
    clock.wait(-500)
    case.paint(axial(1), square(1, 3), value=1)
    assert case.score().seconds == 0


def test_slices_are_told_apart_by_what_became_of_their_proposal(
    case: Session, clock: Clock, square: Square, propose: Callable[..., object]
) -> None:
    clock.wait(30)
    case.paint(axial(0), square(1, 4), value=1)
    propose(case, liver_everywhere(case), dice=dict.fromkeys(range(5), 0.9))
    assert (case.score().open, case.score().proposed) == (4, 4)
    clock.wait(4)
    case.accept_slice(axial(1))
    clock.wait(6)
    case.paint(axial(2), square(4, 5), value=1)
    case.reject_slice(axial(3))
    score = case.score()
    assert score.outcomes == {
        axial(0): Outcome.PAINTED,
        axial(1): Outcome.ACCEPTED,
        axial(2): Outcome.CORRECTED,
        axial(3): Outcome.REJECTED,
    }
    assert (score.open, score.proposed) == (1, 4)
    assert score.review_seconds == pytest.approx(10 / 3)


def test_an_accepted_slice_that_is_painted_later_was_corrected(
    case: Session, square: Square, propose: Callable[..., object]
) -> None:
    case.paint(axial(0), square(1, 4), value=1)
    propose(case, liver_everywhere(case))
    case.accept_slice(axial(1))
    case.paint(axial(1), square(4, 5), value=1)
    assert case.score().outcomes[axial(1)] is Outcome.CORRECTED


def test_slices_accepted_together_share_the_time(
    case: Session, clock: Clock, square: Square, propose: Callable[..., object]
) -> None:
    clock.wait(20)
    case.paint(axial(0), square(1, 4), value=1)
    propose(case, liver_everywhere(case), dice={1: 0.95, 2: 0.95, 3: 0.5, 4: 0.95})
    clock.wait(6)
    case.accept_confident(0.9)
    score = case.score()
    assert score.count(Outcome.ACCEPTED) == 3
    assert score.review_seconds == 2


def test_an_undone_step_decides_nothing_but_its_time_was_spent(
    case: Session, clock: Clock, square: Square, propose: Callable[..., object]
) -> None:
    clock.wait(20)
    case.paint(axial(0), square(1, 4), value=1)
    propose(case, liver_everywhere(case))
    clock.wait(5)
    case.accept_slice(axial(1))
    clock.wait(1)
    case.undo()
    assert case.score().count(Outcome.ACCEPTED) == 0
    assert case.score().seconds == 26
    case.redo()
    assert case.score().count(Outcome.ACCEPTED) == 1


def test_a_removed_example_is_no_finished_slice(case: Session, square: Square) -> None:
    case.paint(axial(0), square(1, 4), value=1)
    case.remove_example(axial(0))
    assert case.score().finished == 0


def test_scribbles_and_parts_finish_no_slice(case: Session, square: Square, propose: Callable[..., object]) -> None:
    case.set_mode(PaintMode.SCRIBBLE)
    case.paint(axial(0), square(1, 4), value=1)
    propose(case, liver_everywhere(case))
    case.accept_slice(axial(1), structures=[1])
    case.accept_component((2, 2, 2))
    assert case.score().finished == 0


def test_it_breaks_even_once_checking_is_quicker_than_painting(
    case: Session, clock: Clock, square: Square, propose: Callable[..., object]
) -> None:
    clock.wait(30)
    case.paint(axial(0), square(1, 4), value=1)
    propose(case, liver_everywhere(case))
    clock.wait(50)
    case.accept_slice(axial(1))
    assert case.score().even_after is None
    assert "by hand it would not have taken longer" in case.score().sentence
    clock.wait(5)
    case.accept_slice(axial(2))
    score = case.score()
    # 85 seconds were spent on three slices that would have taken 90 by hand.
    assert (score.even_after, score.by_hand_seconds) == (3, 90)
    assert score.sentence == "3 slices done in 1:25 min, 2 of 2 proposals accepted unchanged; by hand about 1:30 min."


def test_without_a_slice_painted_by_hand_there_is_nothing_to_compare_with(
    case: Session, clock: Clock, propose: Callable[..., object]
) -> None:
    case.click((0, 2, 2), value=1, axis=0)
    propose(case, liver_everywhere(case))
    clock.wait(4)
    case.accept_slice(axial(0))
    score = case.score()
    assert (score.by_hand_seconds, score.even_after) == (None, None)
    assert score.sentence == "1 slice done in 4 s: 1 of 1 as proposed."


def test_the_score_survives_reopening(
    tmp_path: Path, geometry: Geometry, clock: Clock, square: Square, propose: Callable[..., object]
) -> None:
    path = tmp_path / "case.medmeta"
    session = Session.create(geometry, fingerprint="a scan", path=path, clock=clock)
    session.add_structure("liver")
    clock.wait(30)
    session.paint(axial(0), square(1, 4), value=1)
    propose(session, liver_everywhere(session), dice={1: 0.9})
    clock.wait(5)
    session.accept_slice(axial(1))
    before = session.score()
    session.close()
    clock.wait(DAY)
    again = Session.open(path, clock=clock)
    assert again.score() == before
    clock.wait(7)
    again.paint(axial(1), square(4, 5), value=1)
    assert again.score().seconds == before.seconds + 7
    again.close()


def test_the_details_say_how_it_is_counted(case: Session, clock: Clock, square: Square) -> None:
    clock.wait(30)
    case.paint(axial(0), square(1, 4), value=1)
    assert "Seconds per slice painted by hand: 30" in case.score().details
    assert "at most 60 seconds" in case.score().details
