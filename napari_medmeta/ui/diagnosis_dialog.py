"""The kept cases with their findings, in a list: rename, remove, export, import."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtWidgets import QPushButton, QWidget

from napari_medmeta.core.diagnosis import KnownCase
from napari_medmeta.session.diagnosis_library import CASES_SUFFIX, CaseLibrary
from napari_medmeta.ui.boxes import button
from napari_medmeta.ui.kept_dialog import KeptDialog, Wording

__all__ = ["CasesDialog"]

WORDING = Wording(
    title="Kept cases",
    what="cases",
    note="Measurements are kept, no image and nothing of the patient.",
    file=f"findings{CASES_SUFFIX}",
    columns=("Finding", "Kind", "Structures", "Phases", "Kept on"),
)


class CasesDialog(KeptDialog[KnownCase]):
    """The library's cases; a finding is changed by typing over it."""

    def __init__(self, library: CaseLibrary, parent: QWidget | None = None) -> None:
        super().__init__(library, WORDING, parent)
        self.refresh()
        # Wide enough for findings of two words beside the other columns.
        self.resize(780, 340)

    def cells(self, item: KnownCase) -> tuple[str, ...]:
        """Return what the columns say of a case."""
        measured = item.measured
        structures, phases = ", ".join(measured.structures), ", ".join(measured.phases)
        return item.finding, str(measured.modality), structures, phases, item.day

    def buttons(self) -> Sequence[QPushButton]:
        """Make the buttons below the list."""
        return (
            button("Remove", "Forget the chosen cases; their bytes are overwritten", self.remove),
            button("Export …", "Write the chosen cases, or all, into one file", self.ask_export),
            button("Import …", "Take over the cases of another file", self.ask_import),
        )
