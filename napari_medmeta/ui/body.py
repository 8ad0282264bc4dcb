"""What the panel looks like: its boxes in one column beside the slice strip, and what they show."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtWidgets import QFrame, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

from napari_medmeta.session.words import plane_names
from napari_medmeta.ui.boxes import HintLine, PaintBox, ProposalBox, SaveBox, ScanBox, WorkLine, heading
from napari_medmeta.ui.controller import Controller
from napari_medmeta.ui.footer import Footer
from napari_medmeta.ui.key_help import shown_key
from napari_medmeta.ui.keys import Act, with_keys
from napari_medmeta.ui.open_box import OpenBox
from napari_medmeta.ui.slice_strip import SliceStrip
from napari_medmeta.ui.structure_table import StructureTable
from napari_medmeta.ui.too_large import TooLargeOffer
from napari_medmeta.ui.wrapped import WrappedLabel

__all__ = ["PanelBody"]

MARGIN = 8
PANEL_WIDTH = 340

NOTHING_OPEN = (
    "Open a scan with the buttons above, or drop a NIfTI, NRRD or MHA file or a DICOM folder onto the window. "
    "If napari asks for a reader, choose “Few-shot segmentation”."
)
"""napari's own reader claims the same endings, but knows neither patient directions nor millimetres."""


class PanelBody(QWidget):
    """All boxes of the panel.

    Parameters
    ----------
    keys
        The key of every act, to be named on buttons and in hints.
    """

    def __init__(self, keys: Mapping[Act, str], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._keys = keys
        self.strip = SliceStrip()
        self.scan_box, self.hint, self.table = ScanBox(), HintLine(), StructureTable()
        self.open_box, self.too_large = OpenBox(), TooLargeOffer()
        self.paint_box, self.proposal_box = PaintBox(), ProposalBox()
        self.sources = WrappedLabel()
        self.sources.setAccessibleName("What the proposal relies on")
        self.sources.setToolTip(
            "Each source is tested on your examples, left out in turn; its share is how much it counts.\n"
            "Point at a voxel and ask why (see below) for the shares of all sources there."
        )
        self.sources.hide()
        self.work_line, self.save_box, self.footer = WorkLine(), SaveBox(), Footer()
        self._wanted: QWidget | None = None
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(0)
        self._soon.timeout.connect(self._scroll_to_wanted)
        self._lay_out()
        self._name_keys()
        self._leave_room()

    def add_section(self, title: str, widget: QWidget) -> None:
        """Put ``widget`` under a heading of its own below the others."""
        self._sections.addWidget(heading(title))
        self._sections.addWidget(widget)
        self._leave_room()

    def reveal(self, widget: QWidget) -> None:
        """Scroll to a box that shows something new which was asked for, once it is laid out."""
        self._wanted = widget
        self._soon.start()

    def show_nothing(self) -> None:
        """Show that no scan is open."""
        self.open_box.show()
        self.table.set_value((), active=None)
        self.hint.set_text(NOTHING_OPEN)
        self.proposal_box.set_open(False, False)
        self.proposal_box.set_history("", "")
        self.scan_box.set_planes((), chosen=-1)
        self.footer.set_session("")
        self.sources.hide()

    def show_session(self, controller: Controller) -> None:
        """Show everything that is said about the open scan."""
        session = controller.session
        self.open_box.hide()
        self.table.set_value(controller.rows(), active=session.active)
        self.paint_box.set_mode(session.mode)
        self.proposal_box.set_automatic(session.auto_propose)
        self.proposal_box.set_history(session.undo_text, session.redo_text)
        where = f"Session: {session.path}" if session.path is not None else "Session in memory only"
        self.footer.set_session(where)
        relies_on = controller.advice.sources()
        self.sources.setText(relies_on)
        self.sources.setVisible(bool(relies_on))
        self.show_slice(controller)

    def show_slice(self, controller: Controller) -> None:
        """Show what depends on the slice on screen."""
        self.show_hint(controller)
        self.strip.set_value(controller.strip())
        self.scan_box.set_planes(plane_names(controller.session.geometry), chosen=controller.focus.axis)
        self.proposal_box.set_open(controller.is_proposed(controller.focus), controller.session.proposal is not None)

    def show_hint(self, controller: Controller) -> None:
        """Show what to do next, with the keys that hold here."""
        self.hint.set_text(with_keys(controller.hint(), self._keys))

    def _lay_out(self) -> None:
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(MARGIN, MARGIN, MARGIN, MARGIN)
        parts: tuple[QWidget, ...] = (
            self.scan_box, self.open_box, self.too_large, self.hint,
            heading("What to look for"), self.table,
            heading("Paint examples"), self.paint_box,
            heading("Proposal"), self.proposal_box, self.sources,
            heading("Result"), self.save_box,
        )  # fmt: skip
        for part in parts:
            column.addWidget(part)
        self._sections = QVBoxLayout()
        column.addLayout(self._sections)
        column.addStretch(1)
        content.installEventFilter(self)
        self._content, self._scroll = content, QScrollArea()
        self._scroll.setWidgetResizable(True)
        self._scroll.setFrameShape(QFrame.Shape.NoFrame)
        self._scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._scroll.setWidget(content)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        # What is under way, the way to stop it, and what was said last stay in sight, however far one scrolls.
        self.work_line.setContentsMargins(MARGIN, MARGIN // 2, MARGIN, 0)
        self.footer.setContentsMargins(MARGIN, MARGIN // 2, MARGIN, MARGIN // 2)
        beside = QVBoxLayout()
        beside.setSpacing(0)
        beside.addWidget(self._scroll, 1)
        beside.addWidget(self.work_line)
        beside.addWidget(self.footer)
        layout.addWidget(self.strip)
        layout.addLayout(beside, 1)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Notice when the boxes want more room: napari's theme comes only once the panel is docked."""
        if watched is self._content and event is not None and event.type() == QEvent.Type.LayoutRequest:
            self._leave_room()
        return False

    def _leave_room(self) -> None:
        # Texts grow with the keys' names, the font and the screen; nothing may be cut off.
        bar = self._scroll.verticalScrollBar()
        room = bar.sizeHint().width() if bar is not None else 0
        wanted = max(PANEL_WIDTH, self._content.minimumSizeHint().width() + room)
        if self._scroll.minimumWidth() != wanted:
            self._scroll.setMinimumWidth(wanted)

    def _scroll_to_wanted(self) -> None:
        if self._wanted is not None:
            self._scroll.ensureWidgetVisible(self._wanted, 0, MARGIN)

    def _name_keys(self) -> None:
        key = {act: shown_key(name) for act, name in self._keys.items()}
        self.proposal_box.name_keys(key)
        self.scan_box.name_keys(key)
        self.table.key_prefix = key[Act.STRUCTURE][:-1]
        self.paint_box.name_keys(key)
