"""A viewer with the panel, a small scan and an engine that answers at once."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Under importmode=importlib a helper beside the tests is not importable by itself.
_SPEC = importlib.util.spec_from_file_location("ui_fakes", Path(__file__).parent / "fakes.py")
assert _SPEC is not None
assert _SPEC.loader is not None
fakes = importlib.util.module_from_spec(_SPEC)
sys.modules["ui_fakes"] = fakes
_SPEC.loader.exec_module(fakes)

from napari_medmeta.ui.panel import MedmetaPanel  # noqa: E402
from napari_medmeta.ui.preferences import Preferences  # noqa: E402
from napari_medmeta.ui.scan import layer_arguments  # noqa: E402


@pytest.fixture
def engine() -> Any:
    return fakes.NearestSliceEngine()


@pytest.fixture
def make_panel(qtbot: Any, tmp_path: Path, engine: Any) -> Iterator[Callable[..., MedmetaPanel]]:
    """Dock a panel; everything is let go of before the viewer's own leak check."""
    panels: list[MedmetaPanel] = []

    def make(viewer: Any, *, make_engine: Any = None, preferences: Preferences | None = None) -> MedmetaPanel:
        panel = MedmetaPanel(
            viewer,
            session_folder=tmp_path / "sessions",
            make_engine=make_engine or (lambda: engine),
            preferences=preferences or Preferences(),
        )
        viewer.window.add_dock_widget(panel, name="Few-shot segmentation", area="right")
        panels.append(panel)
        return panel

    yield make
    for panel in panels:
        panel.release()


@pytest.fixture
def viewer(make_napari_viewer: Any) -> Any:
    return make_napari_viewer()


@pytest.fixture
def panel_only(viewer: Any, make_panel: Callable[..., MedmetaPanel]) -> MedmetaPanel:
    """The panel with nothing open."""
    return make_panel(viewer)


@pytest.fixture
def panel(viewer: Any, make_panel: Callable[..., MedmetaPanel], qtbot: Any) -> MedmetaPanel:
    """The panel with one small scan open and one structure, Liver, in the table."""
    made = make_panel(viewer)
    data, arguments = layer_arguments(fakes.make_volume())
    viewer.add_image(data, **arguments)
    qtbot.waitUntil(lambda: made.case is not None, timeout=5000)
    made.case.controller.add_structure("Liver")
    return made
