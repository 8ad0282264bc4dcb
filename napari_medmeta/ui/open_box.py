"""The way in while no scan is open: two buttons, with our own reader behind them.

By File > Open or by dropping, napari may ask which reader to take, and its own one knows neither patient directions nor
millimetres.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from napari.components import ViewerModel
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QWidget

from napari_medmeta.core import UnsupportedImageError
from napari_medmeta.ui.boxes import button
from napari_medmeta.ui.dialogs import ask_scan_file, ask_scan_folder
from napari_medmeta.ui.preferences import PLUGIN
from napari_medmeta.ui.reader import get_reader

__all__ = ["OpenBox", "open_scan"]


class OpenBox(QWidget):
    """Asks for a file or for a DICOM folder."""

    wanted = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        file_tip = "A NIfTI, NRRD or MHA file, or one slice of a DICOM series"
        layout.addWidget(button("Open a file …", file_tip, lambda: self._ask(ask_scan_file)))
        folder_tip = "A folder with one DICOM series or several"
        layout.addWidget(button("Open a DICOM folder …", folder_tip, lambda: self._ask(ask_scan_folder)))

    def _ask(self, ask: Callable[[QWidget], Path | None]) -> None:
        path = ask(self)
        if path is not None:
            self.wanted.emit(path)


def open_scan(viewer: ViewerModel, path: Path) -> None:
    """Open ``path`` with our reader, which says itself what is wrong with a scan.

    Raises
    ------
    UnsupportedImageError
        When it is nothing that the reader knows.
    """
    if get_reader(str(path)) is None:
        raise UnsupportedImageError(
            f"“{path.name}” is no scan",
            expected="a NIfTI, NRRD or MHA file, or DICOM",
            next_step="Choose another file, or the folder that holds the DICOM series",
        )
    viewer.open(str(path), plugin=PLUGIN)
