"""Expected Dice, set right by what was accepted and corrected."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medmeta.core import Box, Geometry, LabelArray, MaskArray, Proposal, SliceRef, StorageError
from napari_medmeta.session import Session, SliceState
from napari_medmeta.session.calibration import Judgement, calibrated
from napari_medmeta.session.codec import decode_step, encode_step
from napari_medmeta.session.model import Offer, SliceRecord
from napari_medmeta.session.packing import pack
from napari_medmeta.session.patches import RecordChange, Step

Propose = Callable[..., Proposal]
Square = Callable[..., MaskArray]
SHAPE = (5, 6, 7)


def axial(index: int) -> SliceRef:
    return SliceRef(0, index)


def liver(slices: range = range(1, 5)) -> LabelArray:
    """A liver of 4 voxels on each slice."""
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[slices.start : slices.stop, 1:3, 1:3] = 1
    return labels


def judged(found: float, *, expected: float = 0.7, times: int = 1, structure: int = 1) -> list[Judgement]:
    return [Judgement(axial(i), structure, expected, found) for i in range(times)]


@pytest.fixture
def begun(session: Session, square: Square, propose: Propose) -> Session:
    """The liver painted on axial slice 0, and proposed with an expected Dice of 0.7 on all others."""
    session.paint(axial(0), square(1, 3), value=1)
    propose(session, liver(), dice=dict.fromkeys(range(1, 5), 0.7))
    return session


def found(session: Session) -> list[float]:
    return [j.found for j in session.calibration().judgements]


def test_before_any_decision_expectations_are_read_as_they_are(begun: Session) -> None:
    assert begun.calibration().sentence == ""
    assert begun.expected_slice_dice() == {axial(i): 0.7 for i in range(1, 5)}


def test_a_slice_accepted_unchanged_raises_the_others(begun: Session) -> None:
    begun.accept_slice(axial(1))
    assert found(begun) == [1.0]
    assert 0.7 < begun.expected_slice_dice()[axial(2)] < 0.9
    assert begun.calibration().sentence == "Expected Dice 0.70, you found 1.00 on 1 slice."


def test_a_corrected_slice_counts_by_how_much_of_the_proposal_stayed(begun: Session, square: Square) -> None:
    begun.paint(axial(1), square(3, 5), value=1)
    # 4 voxels were proposed and kept, 4 were added: 2 * 4 / (4 + 8).
    assert found(begun) == [pytest.approx(2 / 3)]
    assert begun.expected_slice_dice()[axial(2)] < 0.7


def test_a_further_stroke_on_the_slice_changes_the_judgement(begun: Session, square: Square) -> None:
    begun.accept_slice(axial(1))
    begun.paint(axial(1), square(1, 3), value=0)
    assert found(begun) == [0.0]


def test_a_slice_repainted_whole_is_judged_by_what_was_proposed_on_it(begun: Session) -> None:
    half = liver()[1].copy()
    half[1] = 0
    begun.paint_slice(axial(1), half)
    assert found(begun) == [pytest.approx(2 * 2 / (4 + 2))]


def test_a_proposal_on_a_slice_marked_as_empty_was_wholly_wrong(begun: Session) -> None:
    begun.mark_complete(axial(1))
    assert found(begun) == [0.0]


def test_a_rejected_slice_is_judged_once_it_is_painted(begun: Session, square: Square) -> None:
    begun.reject_slice(axial(1))
    assert found(begun) == []
    begun.paint(axial(1), square(1, 3), value=1)
    assert found(begun) == [1.0]


def test_undo_takes_the_influence_away_and_redo_brings_it_back(begun: Session) -> None:
    begun.accept_slice(axial(1))
    after = dict(begun.expected_slice_dice())
    begun.undo()
    assert found(begun) == []
    assert begun.expected_slice_dice()[axial(2)] == 0.7
    begun.redo()
    assert begun.expected_slice_dice() == after


def test_a_removed_example_is_no_judgement(begun: Session) -> None:
    begun.accept_slice(axial(1))
    begun.remove_example(axial(1))
    assert found(begun) == []


def test_slices_accepted_together_say_nothing_until_one_is_corrected(begun: Session, square: Square) -> None:
    begun.accept_confident(0.5)
    assert found(begun) == []
    begun.paint(axial(2), square(3, 5), value=1)
    assert found(begun) == [pytest.approx(2 / 3)]


def test_a_slice_without_an_expectation_is_not_judged(session: Session, square: Square, propose: Propose) -> None:
    session.paint(axial(0), square(1, 3), value=1)
    propose(session, liver())
    session.accept_slice(axial(1))
    assert found(session) == []


def test_a_removed_structure_takes_its_judgements_along(begun: Session) -> None:
    begun.accept_slice(axial(1))
    begun.remove_structure(1)
    assert found(begun) == []


def test_what_is_accepted_together_goes_by_the_calibrated_expectation(begun: Session) -> None:
    assert not begun.accept_confident(0.75)
    begun.accept_slice(axial(1))
    begun.accept_slice(axial(2))
    assert begun.accept_confident(0.75)
    assert begun.slice_state(axial(3)) is SliceState.ACCEPTED


def test_slices_to_review_go_by_the_calibrated_expectation(session: Session, square: Square, propose: Propose) -> None:
    session.paint(axial(0), square(1, 3), value=1)
    propose(session, liver(), dice=dict.fromkeys(range(1, 5), 0.81))
    assert session.slice_state(axial(4)) is SliceState.PROPOSED
    session.paint(axial(1), square(3, 5), value=1)
    assert session.slice_state(axial(4)) is SliceState.TO_REVIEW
    assert session.axis_overview(0)[4] is SliceState.TO_REVIEW


def test_a_reopened_session_expects_and_learns_the_same(
    tmp_path: Path, geometry: Geometry, square: Square, propose: Propose
) -> None:
    one = Session.create(geometry, fingerprint="a scan", path=tmp_path / "case.medmeta")
    one.add_structure("liver")
    one.paint(axial(0), square(1, 3), value=1)
    propose(one, liver(), dice=dict.fromkeys(range(1, 5), 0.7))
    one.accept_slice(axial(1))
    before = one.calibration()
    one.close()
    again = Session.open(tmp_path / "case.medmeta")
    assert again.calibration() == before
    assert again.score().calibration == before
    again.paint(axial(1), square(3, 5), value=1)
    assert found(again) == [pytest.approx(2 / 3)]
    again.undo()
    assert again.calibration() == before
    again.close()


def test_the_library_and_the_engine_are_judged_apart(session: Session, square: Square) -> None:
    box = Box.whole(SHAPE)
    dice = {axial(i): 0.4 for i in range(1, 5)}
    sure = np.full(SHAPE, 0.9, dtype=np.float32)
    labels = liver()

    def proposal(source: str) -> Proposal:
        trust = {1: {source: 1.0}}
        return Proposal(session.generation, box, labels, sure, box, {1: 0.4}, dice, trust)

    session.set_proposal(proposal("library"))
    session.accept_slice(axial(1))
    assert [j.recalled for j in session.calibration().judgements] == [True]
    session.set_proposal(proposal("library"))
    assert session.expected_dice()[1] > 0.4
    session.set_proposal(proposal("shape"))
    assert session.expected_dice()[1] == pytest.approx(0.4)
    assert session.expected_slice_dice()[axial(2)] == pytest.approx(0.4)


def test_where_both_propose_a_slice_goes_by_the_engine(session: Session) -> None:
    box = Box.whole(SHAPE)
    labels = liver(range(1, 3))
    labels[2:5, 4, 4] = 2
    trust = {1: {"shape": 1.0}, 2: {"library": 1.0}}
    dice = {axial(i): 0.4 for i in range(1, 5)}
    session.set_proposal(Proposal(session.generation, box, labels, np.ones(SHAPE, np.float32), box, {}, dice, trust))
    session.accept_slice(axial(2))
    assert [(j.structure, j.recalled) for j in session.calibration().judgements] == [(1, False)]
    session.undo()
    session.set_proposal(Proposal(session.generation, box, labels, np.ones(SHAPE, np.float32), box, {}, dice, trust))
    session.accept_slice(axial(3))
    assert [(j.structure, j.recalled) for j in session.calibration().judgements] == [(2, True)]


def test_the_score_tells_expected_and_found(begun: Session) -> None:
    begun.accept_slice(axial(1))
    assert begun.score().sentence.endswith("Expected Dice 0.70, you found 1.00 on 1 slice.")
    assert "An expected Dice of 0.80 is now read as 0.8" in begun.score().details


def test_a_few_slices_move_less_than_many() -> None:
    shifts = [calibrated(judged(0.95, times=n)).of_slice(0.7) for n in (0, 1, 5, 50)]
    assert shifts[0] == 0.7
    assert shifts == sorted(shifts)
    assert shifts[3] == pytest.approx(0.95, abs=0.05)


def test_structures_of_one_slice_count_once_together() -> None:
    both = calibrated([*judged(0.9), *judged(0.9, structure=2)])
    assert both.of_slice(0.7) == pytest.approx(calibrated(judged(0.9)).of_slice(0.7))


def test_a_structure_goes_its_own_way_from_that_of_all() -> None:
    calibration = calibrated([*judged(0.95, times=6), *judged(0.5, times=6, structure=2)])
    good, bad, new = (calibration.of_structure(0.7, s) for s in (1, 2, 3))
    assert bad < new < good
    assert new == calibration.of_slice(0.7)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=20),
    st.lists(st.floats(0, 1), min_size=2, max_size=5),
)
def test_the_order_of_expectations_stays_and_none_leaves_its_range(
    pairs: list[tuple[float, float]], expected: list[float]
) -> None:
    calibration = calibrated(Judgement(axial(i), 1, e, d) for i, (e, d) in enumerate(pairs))
    read = [calibration.of_slice(e) for e in sorted(expected)]
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(read))
    assert all(0 <= value <= 1 for value in read)


@pytest.mark.parametrize(
    ("start", "shape", "expected", "value"),
    [((5, 0), (2, 2), 0.5, 1), ((0, 0), (2, 2), 1.5, 1), ((0, 0), (2, 2), 0.5, 0), ((0, 0), (2, 2), 0.5, 255)],
)
def test_an_offer_that_cannot_be_is_refused_on_reading(
    start: tuple[int, int], shape: tuple[int, int], expected: float, value: int
) -> None:
    offer = Offer(start, shape, pack(np.full(shape, value, dtype=np.uint8)), expected)
    record = SliceRecord(complete=True, offers=(offer,))
    payload = encode_step(Step("paint", "", records=(RecordChange(axial(0), None, record),)))
    with pytest.raises(StorageError):
        decode_step(payload, SHAPE, verb="paint", text="")


def test_an_offer_is_read_as_it_was_written() -> None:
    offer = Offer((1, 2), (2, 2), pack(np.full((2, 2), 3, dtype=np.uint8)), 0.5, recalled=True, looked_at=False)
    change = RecordChange(axial(0), None, SliceRecord(complete=True, offers=(offer,)))
    assert decode_step(encode_step(Step("paint", "", records=(change,))), SHAPE, verb="", text="").records == (change,)
