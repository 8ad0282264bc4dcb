"""The engine keeps its tensors together on a graphics card: tested without one.

`Card` is a tensor that says it lies on one while its numbers lie in the computer's memory, and `PretendedCard` refuses
what torch refuses there: steps on tensors of two places, numpy's view of a card's memory, a processor's draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from napari_medmeta.core import SliceExample, SliceRef, Support
from napari_medmeta.core.phantoms import Phantom
from napari_medmeta.engine import Segmenter, embedding, network, segmenter
from napari_medmeta.engine.choices import engine_config, learner_names
from napari_medmeta.engine.explain import explain
from napari_medmeta.engine.learners import head

Paint = Callable[..., Support]
CARD = torch.device("cuda", 0)
GET, SET = Tensor.__getitem__, Tensor.__setitem__


class Card(Tensor):
    """A tensor that says it lies on a graphics card."""

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Compute outside of `PretendedCard`, too, as if on the card."""
        return _computed(func, args, dict(kwargs or {}))


class PretendedCard(TorchFunctionMode):
    """While it is entered, whatever asks for a device "cuda" gets a `Card`."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Compute as if there were a card."""
        return _computed(func, args, dict(kwargs or {}))


def _tensors(*parts: Any) -> list[Tensor]:
    return [x for x in tree_leaves(parts) if isinstance(x, Tensor)]


def _on_card(device: Any) -> bool:
    return torch.device(device).type == CARD.type


def _placed(x: Tensor, *, card: bool) -> Tensor:
    return x if card == isinstance(x, Card) else x.clone().as_subclass(Card if card else Tensor)


def _computed(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    with torch._C.DisableTorchFunctionSubclass():
        own = SPECIAL.get(func)
        if func == Tensor.device.__get__:  # type: ignore[attr-defined]
            return CARD if isinstance(args[0], Card) else func(*args)
        if own is not None and _tensors(args):
            return own(func, args, kwargs)
        card = any(isinstance(x, Card) for x in _tensors(args, kwargs))
        device = kwargs.get("device")
        if device is not None:
            card = _on_card(device)
            kwargs["device"] = "cpu"
        if card and kwargs.get("generator") is not None:
            raise RuntimeError(f"{func}: expected a generator of the card")
        card = _require_together(func, args, kwargs) if device is None and card else card
        out = func(*args, **kwargs)
        if args and out is args[0]:
            return out
        return tree_map(lambda x: x.as_subclass(Card if card else Tensor) if isinstance(x, Tensor) else x, out)


def _require_together(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Refuse tensors of two places, but single numbers and a processor's indices; return whether the card answers."""
    if func is Tensor.copy_:
        return isinstance(args[0], Card)
    if func in (GET, SET):
        # Looking up by a processor's indices is allowed on a card, the other way round it is not.
        home = isinstance(args[0], Card)
        foreign = [x for x in _tensors(args[1]) if isinstance(x, Card)] if not home else []
        if func is SET and _tensors(args[1]):
            foreign += [x for x in _tensors(args[2]) if x.dim() and isinstance(x, Card) != home]
    else:
        home = True
        foreign = [x for x in _tensors(args, kwargs) if x.dim() and not isinstance(x, Card)]
    if foreign:
        raise RuntimeError(f"{func}: expected all tensors to be on the same device, found {len(foreign)} elsewhere")
    return home


def _to(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    x, card = args[0], isinstance(args[0], Card)
    kinds = [x.dtype]
    for wanted in (*args[1:], *kwargs.values()):
        if isinstance(wanted, Tensor):
            card = isinstance(wanted, Card)
            kinds.append(wanted.dtype)
        elif isinstance(wanted, torch.dtype):
            kinds.append(wanted)
        elif isinstance(wanted, str | torch.device):
            card = _on_card(wanted)
    same = x if kinds[-1] == x.dtype else func(x, kinds[-1]).as_subclass(type(x))
    return _placed(same, card=card)


def _refused(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    if isinstance(args[0], Card):
        raise TypeError("can't convert a card's tensor to numpy")
    return func(*args, **kwargs)


def _copied(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    x = args[0]
    if not isinstance(x, Card):
        return func(*args, **kwargs)
    copy: Any = x.detach().clone().as_subclass(Card).requires_grad_(x.requires_grad)
    copy._is_param = isinstance(x, torch.nn.Parameter)
    args[1][id(x)] = copy
    return copy


SPECIAL: dict[Any, Callable[[Any, Sequence[Any], dict[str, Any]], Any]] = {
    Tensor.to: _to,
    Tensor.cpu: lambda func, args, kwargs: _placed(args[0], card=False),
    Tensor.numpy: _refused,
    Tensor.__array__: _refused,
    Tensor.__deepcopy__: _copied,
    # Modules that move get new parameters instead of new contents.
    torch._has_compatible_shallow_copy_type: lambda f, args, k: isinstance(args[0], Card) == isinstance(args[1], Card),
}


def _one_by_one(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Stand in for vmap, which takes off what a tensor says of itself."""

    def mapped(weights: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        return torch.stack([function({k: v[n] for k, v in weights.items()}, x) for n, x in enumerate(inputs)])

    return mapped


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """A computer with a graphics card, or so it seems."""
    monkeypatch.setattr(segmenter, "pick_device", lambda _: CARD)
    monkeypatch.setattr(segmenter, "free_memory_bytes", lambda _: 4_000_000_000)
    for module in (embedding, network):
        monkeypatch.setattr(module, "mixed_precision", lambda _: nullcontext())
    monkeypatch.setattr(head, "vmap", _one_by_one)
    with PretendedCard():
        yield CARD


@pytest.fixture
def clicks(phantom: Phantom) -> Support:
    """A click into each blob and one beside them, on slice 12."""
    labels, known = np.zeros(phantom.labels.shape[1:], np.uint8), np.zeros(phantom.labels.shape[1:], bool)
    for structure in (1, 2):
        rows, columns = np.nonzero(phantom.labels[12] == structure)
        place = int(np.median(rows)), int(np.median(columns))
        labels[place], known[place] = structure, True
    known[0, 0] = True
    i, j, k = phantom.labels.shape
    return Support((i, j, k), (SliceExample(SliceRef(0, 12), labels, known, frozenset({1, 2})),), (1, 2))


def _dice(found: np.ndarray, truth: np.ndarray) -> float:
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))


def test_what_a_card_refuses_is_refused(card: torch.device) -> None:
    there, here = torch.arange(3, device=card), torch.arange(3)
    assert there.device == card
    assert (there + 1).device == card
    assert there[here].tolist() == [0, 1, 2]
    assert there.to("cpu").numpy().tolist() == [0, 1, 2]
    for wrong in (
        lambda: there + here,
        lambda: here[there],
        lambda: torch.cat([here, there]),
        lambda: there.numpy(),
        lambda: torch.rand(3, device=card, generator=torch.Generator()),
    ):
        with pytest.raises((RuntimeError, TypeError)):
            wrong()


@pytest.mark.parametrize("learner", learner_names())
def test_painted_slices_are_answered_on_a_card_as_on_a_processor(
    card: torch.device, ready: Segmenter, paint: Paint, phantom: Phantom, learner: str
) -> None:
    engine = Segmenter(config=engine_config(learner))
    engine.set_volume(phantom.volume)
    assert engine.device == card.type
    # Correct twice: what was learnt for the first answer is taken up for the second.
    for painted in ((8, 17), (8, 12, 17)):
        support = paint(*painted)
        *_, answer = engine.propose(support, focus=SliceRef(0, 10))
    found = answer.volume(phantom.labels.shape)
    assert all(_dice(found == s, phantom.labels == s) > 0.6 for s in (1, 2))
    if learner == learner_names()[0]:
        expected = ready.segment(support).volume(phantom.labels.shape)
        assert all(_dice(found == s, expected == s) > 0.99 for s in (1, 2))


def test_slices_of_another_axis_are_answered_on_a_card(card: torch.device, paint: Paint, phantom: Phantom) -> None:
    engine = Segmenter()
    engine.set_volume(phantom.volume)
    across, along = paint(20, axis=1).examples, paint(8, 17).examples
    answer = engine.segment(Support(paint(8).shape, (*along, *across), (1, 2)))
    found = answer.volume(phantom.labels.shape)
    assert all(_dice(found == s, phantom.labels == s) > 0.6 for s in (1, 2))


def test_clicks_are_answered_on_a_card(card: torch.device, clicks: Support, phantom: Phantom) -> None:
    engine = Segmenter()
    engine.set_volume(phantom.volume)
    found = engine.segment(clicks).volume(phantom.labels.shape)[12]
    assert all(_dice(found == s, phantom.labels[12] == s) > 0.5 for s in (1, 2))


@pytest.mark.parametrize("learner", [None, "reptile"])
def test_a_voxel_is_explained_on_a_card(
    card: torch.device, paint: Paint, phantom: Phantom, learner: str | None
) -> None:
    engine = Segmenter()
    engine.set_volume(phantom.volume)
    support = paint(8, 12, 17, generation=1)
    rows, columns = np.nonzero(phantom.labels[13] == 1)
    voxel = (13, int(np.median(rows)), int(np.median(columns)))
    # Settings of one's own bring their learnt sources from elsewhere.
    config = None if learner is None else engine_config(learner)
    found = explain(engine, support, voxel, proposal=engine.segment(support), config=config)
    assert found.label == 1
    assert found.sources
