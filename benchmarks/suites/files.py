"""Opening and saving, by format."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from napari_medmeta.io import read_volume, write_image, write_labels

from .scene import make_scene


class Files:
    """A scan of 100 slices of 256 x 256 voxels."""

    params = (".nii.gz", ".nii", ".nrrd", ".mha")
    param_names = ("format",)
    timeout = 120

    def setup(self, suffix: str) -> None:
        self.scene = make_scene()
        self.folder = TemporaryDirectory()
        self.path = Path(self.folder.name) / f"scan{suffix}"
        write_image(self.path, self.scene.volume.array, self.scene.volume.geometry)

    def teardown(self, suffix: str) -> None:
        self.folder.cleanup()

    def time_open(self, suffix: str) -> None:
        read_volume(self.path)

    def peakmem_open(self, suffix: str) -> None:
        read_volume(self.path)

    def time_save_labels(self, suffix: str) -> None:
        write_labels(self.path.with_name(f"labels{suffix}"), self.scene.truth, self.scene.volume.geometry)
