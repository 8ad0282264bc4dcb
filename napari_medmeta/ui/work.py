"""What the engine is doing, as the panel shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Work"]

IN_WORDS: Mapping[str, str] = {
    "features": "reading the scan",
    "checking whom to trust": "testing on your slices",
}
"""The engine's words where they say little to those who use it."""


@dataclass(frozen=True, slots=True)
class Work:
    """What the engine is doing: ``fraction`` in [0, 1], None when it is at rest."""

    stage: str = ""
    fraction: float | None = None
    device: str = ""
    memory_bytes: int = 0
    proposing: bool = False

    @property
    def in_words(self) -> str:
        """What is done, as a radiologist would say it."""
        words = IN_WORDS.get(self.stage, self.stage)
        return words[:1].upper() + words[1:]

    @property
    def busy(self) -> bool:
        """Whether the engine works."""
        return self.fraction is not None
