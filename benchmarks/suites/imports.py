"""Import time: what a user pays before anything happens."""

from __future__ import annotations

import subprocess
import sys

MODULES = ("napari_medmeta", "napari_medmeta.core", "napari_medmeta.session", "napari_medmeta.cli", "napari_medmeta.io")


class Imports:
    """A fresh interpreter for each."""

    params = MODULES
    param_names = ("module",)
    number, repeat, warmup_time = 1, 5, 0

    def time_import(self, module: str) -> None:
        subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
