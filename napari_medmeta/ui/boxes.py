"""The small parts of the panel. Each shows values and says what the user wants; none changes anything itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from qtpy.QtCore import QSize, Signal
from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QRadioButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_medmeta.session import PaintMode
from napari_medmeta.ui.keys import Act
from napari_medmeta.ui.readable_bar import ReadableBar
from napari_medmeta.ui.windowing import Window
from napari_medmeta.ui.wrapped import WrappedLabel

__all__ = [
    "APPLICATIONS_NAME",
    "HintLine",
    "PaintBox",
    "ProposalBox",
    "SaveBox",
    "ScanBox",
    "WorkLine",
    "button",
    "heading",
]

SAVE_TEXT = "Save segmentation …"
APPLICATIONS_NAME = "Lesions, findings, follow-up"


class ScanBox(QWidget):
    """Which scan is worked on, and in which window it is shown."""

    scan_chosen = Signal(int)
    window_chosen = Signal(int)
    plane_chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scans = _combo("The scan to segment", "Scan")
        # None is chosen while the only image open is one that was refused.
        self._scans.setPlaceholderText("Choose a scan")
        self._windows = _combo("Which grey values are shown", "Window")
        self._windows.setEnabled(False)
        self._scans.activated.connect(self.scan_chosen)
        self._windows.activated.connect(self.window_chosen)
        self._planes = _combo("Which plane is shown; your examples stay on every plane", "Plane")
        self._planes.activated.connect(self.plane_chosen)
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._scans, 0, 0, 1, 2)
        layout.addWidget(self._windows, 1, 0)
        layout.addWidget(self._planes, 1, 1)

    def name_keys(self, keys: Mapping[Act, str]) -> None:
        """Name the keys in the tooltips."""
        self._windows.setToolTip(f"Which grey values are shown ({keys[Act.WINDOW]}: next)")
        self._planes.setToolTip(f"Which plane is shown; your examples stay on every plane ({keys[Act.TURN]}: next)")

    def set_planes(self, names: Sequence[str], *, chosen: int) -> None:
        """Offer the planes of the scan's three axes."""
        _fill(self._planes, [name.capitalize() for name in names], chosen)
        self._planes.setEnabled(bool(names))

    def choose_window(self, number: int) -> None:
        """Show that window ``number`` is chosen, without saying so."""
        self._windows.setCurrentIndex(number)

    def chosen_window(self) -> int:
        """Return the number of the chosen window."""
        return int(self._windows.currentIndex())

    def set_scans(self, names: Sequence[str], *, chosen: int) -> None:
        """Offer ``names``; ``chosen`` is -1 when none is worked on."""
        _fill(self._scans, names or ["Open a scan first"], chosen if names else 0)
        self._scans.setEnabled(bool(names))

    def set_windows(self, windows: Sequence[Window]) -> None:
        """Offer ``windows``, the first one chosen."""
        _fill(self._windows, [w.name for w in windows], 0)
        self._windows.setEnabled(bool(windows))


class HintLine(QFrame):
    """The one line that says what is missing, or what to do next."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("medmeta_hint")
        self.setStyleSheet(
            "#medmeta_hint { border-left: 4px solid #e0b23c; background: rgba(224, 178, 60, 38); border-radius: 3px; }"
        )
        self._label = WrappedLabel()
        self._label.setAccessibleName("What to do next")
        self._label.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.MinimumExpanding)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 6, 8, 6)
        layout.addWidget(self._label)

    def text(self) -> str:
        """Return the line."""
        return self._label.text()

    def set_text(self, text: str) -> None:
        """Show ``text``."""
        self._label.setText(text)


class PaintBox(QWidget):
    """How strokes are read, and the ways to give an example other than painting it."""

    mode_chosen = Signal(PaintMode)
    brush_wanted = Signal()
    background_wanted = Signal()
    click_tool_wanted = Signal(bool)
    box_tool_wanted = Signal(bool)
    complete_wanted = Signal()
    forget_wanted = Signal()
    labels_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._whole = QRadioButton("Whole slices")
        self._whole.setToolTip("Every slice you paint is complete: what you leave unpainted on it is background")
        self._sparse = QRadioButton("Scribbles")
        self._sparse.setToolTip("Only what you stroke is known; paint background with its own brush")
        self._group = QButtonGroup(self)
        for radio in (self._whole, self._sparse):
            self._group.addButton(radio)
        self._whole.setChecked(True)
        self._group.buttonClicked.connect(self._mode_clicked)
        self._brush = button("Brush", "Paint the chosen structure with napari's brush", self.brush_wanted.emit)
        self._background = button(
            "Background", "Scribble what belongs to no structure (scribbles only)", self.background_wanted.emit
        )
        self._background.setEnabled(False)
        self._click = QPushButton("Click tool")
        self._click.setCheckable(True)
        self._click.setToolTip("Click marks the chosen structure at that voxel, Alt+click marks background")
        self._click.clicked.connect(self.click_tool_wanted)
        self._box = QPushButton("Box")
        self._box.setCheckable(True)
        self._box.setToolTip("Drag a box around the chosen structure on this slice: what is inside is proposed")
        self._box.clicked.connect(self.box_tool_wanted)
        self._complete = button(
            "Slice is complete",
            "Make this slice an example as it is, also when nothing is on it",
            self.complete_wanted.emit,
        )
        self._forget = button(
            "Forget example", "Remove this slice's example; its influence goes entirely", self.forget_wanted.emit
        )
        self._labels = button(
            "Use a label layer …",
            "Take the slices painted in another labels layer as examples",
            self.labels_wanted.emit,
        )
        self._lay_out()

    def set_mode(self, mode: PaintMode) -> None:
        """Show how strokes are read."""
        (self._sparse if mode is PaintMode.SCRIBBLE else self._whole).setChecked(True)
        self._background.setEnabled(mode is PaintMode.SCRIBBLE)

    def set_click_tool(self, on: bool) -> None:
        """Show whether the click tool is in hand."""
        self._click.setChecked(on)

    def set_box_tool(self, on: bool) -> None:
        """Show whether the box tool is in hand."""
        self._box.setChecked(on)

    def name_keys(self, keys: Mapping[Act, str]) -> None:
        """Show the keys of the two tools, and name that of the complete slice."""
        self._click.setText(f"Click tool ({keys[Act.CLICK_TOOL]})")
        self._box.setText(f"Box ({keys[Act.BOX_TOOL]})")
        self._complete.setToolTip(f"{self._complete.toolTip()} ({keys[Act.MARK_COMPLETE]})")

    def _lay_out(self) -> None:
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        rows: tuple[tuple[QWidget, ...], ...] = (
            (self._whole, self._sparse),
            (self._brush, self._click, self._box),
            (self._background, self._complete, self._forget),
        )
        for number, row in enumerate(rows):
            for column, widget in enumerate(row):
                grid.addWidget(widget, number, column)
        grid.addWidget(self._labels, len(rows), 0, 1, 3)

    def _mode_clicked(self) -> None:
        self.mode_chosen.emit(PaintMode.SCRIBBLE if self._sparse.isChecked() else PaintMode.COMPLETE)


class ProposalBox(QWidget):
    """Ask for a proposal, look at it, accept or reject it."""

    propose_wanted = Signal()
    automatic_changed = Signal(bool)
    accept_wanted = Signal()
    accept_confident_wanted = Signal()
    reject_wanted = Signal()
    confidence_changed = Signal(float)
    contour_changed = Signal(bool)
    uncertainty_changed = Signal(bool)
    next_wanted = Signal()
    previous_wanted = Signal()
    undo_wanted = Signal()
    redo_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._propose = button(
            "Propose now", "Propose the rest of the scan from your examples", self.propose_wanted.emit
        )
        self._automatic = _check("by itself", "Propose whenever you lift the brush", self.automatic_changed.emit)
        self._automatic.setChecked(True)
        self._accept = button("Accept slice", "Take the proposal on this slice over", self.accept_wanted.emit)
        self._accept.setDefault(True)
        self._reject = button(
            "Reject",
            "The proposal on this slice is wrong: nothing is here, or you will paint it",
            self.reject_wanted.emit,
        )
        self._confident = button(
            "Accept all above",
            "Accept every slice whose expected Dice is at least this",
            self.accept_confident_wanted.emit,
        )
        self._confidence = QDoubleSpinBox()
        self._confidence.setRange(0.0, 1.0)
        self._confidence.setSingleStep(0.05)
        self._confidence.setToolTip("Expected Dice, 0 to 1")
        self._confidence.setAccessibleName("Least expected Dice to accept")
        self._confidence.valueChanged.connect(self.confidence_changed)
        self._contour = _check("Outline", "Show the proposal as an outline, or filled", self.contour_changed.emit)
        self._contour.setChecked(True)
        self._uncertainty = _check(
            "Uncertain places", "Colour what the proposal is not sure of", self.uncertainty_changed.emit
        )
        self._next = button(
            "Next best slice", "Go to the slice whose correction helps most, and say why", self.next_wanted.emit
        )
        self._previous = button("Back", "Go back to the slice you came from", self.previous_wanted.emit)
        self._undo = button("Undo", "", self.undo_wanted.emit)
        self._redo = button("Redo", "", self.redo_wanted.emit)
        self._lay_out()

    def set_open(self, on_slice: bool, anywhere: bool) -> None:
        """Enable what makes sense: a proposal on the slice on screen, or anywhere."""
        self._accept.setEnabled(on_slice)
        self._reject.setEnabled(on_slice)
        self._confident.setEnabled(anywhere)
        self._next.setEnabled(anywhere)
        self._previous.setEnabled(anywhere)

    def set_history(self, undo: str, redo: str) -> None:
        """Show what undo and redo would do; an empty text disables."""
        for widget, word, text in ((self._undo, "Undo", undo), (self._redo, "Redo", redo)):
            widget.setEnabled(bool(text))
            widget.setToolTip(f"{word}: {text}" if text else f"Nothing to {word.lower()}")

    def set_automatic(self, on: bool) -> None:
        """Show whether proposals come by themselves."""
        self._automatic.setChecked(on)

    def set_confidence(self, value: float) -> None:
        """Show the expected Dice from which slices are accepted together."""
        self._confidence.setValue(value)

    def set_contour(self, on: bool) -> None:
        """Show whether proposals are outlined."""
        self._contour.setChecked(on)

    def set_uncertainty(self, on: bool) -> None:
        """Show whether uncertain places are coloured."""
        self._uncertainty.setChecked(on)

    def name_keys(self, keys: Mapping[Act, str]) -> None:
        """Show each button's key on it."""
        for widget, act in (
            (self._propose, Act.PROPOSE),
            (self._accept, Act.ACCEPT_SLICE),
            (self._reject, Act.REJECT_SLICE),
            (self._next, Act.NEXT_SLICE),
            (self._previous, Act.PREVIOUS_SLICE),
            (self._confident, Act.ACCEPT_CONFIDENT),
            (self._uncertainty, Act.UNCERTAINTY),
        ):
            widget.setText(f"{widget.text()} ({keys[act]})")

    def _lay_out(self) -> None:
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        places: tuple[tuple[QWidget, int, int, int], ...] = (
            (self._propose, 0, 0, 2), (self._automatic, 0, 2, 2),
            (self._accept, 1, 0, 2), (self._reject, 1, 2, 2),
            (self._next, 2, 0, 2), (self._previous, 2, 2, 2),
            (self._confident, 3, 0, 3), (self._confidence, 3, 3, 1),
            (self._contour, 4, 0, 1), (self._uncertainty, 4, 1, 3),
            (self._undo, 5, 0, 2), (self._redo, 5, 2, 2),
        )  # fmt: skip
        for widget, row, column, span in places:
            grid.addWidget(widget, row, column, 1, span)


class WorkLine(QWidget):
    """What the engine is doing, and a button to stop it."""

    cancel_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._bar = ReadableBar()
        self._bar.setRange(0, 1000)
        self._bar.setAccessibleName("Progress")
        self._cancel = button("Stop", "Stop the running work; what is there stays", self.cancel_wanted.emit)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._bar, 1)
        layout.addWidget(self._cancel)
        self.set_work("", None)

    def set_work(self, stage: str, fraction: float | None) -> None:
        """Show ``fraction`` in [0, 1] of ``stage``, or rest when it is None."""
        self._bar.setValue(0 if fraction is None else round(fraction * 1000))
        self._bar.setFormat(stage if fraction is not None else stage or "Ready")
        self._cancel.setEnabled(fraction is not None)


class SaveBox(QWidget):
    """Save the result; open and list what belongs to the session."""

    save_wanted = Signal()
    reopen_wanted = Signal()
    restart_wanted = Signal()
    applications_wanted = Signal()
    help_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._save = button(SAVE_TEXT, "Write the result on the scan's own grid", self.save_wanted.emit)
        self._reopen = button("Open session …", "Go on with a session saved earlier", self.reopen_wanted.emit)
        self._restart = button(
            "Start over", "Begin a new session for this scan; the old one's file stays", self.restart_wanted.emit
        )
        self._applications = button(
            f"{APPLICATIONS_NAME} …",
            "Find lesions, recognise a finding, carry an earlier segmentation over: few examples, used further",
            self.applications_wanted.emit,
        )
        self._help = button("?", "All keys", self.help_wanted.emit)
        self._help.setMaximumWidth(32)
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._save, 0, 0, 1, 2)
        layout.addWidget(self._help, 0, 2)
        layout.addWidget(self._reopen, 1, 0)
        layout.addWidget(self._restart, 1, 1, 1, 2)
        layout.addWidget(self._applications, 2, 0, 1, 3)

    def set_saving(self, running: int) -> None:
        """Say on the button that files are being written; another one can be wanted meanwhile."""
        waiting = f" ({running} files)" if running > 1 else ""
        self._save.setText(f"Saving{waiting} …" if running else SAVE_TEXT)


def button(text: str, tip: str, call: Callable[[], None]) -> QPushButton:
    """Return a push button that calls ``call``."""
    widget = QPushButton(text)
    widget.setToolTip(tip)
    widget.clicked.connect(lambda: call())
    return widget


def heading(text: str) -> QLabel:
    """Return a section's title."""
    label = QLabel(f"<b>{text}</b>")
    label.setContentsMargins(0, 6, 0, 0)
    return label


def _check(text: str, tip: str, call: Callable[[bool], None]) -> QCheckBox:
    widget = QCheckBox(text)
    widget.setToolTip(tip)
    widget.toggled.connect(call)
    return widget


def _combo(tip: str, name: str) -> QComboBox:
    combo = QComboBox()
    combo.setToolTip(tip)
    combo.setAccessibleName(name)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(6)
    combo.setIconSize(QSize(1, 1))
    return combo


def _fill(combo: QComboBox, names: Sequence[str], chosen: int) -> None:
    combo.blockSignals(True)
    combo.clear()
    combo.addItems(list(names))
    combo.setCurrentIndex(chosen)
    combo.blockSignals(False)
