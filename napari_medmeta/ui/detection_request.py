"""What is asked of the engine to find lesions, and from where it learns; called in the background."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from napari_medmeta.core import BACKGROUND, CancelToken, LabelArray, MaskArray, Modality, Support, Volume
from napari_medmeta.core.library import LibraryEntry

if TYPE_CHECKING:
    from napari_medmeta.tasks.detection import Candidate, LesionExamples

__all__ = ["Detecting", "Elsewhere", "Request", "detected_by_the_engine", "from_library", "from_other_scan"]


@dataclass(frozen=True, eq=False)
class Elsewhere:
    """Lesions that are not painted on the open scan.

    Parameters
    ----------
    learn
        Called in the background, with the engine.
    uncover
        Puts away what lies over the open scan, where the lesions are shown in the same window.
    kind
        Of the scan that they lie on; None where it was chosen to be that of the open scan.
    """

    name: str
    learn: Callable[[Any], LesionExamples]
    uncover: Callable[[], None] | None = None
    kind: Modality | None = None


@dataclass(frozen=True, eq=False)
class Request:
    """All that is needed to look for lesions in the background.

    Parameters
    ----------
    known
        (I, J, K) bool: what is painted or accepted of the structure.
    stages
        Receives (fraction, stage) while the work goes on; read by the window when it likes.
    """

    volume: Volume
    support: Support
    structure: int
    known: MaskArray
    dismissed: tuple[Candidate, ...] = ()
    elsewhere: Elsewhere | None = None
    cancel: CancelToken = field(default_factory=CancelToken)
    stages: list[tuple[float, str]] = field(default_factory=list)

    def report(self, fraction: float, stage: str, /) -> None:
        """Note how far the work is."""
        self.stages[:] = [(fraction, stage)]


Detecting: TypeAlias = Callable[[Any, Request], "tuple[Candidate, ...]"]
"""Engine and request in, candidates out; called in the background."""


def from_library(name: str, entries: Sequence[LibraryEntry]) -> Elsewhere:
    """Return the lesions that the library keeps under ``name``."""

    def learn(engine: Any) -> LesionExamples:
        from napari_medmeta.tasks.detection import examples_of_entries

        return examples_of_entries(entries)

    return Elsewhere(f"Library: {name}", learn)


def from_other_scan(
    name: str, volume: Volume, read: Callable[[], LabelArray], *, uncover: Callable[[], None] | None = None
) -> Elsewhere:
    """Return the lesions painted on another scan; ``read`` gives them, on its grid, when they are learnt, once."""
    learnt: list[LesionExamples] = []

    def learn(engine: Any) -> LesionExamples:
        if not learnt:
            learnt.append(_learnt_on(engine, volume, read()))
        return learnt[0]

    return Elsewhere(name, learn, uncover, volume.modality)


def _learnt_on(engine: Any, volume: Volume, labels: LabelArray) -> LesionExamples:
    from napari_medmeta.core import guess_axis, support_from_labels
    from napari_medmeta.engine.device import pick_device
    from napari_medmeta.engine.features import compute_features
    from napari_medmeta.tasks.detection import examples_on

    lesions = (labels != BACKGROUND).astype(np.uint8)
    support = support_from_labels(lesions, axis=guess_axis(lesions, volume.geometry))
    maps = compute_features(volume, device=pick_device(engine.device))
    return examples_on(maps, volume.geometry, support, structure=1)


def detected_by_the_engine(engine: Any, request: Request) -> tuple[Candidate, ...]:
    """Learn from the painted lesions and from those elsewhere, and list the candidates."""
    from napari_medmeta.tasks.detection import detect, examples_on, joined

    parts = [] if request.elsewhere is None else [request.elsewhere.learn(engine)]
    request.cancel.raise_if_cancelled()
    if request.structure in request.support.painted_structures():
        grid = request.volume.geometry
        parts.append(examples_on(engine, grid, request.support, structure=request.structure))
    return detect(
        engine,
        request.volume,
        joined(parts),
        known=request.known,
        dismissed=request.dismissed,
        progress=request.report,
        cancel=request.cancel,
    )
