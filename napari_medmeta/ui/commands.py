"""What napari's menus and command palette call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import napari
from napari.utils.notifications import show_info

from napari_medmeta.ui.applications import ApplicationsWidget
from napari_medmeta.ui.panel import MedmetaPanel
from napari_medmeta.ui.surfaces import show_surfaces

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "DISPLAY_NAME",
    "ApplicationsDock",
    "dock_panel",
    "panel_of",
    "save_segmentation",
    "show_in_3d",
    "show_keys",
    "use_label_layer",
]

DISPLAY_NAME = "Few-shot segmentation"


class ApplicationsDock(ApplicationsWidget):
    """The further uses of the examples, from napari's menu: the panel is docked as well if it was not."""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__(dock_panel(napari_viewer))


def dock_panel(viewer: napari.viewer.Viewer) -> MedmetaPanel:
    """Return the panel of ``viewer``, docked now if it was not."""
    viewer = getattr(viewer, "__wrapped__", viewer)
    found = panel_of(viewer)
    if found is None:
        found = MedmetaPanel(viewer)
        viewer.window.add_dock_widget(found, name=DISPLAY_NAME, area="right")
    return found


def panel_of(viewer: napari.viewer.Viewer) -> MedmetaPanel | None:
    """Return the panel docked in ``viewer``, None when there is none."""
    for widget in viewer.window.dock_widgets.values():
        if isinstance(widget, MedmetaPanel):
            return widget
    return None


def save_segmentation(viewer: napari.viewer.Viewer) -> None:
    """Save the segmentation of the open scan on its own grid."""
    _in_panel(viewer, lambda panel: panel.save())


def use_label_layer(viewer: napari.viewer.Viewer) -> None:
    """Take the labelled slices of a labels layer as examples."""
    _in_panel(viewer, lambda panel: panel.use_labels())


def show_in_3d(viewer: napari.viewer.Viewer) -> None:
    """Show the structures as surfaces."""
    model = getattr(viewer, "__wrapped__", viewer)

    def show(panel: MedmetaPanel) -> None:
        if panel.case is not None:
            show_surfaces(model, panel.case)

    _in_panel(viewer, show)


def show_keys(viewer: napari.viewer.Viewer) -> None:
    """List all keys of the panel."""
    _in_panel(viewer, lambda panel: panel.show_help())


def _in_panel(viewer: napari.viewer.Viewer, call: Callable[[MedmetaPanel], None]) -> None:
    panel = dock_panel(viewer)
    if panel.case is None:
        show_info("Open a scan first: drop a NIfTI, NRRD or MHA file or a DICOM folder onto the window.")
    else:
        call(panel)
