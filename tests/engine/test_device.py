"""Half precision is for graphics cards, and the engine can do with it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from napari_medmeta.core import InputError, Support
from napari_medmeta.core.phantoms import Phantom
from napari_medmeta.engine import Segmenter, embedding, network
from napari_medmeta.engine.device import mixed_precision, pick_device

Paint = Callable[..., Support]


def _product() -> torch.dtype:
    return torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype


@pytest.mark.parametrize(("card", "expected"), [(True, "cuda"), (False, "cpu")])
def test_an_nvidia_card_is_taken_where_there_is_one_and_apples_never(
    monkeypatch: pytest.MonkeyPatch, card: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: card)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device().type == expected
    with pytest.raises(InputError, match="'mps' is not available"):
        pick_device("mps")


def test_a_processor_computes_in_full_precision() -> None:
    with mixed_precision(torch.device("cpu")):
        assert _product() == torch.float32


def test_in_half_precision_the_answer_is_nearly_the_same(
    monkeypatch: pytest.MonkeyPatch, paint: Paint, phantom: Phantom
) -> None:
    def answer() -> tuple[np.ndarray, np.ndarray]:
        segmenter = Segmenter(device="cpu")
        segmenter.set_volume(phantom.volume)
        proposal = segmenter.segment(paint(7, 12, 17))
        return proposal.volume(phantom.labels.shape), proposal.confidence

    full, _ = answer()
    taken: list[torch.dtype] = []

    def half(device: torch.device) -> torch.autocast:
        context = torch.autocast(device.type, torch.bfloat16)
        with context:
            taken.append(_product())
        return context

    monkeypatch.setattr(network, "mixed_precision", half)
    monkeypatch.setattr(embedding, "mixed_precision", half)
    found, confidence = answer()
    assert set(taken) == {torch.bfloat16}
    assert confidence.dtype == np.float32
    assert ((found > 0) & (full > 0)).sum() * 2 / ((found > 0).sum() + (full > 0).sum()) > 0.99
