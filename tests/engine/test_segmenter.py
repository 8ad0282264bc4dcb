from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import psutil
import pytest

from napari_medmeta.core import (
    Box,
    Cancelled,
    CancelToken,
    Geometry,
    InputError,
    MissingExamplesError,
    SliceExample,
    SliceRef,
    Support,
    Volume,
    VolumeTooLargeError,
    label_slice,
)
from napari_medmeta.core.phantoms import Phantom
from napari_medmeta.engine import EngineConfig, Segmenter
from napari_medmeta.engine.learners import ShapePriorLearner
from napari_medmeta.engine.region import RegionConfig

Paint = Callable[..., Support]


def dice(found: np.ndarray, truth: np.ndarray, structure: int, left: list[int]) -> float:
    a, b = found[left] == structure, truth[left] == structure
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def unpainted(phantom: Phantom, *painted: int) -> list[int]:
    return [z for z in range(phantom.labels.shape[0]) if z not in painted]


def test_three_painted_slices_give_the_rest_of_the_volume(ready: Segmenter, paint: Paint, phantom: Phantom) -> None:
    found = ready.segment(paint(7, 12, 17)).volume(phantom.labels.shape)
    rest = unpainted(phantom, 7, 12, 17)
    assert min(dice(found, phantom.labels, s, rest) for s in (1, 2)) > 0.85


def test_all_sources_together_are_not_worse_than_the_shape_alone(paint: Paint, phantom: Phantom) -> None:
    alone = Segmenter(device="cpu", config=EngineConfig(learners=(ShapePriorLearner(),)))
    together = Segmenter(device="cpu")
    rest = unpainted(phantom, 9, 15)
    means = []
    for segmenter in (alone, together):
        segmenter.set_volume(phantom.volume)
        found = segmenter.segment(paint(9, 15)).volume(phantom.labels.shape)
        means.append(np.mean([dice(found, phantom.labels, s, rest) for s in (1, 2)]))
    assert means[1] > means[0] - 0.01


def test_painted_slices_come_back_exactly_as_painted(ready: Segmenter, paint: Paint, phantom: Phantom) -> None:
    proposal = ready.segment(paint(8, 14))
    found = proposal.volume(phantom.labels.shape)
    inside = proposal.box.slices
    for z in (8, 14):
        assert np.array_equal(found[z][inside[1:]], phantom.labels[z][inside[1:]])


def test_the_slice_on_screen_comes_first_and_covers_only_itself(ready: Segmenter, paint: Paint) -> None:
    focus = SliceRef(0, 10)
    first, *_, last = ready.propose(paint(8, 14, generation=5), focus=focus)
    assert first.covered.shape[0] == 1
    assert first.covered.start[0] == 10
    assert last.covered.shape == ready.segment(paint(8, 14)).covered.shape
    assert first.generation == last.generation == 5


def test_the_answer_comes_from_the_slice_on_screen_outward(ready: Segmenter, paint: Paint) -> None:
    focus = SliceRef(0, 9)
    _, *parts, last = ready.propose(paint(8, 14), focus=focus)
    ranges = [(part.covered.start[0], part.covered.stop[0]) for part in parts]
    assert ranges[0] == (8, 14)
    assert sorted(ranges) == [(last.box.start[0], 8), (8, 14), (14, last.box.stop[0])]
    distances = [max(start - focus.index, focus.index - stop + 1, 0) for start, stop in ranges]
    assert distances == sorted(distances)


def test_the_parts_together_are_the_whole_answer(ready: Segmenter, paint: Paint) -> None:
    _, *parts, last = ready.propose(paint(7, 12, 17), focus=SliceRef(0, 20))
    assert len(parts) > 2
    for part in parts:
        assert np.array_equal(part.labels, last.labels_in(part.box))
        assert np.array_equal(part.confidence, last.confidence_in(part.box))


def test_where_one_looks_does_not_change_the_answer(ready: Segmenter, paint: Paint) -> None:
    *_, seen = ready.propose(paint(8, 14), focus=SliceRef(0, 20))
    unseen = ready.segment(paint(8, 14))
    assert np.array_equal(seen.labels, unseen.labels)
    assert seen.expected_dice == unseen.expected_dice


def test_pooled_along_the_normal_the_painted_slices_and_the_parts_stay_exact(phantom: Phantom, paint: Paint) -> None:
    coarse = RegionConfig(max_step=3, max_voxels=800, max_voxels_large=4_000)
    # With isotropic voxels, which are pooled along all axes.
    volume = Volume(phantom.volume.array, Geometry.from_parts(phantom.labels.shape))
    segmenter = Segmenter(device="cpu", config=EngineConfig(region=coarse))
    segmenter.set_volume(volume)
    _, *parts, last = segmenter.propose(paint(8, 13, 16), focus=SliceRef(0, 10))
    found = last.volume(phantom.labels.shape)
    for z in (8, 13, 16):
        assert np.array_equal(found[z][last.box.slices[1:]], phantom.labels[z][last.box.slices[1:]])
    assert min(dice(found, phantom.labels, s, unpainted(phantom, 8, 13, 16)) for s in (1, 2)) > 0.75
    for part in parts:
        assert np.array_equal(part.labels, last.labels_in(part.box))


def test_without_a_slice_on_screen_there_is_one_answer(ready: Segmenter, paint: Paint) -> None:
    assert len(list(ready.propose(paint(8, 14)))) == 1


def test_removing_an_example_gives_what_would_have_been_without_it(
    phantom: Phantom, ready: Segmenter, paint: Paint
) -> None:
    segmenter = Segmenter(device="cpu")
    segmenter.set_volume(phantom.volume)
    for example in paint(8, 12, 16).examples:
        segmenter.add_support(example)
    segmenter.segment()
    segmenter.remove_support(SliceRef(0, 12))
    after, never = segmenter.segment(), ready.segment(paint(8, 16))
    assert np.array_equal(after.labels, never.labels)
    assert np.array_equal(after.confidence, never.confidence)


def test_slices_painted_on_any_axis_work(ready: Segmenter, paint: Paint, phantom: Phantom) -> None:
    for axis in (1, 2):
        middle = phantom.labels.shape[axis] // 2
        found = ready.segment(paint(middle - 5, middle, middle + 5, axis=axis)).volume(phantom.labels.shape)
        both = (found > 0) & (phantom.labels > 0)
        assert 2 * both.sum() / ((found > 0).sum() + (phantom.labels > 0).sum()) > 0.75


def test_slices_of_two_axes_work_together(ready: Segmenter, paint: Paint, phantom: Phantom) -> None:
    axial, coronal = paint(9, 15), paint(24, axis=1)
    mixed = replace(axial, examples=(*axial.examples, *coronal.examples))
    found = ready.segment(mixed).volume(phantom.labels.shape)
    cut = (slice(None), 24)
    assert np.mean(found[cut] == phantom.labels[cut]) > 0.97


def test_a_few_clicks_propose_the_clicked_slice(ready: Segmenter, phantom: Phantom) -> None:
    middle = 12
    truth = phantom.labels[middle]
    labels, known = np.zeros(truth.shape, np.uint8), np.zeros(truth.shape, bool)
    for s in (1, 2):
        row, column = np.argwhere(truth == s).mean(0).astype(int)
        labels[row, column], known[row, column] = s, True
    known[2, 2] = known[-3, -3] = True
    support = Support(phantom.labels.shape, (SliceExample(SliceRef(0, middle), labels, known),), (1, 2))
    found = label_slice(ready.segment(support).volume(phantom.labels.shape), SliceRef(0, middle))
    both = 2 * ((found > 0) & (truth > 0)).sum() / ((found > 0).sum() + (truth > 0).sum())
    assert both > 0.6


def test_a_structure_added_later_is_not_taken_as_absent_from_older_slices(ready: Segmenter, phantom: Phantom) -> None:
    shape = phantom.labels.shape
    known = np.ones(shape[1:], bool)
    only_first = np.where(phantom.labels[10] == 1, 1, 0).astype(np.uint8)
    older = SliceExample(SliceRef(0, 10), only_first, known, complete_for=frozenset({1}))
    newer = SliceExample(SliceRef(0, 14), phantom.labels[14].astype(np.uint8), known)
    support = Support(shape, (older, newer), (1, 2))
    strict = replace(support, examples=(replace(older, complete_for=None), newer))
    near = [11, 12, 13]
    open_minded = ready.segment(support).volume(shape)
    misled = ready.segment(strict).volume(shape)
    assert (open_minded[near] == 2).sum() > (misled[near] == 2).sum()


def test_a_structure_added_later_is_proposed_on_older_slices_too(ready: Segmenter, phantom: Phantom) -> None:
    known = np.ones(phantom.labels.shape[1:], dtype=bool)
    only_first = np.where(phantom.labels[12] == 1, np.uint8(1), np.uint8(0))
    only_second = np.where(phantom.labels[14] == 2, np.uint8(2), np.uint8(0))
    older = SliceExample(SliceRef(0, 12), only_first, known, complete_for=frozenset({1}))
    newer = SliceExample(SliceRef(0, 14), only_second, known, complete_for=frozenset({1, 2}))
    (depth, rows, columns) = phantom.labels.shape
    proposal = ready.segment(Support((depth, rows, columns), (older, newer), (1, 2)))
    found = proposal.volume(phantom.labels.shape)
    assert dice(found, phantom.labels, 2, [12]) > 0.8
    # What was looked for stays as it was painted, and only that is known for certain.
    np.testing.assert_array_equal(found[12] == 1, phantom.labels[12] == 1)
    np.testing.assert_array_equal(found[14], only_second)
    sure = proposal.confidence_in(Box.of_slice(SliceRef(0, 12), phantom.labels.shape))[0]
    assert sure[found[12] == 1].min() == 1.0
    assert sure[found[12] == 2].max() < 1.0


def test_nothing_painted_is_said_in_words(ready: Segmenter, phantom: Phantom) -> None:
    with pytest.raises(MissingExamplesError, match="Paint a structure on one slice"):
        ready.segment(Support(phantom.labels.shape, (), (1,)))


def test_examples_of_another_volume_are_refused(ready: Segmenter) -> None:
    with pytest.raises(InputError, match="another|belong"):
        ready.segment(Support((3, 4, 5), (), (1,)))


def test_a_cancelled_request_stops(ready: Segmenter, paint: Paint) -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        ready.segment(paint(8, 14), cancel=token)


def test_progress_only_grows_and_ends_at_one(ready: Segmenter, paint: Paint) -> None:
    seen: list[float] = []
    ready.segment(paint(8, 12, 16), progress=lambda fraction, _stage: seen.append(fraction))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_a_scan_that_does_not_fit_is_refused_before_memory_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    free = psutil.virtual_memory()._replace(available=1_000_000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    tiny = Volume(np.zeros((4, 4, 4), np.int16), Geometry.from_parts((4, 4, 4)))
    with pytest.raises(VolumeTooLargeError, match="GB of memory"):
        Segmenter(device="cpu").set_volume(tiny)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="not available"):
        Segmenter(device="abacus")


def test_a_whole_slice_of_one_structure_without_background_does_not_break(ready: Segmenter, phantom: Phantom) -> None:
    shape = phantom.labels.shape
    full = SliceExample(SliceRef(0, 12), np.ones(shape[1:], np.uint8), np.ones(shape[1:], bool))
    assert ready.segment(Support(shape, (full,), (1,))).volume(shape)[12].all()


def test_trust_and_expected_dice_are_told_for_every_structure(ready: Segmenter, paint: Paint) -> None:
    proposal = ready.segment(paint(7, 12, 17))
    assert set(proposal.trust) == set(proposal.expected_dice) == {1, 2}
    assert all(sum(shares.values()) == pytest.approx(1.0) for shares in proposal.trust.values())
    assert all(0.3 < d <= 1.0 for d in proposal.expected_dice.values())
