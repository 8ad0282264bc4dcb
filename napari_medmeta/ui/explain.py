"""The part of the panel that answers "why?": joins the explainer, its box and its points to the open scan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from napari.components import ViewerModel
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QWidget

from napari_medmeta.core import BACKGROUND, SliceRef
from napari_medmeta.core.explanation import ExampleShare, Explanation
from napari_medmeta.session.words import plane_names, slice_name
from napari_medmeta.ui.case import Case
from napari_medmeta.ui.explain_box import ExampleCard, ExplainBox, ExplainValue
from napari_medmeta.ui.explain_picture import thumbnail
from napari_medmeta.ui.explain_points import ExplanationPoints
from napari_medmeta.ui.explainer import Explainer, Explaining

__all__ = ["ExplainSection"]

MOST_CARDS = 3
"""More pictures than this push everything else out of sight, and weigh next to nothing."""


class HasCase(Protocol):
    """The panel, as far as this part needs it."""

    case: Case | None


class ExplainSection:
    """Explains voxels of the scan that is open at the time.

    Parameters
    ----------
    viewer, panel
        Where the scan is shown and worked on.
    key
        The key that asks, as shown to the user.
    explaining
        Explains in the background; None: the engine's own way.
    reveal
        Brings the box into sight when what was asked for is in it.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        panel: HasCase,
        *,
        key: str,
        explaining: Explaining | None = None,
        reveal: Callable[[QWidget], None] | None = None,
    ) -> None:
        self._viewer, self._panel, self._explaining, self._reveal = viewer, panel, explaining, reveal
        self._asked = False
        self.box = ExplainBox(key)
        self.explainer: Explainer | None = None
        self.points: ExplanationPoints | None = None
        self._case: Case | None = None
        self.box.go_wanted.connect(self._go_to)
        self.box.close_wanted.connect(self._with(lambda explainer: explainer.clear()))
        self.box.less_wanted.connect(self._with(lambda explainer, ref: explainer.use_less(ref)))
        self.box.drop_wanted.connect(self._with(lambda explainer, ref: explainer.do_not_use(ref)))
        self.box.again_wanted.connect(self._with(lambda explainer, ref: explainer.use_again(ref)))

    def ask(self) -> None:
        """Explain the voxel under the mouse."""
        if self.explainer is not None and self._case is not None:
            self._asked = True
            self.explainer.explain(self._case.layers.planes.under_cursor())

    def follow_case(self) -> None:
        """Turn to the scan that is open now, if any."""
        self.close()
        case = self._panel.case
        if case is None:
            return
        self._case = case
        self.points = ExplanationPoints(self._viewer, case.image)
        self.explainer = Explainer(case.controller, explaining=self._explaining)
        self.explainer.explained.connect(self._show)
        case.controller.changed.connect(self._changed)

    def close(self) -> None:
        """Let go of the scan."""
        if self._case is None or self.explainer is None or self.points is None:
            return
        self._case.controller.changed.disconnect(self._changed)
        self.explainer.close()
        self.points.clear()
        self._case = self.explainer = self.points = None
        self.box.set_value(None)

    def _with(self, call: Callable[..., Any]) -> Callable[..., None]:
        def slot(*arguments: Any) -> None:
            if self.explainer is not None:
                call(self.explainer, *arguments)

        return slot

    def _changed(self, change: object) -> None:
        # Weights of examples are shown beside their pictures.
        if self.explainer is not None and self.explainer.value is not None:
            self._fill(self.explainer.value)

    def _show(self, explanation: Explanation | None) -> None:
        if self._case is None or self.points is None:
            return
        if explanation is None:
            self.points.clear()
            self.box.set_value(None)
            return
        self.points.show(explanation, {s.id: s.colour for s in self._case.controller.structures})
        self._fill(explanation)
        if self._asked and self._reveal is not None:
            # Only what was asked for: explained anew, after painting, it must not take the buttons away.
            self._reveal(self.box)
        self._asked = False

    def _fill(self, explanation: Explanation) -> None:
        if self._case is None:
            return
        controller = self._case.controller
        planes = plane_names(controller.session.geometry)
        names = {s.id: s.name for s in controller.structures}
        what = "Background" if explanation.label == BACKGROUND else names.get(explanation.label, "A removed structure")
        sure = "" if explanation.decided else f" ({explanation.probability:.0%} sure)"
        cards = tuple(self._card(e, planes) for e in explanation.examples[:MOST_CARDS])
        changed = sorted(controller.session.reweighed().items())
        unused = tuple((ref, _capital(slice_name(planes, ref)), weight) for ref, weight in changed)
        value = ExplainValue(f"{what}{sure}", explanation.summary, cards, explanation.sources, unused)
        self.box.set_value(value)

    def _card(self, example: ExampleShare, planes: tuple[str, str, str]) -> ExampleCard:
        case = self._case
        if case is None:
            raise ValueError("a card needs an open scan")
        session = case.controller.session
        low, high = (float(v) for v in case.image.contrast_limits)
        picture = thumbnail(
            np.asarray(case.image.data),
            session.labels,
            ref=example.ref,
            voxel=example.voxels[0].voxel,
            spacing_mm=session.geometry.spacing_mm,
            limits=(low, high),
            colours={s.id: _rgb(s.colour) for s in session.structures},
        )
        name = _capital(slice_name(planes, example.ref))
        return ExampleCard(example.ref, name, example.weight, session.example_weight(example.ref) or 0.0, picture)

    def _go_to(self, ref: SliceRef) -> None:
        if self._case is not None:
            self._case.layers.go_to(ref)


def _rgb(colour: str) -> tuple[int, int, int]:
    found = QColor(colour)
    return found.red(), found.green(), found.blue()


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
