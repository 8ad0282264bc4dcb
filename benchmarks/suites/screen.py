"""Bringing the layers up to date. napari's model of a viewer does it without a window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from napari.components import ViewerModel

from napari_medmeta.core import Box, FloatArray, LabelArray, MaskArray, SliceRef, Structure
from napari_medmeta.ui.layers import CaseLayers
from napari_medmeta.ui.overlay import Chores
from napari_medmeta.ui.scan import layer_arguments, scan_of

from .scene import AXIS, STRUCTURES, OnScene, Scene

COLOURS = ("#8b3a3a", "#6a4fa3", "#2e7d5b")


@dataclass(frozen=True, eq=False)
class _Truth:
    """What the layers ask of a session: everything is proposed, nothing painted."""

    proposed: LabelArray
    labels: LabelArray
    structures: Sequence[Structure] = field(
        default_factory=lambda: [Structure(n, f"structure {n}", c) for n, c in zip(STRUCTURES, COLOURS, strict=True)]
    )

    def proposed_labels(self, box: Box, /) -> LabelArray:
        return self.proposed[box.slices]

    def confidence(self, box: Box, /) -> FloatArray:
        return np.ones(box.shape, dtype=np.float32)

    def background_strokes(self) -> Sequence[tuple[SliceRef, MaskArray]]:
        return ()

    def takes_over(self, ref: SliceRef, /) -> bool:
        return True

    def is_hint(self, ref: SliceRef, /) -> bool:
        return False

    def words(self, ref: SliceRef, /) -> str:
        return ""


class Layers(OnScene):
    """What the window does on its own thread after a stroke, a new proposal, and a step to another slice."""

    repeat = 10

    def setup(self, scene: Scene) -> None:
        viewer = ViewerModel()
        data, arguments = layer_arguments(scene.volume)
        image = viewer.add_image(data, **arguments)
        scan = scan_of(scene.volume)
        truth = scan.grid.labels_to_working(scene.truth)
        self.whole = Box.whole(scan.grid.working.shape)
        self.chores = Chores(lambda: None)
        self.later: list[Callable[[], None]] = []
        self.layers = CaseLayers(
            viewer,
            image,
            scan=scan,
            shown=_Truth(truth, np.zeros_like(truth)),
            chores=self.chores,
            defer=self.later.append,
        )
        self.ref = SliceRef(AXIS, scan.grid.working.shape[AXIS] // 2)
        self.layers.go_to(self.ref)
        self._settle()

    def teardown(self, scene: Scene) -> None:
        self.layers.close()

    def time_a_stroke(self, scene: Scene) -> None:
        self.layers.update(Box.of_slice(self.ref, self.whole.shape))
        self._settle()

    def time_a_new_proposal_on_the_visible_slice(self, scene: Scene) -> None:
        self.layers.update_proposal(self.whole)
        self._settle()

    def time_a_new_proposal_on_all_slices(self, scene: Scene) -> None:
        self.layers.update_proposal(self.whole)
        while self.chores.step():
            pass
        self._settle()

    def time_a_step_to_another_slice(self, scene: Scene) -> None:
        self.layers.go_to(SliceRef(AXIS, self.ref.index + 1))
        self._settle()

    def peakmem_a_new_proposal_on_all_slices(self, scene: Scene) -> None:
        self.time_a_new_proposal_on_all_slices(scene)

    def _settle(self) -> None:
        """Do what the window would do after napari's own events; it may ask for more of it."""
        for call in tuple(self.later):
            call()
        self.later.clear()
