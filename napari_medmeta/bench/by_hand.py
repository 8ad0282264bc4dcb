"""What a scan would take without any tool but the brush: every slice painted by hand, by the same time model."""

from __future__ import annotations

import numpy as np

from napari_medmeta.bench.cases import Case, load_case
from napari_medmeta.bench.human_time import TimeModel, outline_mm
from napari_medmeta.bench.protocol import Anatomy, anatomy_of

__all__ = ["seconds_by_hand", "seconds_for_case"]

TIMES = TimeModel()


def seconds_by_hand(anatomy: Anatomy, *, times: TimeModel = TIMES) -> float:
    """Return the seconds to draw every structure on every slice that shows it, and to step from slice to slice."""
    spacing = tuple(mm for axis, mm in enumerate(anatomy.geometry.spacing_mm) if axis != anatomy.axis)
    total = 0.0
    for plane in np.moveaxis(anatomy.truth, anatomy.axis, 0):
        shown = [plane == s for s in anatomy.structures if np.any(plane == s)]
        if shown:
            total += times.view(0) + times.draw([outline_mm(mask, (spacing[0], spacing[1])) for mask in shown])
    return total


def seconds_for_case(case: Case) -> float:
    """Read a case's truth and return the seconds to paint it by hand.

    Raises
    ------
    MedmetaError
        When a file cannot be read, or no structure is large enough.
    """
    loaded = load_case(case)
    return seconds_by_hand(anatomy_of(loaded.truth, loaded.volume.geometry, case_id=case.id))
