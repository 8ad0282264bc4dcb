"""What is kept of a case with a known finding: a few measurements, no image, no outline and no name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from napari_medmeta.core.errors import InputError
from napari_medmeta.core.types import Modality

__all__ = [
    "MAX_FEATURES",
    "MAX_WORD",
    "RESEARCH_AID",
    "Feature",
    "KnownCase",
    "MeasuredCase",
    "Quantity",
    "clean_name",
    "comparable",
]

RESEARCH_AID = "Research aid: not for diagnosis. It compares measurements with the few cases you kept, no more."
"""Stands in the panel, in every answer on the command line and in the documents."""

MAX_FEATURES = 20_000
"""Far more than fifty structures in several phases give; a file with more was not written by us."""

MAX_WORD = 100
"""Letters in the name of a finding, a structure or a phase."""


class Quantity(StrEnum):
    """What is measured of one structure in one phase."""

    VOLUME = "volume"
    LENGTH = "length"
    WIDTH = "width"
    ROUNDNESS = "roundness"
    THICKNESS = "thickness"
    THICKEST = "thickest"
    THINNEST = "thinnest"
    BRIGHTNESS = "brightness"
    TEXTURE = "texture"


UNITS = {
    Quantity.VOLUME: "ml",
    Quantity.LENGTH: "mm",
    Quantity.WIDTH: "mm",
    Quantity.THICKNESS: "mm",
    Quantity.THICKEST: "mm",
    Quantity.THINNEST: "mm",
}


@dataclass(frozen=True, slots=True, order=True)
class Feature:
    """One measurement of a case, by what it is of.

    Parameters
    ----------
    quantity
        What was measured.
    structure, phase
        Of what, and in which scan of the case; the phase of a case of one scan is empty.
    over, over_phase
        For a ratio: the structure and phase by whose quantity it is divided. Both empty otherwise.
    """

    quantity: Quantity
    structure: str
    phase: str = ""
    over: str = ""
    over_phase: str = ""

    @property
    def is_ratio(self) -> bool:
        """Whether it is a share of another measurement."""
        return bool(self.over)

    @property
    def is_logarithm(self) -> bool:
        """Whether the stored value is the natural logarithm of what is shown."""
        return self.quantity is not Quantity.BRIGHTNESS

    @property
    def words(self) -> str:
        """What it is, in plain words, such as ``left ventricle, volume at end-systole``."""
        at = f" at {self.phase}" if self.phase else ""
        if not self.is_ratio:
            return f"{self.structure}, {self.quantity}{at}"
        if self.over == self.structure:
            before = self.over_phase or "the first scan"
            return f"{self.structure}, {self.quantity}{at} as a share of that at {before}"
        return f"{self.structure}, {self.quantity}{at} as a share of the {self.over}'s"

    def shown(self, value: float) -> str:
        """Return a stored value as it is read: ``240 ml``, ``0.35``, ``+1.2``."""
        if not self.is_logarithm:
            return f"{value:+.1f}"
        number, unit = math.exp(value), "" if self.is_ratio else UNITS.get(self.quantity, "")
        digits = f"{number:.0f}" if unit and number >= 20 else f"{number:.2g}" if number < 0.1 else f"{number:.3g}"
        if not unit and number >= 0.1:
            digits = f"{number:.2f}"
        return f"{digits} {unit}".rstrip()


@dataclass(frozen=True, eq=False)
class MeasuredCase:
    """The measurements of one case, which may consist of several scans (phases) of one patient.

    Parameters
    ----------
    modality
        The kind of its scans.
    values
        Each measurement's value: its natural logarithm, but for brightness (see `Feature.is_logarithm`).

    Raises
    ------
    InputError
        When there is no measurement, or one is not a finite number.
    """

    modality: Modality
    values: Mapping[Feature, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < len(self.values) <= MAX_FEATURES:
            raise InputError(
                f"A case has {len(self.values)} measurements",
                expected="at least one segmented structure",
                next_step="Segment a structure first",
            )
        if not all(math.isfinite(v) for v in self.values.values()):
            raise InputError("A measurement of the case is not a number")
        object.__setattr__(self, "values", MappingProxyType(dict(self.values)))

    @property
    def phases(self) -> tuple[str, ...]:
        """The names of its scans, sorted; one empty name for a case of one scan."""
        return tuple(sorted({f.phase for f in self.values}))

    @property
    def structures(self) -> tuple[str, ...]:
        """The structures that were measured, sorted."""
        return tuple(sorted({f.structure for f in self.values}))


@dataclass(frozen=True, eq=False)
class KnownCase:
    """A case whose finding is known, as kept in the library of cases.

    Parameters
    ----------
    id
        Random, so that a case that comes back from another computer is known again.
    finding
        What the user calls it.
    day
        The day it was kept (UTC, ``yyyy-mm-dd``): not the day of the scan.
    measured
        All that is kept of its scans.
    """

    id: str
    finding: str
    day: str
    measured: MeasuredCase

    def __post_init__(self) -> None:
        if clean_name(self.finding, what="a finding") != self.finding:
            raise InputError(f"{self.finding!r} is no name for a finding", expected="no blanks around it")


def clean_name(name: str, *, what: str) -> str:
    """Return ``name`` without surrounding and double blanks.

    Raises
    ------
    InputError
        When nothing is left, or it is longer than `MAX_WORD` letters; ``what`` names it in the message.
    """
    clean = " ".join(name.split())
    if not clean or len(clean) > MAX_WORD or not clean.isprintable():
        raise InputError(f"{name!r} is no name for {what}", expected=f"1 to {MAX_WORD} letters")
    return clean


def comparable(one: Modality, other: Modality) -> bool:
    """Whether cases of two kinds of scans may be compared: CT with CT, and everything else with its like."""
    # MR files other than DICOM do not say that they are MR.
    return (one is Modality.CT) == (other is Modality.CT)
