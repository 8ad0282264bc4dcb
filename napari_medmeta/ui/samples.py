"""Sample data for napari's menu: synthetic, with known truth, nobody's patient."""

from __future__ import annotations

from typing import Any

from napari_medmeta.core.phantoms import Phantom, brain_mr, torso_ct
from napari_medmeta.ui.scan import layer_arguments

__all__ = ["brain_sample", "torso_sample"]

LayerData = tuple[Any, dict[str, Any], str]


def torso_sample() -> list[LayerData]:
    """Return a CT-like torso as one image layer."""
    return [_layer(torso_ct())]


def brain_sample() -> list[LayerData]:
    """Return an MR-like brain as one image layer."""
    return [_layer(brain_mr())]


def _layer(phantom: Phantom) -> LayerData:
    array, arguments = layer_arguments(phantom.volume)
    return array, arguments, "image"
