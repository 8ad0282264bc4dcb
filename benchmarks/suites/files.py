"""Opening and saving, by format."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from napari_medmeta.io import read_volume, write_image, write_labels

from .scene import OnScene, Scene


class Files(OnScene):
    """A scan of 100 slices of 256 x 256 voxels."""

    params = (".nii.gz", ".nii", ".nrrd", ".mha")
    param_names = ("format",)

    def setup(self, scene: Scene, suffix: str) -> None:
        self.folder = TemporaryDirectory()
        self.path = Path(self.folder.name) / f"scan{suffix}"
        write_image(self.path, scene.volume.array, scene.volume.geometry)

    def teardown(self, scene: Scene, suffix: str) -> None:
        self.folder.cleanup()

    def time_open(self, scene: Scene, suffix: str) -> None:
        read_volume(self.path)

    def peakmem_open(self, scene: Scene, suffix: str) -> None:
        read_volume(self.path)

    def time_save_labels(self, scene: Scene, suffix: str) -> None:
        write_labels(self.path.with_name(f"labels{suffix}"), scene.truth, scene.volume.geometry)
