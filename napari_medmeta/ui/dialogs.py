"""The few questions that the panel asks; each returns a value, None when the user stepped back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QHeaderView,
    QInputDialog,
    QLabel,
    QMessageBox,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_medmeta import io
from napari_medmeta.ui.scan import Scan

__all__ = [
    "SaveAnswer",
    "SeriesChooser",
    "SeriesRow",
    "ask_label_layer",
    "ask_save",
    "ask_session",
    "ask_table",
    "save_filters",
]

SAVE_FILTERS = {
    "NIfTI (*.nii.gz *.nii)": ".nii.gz",
    "NRRD (*.nrrd)": ".nrrd",
    "MetaImage (*.mha *.mhd)": ".mha",
}
"""What a segmentation can be saved as, with the ending of a name that has none."""

NAMED_SEG, ANONYMOUS_SEG = "DICOM segmentation (*.dcm)", "DICOM segmentation without patient data (*.dcm)"
"""Offered for scans that came from a DICOM series."""

TABLE_FILTERS = {"CSV (*.csv)": ".csv", "JSON (*.json)": ".json"}


@dataclass(frozen=True, slots=True)
class SaveAnswer:
    """Where to save, whether open proposals are part of the result, and whether a DICOM file leaves out the patient."""

    path: Path
    with_proposals: bool
    anonymous: bool = False


class SeriesRow(Protocol):
    """What the chooser shows of one DICOM series."""

    @property
    def description(self) -> str:
        """What the scanner called it."""
        ...

    @property
    def modality(self) -> str:
        """CT, MR or another kind."""
        ...

    @property
    def slices(self) -> int:
        """How many slices it has."""
        ...

    @property
    def spacing_mm(self) -> tuple[float, ...] | None:
        """Distance between voxels, where it can be opened."""
        ...

    @property
    def problem(self) -> str | None:
        """Why it cannot be opened, or None."""
        ...


def default_path(scan: Scan) -> Path:
    """Return the file offered for the result: beside the scan, under its name."""
    folder = scan.source.parent if scan.source is not None else Path.home()
    return folder / f"{scan.name}_segmentation{next(iter(save_filters(scan).values()))}"


def ask_save(scan: Scan, *, open_proposals: bool, parent: QWidget | None = None) -> SaveAnswer | None:
    """Ask where to save, and what to do with proposals that are neither accepted nor rejected."""
    with_proposals = False
    if open_proposals:
        answer = _ask_open_proposals(parent)
        if answer is None:
            return None
        with_proposals = answer
    filters, offered = save_filters(scan), default_path(scan)
    name, chosen = QFileDialog.getSaveFileName(parent, "Save the segmentation", str(offered), ";;".join(filters))
    if not name:
        return None
    path, suffix = Path(name), filters.get(chosen, "")
    # Whoever chooses a kind of file and leaves the name as it was offered means the kind; not every desktop changes it.
    left = suffix and path.name == offered.name
    kept = path.with_name(f"{scan.name}_segmentation{suffix}") if left else with_suffix(path, suffix)
    if kept != path and kept.exists() and not _may_replace(kept, parent):
        return None
    return SaveAnswer(kept, with_proposals, chosen == ANONYMOUS_SEG)


def save_filters(scan: Scan) -> dict[str, str]:
    """Return the formats offered for the result, the usual one first: DICOM SEG for a scan from a DICOM series."""
    if io.is_dicom_source(io.ScanSource(scan.source)):
        return {NAMED_SEG: io.SEGMENTATION_SUFFIX, ANONYMOUS_SEG: io.SEGMENTATION_SUFFIX, **SAVE_FILTERS}
    return dict(SAVE_FILTERS)


def with_suffix(path: Path, suffix: str) -> Path:
    """Return ``path`` with ``suffix`` behind it when its name has none of its own."""
    known = (*io.RESULT_SUFFIXES, *io.TABLE_SUFFIXES)
    # A name such as "liver v1.2" has a dot, but no ending.
    return path if path.name.lower().endswith(known) else path.with_name(path.name + suffix)


def ask_table(scan: Scan, *, parent: QWidget | None = None) -> Path | None:
    """Ask where to save the measurements."""
    start = default_path(scan).with_name(f"{scan.name}_measurements.csv")
    name, chosen = QFileDialog.getSaveFileName(parent, "Save the measurements", str(start), ";;".join(TABLE_FILTERS))
    return with_suffix(Path(name), TABLE_FILTERS.get(chosen, ".csv")) if name else None


def ask_scan_file(parent: QWidget | None = None) -> Path | None:
    """Ask for a scan in one file."""
    patterns = " ".join(f"*{suffix}" for suffix in (*io.WRITABLE_SUFFIXES, *io.DICOM_SUFFIXES))
    # Slices of a DICOM series often have no ending.
    filters = f"Scans ({patterns});;All files (*)"
    name, _ = QFileDialog.getOpenFileName(parent, "Open a scan", str(Path.home()), filters)
    return Path(name) if name else None


def ask_scan_folder(parent: QWidget | None = None) -> Path | None:
    """Ask for a folder with DICOM series."""
    name = QFileDialog.getExistingDirectory(parent, "Open a DICOM folder", str(Path.home()))
    return Path(name) if name else None


def ask_session(current: Path | None, parent: QWidget | None = None) -> Path | None:
    """Ask for a session file."""
    folder = str(current.parent if current is not None else Path.home())
    name, _ = QFileDialog.getOpenFileName(parent, "Open a session", folder, "Sessions (*.medmeta)")
    return Path(name) if name else None


def ask_label_layer(names: Sequence[str], parent: QWidget | None = None) -> int | None:
    """Ask which labels layer holds the examples; return its number."""
    name, sure = QInputDialog.getItem(
        parent, "Use a label layer", "Its labelled slices become examples:", list(names), 0, False
    )
    return list(names).index(name) if sure else None


class SeriesChooser(QDialog):
    """Choose one of several DICOM series; those that cannot be opened say why."""

    def __init__(self, series: Sequence[SeriesRow], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Which series?")
        self._series = tuple(series)
        self._table = QTableWidget(len(self._series), 4)
        self._table.setHorizontalHeaderLabels(["Description", "Kind", "Slices", "Spacing (mm)"])
        self._table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self._table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self._table.itemDoubleClicked.connect(lambda _: self.accept())
        numbers = self._table.verticalHeader()
        if numbers is not None:
            numbers.hide()
        header = self._table.horizontalHeader()
        if header is not None:
            header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
            header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for number, row in enumerate(self._series):
            self._fill(number, row)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Open | QDialogButtonBox.StandardButton.Cancel)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addWidget(QLabel("This folder holds several series."))
        layout.addWidget(self._table)
        layout.addWidget(buttons)
        self.resize(560, 300)
        first = next((n for n, row in enumerate(self._series) if row.problem is None), -1)
        if first >= 0:
            self._table.selectRow(first)

    def value(self) -> int | None:
        """Return the number of the chosen series."""
        row = self._table.currentRow()
        return row if row >= 0 and self._series[row].problem is None else None

    def _fill(self, number: int, row: SeriesRow) -> None:
        spacing = " × ".join(f"{s:.3g}" for s in row.spacing_mm) if row.spacing_mm else "–"
        texts = (row.description or "(no description)", row.modality, str(row.slices), spacing)
        for column, text in enumerate(texts):
            item = QTableWidgetItem(text)
            if row.problem is not None:
                item.setFlags(Qt.ItemFlag.NoItemFlags)
                item.setToolTip(row.problem)
            self._table.setItem(number, column, item)


def _may_replace(path: Path, parent: QWidget | None) -> bool:
    # The file dialog asked about the name that was typed, not about this one.
    answer = QMessageBox.question(parent, "Save the segmentation", f"{path.name} is there already. Replace it?")
    return bool(answer == QMessageBox.StandardButton.Yes)


def _ask_open_proposals(parent: QWidget | None) -> bool | None:
    box = QMessageBox(parent)
    box.setIcon(QMessageBox.Icon.Question)
    box.setWindowTitle("Open proposals")
    box.setText("Some proposals are neither accepted nor rejected.")
    box.setInformativeText("What you did not look at may be wrong.")
    without = box.addButton("Save only what is painted or accepted", QMessageBox.ButtonRole.AcceptRole)
    include = box.addButton("Include open proposals", QMessageBox.ButtonRole.DestructiveRole)
    box.addButton(QMessageBox.StandardButton.Cancel)
    box.setDefaultButton(without)
    box.exec()
    clicked = box.clickedButton()
    if clicked is include:
        return True
    return False if clicked is without else None
