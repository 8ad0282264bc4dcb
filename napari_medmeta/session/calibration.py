"""Expected Dice, set right by what this user accepted and corrected in this very session.

The engine's expectation is shifted on the logit scale until it agrees with what was found, and the shift is
shrunk towards none: updating the intercept of a predictive model, which with few cases does better than
refitting it (Steyerberg et al., "Validation and updating of predictive logistic regression models: a study
on sample size and shrinkage", Statistics in Medicine 2004). Dice is a share and no coin toss, so the fit is
the fractional one of Papke and Wooldridge (Journal of Applied Econometrics 1996). A shift keeps the order of
slices as it is. Each structure has its own, shrunk towards that of all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from napari_medmeta.core import SliceRef

__all__ = ["Calibration", "Judgement", "calibrated"]

Row = npt.NDArray[np.float64]

TRIALS = 2.0
"""For how many coin tosses the Dice of one slice stands: it scatters about its expectation as much less."""

SPREAD = 0.6
"""Standard deviation of the shift between sessions, on the logit scale. This and the trials were chosen on
simulated sessions on the development cases of the benchmark."""

SPREAD_OF_STRUCTURES = 0.4
"""Standard deviation of the shift between structures of one session: smaller, as scan and user are the same."""

CERTAIN = 0.995
"""No proposal is expected to be better, or worse, than this: beyond it no shift could move it."""

HALVINGS = 50


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one structure of one proposed slice became.

    Parameters
    ----------
    expected
        Dice that the proposal expected of the slice, before any calibration.
    found
        Dice between what was proposed and what was accepted or painted; 1 for accepted unchanged.
    recalled
        Whether the example library proposed it.
    """

    ref: SliceRef
    structure: int
    expected: float
    found: float
    recalled: bool = False


@dataclass(frozen=True)
class Calibration:
    """How to read an expected Dice in this session.

    Parameters
    ----------
    judgements
        What it was learnt from, by slice.
    shifts
        For the engine (False) and the example library (True), by how much to shift on the logit scale.
    structure_shifts
        The same for single structures.
    """

    judgements: tuple[Judgement, ...] = ()
    shifts: Mapping[bool, float] = field(default_factory=lambda: MappingProxyType({}))
    structure_shifts: Mapping[tuple[int, bool], float] = field(default_factory=lambda: MappingProxyType({}))

    def of_slice(self, expected: float, *, recalled: bool = False) -> float:
        """Return the Dice to expect of a slice of which the proposal expects ``expected``."""
        return shifted(expected, self.shifts.get(recalled, 0.0))

    def of_structure(self, expected: float, structure: int, *, recalled: bool = False) -> float:
        """Return the Dice to expect of a structure of which the proposal expects ``expected``."""
        own = self.structure_shifts.get((structure, recalled))
        return shifted(expected, self.shifts.get(recalled, 0.0) if own is None else own)

    @property
    def slices(self) -> int:
        """How many slices were judged."""
        return len({j.ref for j in self.judgements})

    @property
    def expected(self) -> float | None:
        """Mean Dice that the proposals expected of the judged slices, None without any."""
        return self._mean([j.expected for j in self.judgements])

    @property
    def found(self) -> float | None:
        """Mean Dice that was found on them."""
        return self._mean([j.found for j in self.judgements])

    @property
    def sentence(self) -> str:
        """Expected and found in one plain sentence, nothing while no proposal was judged."""
        if self.expected is None or self.found is None:
            return ""
        where = "1 slice" if self.slices == 1 else f"{self.slices} slices"
        return f"Expected Dice {self.expected:.2f}, you found {self.found:.2f} on {where}."

    def _mean(self, values: list[float]) -> float | None:
        return float(np.average(values, weights=_weights(self.judgements))) if values else None


def calibrated(judgements: Iterable[Judgement]) -> Calibration:
    """Return what judgements teach; with none, every expectation is read as it is."""
    known = tuple(sorted(judgements, key=lambda j: (j.ref, j.structure)))
    shifts, own = {}, {}
    for recalled in sorted({j.recalled for j in known}):
        mine = [j for j in known if j.recalled is recalled]
        shifts[recalled] = _shift(mine, _weights(mine), centre=0.0, spread=SPREAD)
        for structure in sorted({j.structure for j in mine}):
            part = [j for j in mine if j.structure == structure]
            own[structure, recalled] = _shift(
                part, np.ones(len(part)), centre=shifts[recalled], spread=SPREAD_OF_STRUCTURES
            )
    return Calibration(known, MappingProxyType(shifts), MappingProxyType(own))


def shifted(expected: float, shift: float) -> float:
    """Return a Dice in [0, 1] shifted on the logit scale; the same value for no shift."""
    return float(_expit(_logit(np.array([expected])) + shift)[0]) if shift else expected


def _weights(judgements: Iterable[Judgement]) -> Row:
    """Return for each judgement its weight: all structures of a slice together count once."""
    refs = [j.ref for j in judgements]
    count = Counter(refs)
    return np.array([1.0 / count[ref] for ref in refs])


def _shift(judgements: list[Judgement], weights: Row, *, centre: float, spread: float) -> float:
    """Return the shift at which the slope of the penalised likelihood is zero; it falls with the shift."""
    start = _logit(np.array([j.expected for j in judgements]))
    found = np.array([j.found for j in judgements])
    # The penalty pulls harder than all judgements together beyond this.
    reach = spread**2 * TRIALS * float(weights.sum())
    low, high = centre - reach, centre + reach
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        slope = TRIALS * float((weights * (found - _expit(start + middle))).sum()) - (middle - centre) / spread**2
        low, high = (middle, high) if slope > 0 else (low, middle)
    return (low + high) / 2


def _logit(share: Row) -> Row:
    inside = np.clip(share, 1 - CERTAIN, CERTAIN)
    return np.asarray(np.log(inside / (1 - inside)))


def _expit(value: Row) -> Row:
    return np.asarray(1 / (1 + np.exp(-value)))
