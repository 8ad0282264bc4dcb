"""Names of methods on the command line, and how each is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType

from napari_medmeta.bench.methods.base import Method
from napari_medmeta.core import InputError

__all__ = ["available_methods", "build_methods", "missing_methods"]


SOURCE_PREFIX = "medmeta-"
"""``medmeta-NAME`` is the engine with its source NAME alone."""


@dataclass(frozen=True)
class _Context:
    device: str
    seed: int


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

    return ContourInterpolation()


def _vote(context: _Context) -> Method:
    from napari_medmeta.bench.methods.vote import Vote

    return Vote((_dome(context), _walker(context), _forest_position(context)))


def _vote_all(context: _Context) -> Method:
    from napari_medmeta.bench.methods.vote import Vote

    return Vote((_walker(context), _forest_position(context), _growcut(context), _dome(context)), name="vote-growcut")


def _engine(context: _Context) -> Method:
    from napari_medmeta.bench.methods.ours import Engine

    return Engine(device=context.device, seed=context.seed)


@dataclass(frozen=True)
class _Entry:
    build: Callable[[_Context], Method]
    needs: str = ""
    """A distribution of the extra ``peers`` without which it can't run."""


_METHODS: Mapping[str, _Entry] = MappingProxyType(
    {
        "interpolation": _Entry(_interpolation),
        "interpolation-dome": _Entry(_dome),
        "random-walker": _Entry(_walker),
        "forest": _Entry(_forest),
        "forest-position": _Entry(_forest_position),
        "vote": _Entry(_vote),
        "contours-dome": _Entry(_contours, needs="itk-morphologicalcontourinterpolation"),
        "growcut": _Entry(_growcut, needs="itk-growcut"),
        "vote-growcut": _Entry(_vote_all, needs="itk-growcut"),
        "medmeta": _Entry(_engine),
    }
)


def available_methods() -> tuple[str, ...]:
    """Return the names of all methods that can run here."""
    return tuple(name for name in _METHODS if not why_unavailable(name))


def why_unavailable(name: str) -> str:
    """Return why a method can't run here, as a sentence; empty when it can."""
    needs = _METHODS[name].needs
    if not needs:
        return ""
    try:
        version(needs)
    except PackageNotFoundError:
        return f"{needs} is not installed (pip install 'napari-medmeta[peers]')"
    return ""


def missing_methods() -> dict[str, str]:
    """Return the methods that can't run here, each with the reason."""
    return {name: why for name in _METHODS if (why := why_unavailable(name))}


def build_methods(names: Sequence[str], *, device: str = "cpu", seed: int = 0) -> tuple[Method, ...]:
    """Return the named methods in the order given.

    Raises
    ------
    InputError
        When a name is unknown, or its method needs a package that is not installed.
    """
    context = _Context(device, seed)
    return tuple(_build(name, context) for name in names)


def _build(name: str, context: _Context) -> Method:
    if name.startswith(SOURCE_PREFIX):
        return _source(name.removeprefix(SOURCE_PREFIX), context)
    if name not in _METHODS:
        raise InputError(f"There is no method {name!r}", expected="one of " + ", ".join(_METHODS))
    if why_unavailable(name):
        raise InputError(f"The method {name} cannot run: {why_unavailable(name)}")
    return _METHODS[name].build(context)


def _source(source: str, context: _Context) -> Method:
    from napari_medmeta.bench.methods.ours import Engine, source_names

    if source not in source_names():
        raise InputError(f"The engine has no source {source!r}", expected="one of " + ", ".join(source_names()))
    return Engine(device=context.device, seed=context.seed, source=source)
