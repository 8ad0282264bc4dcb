from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from napari_medmeta.core import Support, support_from_labels
from napari_medmeta.core.phantoms import Phantom, simple_blobs
from napari_medmeta.engine import Segmenter
from napari_medmeta.engine.task import UNKNOWN, PaintedSlice, Task

MakeTask = Callable[..., Task]


@pytest.fixture(scope="session")
def phantom() -> Phantom:
    """Two touching ellipsoids with noise."""
    return simple_blobs()


@pytest.fixture(scope="session")
def ready(phantom: Phantom) -> Segmenter:
    """A segmenter that has seen the phantom; its answers depend on the examples alone."""
    segmenter = Segmenter(device="cpu")
    segmenter.set_volume(phantom.volume)
    return segmenter


@pytest.fixture(scope="session")
def paint(phantom: Phantom) -> Callable[..., Support]:
    """Paint slices of the phantom from its truth."""

    def painted(*slices: int, axis: int = 0, generation: int = 0) -> Support:
        labels = np.full(phantom.labels.shape, 255, np.uint8)
        cut = [slice(None)] * 3
        cut[axis] = list(slices)  # type: ignore[call-overload]
        labels[tuple(cut)] = phantom.labels[tuple(cut)]
        return support_from_labels(labels, axis=axis, slices=slices, generation=generation)

    return painted


@pytest.fixture
def make_task() -> MakeTask:
    """Build a task of one structure from {depth: (H, W) mask}."""

    def build(
        slices: dict[int, np.ndarray], *, depth: int, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    ) -> Task:
        h, w = next(iter(slices.values())).shape
        classes = torch.full((depth, h, w), UNKNOWN)
        painted = []
        for z, mask in slices.items():
            classes[z] = torch.from_numpy(mask.astype(np.int64))
            painted.append(PaintedSlice(0, z, classes[z].clone(), frozenset({1})))
        image = torch.zeros(depth, h, w)
        bounded = ((True, True), (True, True), (True, True))
        return Task(image[None], image, spacing, classes, tuple(painted), 1, bounded)

    return build
