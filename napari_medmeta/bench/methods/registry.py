"""Names of methods on the command line, and how each is built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from napari_medmeta.bench.methods.base import Method
from napari_medmeta.core import InputError

__all__ = ["DEFAULT_METHODS", "available_methods", "build_methods"]


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


def _vote(context: _Context) -> Method:
    from napari_medmeta.bench.methods.vote import Vote

    return Vote((_dome(context), _walker(context), _forest_position(context)))


def _engine(context: _Context) -> Method:
    from napari_medmeta.bench.methods.ours import Engine

    return Engine(device=context.device, seed=context.seed)


_BUILDERS: MappingProxyType[str, Callable[[_Context], Method]] = MappingProxyType(
    {
        "interpolation": _interpolation,
        "interpolation-dome": _dome,
        "random-walker": _walker,
        "forest": _forest,
        "forest-position": _forest_position,
        "vote": _vote,
        "medmeta": _engine,
    }
)

DEFAULT_METHODS = tuple(_BUILDERS)
"""What runs when no method is named."""


def available_methods() -> tuple[str, ...]:
    """Return the names of all methods."""
    return tuple(_BUILDERS)


def build_methods(names: Sequence[str], *, device: str = "cpu", seed: int = 0) -> tuple[Method, ...]:
    """Return the named methods in the order given.

    Raises
    ------
    InputError
        When a name is unknown.
    """
    unknown = [n for n in names if n not in _BUILDERS]
    if unknown:
        raise InputError(f"There is no method {unknown[0]!r}", expected="one of " + ", ".join(_BUILDERS))
    context = _Context(device, seed)
    return tuple(_BUILDERS[n](context) for n in names)
