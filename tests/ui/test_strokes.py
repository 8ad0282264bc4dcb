from __future__ import annotations

from typing import NamedTuple

import numpy as np
from napari.layers import Labels

from napari_medmeta.core import Box, SliceRef
from napari_medmeta.ui.strokes import Edit, edits_of, plane_mask, strokes_on, touched_slices

SHAPE = (3, 5, 6)


class Atom(NamedTuple):
    slice_key: tuple[slice, ...]
    mask: object
    old_values: object
    new_value: int


def heard(layer: Labels) -> list[object]:
    events: list[object] = []
    layer.events.paint.connect(lambda event: events.append(event.value))
    return events


def test_the_installed_naparis_brush_is_understood() -> None:
    layer = Labels(np.zeros(SHAPE, dtype=np.uint8))
    events = heard(layer)
    layer.brush_size = 1
    layer.paint((1, 2, 3), 7)
    (edit,) = edits_of(events[0], SHAPE)
    assert edit.value == 7
    assert edit.box == Box((1, 2, 3), (2, 3, 4))
    assert edit.mask.all()


def test_the_installed_naparis_fill_is_understood() -> None:
    layer = Labels(np.zeros(SHAPE, dtype=np.uint8))
    events = heard(layer)
    layer.fill((1, 2, 3), 4)
    edits = edits_of(events[0], SHAPE)
    assert touched_slices(edits, 0) == (SliceRef(0, 1),)
    assert plane_mask(edits[0], SliceRef(0, 1), SHAPE).all()


def test_the_installed_naparis_polygon_is_understood() -> None:
    layer = Labels(np.zeros(SHAPE, dtype=np.uint8))
    events = heard(layer)
    layer.paint_polygon([(1, 1, 1), (1, 1, 4), (1, 3, 4), (1, 3, 1)], 2)
    edits = edits_of(events[0], SHAPE)
    painted = plane_mask(edits[0], SliceRef(0, 1), SHAPE)
    assert np.array_equal(painted, np.asarray(layer.data[1] == 2))


def test_an_atom_without_a_mask_paints_its_whole_box() -> None:
    atom = Atom((slice(1, 2), slice(0, 2), slice(3, 6)), None, None, 5)
    (edit,) = edits_of([atom], SHAPE)
    assert edit.mask.shape == (1, 2, 3)
    assert edit.mask.all()


def test_index_tuples_of_older_naparis_are_understood() -> None:
    indices = (np.array([1, 1]), np.array([2, 4]), np.array([3, 3]))
    (edit,) = edits_of([(indices, np.array([0, 0]), 6)], SHAPE)
    assert edit.value == 6
    expected = np.zeros((5, 6), dtype=bool)
    expected[[2, 4], 3] = True
    assert np.array_equal(plane_mask(edit, SliceRef(0, 1), SHAPE), expected)


def test_several_values_in_one_tuple_become_several_edits() -> None:
    indices = (np.array([0, 0]), np.array([0, 1]), np.array([0, 0]))
    edits = edits_of([(indices, np.array([0, 0]), np.array([1, 2]))], SHAPE)
    assert [e.value for e in edits] == [1, 2]


def test_what_is_no_edit_is_left_out() -> None:
    assert edits_of("hello", SHAPE) == ()
    assert edits_of([None, 3], SHAPE) == ()


def test_a_slice_that_was_not_touched_has_an_empty_mask() -> None:
    edit = Edit(Box((1, 0, 0), (2, 1, 1)), np.ones((1, 1, 1), dtype=bool), 1)
    assert not plane_mask(edit, SliceRef(0, 0), SHAPE).any()
    assert plane_mask(edit, SliceRef(1, 0), SHAPE)[1, 0]


def box_edit(column: int, value: int) -> Edit:
    return Edit(Box((1, 0, column), (2, 1, column + 1)), np.ones((1, 1, 1), dtype=bool), value)


def test_the_dabs_of_a_stroke_are_one() -> None:
    ((value, mask),) = strokes_on([box_edit(0, 3), box_edit(1, 3), box_edit(3, 3)], SliceRef(0, 1), SHAPE)
    assert value == 3
    assert mask[0].tolist() == [True, True, False, True, False, False]


def test_another_value_begins_another_stroke() -> None:
    strokes = strokes_on([box_edit(0, 3), box_edit(0, 4), box_edit(1, 3)], SliceRef(0, 1), SHAPE)
    assert [value for value, _ in strokes] == [3, 4, 3]
    assert strokes_on([box_edit(0, 3)], SliceRef(0, 2), SHAPE) == []
