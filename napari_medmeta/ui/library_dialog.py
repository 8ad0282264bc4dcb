"""What the example library keeps, in a list: rename, remove, export, import, and how useful each entry is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from qtpy.QtWidgets import QPushButton, QWidget

from napari_medmeta.core.library import Expected, LibraryEntry
from napari_medmeta.session.library import LIBRARY_SUFFIX, Library
from napari_medmeta.ui.boxes import button
from napari_medmeta.ui.kept_dialog import KeptDialog, Wording, fixed
from napari_medmeta.ui.library_judging import Judged, Judging, JudgingEnded, Usefulness

__all__ = ["LibraryDialog"]

WORDING = Wording(
    title="Kept structures",
    what="structures",
    note="Samples and a few numbers are kept, no image and nothing of the patient.",
    file=f"structures{LIBRARY_SUFFIX}",
    columns=("Structure", "Kind", "Kept on", "Volume (ml)", "Usefulness"),
)


class LibraryDialog(KeptDialog[LibraryEntry]):
    """The library's entries; a name is changed by typing over it.

    Parameters
    ----------
    usefulness
        Tells how well the others would have predicted an entry; None: the engine's own way.
    """

    def __init__(
        self, library: Library, parent: QWidget | None = None, *, usefulness: Usefulness | None = None
    ) -> None:
        super().__init__(library, WORDING, parent)
        self.judging = Judging(usefulness, self)
        self.judging.told.connect(self._told)
        self.table.itemSelectionChanged.connect(self._name_buttons)
        self.refresh()
        self.resize(620, 340)

    def cells(self, item: LibraryEntry) -> tuple[str, ...]:
        """Return what the columns say of an entry."""
        return item.structure, str(item.modality), item.day, f"{item.volume_ml:.1f}", ""

    def buttons(self) -> Sequence[QPushButton]:
        """Make the buttons below the list."""
        tip = "How well the other structures of its name would have predicted each"
        self.judge_button = button("Usefulness", tip, self.judge)
        self.remove_button, self.export_button = button("Remove", "", self.remove), button("", "", self.ask_export)
        return self.judge_button, self.remove_button, self.export_button, button("Import …", "", self.ask_import)

    def refresh(self) -> None:
        """Read the library again."""
        super().refresh()
        self._name_buttons()

    def judge(self) -> None:
        """Find out in the background how well the other entries would have predicted each, or stop that."""
        if self.judging.running:
            self.judging.stop()
            return
        if not self._kept:
            self.message.setText("The library is empty: there is nothing to compare.")
            return
        self.message.setText(f"Comparing 1 of {len(self._kept)} …")
        self.judge_button.setText("Stop comparing")
        self.judging.start(self._kept)

    def done(self, result: int) -> None:
        """Close; what is still being compared is dropped."""
        self.judging.close()
        super().done(result)

    def _exported(self, path: Path, chosen: int) -> str:
        what = f"{chosen} chosen" if chosen else f"All {len(self._kept)}"
        return f"{what} exported as {path.name}."

    def _told(self, event: Judged | JudgingEnded) -> None:
        if isinstance(event, Judged):
            self._show_judged(event)
            return
        self.judge_button.setText("Usefulness")
        told = "Comparing was stopped." if event.stopped else "Compared."
        self.message.setText(told if event.error is None else event.error.message)

    def _show_judged(self, judged: Judged) -> None:
        rows = [row for row, entry in enumerate(self._kept) if entry.id == judged.entry]
        self.table.blockSignals(True)
        for row in rows:
            self.table.setItem(row, len(WORDING.columns) - 1, fixed(_in_words(judged.expected)))
        self.table.blockSignals(False)
        if judged.number < judged.count:
            self.message.setText(f"Comparing {judged.number + 1} of {judged.count} …")

    def _name_buttons(self) -> None:
        """Say before the click what exporting would write, and offer removing only where something is chosen."""
        chosen, known = len(self.chosen()), len(self._kept)
        self.export_button.setText(f"Export {chosen} chosen …" if chosen else f"Export all {known} …")
        self.export_button.setToolTip(
            "Write the chosen structures into one file" if chosen else "None is chosen: all are written into one file"
        )
        self.export_button.setEnabled(known > 0)
        self.remove_button.setEnabled(chosen > 0)
        self.remove_button.setToolTip("Forget the chosen structures" if chosen else "Choose a structure first")

    def _try(self, call: Callable[[], object]) -> bool:
        # What is being compared may be out of date afterwards.
        self.judging.stop()
        return super()._try(call)


def _in_words(expected: Expected) -> str:
    return "no other to compare" if expected.dice is None else f"Dice {expected.dice:.2f} from {expected.others}"
