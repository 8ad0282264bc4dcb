"""Measure the scans of one patient, compare them with kept cases, keep them as one; no widgets and no Qt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_medmeta.core import BACKGROUND, LabelArray, MedmetaError
from napari_medmeta.core.diagnosis import clean_name
from napari_medmeta.session.diagnosis_library import CaseLibrary, new_case
from napari_medmeta.ui.case import Case
from napari_medmeta.ui.controller import Work

if TYPE_CHECKING:
    from napari_medmeta.core.diagnosis import KnownCase
    from napari_medmeta.tasks.diagnosis import Diagnosis
    from napari_medmeta.tasks.diagnosis_features import MeasuredScan

__all__ = ["Compared", "DiagnosisDesk"]


@dataclass(frozen=True, eq=False)
class _Measured:
    desk: int
    patient: int
    phase: str
    scan: MeasuredScan
    still_open: bool


@dataclass(frozen=True, eq=False)
class Compared:
    """The answer, and what the library's check of itself says."""

    desk: int
    patient: int
    diagnosis: Diagnosis
    check: str


class DiagnosisDesk:
    """The verbs of few-shot diagnosis for one patient after the other.

    A patient may have several scans (phases): each is opened and measured in turn, and the measurements wait
    here. Measuring and comparing run in the background of the open scan; answers about the patient before are dropped.
    """

    changed = Signal()
    """What is measured, whether work is going on, or what is kept."""
    compared = Signal(object)
    """A `Compared`, or None when the last answer holds no longer."""

    def __init__(self, library: CaseLibrary) -> None:
        self.library = library
        self.busy = ""
        self._case: Case | None = None
        self._patient = 0
        self._scans: dict[str, MeasuredScan] = {}
        self._kept: KnownCase | None = None

    @property
    def is_kept(self) -> bool:
        """Whether this patient's measurements, as they are, are kept already."""
        return self._kept is not None

    def take(self, case: Case) -> None:
        """Work on this scan from now on."""
        self._case = case
        case.controller.answered.connect(self._receive)
        case.controller.failed.connect(self._rest)
        case.controller.worked.connect(self._worked)

    def let_go(self) -> None:
        """Let go of the scan; what was measured stays."""
        if self._case is not None:
            self._case.controller.answered.disconnect(self._receive)
            self._case.controller.failed.disconnect(self._rest)
            self._case.controller.worked.disconnect(self._worked)
        self._case = None
        self._rest()

    @property
    def measured(self) -> tuple[tuple[str, int], ...]:
        """The measured phases of this patient with their number of structures."""
        return tuple((phase, len(scan.values)) for phase, scan in sorted(self._scans.items()))

    def new_patient(self) -> None:
        """Forget the measurements of this patient."""
        self._patient += 1
        self._scans.clear()
        self._kept = None
        self.compared.emit(None)
        self._rest()

    def measure(self, phase: str = "") -> bool:
        """Measure the structures as they are shown on the open scan, under the name of its phase."""
        case = self._case
        if case is None:
            return False
        controller = case.controller
        labels, still_open = _as_shown(case)
        names = {s.id: s.name for s in controller.structures if (labels == s.id).any()}
        if not names:
            controller.told.emit("There is nothing to measure yet: segment a structure first.")
            return False
        volume = controller.scan.volume(np.asarray(case.image.data))
        desk, patient, phase = id(self), self._patient, " ".join(phase.split()).casefold()

        def question(engine: Any) -> _Measured:
            # Imported in the background: the libraries behind it take a second to load.
            from napari_medmeta.tasks.diagnosis_features import measure_scan

            return _Measured(desk, patient, phase, measure_scan(volume, labels, names), still_open)

        self._ask(question, "Measuring …")
        return True

    def compare(self) -> bool:
        """Ask which finding the measured patient is most like."""
        if not self._ready():
            return False
        library, scans, desk, patient = self.library, dict(self._scans), id(self), self._patient
        # Compared with itself, everybody is like their own finding.
        itself = self._kept.id if self._kept is not None else ""

        def question(engine: Any) -> Compared:
            from napari_medmeta.tasks.diagnosis import Diagnoser
            from napari_medmeta.tasks.diagnosis_features import join_scans

            diagnoser = Diagnoser(c for c in library.cases() if c.id != itself)
            return Compared(desk, patient, diagnoser.classify(join_scans(scans)), diagnoser.check().words)

        self._ask(question, "Comparing …")
        return True

    def keep(self, finding: str) -> bool:
        """Keep the measured patient as a case of ``finding``; once, as the same twice would look like two alike."""
        case = self._case
        if case is None or not self._ready():
            return False
        if self._kept is not None:
            case.controller.told.emit(
                f"This patient is kept already, as {self._kept.finding}. Press New patient for the next one; "
                "Cases … changes a finding."
            )
            return False
        if not finding.strip():
            case.controller.told.emit("Type the finding first, such as normal.")
            return False
        from napari_medmeta.tasks.diagnosis_features import join_scans

        try:
            known = new_case(clean_name(finding, what="a finding"), join_scans(self._scans))
            self.library.add([known])
        except MedmetaError as error:
            case.controller.failed.emit(error)
            return False
        self._kept = known
        case.controller.told.emit(f"Kept as a case of {known.finding}: measurements only, no image and no name.")
        self.changed.emit()
        return True

    def words(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the findings and the phases that the library knows."""
        try:
            cases = self.library.cases()
        except MedmetaError as error:
            if self._case is not None:
                self._case.controller.failed.emit(error)
            return (), ()
        findings = dict.fromkeys(c.finding for c in cases)
        phases = dict.fromkeys(p for c in cases for p in c.measured.phases if p)
        return tuple(findings), tuple(phases)

    def _ready(self) -> bool:
        if self._scans or self._case is None:
            return bool(self._scans)
        self._case.controller.told.emit("Measure this patient's scan first.")
        return False

    def _ask(self, question: Callable[[Any], object], doing: str) -> None:
        if self._case is not None:
            self.busy = doing
            self.changed.emit()
            self._case.controller.ask_engine(question)

    def _receive(self, answer: object) -> None:
        if not isinstance(answer, _Measured | Compared) or answer.desk != id(self):
            return
        if answer.patient != self._patient:
            return
        if isinstance(answer, Compared):
            self.compared.emit(answer)
        else:
            self._note(answer)
        self._rest()

    def _note(self, measured: _Measured) -> None:
        again = measured.phase in self._scans
        self._scans[measured.phase] = measured.scan
        # What was kept or answered does not know of this scan.
        self._kept = None
        self.compared.emit(None)
        words = "Measured. Part of it was still an open proposal." if measured.still_open else ""
        if again:
            which = measured.phase or "one scan"
            words = f"{words} This replaces {which} of before: another scan of the patient needs a phase of its own."
        if words and self._case is not None:
            self._case.controller.told.emit(words.strip())

    def _worked(self, work: Work) -> None:
        # Stopped by hand, or another question took the place of ours: no answer will come.
        if self.busy and not work.busy:
            self._rest()

    def _rest(self, *_: object) -> None:
        self.busy = ""
        self.changed.emit()


def _as_shown(case: Case) -> tuple[LabelArray, bool]:
    """Return painted, accepted and open labels on the grid on screen, and whether any of them is open."""
    session = case.controller.session
    labels = np.array(session.labels)
    proposal = session.proposal
    if proposal is None:
        return labels, False
    part, still_open = labels[proposal.box.slices], session.proposed_labels(proposal.box)
    part[...] = np.where(part == BACKGROUND, still_open, part)
    return labels, bool(still_open.any())
