"""What the user set in napari's preferences for this plugin; the manifest declares it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import napari.settings

from napari_medmeta.ui.keys import KEYS, settings_name

__all__ = ["PLUGIN", "Preferences", "load_preferences"]

PLUGIN = "napari-medmeta"


@dataclass(frozen=True, slots=True)
class Preferences:
    """The user's choices; every default is the manifest's."""

    keys: Mapping[str, str] = field(default_factory=dict)
    confidence: float = 0.9
    hint_below: float = 0.5
    contour: bool = True
    automatic: bool = True
    wheel: bool = True
    session_folder: str = ""
    weights_folder: str = ""
    device: str = "auto"


def load_preferences() -> Preferences:
    """Return the user's preferences; the defaults where napari keeps none for plugins (before 0.9)."""
    get_plugin_settings = getattr(napari.settings, "get_plugin_settings", None)
    if get_plugin_settings is None:
        return Preferences()
    try:
        settings: Any = get_plugin_settings(PLUGIN)
    except KeyError:
        # Run from a checkout that is not installed, or disabled in napari's plugin list.
        return Preferences()
    panel = settings.panel
    return Preferences(
        keys={settings_name(row.act): str(getattr(settings.keys, settings_name(row.act), row.key)) for row in KEYS},
        confidence=float(panel.confidence),
        hint_below=float(panel.hint_below),
        contour=bool(panel.contour),
        automatic=bool(panel.automatic),
        wheel=bool(panel.wheel),
        session_folder=str(panel.session_folder),
        weights_folder=str(panel.weights_folder),
        device=str(panel.device),
    )
