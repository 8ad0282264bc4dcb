"""Who answers on the open scan: all sources together, or one family of meta-learners alone, and with which weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from qtpy.QtWidgets import QComboBox, QFileDialog, QVBoxLayout, QWidget
from superqt import QElidingLabel

from napari_medmeta.core import CancelToken, MedmetaError, Progress
from napari_medmeta.core.weights import ENCODER, FUSED_FAMILIES, own_parts, require_fitting, shipped_parts
from napari_medmeta.ui.boxes import button
from napari_medmeta.ui.case import Case
from napari_medmeta.ui.controller import Controller, Work
from napari_medmeta.ui.tab_parts import line
from napari_medmeta.ui.worker import LongQuestion
from napari_medmeta.ui.wrapped import WrappedLabel

__all__ = ["FUSED", "TITLES", "Answerer", "LearnerSection", "shipped_families"]

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


LETTERS = 16
"""Of a digest, in the session's record: enough to tell weights apart."""


@dataclass(frozen=True, slots=True)
class Answerer:
    """Who answers.

    Parameters
    ----------
    learner
        `FUSED`, or a family.
    weights
        Folder of own weights, which replace those of the package where it holds them.
    """

    learner: str = FUSED
    weights: Path | None = None

    def check(self) -> None:
        """Raise `WeightsError` when the weights cannot be used, as far as that can be told without the engine."""
        if self.weights is not None:
            require_fitting(self.weights, FUSED_FAMILIES if self.learner == FUSED else (self.learner,))

    @property
    def about(self) -> tuple[str, dict[str, Any]]:
        """The sentence and the parameters for the session's record."""
        who = "all sources together" if self.learner == FUSED else f"the {TITLES.get(self.learner, self.learner)} alone"
        own = {} if self.weights is None else own_parts(self.weights)
        whose = f"own weights ({', '.join(own)})" if own else "the weights of the package"
        digests = {name: part.sha256[:LETTERS] for name, part in own.items()}
        return f"let {who} propose, with {whose}", {"learner": self.learner, "own_weights": digests}


class HoldsCase(Protocol):
    """The panel, as far as this part needs it."""

    case: Case | None


@dataclass(frozen=True, slots=True)
class _Switched:
    """The engine has changed to ``to``, or could not for a reason in words."""

    section: int
    to: Answerer
    error: MedmetaError | None = None


def shipped_families() -> tuple[str, ...]:
    """Return the families whose trained weights come with the package."""
    there = shipped_parts()
    return tuple(name for name in TITLES if name in there) if ENCODER in there else ()


class LearnerSection(QWidget):
    """A list of learners, and their weights; what is chosen answers on the open scan and on those opened later.

    Parameters
    ----------
    panel
        Holds the open scan.
    families
        What may be chosen beside the default; None: what comes with the package.
    weights
        Folder of own weights at the start, as the user's preferences name it; empty for those of the package.
    """

    def __init__(self, panel: HoldsCase, *, families: Sequence[str] | None = None, weights: str = "") -> None:
        super().__init__()
        self._panel = panel
        self._chosen = self._wanted = Answerer(weights=Path(weights) if weights else None)
        self._followed: Controller | None = None
        self.names = (FUSED, *(shipped_families() if families is None else families))
        self._list = QComboBox()
        self._list.addItems([TITLES.get(name, name) for name in self.names])
        self._list.setToolTip("For comparison and teaching: let one family of learners propose alone")
        self._list.setAccessibleName("Learner that proposes")
        self._list.activated.connect(lambda number: self.choose(self.names[number]))
        # Shortened where it does not fit: a long name must not make the whole dock wider.
        self._state, self._weights = WrappedLabel(), QElidingLabel()
        self._own = button(
            "Own weights …",
            "Choose a folder into which napari-medmeta train wrote: until the window is closed its weights take the "
            "place of those that come with the package. For longer: napari's preferences, Folder of own weights",
            self._ask_weights,
        )
        self._back = button(
            "Those of the package",
            "Propose with the weights that come with the package again",
            lambda: self.choose_weights(None),
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self._list, self._state, self._weights, line(self._own, self._back)):
            layout.addWidget(widget)
        self._show()

    @property
    def chosen(self) -> Answerer:
        """Who answers now."""
        return self._chosen

    def recheck(self) -> str:
        """Look at own weights again before a scan is opened; where they went bad, those of the package answer.

        Returns
        -------
        str
            Why, in words; empty when all is well.
        """
        try:
            self._chosen.check()
        except MedmetaError as error:
            self._settle(replace(self._chosen, weights=None))
            return f"{error.message} The weights of the package are used."
        return ""

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
        if self._chosen != Answerer():
            self._write_down()

    def choose(self, name: str) -> None:
        """Let ``name`` answer: in the background for the open scan, which is then proposed anew."""
        self._change(replace(self._chosen, learner=name))

    def choose_weights(self, folder: Path | None) -> None:
        """Answer with the own weights in ``folder``, None for those of the package; a bad folder changes nothing."""
        self._change(replace(self._chosen, weights=folder))

    def _ask_weights(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of own weights")
        if folder:
            self.choose_weights(Path(folder))

    def _change(self, to: Answerer) -> None:
        self._wanted = to
        self._show()
        if self._followed is None:
            self._settle_unasked(to)
            return
        section = id(self)

        def work(engine: Any, progress: Progress, cancel: CancelToken) -> _Switched:
            from napari_medmeta.engine.choices import engine_config

            try:
                config = engine_config(to.learner, weights=to.weights)
                engine.reconfigure(config, progress=progress, cancel=cancel)
            except MedmetaError as error:
                cancel.raise_if_cancelled()
                return _Switched(section, to, error)
            return _Switched(section, to)

        self._followed.ask_engine(LongQuestion("Changing the learner", work))

    def _settle_unasked(self, to: Answerer) -> None:
        """Choose for the next scan, as none is open whose engine could be asked."""
        try:
            to.check()
        except MedmetaError as error:
            self._settle(self._chosen)
            self._state.setText(error.message)
        else:
            self._settle(to)

    def _receive(self, answer: object) -> None:
        if not isinstance(answer, _Switched) or answer.section != id(self) or self._followed is None:
            return
        if answer.error is not None:
            self._settle(self._chosen)
            self._followed.failed.emit(answer.error)
            return
        self._settle(answer.to)
        self._write_down()
        if self._followed.advice.can_propose():
            self._followed.propose()

    def _worked(self, work: Work) -> None:
        # At rest with a word on it: what was asked for was stopped.
        if work.stage and not work.busy:
            self._settle(self._chosen)

    def _write_down(self) -> None:
        if self._followed is None:
            return
        try:
            sentence, parameters = self._chosen.about
        except MedmetaError:
            # The folder went away in this moment; what the engine has loaded stays.
            return
        self._followed.session.note("choose_engine", sentence, parameters)

    def _settle(self, to: Answerer) -> None:
        self._chosen = self._wanted = to
        self._show()

    def _show(self) -> None:
        self._list.setCurrentIndex(self.names.index(self._wanted.learner))
        folder = self._wanted.weights
        self._weights.setText("Weights of the package" if folder is None else f"Own weights: {folder.name}")
        self._weights.setToolTip("" if folder is None else str(folder))
        self._back.setVisible(folder is not None)
        if self._wanted != self._chosen:
            self._state.setText("Changing …")
        elif self._chosen.learner == FUSED:
            self._state.setText("")
        else:
            self._state.setText("Answers alone, for comparison. All sources together are usually better.")
