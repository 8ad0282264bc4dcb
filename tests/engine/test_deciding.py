from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_medmeta.core import support_from_labels
from napari_medmeta.engine.deciding import LEAN_AFTER_ONE, chosen, highest, leaning
from napari_medmeta.engine.drawing import draw
from napari_medmeta.engine.expectation import expected_dice, slice_dice
from napari_medmeta.engine.fusion import Trust
from napari_medmeta.engine.region import RegionConfig, find_region

MASK = np.zeros((20, 20), dtype=bool)
MASK[5:15, 5:15] = True


def test_the_more_examples_the_less_a_structure_is_preferred(make_task) -> None:  # type: ignore[no-untyped-def]
    one, three = make_task({4: MASK}, depth=9), make_task({1: MASK, 4: MASK, 7: MASK}, depth=9)
    assert leaning(one).tolist() == [LEAN_AFTER_ONE]
    assert leaning(three).tolist() == pytest.approx([LEAN_AFTER_ONE / 3])


def test_a_slice_on_which_a_structure_was_not_asked_for_is_no_example_of_it(make_task) -> None:  # type: ignore[no-untyped-def]
    task = make_task({1: MASK, 4: MASK}, depth=9)
    first, second = task.painted
    task = replace(task, structures=2, painted=(first, replace(second, asked=frozenset({1, 2}))))
    assert leaning(task).tolist() == pytest.approx([LEAN_AFTER_ONE / 2, LEAN_AFTER_ONE])


def test_without_a_complete_slice_nothing_is_preferred(make_task) -> None:  # type: ignore[no-untyped-def]
    assert leaning(replace(make_task({4: MASK}, depth=9), painted=())).tolist() == [0.0]


def test_preferring_is_a_matter_of_log_odds() -> None:
    lean = torch.tensor([LEAN_AFTER_ONE, 0.0])
    between = 1 / (1 + np.exp(LEAN_AFTER_ONE))
    rows = torch.tensor([[1 - p, p, 0.0] for p in (between - 0.01, between + 0.01)]).T
    assert chosen(rows, lean).tolist() == [0, 1]
    # Nothing is preferred to nothing, and of two structures the preferred one wins a close race.
    assert chosen(torch.tensor([0.2, 0.35, 0.45]), torch.zeros(2)) == 2
    assert chosen(torch.tensor([0.2, 0.35, 0.45]), lean) == 1


def test_of_equal_rows_the_first_is_the_highest() -> None:
    rows = torch.tensor([[0.5, 0.2, 0.1], [0.5, 0.8, 0.6], [0.0, 0.8, 0.6]])
    assert highest(rows).tolist() == [0, 1, 1]


def test_labels_are_drawn_as_they_are_chosen_and_their_probability_is_told(make_task) -> None:  # type: ignore[no-untyped-def]
    labels = np.full((9, 20, 20), 255, np.uint8)
    labels[4] = MASK
    support = support_from_labels(labels, axis=0)
    region = find_region(support, (1.0, 1.0, 1.0), RegionConfig())
    posterior = torch.log(torch.tensor([0.6, 0.4])).reshape(2, 1, 1, 1).expand(2, *region.full_shape)
    for lean, label, sure in ((0.0, 0, 0.6), (LEAN_AFTER_ONE, 1, 0.4)):
        drawn, confidence = draw(
            region, (1,), posterior, torch.tensor([lean]), first=0, slices=range(region.full_shape[0])
        )
        assert np.unique(drawn).tolist() == [label]
        assert confidence == pytest.approx(np.full(drawn.shape, sure), abs=1e-6)


def test_what_is_expected_is_what_is_chosen(make_task) -> None:  # type: ignore[no-untyped-def]
    # One voxel in three is the structure's, everywhere: nothing is proposed evenly, all of it after one example.
    task = make_task({0: MASK}, depth=2)
    posterior = torch.log(torch.tensor([0.65, 0.35])).reshape(2, 1, 1, 1).expand(2, 2, 20, 20)
    trust = Trust(("a",), torch.ones(1, 1), torch.tensor([torch.nan]))
    many = replace(task, painted=task.painted * 20)
    assert expected_dice(posterior, trust, task, [0, 1])[0] == pytest.approx(0.95 * 2 * 0.35 / 1.35, abs=1e-3)
    assert expected_dice(posterior, trust, many, [0, 1])[0] == pytest.approx(0.0, abs=1e-6)
    assert slice_dice(posterior, trust, many, [0, 1]) == [None, None]
    assert None not in slice_dice(posterior, trust, task, [0, 1])
