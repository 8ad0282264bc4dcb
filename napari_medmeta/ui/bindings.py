"""Our keys on one viewer: bound while a scan is open, gone afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from napari.components import ViewerModel

from napari_medmeta.ui.keys import STRUCTURE_KEYS, Act

__all__ = ["KeyBindings"]


class KeyBindings:
    """Bind acts to the keys chosen for them.

    Parameters
    ----------
    viewer
        Where the keys are pressed.
    keys
        The key of every act.
    """

    def __init__(self, viewer: ViewerModel, keys: Mapping[Act, str]) -> None:
        self._viewer, self._keys = viewer, keys
        self._bound: list[str] = []

    def bind(self, acts: Mapping[Act, Callable[[], Any]], *, choose_number: Callable[[int], Any]) -> None:
        """Bind every act, and the number keys of the structures to ``choose_number``."""
        for key, call in self.of(acts, acts).items():
            self._bind(key, call)
        first = self._keys[Act.STRUCTURE]
        for number in range(1, STRUCTURE_KEYS + 1):
            self._bind(first[:-1] + str(number), _without_argument(partial(choose_number, number)))

    def of(self, acts: Mapping[Act, Callable[[], Any]], wanted: Iterable[Act]) -> dict[str, Callable[[Any], None]]:
        """Return the calls of the ``wanted`` acts by key, as napari calls them."""
        return {self._keys[act]: _without_argument(acts[act]) for act in wanted}

    def unbind(self) -> None:
        """Take all of our keys back."""
        for key in self._bound:
            self._viewer.bind_key(key, None)
        self._bound.clear()

    def _bind(self, key: str, call: Callable[[Any], None]) -> None:
        self._viewer.bind_key(key, call, overwrite=True)
        self._bound.append(key)


def _without_argument(call: Callable[[], Any]) -> Callable[[Any], None]:
    def pressed(_: Any) -> None:
        call()

    return pressed
