from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from napari_medmeta.core import Support, support_from_labels
from napari_medmeta.core.phantoms import Phantom, simple_blobs
from napari_medmeta.engine import Segmenter
from napari_medmeta.engine.learners.base import Scene, SceneConfig
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


MakeScene = Callable[..., tuple[Scene, torch.Tensor]]


@pytest.fixture(scope="session")
def make_scene() -> MakeScene:
    """Build a scene of leaning cylinders in noise, and the (D, H, W) truth.

    Each has a look of its own in the first half of its embedding; the second half says nothing.
    """

    def build(
        *painted: int, seed: int = 0, structures: int = 1, noise: float = 0.3, depth: int = 9, side: int = 24
    ) -> tuple[Scene, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        truth = torch.zeros(depth, side, side, dtype=torch.int64)
        rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        for s in range(1, structures + 1):
            for z in range(1, depth - 1):
                row, column = side / 2 + 0.4 * (z - depth / 2), side * s / (structures + 1)
                truth[z][((rows - row) ** 2 + (columns - column) ** 2) < (side / 3 / (structures + 1)) ** 2 * 2] = s
        looks = torch.randn(structures + 1, 16, generator=generator)
        embedding = looks[truth].permute(3, 0, 1, 2)
        embedding[8:] = 0.0
        strength = torch.tensor([noise] * 8 + [1.0] * 8)[:, None, None, None]
        embedding = embedding + strength * torch.randn(embedding.shape, generator=generator)
        classes = torch.full_like(truth, UNKNOWN)
        slices = []
        for z in painted:
            classes[z] = truth[z]
            slices.append(PaintedSlice(0, z, truth[z], frozenset(range(1, structures + 1))))
        bounded = ((True, True), (True, True), (True, True))
        task = Task(
            embedding, embedding[0], (2.0, 1.0, 1.0), classes, tuple(slices), structures, bounded, (0, 0), embedding
        )
        return Scene(task, SceneConfig()), truth

    return build
