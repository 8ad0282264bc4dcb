"""Names that a label file gives its values, carried by a layer and matched with the structure table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Labels

from napari_medmeta.core import BACKGROUND, MAX_STRUCTURES, UNLABELLED, LabelArray, Structure

__all__ = ["NAMES_KEY", "names_of_layer", "renumbered"]

NAMES_KEY = "napari_medmeta_names"
"""Where a labels layer's metadata keeps what its values are called."""


def names_of_layer(layer: Labels) -> Mapping[int, str]:
    """Return what the values of ``layer`` are called, where its file said so."""
    metadata: Mapping[str, Any] = layer.metadata
    names = metadata.get(NAMES_KEY, {})
    return {int(value): str(name) for value, name in names.items()}


def renumbered(
    labels: npt.NDArray[Any], names: Mapping[int, str], structures: Sequence[Structure]
) -> tuple[npt.NDArray[Any], Mapping[int, str]]:
    """Give named labels (I, J, K) the numbers of the table's structures of the same name.

    Returns the labels and the names of the numbers that the table does not have yet: a new name keeps
    its number where that is free. Labels without a name stay as they are.
    """
    if not names:
        return labels, {}
    ids = {s.name.casefold(): s.id for s in structures}
    present = {int(v) for v in np.unique(labels)} - {BACKGROUND, UNLABELLED}
    # Numbers that must not be given away: the table's, and those of labels that stay.
    taken = {s.id for s in structures} | {v for v in present if v not in names}
    lut: LabelArray = np.arange(256, dtype=np.uint8)
    fresh: dict[int, str] = {}
    for value in sorted(v for v in present if v in names):
        name = " ".join(names[value].split())
        number = ids.get(name.casefold())
        if number is None:
            number = value if value not in taken else _first_free(taken)
            if number is None:
                continue
            ids[name.casefold()] = number
            fresh[number] = name
            taken.add(number)
        lut[value] = number
    return lut[np.asarray(labels).astype(np.uint8)], fresh


def _first_free(taken: set[int]) -> int | None:
    return next((n for n in range(1, MAX_STRUCTURES + 1) if n not in taken), None)
