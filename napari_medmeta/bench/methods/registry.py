"""Names of methods on the command line, and how each is built.

Besides the names listed here there are the engine's variants: ``medmeta-NAME`` is the engine with its source
NAME alone, ``medmeta-without-NAME`` the engine without it, ``medmeta-fixed-trust`` the engine without its
left-out check; ``learner-NAME`` is a meta-trained family of learners alone, ``medmeta-with-NAME`` the engine's sources
with it as one more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType

from napari_medmeta.bench.methods.base import Method
from napari_medmeta.core import InputError

__all__ = [
    "ablation_methods",
    "available_methods",
    "build_methods",
    "is_slow",
    "joined_methods",
    "learner_methods",
    "missing_methods",
    "source_methods",
    "weighted_methods",
    "why_unavailable",
]


ENGINE = "medmeta"
VARIANT_PREFIX = f"{ENGINE}-"
LEARNER = "learner-"
NO_WEIGHTS: Mapping[str, Path] = MappingProxyType({})


@dataclass(frozen=True)
class _Context:
    device: str
    seed: int
    weights: Mapping[str, Path] = field(default_factory=dict)


def _interpolation(context: _Context) -> Method:
    from napari_medmeta.bench.methods.interpolation import SignedDistance

    return SignedDistance()


def _dome(context: _Context) -> Method:
    from napari_medmeta.bench.methods.interpolation import SignedDistance

    return SignedDistance(dome=True)


def _walker(context: _Context) -> Method:
    from napari_medmeta.bench.methods.walker import RandomWalker

    return RandomWalker()


def _forest(context: _Context) -> Method:
    from napari_medmeta.bench.methods.forest import Forest

    return Forest(position=False, seed=context.seed)


def _forest_position(context: _Context) -> Method:
    from napari_medmeta.bench.methods.forest import Forest

    return Forest(seed=context.seed)


def _growcut(context: _Context) -> Method:
    from napari_medmeta.bench.methods.itk_peers import GrowCut

    return GrowCut()


def _contours(context: _Context) -> Method:
    from napari_medmeta.bench.methods.itk_peers import ContourInterpolation

    return ContourInterpolation(dome=False)


def _contours_dome(context: _Context) -> Method:
    from napari_medmeta.bench.methods.itk_peers import ContourInterpolation

    return ContourInterpolation()


def _unet(context: _Context) -> Method:
    from napari_medmeta.bench.methods.unet import UNet

    return UNet(device=context.device, seed=context.seed)


def _labelprop(context: _Context) -> Method:
    from napari_medmeta.bench.methods.labelprop import LabelPropagation

    return LabelPropagation(context.weights["labelprop"], device=context.device)


def _nninteractive(context: _Context) -> Method:
    from napari_medmeta.bench.methods.nninteractive import NnInteractive

    return NnInteractive(context.weights["nninteractive"])


def _vote(context: _Context) -> Method:
    from napari_medmeta.bench.methods.vote import Vote

    return Vote((_dome(context), _walker(context), _forest_position(context)))


def _vote_all(context: _Context) -> Method:
    from napari_medmeta.bench.methods.vote import Vote

    return Vote((_walker(context), _forest_position(context), _growcut(context), _dome(context)), name="vote-growcut")


def _engine(context: _Context) -> Method:
    from napari_medmeta.bench.methods.ours import Engine

    return Engine(device=context.device, seed=context.seed, weights=context.weights.get(ENGINE))


@dataclass(frozen=True)
class _Entry:
    build: Callable[[_Context], Method]
    needs: str = ""
    """A distribution without which it can't run."""
    extra: str = "peers"
    """The extra of ours that brings it."""
    slow: bool = False
    """Whether one answer takes about ten seconds or more on two processor cores."""
    with_weights: bool = False
    """Whether it needs weights that are not ours to ship."""
    with_gpu: bool = False


_METHODS: Mapping[str, _Entry] = MappingProxyType(
    {
        "interpolation": _Entry(_interpolation),
        "interpolation-dome": _Entry(_dome),
        "random-walker": _Entry(_walker),
        "forest": _Entry(_forest),
        "forest-position": _Entry(_forest_position),
        "vote": _Entry(_vote),
        "contours": _Entry(_contours, needs="itk-morphologicalcontourinterpolation"),
        "contours-dome": _Entry(_contours_dome, needs="itk-morphologicalcontourinterpolation"),
        "growcut": _Entry(_growcut, needs="itk-growcut"),
        "vote-growcut": _Entry(_vote_all, needs="itk-growcut"),
        ENGINE: _Entry(_engine),
        "unet": _Entry(_unet, slow=True),
        "labelprop": _Entry(_labelprop, needs="deep-labelprop", extra="labelprop", slow=True, with_weights=True),
        "nninteractive": _Entry(
            _nninteractive, needs="nnInteractive", extra="nninteractive", slow=True, with_weights=True, with_gpu=True
        ),
    }
)


def available_methods(*, weights: Mapping[str, Path] = NO_WEIGHTS) -> tuple[str, ...]:
    """Return the names of all methods that can run here, without the engine's variants.

    Parameters
    ----------
    weights
        Files or folders of public weights by method, for the methods that need them.
    """
    return tuple(name for name in _METHODS if not why_unavailable(name, weights=weights))


def why_unavailable(name: str, *, weights: Mapping[str, Path] = NO_WEIGHTS) -> str:
    """Return why a listed method can't run here, as a sentence; empty when it can."""
    entry = _METHODS[name]
    if entry.needs and not _is_installed(entry.needs):
        return f"{entry.needs} is not installed (pip install 'napari-medmeta[{entry.extra}]')"
    if entry.with_weights and name not in weights:
        return f"it needs weights that are not ours to ship (--weights {name}=PATH)"
    if entry.with_weights and not weights[name].exists():
        return f"its weights are not at {weights[name].name}"
    if entry.with_gpu and not _has_gpu():
        return "it needs an NVIDIA GPU"
    return ""


def _is_installed(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def missing_methods(*, weights: Mapping[str, Path] = NO_WEIGHTS) -> dict[str, str]:
    """Return the methods that can't run here, each with the reason."""
    return {name: why for name in _METHODS if (why := why_unavailable(name, weights=weights))}


def weighted_methods() -> tuple[str, ...]:
    """Return the names of the methods for which weights may be given."""
    return (*(name for name, entry in _METHODS.items() if entry.with_weights), ENGINE)


def is_slow(name: str) -> bool:
    """Tell whether a method is run on a subset of the cases only, by default.

    These are peers that need ten seconds or more for an answer, and the engine's variants: there are many of them.
    """
    if name in _METHODS:
        return _METHODS[name].slow
    return name.startswith((VARIANT_PREFIX, LEARNER))


def source_methods() -> tuple[str, ...]:
    """Return the names of the engine's sources of evidence, each alone: ``medmeta-NAME``."""
    from napari_medmeta.bench.methods.ours import source_names

    return tuple(VARIANT_PREFIX + name for name in source_names())


def ablation_methods() -> tuple[str, ...]:
    """Return the names of the engine with one part left out: each source, and the left-out check."""
    from napari_medmeta.bench.methods.ours import ablation_names

    return tuple(VARIANT_PREFIX + name for name in ablation_names())


def learner_methods() -> tuple[str, ...]:
    """Return the names of the meta-trained families of learners, each alone: ``learner-NAME``."""
    from napari_medmeta.bench.methods.ours import learner_names

    return learner_names()


def joined_methods() -> tuple[str, ...]:
    """Return the names of the engine's sources with each of these families as one more: ``medmeta-with-NAME``."""
    from napari_medmeta.bench.methods.ours import joined_names

    return tuple(VARIANT_PREFIX + name for name in joined_names())


def build_methods(
    names: Sequence[str], *, device: str = "cpu", seed: int = 0, weights: Mapping[str, Path] = NO_WEIGHTS
) -> tuple[Method, ...]:
    """Return the named methods in the order given.

    Parameters
    ----------
    weights
        Files or folders of public weights by method, for the methods that need them; of ``medmeta`` a folder of own
        weights, which counts for its variants too.

    Raises
    ------
    InputError
        When a name is unknown, or its method needs a package or weights that are not there.
    """
    context = _Context(device, seed, weights)
    return tuple(_build(name, context) for name in names)


def _build(name: str, context: _Context) -> Method:
    if name.startswith((VARIANT_PREFIX, LEARNER)):
        from napari_medmeta.bench.methods.ours import Engine

        variant, own = name.removeprefix(VARIANT_PREFIX), context.weights.get(ENGINE)
        return Engine(device=context.device, seed=context.seed, variant=variant, weights=own)
    if name not in _METHODS:
        raise InputError(f"There is no method {name!r}", expected="one of " + ", ".join(_METHODS))
    why = why_unavailable(name, weights=context.weights)
    if why:
        raise InputError(f"The method {name} cannot run: {why}")
    return _METHODS[name].build(context)
