"""One key hides what lies on the scan, and shows it again."""

from __future__ import annotations

from collections.abc import Iterable

from napari.layers import Layer

__all__ = ["Hiding"]


class Hiding:
    """Remember what was hidden: what somebody hid by hand before stays hidden afterwards."""

    def __init__(self) -> None:
        self._hidden: list[Layer] = []

    def toggle(self, layers: Iterable[Layer]) -> bool:
        """Hide ``layers``, or show again what was hidden last; return whether they are shown now."""
        hidden, self._hidden = self._hidden, []
        if hidden:
            for layer in hidden:
                layer.visible = True
            return True
        self._hidden = [layer for layer in layers if layer.visible]
        for layer in self._hidden:
            layer.visible = False
        return False
