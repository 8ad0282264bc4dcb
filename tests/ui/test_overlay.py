from __future__ import annotations

import numpy as np

from napari_medmeta.core import Box, SliceRef
from napari_medmeta.ui import overlay
from napari_medmeta.ui.overlay import Chores, LazyArray

SHAPE = (6, 4, 5)


def ones(box: Box) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.ones(box.shape, dtype=np.uint8)


def test_only_the_slice_on_screen_is_computed_at_once() -> None:
    lazy = LazyArray(SHAPE, ones)
    lazy.mark(Box.whole(SHAPE))
    assert lazy.refresh_slice(SliceRef(0, 2))
    assert lazy.array[2].all()
    assert not lazy.array[3].any()


def test_steps_compute_the_rest(monkeypatch: object) -> None:
    lazy = LazyArray(SHAPE, ones)
    lazy.mark(Box.whole(SHAPE))
    while lazy.step():
        pass
    assert lazy.array.all()


def test_nothing_outside_of_the_box_is_touched() -> None:
    lazy = LazyArray(SHAPE, ones)
    lazy.mark(Box((1, 1, 1), (3, 2, 3)))
    while lazy.step():
        pass
    assert lazy.array.sum() == 4


def test_a_large_box_is_done_in_slabs() -> None:
    boxes: list[Box] = []

    def note(box: Box) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        boxes.append(box)
        return ones(box)

    shape = (4, 1000, 600)
    lazy = LazyArray(shape, note)
    lazy.mark(Box.whole(shape))
    while lazy.step():
        pass
    assert len(boxes) > 1
    assert max(box.size for box in boxes) <= overlay.SLAB_VOXELS
    assert lazy.array.all()


def test_a_slice_that_is_up_to_date_is_left_alone() -> None:
    lazy = LazyArray(SHAPE, ones)
    assert not lazy.refresh_slice(SliceRef(1, 2))


def test_chores_go_on_until_each_is_done() -> None:
    left = {"a": 2, "b": 1}
    started: list[bool] = []
    chores = Chores(lambda: started.append(True))

    def chore(name: str) -> bool:
        left[name] -= 1
        return left[name] > 0

    chores.add(lambda: chore("a"))
    chores.add(lambda: chore("b"))
    while chores.step():
        pass
    assert left == {"a": 0, "b": 0}
    assert started
