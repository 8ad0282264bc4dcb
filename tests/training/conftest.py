from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from napari_medmeta.core import Cancelled, CancelToken
from napari_medmeta.training.anatomies import AnatomyConfig, Dice
from napari_medmeta.training.sources import Synthetic


@pytest.fixture
def small() -> AnatomyConfig:
    return AnatomyConfig(in_plane=(40, 48), slices=(8, 14), depth_mm=(40.0, 80.0), pixel_mm=(1.2, 2.0), objects=(3, 5))


@pytest.fixture
def source(small: AnatomyConfig) -> Synthetic:
    return Synthetic(small)


@pytest.fixture
def dice() -> Dice:
    return Dice(torch.Generator().manual_seed(3))


class _StopAfter(CancelToken):
    def __init__(self, checks: int) -> None:
        super().__init__()
        self._left = checks

    def raise_if_cancelled(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Cancelled


@pytest.fixture
def stop_after() -> Callable[[int], CancelToken]:
    """Return tokens that cancel once they were asked so often."""
    return _StopAfter
