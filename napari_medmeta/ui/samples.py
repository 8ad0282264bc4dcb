"""Sample data for napari's menu: synthetic, with known truth, nobody's patient."""

from __future__ import annotations

from typing import Any

from napari_medmeta.core.phantoms import Phantom, brain_mr, torso_ct
from napari_medmeta.ui.scan import label_arguments, layer_arguments

__all__ = ["brain_sample", "torso_sample"]

LayerData = tuple[Any, dict[str, Any], str]


def torso_sample() -> list[LayerData]:
    """Return a CT-like torso with its true structures, hidden, as a labels layer."""
    return _layers(torso_ct())


def brain_sample() -> list[LayerData]:
    """Return an MR-like brain with its true structures, hidden, as a labels layer."""
    return _layers(brain_mr())


def _layers(phantom: Phantom) -> list[LayerData]:
    array, arguments = layer_arguments(phantom.volume)
    labels, placed = label_arguments(phantom.labels, phantom.volume.geometry, name=f"{phantom.volume.name} truth")
    return [(array, arguments, "image"), (labels, {**placed, "visible": False}, "labels")]
