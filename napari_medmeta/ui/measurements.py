"""The measurements of one open scan, kept up to date a few slices at a time. No widgets and no Qt."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from napari_medmeta.core import Box, SliceRef
from napari_medmeta.core.measurements import Measurement, MeasurementTable
from napari_medmeta.session import Change, Topic
from napari_medmeta.ui.controller import Controller

__all__ = ["LiveMeasurements"]

STEP_SECONDS = 0.008
"""Half a frame of a screen: the brush never waits for a measurement."""


class LiveMeasurements:
    """What is painted and accepted, in numbers; only slices that changed are measured again.

    Parameters
    ----------
    controller
        The open scan.
    image
        Its voxels (I, J, K) on the grid on screen.
    """

    def __init__(self, controller: Controller, image: npt.NDArray[Any]) -> None:
        self._controller = controller
        self._image = image
        self._table: MeasurementTable | None = None
        self._waiting: set[int] = set()
        self._all = True

    def note(self, change: Change) -> bool:
        """Remember which slices changed; return whether there is anything to measure."""
        if Topic.LABELS in change.what:
            if self._table is None or change.box is None:
                self._all = True
            else:
                axis = self._table.axis
                self._waiting.update(range(change.box.start[axis], change.box.stop[axis]))
        return self.behind

    @property
    def behind(self) -> bool:
        """Whether some slices are still to be measured."""
        return self._all or bool(self._waiting)

    def step(self) -> bool:
        """Measure for a few milliseconds; return whether anything is left."""
        session = self._controller.session
        if self._table is None:
            # The scan's range is looked for once, on the first step.
            self._table = MeasurementTable(self._image, session.geometry, modality=self._controller.scan.modality)
        if self._all:
            self._all, self._waiting = False, set(range(session.geometry.shape[self._table.axis]))
        end = time.perf_counter() + STEP_SECONDS
        while self._waiting and time.perf_counter() < end:
            ref = SliceRef(self._table.axis, self._waiting.pop())
            self._table.update(session.labels, box=Box.of_slice(ref, session.geometry.shape))
        return self.behind

    def finish(self) -> None:
        """Measure everything that is left."""
        while self.step():
            pass

    def value(self) -> Sequence[tuple[str, Measurement]]:
        """Return each structure's name and measurement, in the order of the structure table."""
        table = self._table
        if table is None:
            return ()
        return tuple((s.name, table.measurement(s.id)) for s in self._controller.structures)
