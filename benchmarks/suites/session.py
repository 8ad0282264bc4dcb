"""Verbs of the session on a full-sized scan: each is on disk before it returns."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from napari_medmeta.core import SliceRef, label_slice
from napari_medmeta.session import Session

from .scene import AXIS, OnScene, Scene


class Verbs(OnScene):
    """One painted slice of 256 x 256 voxels, then undo."""

    repeat = 10

    def setup(self, scene: Scene) -> None:
        self.folder = TemporaryDirectory()
        path = Path(self.folder.name) / "scan.session"
        self.session = Session.create(scene.volume.geometry, fingerprint=scene.volume.fingerprint, path=path)
        for name in ("liver", "spleen", "left kidney"):
            self.session.add_structure(name)
        self.slices = [(e.ref, e.labels) for e in scene.support.examples]
        self.other = SliceRef(AXIS, scene.focus.index)
        self.other_labels = label_slice(scene.truth, self.other)
        for ref, labels in self.slices:
            self.session.paint_slice(ref, labels)

    def teardown(self, scene: Scene) -> None:
        self.session.close()
        self.folder.cleanup()

    def time_paint_slice(self, scene: Scene) -> None:
        self.session.paint_slice(self.other, self.other_labels)

    def time_undo(self, scene: Scene) -> None:
        self.session.undo()

    def time_support(self, scene: Scene) -> None:
        self.session.support()
