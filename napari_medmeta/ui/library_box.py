"""The part of the panel about the next patient: keep, propose from the library, go on to the next case."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image
from qtpy.QtWidgets import QFileDialog, QGridLayout, QLabel, QPushButton, QWidget

from napari_medmeta.core import MedmetaError, SliceRef, Structure
from napari_medmeta.session import Session
from napari_medmeta.session.library import Library
from napari_medmeta.ui.case import Case
from napari_medmeta.ui.library import Learning, LibraryDesk, Recalling, default_library
from napari_medmeta.ui.library_dialog import LibraryDialog
from napari_medmeta.ui.reader import get_reader
from napari_medmeta.ui.worklist import CaseState, Worklist

__all__ = ["LibrarySection"]


class OpensScans(Protocol):
    """The panel, as far as this part needs it."""

    case: Case | None

    def open_layer(self, layer: Image, *, session: Session | None = None) -> bool:
        """Work on the scan in a layer."""
        ...


class LibrarySection(QWidget):
    """Buttons for the example library and for the worklist.

    Parameters
    ----------
    viewer, panel
        Where scans are shown and worked on.
    tell
        Shows one sentence to the user.
    library
        None: the user's own.
    worklists
        The folder where worklists' states are kept; None: the user's own.
    learning, recalling
        See `LibraryDesk`.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        panel: OpensScans,
        *,
        tell: Callable[[str], None],
        next_key: str = "",
        library: Library | None = None,
        worklists: Path | None = None,
        learning: Learning | None = None,
        recalling: Recalling | None = None,
    ) -> None:
        super().__init__()
        self._viewer, self._panel, self._tell = viewer, panel, tell
        self.library = library or default_library()
        self.worklists, self.learning, self.recalling = worklists, learning, recalling
        self.desk: LibraryDesk | None = None
        self.worklist: Worklist | None = None
        self._scan: Path | None = None
        self._passed: Path | None = None
        self._state = QLabel("No folder of cases is open.")
        self._state.setWordWrap(True)
        self._state.setAccessibleName("Worklist")
        self._build(next_key)

    def follow_case(self) -> None:
        """Turn to the scan that is open now, if any."""
        if self.desk is not None:
            self.desk.close()
            self.desk = None
        case = self._panel.case
        for widget in (self._keep, self._propose):
            widget.setEnabled(case is not None)
        if case is not None:
            volume = case.controller.scan.volume(np.asarray(case.image.data))
            self.desk = LibraryDesk(
                case.controller, volume, self.library, learning=self.learning, recalling=self.recalling
            )
        self._show_state()

    def keep(self) -> None:
        """Keep the structures of the open scan for the next patient."""
        self._with_desk(lambda desk: desk.keep())

    def propose(self) -> None:
        """Propose structures on the open scan from the library."""
        self._with_desk(lambda desk: desk.propose())

    def manage(self) -> None:
        """Show what the library keeps."""
        LibraryDialog(self.library, self).exec()

    def open_folder(self, folder: Path) -> bool:
        """Walk the scans of ``folder``, beginning with the first that is not finished."""
        try:
            self.worklist = Worklist(folder, kept_in=self.worklists)
        except MedmetaError as error:
            self._tell(error.message)
            return False
        source = self._panel.case.controller.scan.source if self._panel.case is not None else None
        here = source.resolve() if source is not None else None
        self._scan = here if here in self.worklist.scans else None
        if self._scan is not None:
            self._mark(self._scan, CaseState.IN_PROGRESS)
            return True
        return self.next_case()

    def next_case(self) -> bool:
        """Go on to the next scan of the folder that is not finished, with the same structures."""
        if self.worklist is None:
            return self._choose_folder()
        scan = self.worklist.next_after(self._passed or self._scan)
        if scan is None:
            others = len(self.worklist.scans) > 1
            self._tell("All other cases of the folder are finished." if others else "There is no other case.")
            return False
        return self._go_on(scan)

    def saved(self, source: Path | None = None) -> None:
        """Note that a segmentation was saved, of the scan at ``source`` or of the open one: the case is finished."""
        scan = source.resolve() if source is not None else self._scan
        if scan is not None and self.worklist is not None and scan in self.worklist.scans:
            self._mark(scan, CaseState.FINISHED)

    def _build(self, next_key: str) -> None:
        self._keep = _button(
            "Keep for the next patient", "Learn the structures as they are shown; no image is kept", self.keep
        )
        self._propose = _button(
            "Propose from the library",
            "Propose what was kept of earlier patients, before the first stroke",
            self.propose,
        )
        manage = _button("Library …", "List, rename, export, import and remove what is kept", self.manage)
        key = f" ({next_key})" if next_key else ""
        going = _button(
            f"Next case{key}", "Go on to the next scan of the folder, with the same structures", self.next_case
        )
        folder = _button("Folder of cases …", "Work through all scans of a folder", self._choose_folder)
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget, row, column, span in (
            (self._keep, 0, 0, 2),
            (self._propose, 1, 0, 1),
            (manage, 1, 1, 1),
            (going, 2, 0, 1),
            (folder, 2, 1, 1),
            (self._state, 3, 0, 2),
        ):
            layout.addWidget(widget, row, column, 1, span)

    def _choose_folder(self) -> bool:
        # A case is a file or a folder: what lies beside it are the others.
        source = self._panel.case.controller.scan.source if self._panel.case is not None else None
        start = source.parent if source is not None else Path.home()
        folder = QFileDialog.getExistingDirectory(self, "Open a folder of cases", str(start))
        return self.open_folder(Path(folder)) if folder else False

    def _with_desk(self, call: Callable[[LibraryDesk], Any]) -> None:
        if self.desk is None:
            self._tell("Open a scan first.")
        else:
            call(self.desk)

    def _go_on(self, scan: Path) -> bool:
        layer = _read(scan)
        if layer is None:
            # The next wish goes past it, not to it again.
            self._passed = scan
            self._tell(f"{scan.name} could not be opened and is left out for now. Go on to the next case.")
            return False
        before = self._panel.case
        carried = tuple(before.controller.structures) if before is not None else ()
        if before is not None:
            # Two scans at once would take twice the memory.
            self._viewer.layers.remove(before.image)
        self._viewer.add_layer(layer)
        if not self._panel.open_layer(layer):
            return False
        self._scan, self._passed = scan, None
        self._show_from_the_start()
        self._mark(scan, CaseState.IN_PROGRESS)
        self._carry_over(carried)
        return True

    def _show_from_the_start(self) -> None:
        """Fit the scan into the window, in its middle unless work goes on elsewhere: napari keeps the last view."""
        case = self._panel.case
        if case is None:
            return
        self._viewer.reset_view()
        if case.controller.session.last_slice() is None:
            case.layers.go_to(SliceRef(0, case.controller.shape[0] // 2))

    def _carry_over(self, carried: tuple[Structure, ...]) -> None:
        case = self._panel.case
        if case is None:
            return
        known = {s.name for s in case.controller.structures}
        for structure in carried:
            if structure.name not in known:
                case.controller.session.add_structure(structure.name, colour=structure.colour)
        if carried and self.desk is not None:
            self.desk.propose(quiet=True)

    def _mark(self, scan: Path, state: CaseState) -> None:
        if self.worklist is None:
            return
        try:
            self.worklist.mark(scan, state)
        except MedmetaError as error:
            self._tell(error.message)
        self._show_state()

    def _show_state(self) -> None:
        if self.worklist is not None:
            self._state.setText(self.worklist.sentence(self._scan))


def _read(scan: Path) -> Image | None:
    reader = get_reader(str(scan))
    for item in reader(str(scan)) if reader is not None else ():
        if len(item) == 3 and item[2] == "image":
            return Image(item[0], **item[1])
    return None


def _button(text: str, tip: str, call: Callable[[], Any]) -> QPushButton:
    widget = QPushButton(text)
    widget.setToolTip(tip)
    widget.clicked.connect(lambda: call())
    return widget
