"""What the panel says about a slice and what to do next, in words. No widgets, and nothing is changed here."""

from __future__ import annotations

from napari_medmeta.core import Box, SliceRef
from napari_medmeta.core.proposal import FROM_LIBRARY
from napari_medmeta.session import Session, SliceState
from napari_medmeta.ui.expectations import Expectations
from napari_medmeta.ui.slice_strip import STATE_WORDS, UNUSED_WORDS

__all__ = ["PROPOSED_STATES", "SHAPE_SOURCE", "Advice"]

PROPOSED_STATES = (SliceState.PROPOSED, SliceState.TO_REVIEW)

OPEN_STATES = (*PROPOSED_STATES, SliceState.SCRIBBLED, SliceState.UNTOUCHED)

PAST_THE_END = "Paint it if it goes on here; if it has ended, mark the slice as complete (Shift+M)"

MEND = "Accept the slice (A), or correct it by painting"

UNSURE = "Paint the slice anew (the hint is left out), erase to mend the hint, or reject it (R)"

PUT_ASIDE = "The weak proposal on this slice was left out: what you paint is what is there. Undo brings it back"
"""Said when a stroke began a slice anew that showed a hint."""

CLICK_ON = "Click or stroke on until the proposal nearly fits"

SHAPE_SOURCE = "shape"
"""The engine's name of the shape that is interpolated between the examples."""

BOX_WORDS = "a box is drawn"

CAME_FROM = {FROM_LIBRARY: "proposed from the library", "prior scan": "carried from the earlier scan"}
"""What is said of a proposal that no painted slice of this scan asked for, by its one source of evidence."""

MOST = 0.5
"""Share of the trust from which one source counts more than all others together."""


class Advice:
    """Sentences about one session.

    Parameters
    ----------
    session, expectations
        What was said, and how good the proposals are expected to be.
    """

    def __init__(self, session: Session, expectations: Expectations) -> None:
        self._session, self._expectations = session, expectations
        self._reason: tuple[SliceRef, str] | None = None

    def lead(self, ref: SliceRef, reason: str) -> None:
        """Remember why the slice ``ref`` was suggested, until another one is looked at."""
        self._reason = (ref, reason)

    def reason_for(self, ref: SliceRef) -> str:
        """Return why the slice ``ref`` was suggested, or nothing."""
        return f"{self._reason[1]}." if self._reason is not None and self._reason[0] == ref else ""

    def forget_reason(self, *, unless: SliceRef) -> str:
        """Forget the reason, unless it is that of a slice; return the forgotten sentence, or nothing."""
        if self._reason is None or self._reason[0] == unless:
            return ""
        sentence = f"{self._reason[1]}."
        self._reason = None
        return sentence

    def note_change(self) -> str:
        """Forget the reason once its slice is decided; return the forgotten sentence, or nothing."""
        if self._reason is None or self._session.slice_state(self._reason[0]) in OPEN_STATES:
            return ""
        sentence = f"{self._reason[1]}."
        self._reason = None
        return sentence

    def is_proposed(self, ref: SliceRef) -> bool:
        """Whether a proposal is open on ``ref``, beside its strokes, clicks or boxes or without any."""
        state = self._session.slice_state(ref)
        if state is SliceState.SCRIBBLED:
            return bool(self._session.proposed_labels(Box.of_slice(ref, self._session.geometry.shape)).any())
        return state in PROPOSED_STATES

    def can_propose(self) -> bool:
        """Whether there is anything to learn from."""
        return bool(self._session.support().painted_structures())

    def words(self, ref: SliceRef, *, is_hint: bool) -> str:
        """Say what is known about the slice ``ref``."""
        state = self._session.slice_state(ref)
        if state not in PROPOSED_STATES:
            known = BOX_WORDS if self._session.boxes_on(ref) else STATE_WORDS[state]
            return f"{known}\n{UNUSED_WORDS}" if self._session.example_weight(ref) == 0.0 else known
        lines = [STATE_WORDS[state], self._expectations.in_words(ref), "only a hint" if is_hint else ""]
        return "\n".join(line for line in lines if line)

    def hint(self, focus: SliceRef, *, proposing: bool, is_hint: bool, reading: bool = False) -> str:
        """Say in one line what is missing, or what to do next, on the slice ``focus``.

        ``reading`` says that the engine works, and that it is no proposal yet unless ``proposing``.
        """
        proposed = self.is_proposed(focus)
        if not self.can_propose() and proposed:
            return f"This slice is {self._came_from()}: accept it (A) if it fits, or correct it by painting."
        sparse = proposed and self._session.slice_state(focus) is SliceState.SCRIBBLED
        if self._missing():
            return f"{CLICK_ON}. {self._session.hint()}" if sparse else self._session.hint()
        if self._reason is not None and self._reason[0] == focus:
            what = PAST_THE_END if not proposed else UNSURE if is_hint else MEND
            return f"{self._reason[1]}. {what}."
        if reading and not proposing and self._proposes_first():
            return "The scan is still being read: the proposal comes by itself. You can go on painting."
        if proposing:
            return "Proposing the rest. You can look at it as it comes, and go on painting."
        if sparse:
            return f"{CLICK_ON}. Then accept it (A) as a full example, and erase or paint what is wrong."
        states = self._session.axis_overview(focus.axis)
        if not proposed and any(state in PROPOSED_STATES for state in states):
            return "Go to a yellow or orange slice of the strip to look at its proposal, or to the next best one (N)."
        if proposed and is_hint:
            return f"Here the proposal is too unsure to be outlined. {UNSURE}."
        return self._session.hint()

    def sources(self) -> str:
        """Say of which structures the plain shape between the examples is trusted more than all that is learnt.

        Empty while only the slice on screen was answered, or where what is learnt counts as much.
        """
        proposal = self._session.proposal
        # The first answer, for the slice on screen, is given before anybody was tested; it expects nothing.
        if proposal is None or not proposal.expected_dice:
            return ""
        names = {s.id: s.name for s in self._session.structures}
        shares = {names[s]: by.get(SHAPE_SOURCE, 0.0) for s, by in proposal.trust.items() if s in names}
        mostly = [f"{name} ({share:.0%})" for name, share in shares.items() if share > MOST]
        if not mostly:
            return ""
        listed = " and ".join([", ".join(mostly[:-1]), mostly[-1]] if len(mostly) > 1 else mostly)
        return f"Relies more on the plain shape between your slices than on all that is learnt: {listed}."

    def _proposes_first(self) -> bool:
        return self._session.proposal is None and self._session.auto_propose and self.can_propose()

    def _came_from(self) -> str:
        proposal = self._session.proposal
        sources = {source for by in proposal.trust.values() for source in by} if proposal is not None else set()
        return next((words for source, words in CAME_FROM.items() if source in sources), "proposed")

    def _missing(self) -> bool:
        painted = self._session.support().painted_structures()
        return any(s.id not in painted and not s.locked for s in self._session.structures)
