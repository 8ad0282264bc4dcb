"""The only code that knows napari and Qt: panel, layers, keys, reader, writer and samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_medmeta.ui.demo import open_demo
    from napari_medmeta.ui.panel import MedmetaPanel

__all__ = ["MedmetaPanel", "open_demo"]


def __getattr__(name: str) -> Any:
    # Reading a file must not load the panel, and listing the plugin must load nothing.
    if name == "MedmetaPanel":
        from napari_medmeta.ui.panel import MedmetaPanel

        return MedmetaPanel
    if name == "open_demo":
        from napari_medmeta.ui.demo import open_demo

        return open_demo
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
