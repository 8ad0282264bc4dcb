from __future__ import annotations

import pytest
from npe2 import PluginManager, PluginManifest

from napari_medmeta.cli import demo

pytestmark = pytest.mark.gui


class Commands:
    """Stands in for the plugin manager and notes what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[object, ...]]] = []
        self.commands = self

    def execute(self, command: str, *, args: tuple[object, ...]) -> None:
        self.asked.append((command, args))


@pytest.fixture
def window(monkeypatch) -> Commands:
    import napari

    commands = Commands()
    monkeypatch.setattr(napari, "Viewer", lambda: "a viewer")
    monkeypatch.setattr(napari, "run", lambda: None)
    monkeypatch.setattr(PluginManager, "instance", lambda: commands)
    monkeypatch.setattr(demo, "has_display", lambda: True)
    return commands


def test_where_there_is_a_display_the_same_scan_opens_in_napari(window, monkeypatch):
    monkeypatch.setattr(demo, "qt_starts", lambda: True)
    assert demo.show_in_napari() == 0
    assert window.asked == [(demo.OPEN_DEMO, ("a viewer",))]


def test_the_command_that_opens_it_is_in_the_manifest():
    manifest = PluginManifest.from_distribution("napari-medmeta")
    assert demo.OPEN_DEMO in [command.id for command in manifest.contributions.commands or ()]


def test_where_qt_does_not_start_the_packages_are_named_and_nothing_fails(window, monkeypatch, capsys):
    monkeypatch.setattr(demo, "qt_starts", lambda: False)
    assert demo.show_in_napari() == 0
    assert window.asked == []
    assert "apt-get install" in capsys.readouterr().err


def test_qt_is_tried_in_a_process_of_its_own(monkeypatch):
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    assert demo.qt_starts()
    monkeypatch.setenv("QT_QPA_PLATFORM", "no-such-platform")
    assert not demo.qt_starts()
