"""Who answers on the open scan: all sources together, or one family of meta-learners alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import Any, Protocol

from qtpy.QtWidgets import QComboBox, QLabel, QVBoxLayout, QWidget

from napari_medmeta.core import CancelToken, MedmetaError, Progress
from napari_medmeta.ui.case import Case
from napari_medmeta.ui.controller import Controller, Work
from napari_medmeta.ui.worker import LongQuestion

__all__ = ["FUSED", "TITLES", "LearnerSection", "shipped_families"]

FUSED = "fused"
"""The default engine's name in `napari_medmeta.engine.choices`, which takes seconds to import."""

TITLES: Mapping[str, str] = MappingProxyType(
    {
        FUSED: "All sources together (default)",
        "siamese": "Siamese network",
        "matching": "Matching network",
        "prototypical": "Prototypical network",
        "memory_augmented": "Memory-augmented network",
        "meta_recurrent": "Meta recurrent network",
        "maml": "MAML",
        "reptile": "Reptile",
    }
)
"""What each choice is called in the list."""


class HoldsCase(Protocol):
    """The panel, as far as this part needs it."""

    case: Case | None


@dataclass(frozen=True, slots=True)
class _Switched:
    """The engine has changed to ``name``, or could not for a reason in words."""

    section: int
    name: str
    error: MedmetaError | None = None


def shipped_families() -> tuple[str, ...]:
    """Return the families whose trained weights come with the package."""
    folder = resources.files("napari_medmeta") / "engine" / "weights_data"
    there = {file.name for file in folder.iterdir()}
    if "encoder.safetensors" not in there:
        return ()
    return tuple(name for name in TITLES if f"{name}.safetensors" in there)


class LearnerSection(QWidget):
    """A list of learners; the chosen one answers on the open scan and on those opened later.

    Parameters
    ----------
    panel
        Holds the open scan.
    families
        What may be chosen beside the default; None: what comes with the package.
    """

    def __init__(self, panel: HoldsCase, *, families: Sequence[str] | None = None) -> None:
        super().__init__()
        self._panel = panel
        self._chosen, self._wanted = FUSED, FUSED
        self._followed: Controller | None = None
        self.names = (FUSED, *(shipped_families() if families is None else families))
        self._list = QComboBox()
        self._list.addItems([TITLES.get(name, name) for name in self.names])
        self._list.setToolTip("For comparison and teaching: let one family of learners propose alone")
        self._list.setAccessibleName("Learner that proposes")
        self._list.activated.connect(lambda number: self.choose(self.names[number]))
        self._state = QLabel()
        self._state.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._list)
        layout.addWidget(self._state)
        self._show()

    @property
    def chosen(self) -> str:
        """Who answers now."""
        return self._chosen

    def follow_case(self) -> None:
        """Turn to the scan that is open now, if any."""
        if self._followed is not None:
            self._followed.answered.disconnect(self._receive)
            self._followed.worked.disconnect(self._worked)
        case = self._panel.case
        self._followed = case.controller if case is not None else None
        if self._followed is not None:
            self._followed.answered.connect(self._receive)
            self._followed.worked.connect(self._worked)
        # A change that was still on its way went with the scan before.
        self._settle(self._chosen)

    def choose(self, name: str) -> None:
        """Let ``name`` answer: in the background for the open scan, which is then proposed anew."""
        self._wanted = name
        self._show()
        if self._followed is None:
            self._settle(name)
            return
        section = id(self)

        def work(engine: Any, progress: Progress, cancel: CancelToken) -> _Switched:
            from napari_medmeta.engine.choices import engine_config

            try:
                engine.reconfigure(engine_config(name), progress=progress, cancel=cancel)
            except MedmetaError as error:
                cancel.raise_if_cancelled()
                return _Switched(section, name, error)
            return _Switched(section, name)

        self._followed.ask_engine(LongQuestion("Changing the learner", work))

    def _receive(self, answer: object) -> None:
        if not isinstance(answer, _Switched) or answer.section != id(self) or self._followed is None:
            return
        if answer.error is not None:
            self._settle(self._chosen)
            self._followed.failed.emit(answer.error)
            return
        self._settle(answer.name)
        if self._followed.advice.can_propose():
            self._followed.propose()

    def _worked(self, work: Work) -> None:
        # At rest with a word on it: what was asked for was stopped.
        if work.stage and not work.busy:
            self._settle(self._chosen)

    def _settle(self, name: str) -> None:
        self._chosen = self._wanted = name
        self._show()

    def _show(self) -> None:
        self._list.setCurrentIndex(self.names.index(self._wanted))
        if self._wanted != self._chosen:
            self._state.setText("Changing …")
        elif self._chosen == FUSED:
            self._state.setText("")
        else:
            self._state.setText("Answers alone, for comparison. All sources together are usually better.")
