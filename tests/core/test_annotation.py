from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from napari_medmeta.core import (
    AnnotationError,
    Geometry,
    MissingExamplesError,
    SliceExample,
    SliceRef,
    Structure,
    Support,
    guess_axis,
    label_slice,
    support_from_labels,
)

SHAPE = (4, 5, 6)


def example(ref: SliceRef, labels: np.ndarray, *, known: np.ndarray | None = None) -> SliceExample:
    return SliceExample(ref, labels, np.ones(labels.shape, dtype=bool) if known is None else known)


@pytest.mark.parametrize("number", [0, 255, -1])
def test_a_structure_has_a_number_from_1_to_254(number: int) -> None:
    with pytest.raises(AnnotationError, match="cannot be used"):
        Structure(number, "liver", "#ffffff")
    assert Structure(254, "liver", "#ffffff").locked is False


def test_an_example_needs_labels_and_a_mask_of_one_shape() -> None:
    with pytest.raises(AnnotationError, match="two 2D arrays of one shape"):
        SliceExample(SliceRef(0, 0), np.zeros((5, 6), np.uint8), np.ones((6, 5), bool))
    with pytest.raises(AnnotationError):
        SliceExample(SliceRef(0, 0), np.zeros((1, 5, 6), np.uint8), np.ones((1, 5, 6), bool))


def test_positive_and_negative_hold_only_what_is_known() -> None:
    labels = np.array([[0, 1, 2]], np.uint8)
    known = np.array([[True, True, False]])
    half = example(SliceRef(0, 0), labels, known=known)
    assert half.positive(1).tolist() == [[False, True, False]]
    assert half.positive(2).tolist() == [[False, False, False]]
    assert half.negative(1).tolist() == [[True, False, False]]
    assert half.negative(2).tolist() == [[True, True, False]]
    assert not half.is_complete
    assert half.occurring == {0, 1}
    assert example(SliceRef(0, 0), labels).occurring == {0, 1, 2}


def test_background_says_nothing_about_a_structure_that_was_not_looked_for() -> None:
    labels = np.array([[0, 1, 2]], np.uint8)
    first = SliceExample(SliceRef(0, 0), labels, np.ones((1, 3), bool), complete_for=frozenset({1}))
    assert first.negative(1).tolist() == [[True, False, True]]
    assert first.negative(3).tolist() == [[False, True, True]]


@given(hnp.arrays(np.uint8, (3, 4), elements=st.integers(0, 3)), hnp.arrays(bool, (3, 4)), st.sets(st.integers(1, 3)))
def test_no_voxel_is_both_positive_and_negative(labels: np.ndarray, known: np.ndarray, looked_for: set[int]) -> None:
    one = SliceExample(SliceRef(0, 0), labels, known, complete_for=frozenset(looked_for))
    for structure in (1, 2, 3):
        assert not (one.positive(structure) & one.negative(structure)).any()
        assert not ((one.positive(structure) | one.negative(structure)) & ~known).any()
        if structure in looked_for:
            assert np.array_equal(one.positive(structure) | one.negative(structure), known)


def test_a_support_refuses_slices_that_are_not_of_its_volume() -> None:
    good = np.zeros((5, 6), np.uint8)
    with pytest.raises(AnnotationError, match="an index below 4"):
        Support(SHAPE, (example(SliceRef(0, 4), good),))
    with pytest.raises(AnnotationError, match=r"the shape \(4, 6\)"):
        Support(SHAPE, (example(SliceRef(1, 0), good),))
    with pytest.raises(AnnotationError, match="given twice"):
        Support(SHAPE, (example(SliceRef(0, 0), good), example(SliceRef(0, 0), good)))


def test_a_support_without_a_slice_never_knew_it() -> None:
    labels = np.zeros((5, 6), np.uint8)
    labels[1, 1] = 1
    one, other = example(SliceRef(0, 1), labels), example(SliceRef(0, 2), labels * 2)
    support = Support(SHAPE, (one, other), (1, 2), 7)
    assert support.without(SliceRef(0, 2)).examples == (one,)
    assert support.without(SliceRef(0, 2)).generation == 7
    assert support.without(SliceRef(2, 2)).examples == (one, other)
    assert support.painted_structures() == (1, 2)
    assert support.without(SliceRef(0, 2)).painted_structures() == (1,)


def test_dense_labels_hold_what_the_examples_say() -> None:
    labels = np.full((5, 6), 2, np.uint8)
    known = np.zeros((5, 6), bool)
    known[0, :3] = True
    support = Support(SHAPE, (example(SliceRef(0, 1), labels, known=known), example(SliceRef(1, 4), np.ones((4, 6)))))
    dense, mask = support.labels_and_known()
    assert dense[1, 0].tolist() == [2, 2, 2, 0, 0, 0]
    assert (dense[:, 4] == 1).all()
    assert mask.sum() == 3 + 24
    assert not dense[~mask].any()
    assert [e.ref for e in support.complete] == [SliceRef(1, 4)]


@given(
    hnp.arrays(np.uint8, SHAPE, elements=st.sampled_from([0, 0, 0, 0, 0, 1, 2, 255])),
    st.integers(0, 2),
    st.sets(st.integers(0, 3)),
)
def test_support_from_labels_knows_exactly_the_labelled_and_named_slices(
    labels: np.ndarray, axis: int, slices: set[int]
) -> None:
    if not np.isin(labels, [1, 2]).any():
        return
    support = support_from_labels(labels, axis=axis, slices=slices)
    dense, known = support.labels_and_known()
    for index in range(SHAPE[axis]):
        ref = SliceRef(axis, index)
        part = label_slice(labels, ref)
        chosen = index in slices or np.isin(part, [1, 2]).any()
        assert np.array_equal(label_slice(known, ref), (part != 255) & chosen)
        assert np.array_equal(label_slice(dense, ref), np.where((part != 255) & chosen, part, 0))
    assert set(support.structures) == set(np.unique(labels).tolist()) - {0, 255}


def test_labels_without_a_structure_are_no_examples() -> None:
    with pytest.raises(MissingExamplesError, match="hold no structure"):
        support_from_labels(np.zeros(SHAPE, np.uint8), axis=0)
    with pytest.raises(MissingExamplesError):
        support_from_labels(np.full(SHAPE, 255), axis=0)


def test_a_slice_that_does_not_exist_and_a_value_too_high_are_refused() -> None:
    labels = np.ones(SHAPE, np.int32)
    with pytest.raises(AnnotationError, match="Slice 4 does not exist along axis 0"):
        support_from_labels(labels, axis=0, slices=[1, 4])
    with pytest.raises(AnnotationError, match="1 to 300"):
        support_from_labels(np.where(labels == 1, [1, 300, 1, 1, 1, 1], 0), axis=0)
    with pytest.raises(AnnotationError):
        support_from_labels(-labels, axis=0)


def test_another_value_can_mean_unlabelled() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[1] = 9
    labels[1, 2, 3] = 1
    support = support_from_labels(labels, axis=0, unlabelled=9)
    assert support.structures == (1,)
    assert support.examples[0].known.sum() == 1


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_axis_of_whole_painted_slices_is_found(axis: int) -> None:
    labels = np.zeros((12, 12, 12), np.uint8)
    for index in (2, 6, 10):
        label_slice(labels, SliceRef(axis, index))[2:10, 2:10] = 1
    assert guess_axis(labels, Geometry.from_parts((12, 12, 12))) == axis


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_one_painted_slice_tells_its_axis(axis: int) -> None:
    labels = np.zeros((12, 12, 12), np.uint8)
    label_slice(labels, SliceRef(axis, 5))[3:8, 3:8] = 1
    assert guess_axis(labels, Geometry.from_parts((12, 12, 12))) == axis


def test_of_equals_the_axis_of_larger_spacing_is_taken() -> None:
    labels = np.ones((4, 4, 4), np.uint8)
    assert guess_axis(labels, Geometry.from_parts((4, 4, 4), spacing_mm=(1, 3, 1))) == 1
    assert guess_axis(np.zeros((4, 4, 4)), Geometry.from_parts((4, 4, 4), spacing_mm=(1, 1, 3))) == 2
