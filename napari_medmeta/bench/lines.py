"""Finished work as one JSON line each, so that a killed benchmark goes on where it stopped."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

__all__ = ["LineStore"]

K = TypeVar("K")
V = TypeVar("V")


class LineStore(ABC, Generic[K, V]):
    """An append-only file of values, each known by its key; the last line of a key counts.

    A line that a kill cut off is skipped when reading, and the next value starts on a fresh line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._values: dict[K, V] = {}
        for value in self._read():
            self._values[self.key_of(value)] = value

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[V]:
        return iter(self.wanted(self._values))

    @staticmethod
    @abstractmethod
    def key_of(value: V) -> K:
        """Return the key of a value; keys can be ordered."""

    @staticmethod
    @abstractmethod
    def to_json(value: V) -> dict[str, Any]:
        """Return what is written as one line."""

    @staticmethod
    @abstractmethod
    def from_json(fields: dict[str, Any]) -> V:
        """Return the value of one line; KeyError, TypeError or ValueError where the line is damaged."""

    def add(self, value: V) -> None:
        """Write a finished value; it is in the file when this returns."""
        line = json.dumps(self.to_json(value), ensure_ascii=False)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(("" if _ends_with_newline(self.path) else "\n") + line + "\n")
        # As it reads back, rounded: a resumed benchmark must not differ from one that never stopped.
        self._values[self.key_of(value)] = self.from_json(json.loads(line))

    def wanted(self, keys: Iterable[K]) -> tuple[V, ...]:
        """Return the finished values with these keys, in the order of their keys."""
        return tuple(self._values[key] for key in sorted(set(keys)) if key in self._values)  # type: ignore[type-var]

    def _read(self) -> Iterator[V]:
        if not self.path.exists():
            return
        # A kill can cut a character of several bytes in two. What else Unicode takes for a line's end may stand in one.
        for line in self.path.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                yield self.from_json(json.loads(line))
            except (KeyError, TypeError, ValueError, AttributeError):
                continue


def _ends_with_newline(path: Path) -> bool:
    if not path.exists() or path.stat().st_size == 0:
        return True
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"
