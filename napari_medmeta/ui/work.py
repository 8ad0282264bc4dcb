"""What the engine is doing, as the panel shows it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Work"]


@dataclass(frozen=True, slots=True)
class Work:
    """What the engine is doing: ``fraction`` in [0, 1], None when it is at rest."""

    stage: str = ""
    fraction: float | None = None
    device: str = ""
    memory_bytes: int = 0
    proposing: bool = False

    @property
    def busy(self) -> bool:
        """Whether the engine works."""
        return self.fraction is not None
