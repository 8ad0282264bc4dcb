"""Compare a measured case with a few cases of each known finding: probabilities, nearest cases, and why.

The prototypes, the metric and the limit of what is like none of them are those of `diagnosis_model`. The
logarithms of the measurements' likelihoods are added, so each measurement has its own share in the answer, and
the answer can say which ones speak for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from napari_medmeta.core import InputError, MissingExamplesError, Modality
from napari_medmeta.core.diagnosis import Feature, KnownCase, MeasuredCase, Quantity, comparable
from napari_medmeta.tasks.diagnosis_model import Prototypes

__all__ = ["Clue", "Diagnoser", "Diagnosis", "Likely", "Near", "SelfCheck", "diagnose", "percent"]

Array = npt.NDArray[np.float64]

MOST_CLUES, MOST_AGAINST, MOST_NEAR = 5, 2, 3

LEAST_WEIGHT = 0.02
"""Of the log odds: what weighs less need not be told."""

SIZES = frozenset({Quantity.VOLUME, Quantity.LENGTH, Quantity.WIDTH, Quantity.ROUNDNESS})
THICKNESSES = frozenset({Quantity.THICKNESS, Quantity.THICKEST, Quantity.THINNEST})


@dataclass(frozen=True, slots=True)
class Likely:
    """A finding with its probability in [0, 1] and the number of its cases in the library."""

    finding: str
    probability: float
    cases: int


@dataclass(frozen=True, slots=True)
class Near:
    """A kept case and its distance: 1 is usual between two people of one finding."""

    case: str
    finding: str
    distance: float


@dataclass(frozen=True, slots=True)
class Clue:
    """One measurement's share in the answer.

    Parameters
    ----------
    feature, value
        The measurement and its stored value.
    weight
        By how much it raises the log odds of the finding against the mean of the others; below 0 it speaks against.
    same, others
        Lowest and highest stored value of the kept cases of this finding, and of the others.
    who
        Who the others are: all of them, or the next likely finding by its name.
    """

    feature: Feature
    value: float
    weight: float
    same: tuple[float, float]
    others: tuple[float, float]
    who: str = "others"

    @property
    def words(self) -> str:
        """The measurement in plain words, such as ``spleen, volume: 480 ml (this finding 400 ml; others 150 ml)``."""
        shown = self.feature.shown
        same, others = (_range(shown(low), shown(high)) for low, high in (self.same, self.others))
        return f"{self.feature.words}: {shown(self.value)} (this finding {same}; {self.who} {others})"


@dataclass(frozen=True)
class Diagnosis:
    """What the comparison says; never a diagnosis.

    Parameters
    ----------
    likely
        All findings, the most probable first; probabilities add up to 1 and are those among these findings alone.
    distance, limit
        Mean squared distance to the nearest finding, and the one from which the case is like none of them.
    nearest
        The nearest kept cases.
    speaks_for, speaks_against
        The measurements of most weight for and against the first finding.
    measurements
        How many measurements were compared.
    """

    likely: tuple[Likely, ...]
    distance: float
    limit: float
    nearest: tuple[Near, ...]
    speaks_for: tuple[Clue, ...]
    speaks_against: tuple[Clue, ...]
    measurements: int

    @property
    def none_of_these(self) -> bool:
        """Whether the case is farther from all findings than their own cases are."""
        return self.distance > self.limit

    @property
    def headline(self) -> str:
        """The answer in one sentence."""
        first = self.likely[0]
        if self.none_of_these:
            return f"None of these: the case is unlike all kept ones (the least unlike is {first.finding})."
        return f"Most like {first.finding} ({percent(first.probability)} among the findings kept)."


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """How many kept cases the others would have recognised; only findings with two cases or more can be asked."""

    right: int
    asked: int

    @property
    def words(self) -> str:
        """The check in one sentence."""
        if not self.asked:
            return "Nothing can be checked yet: keep at least two cases of each finding."
        return f"Each left out in turn, {self.right} of {self.asked} kept cases were recognised from the others."


class Diagnoser:
    """Known cases, ready to be compared with.

    Parameters
    ----------
    cases
        What the library keeps.

    Raises
    ------
    MissingExamplesError
        When they do not show two findings.

    Examples
    --------
    >>> from napari_medmeta.core import Modality
    >>> def case(ml):
    ...     return MeasuredCase(Modality.CT, {Feature(Quantity.VOLUME, "spleen"): float(np.log(ml))})
    >>> known = [KnownCase("a", "large", "2026-01-01", case(600)), KnownCase("b", "normal", "2026-01-01", case(180))]
    >>> Diagnoser(known).classify(case(550)).likely[0].finding
    'large'
    """

    def __init__(self, cases: Iterable[KnownCase]) -> None:
        self._cases = tuple(cases)
        self.findings = _findings(self._cases)
        if len(self.findings) < 2:
            raise _too_few(self.findings)
        places = {name.casefold(): i for i, name in enumerate(self.findings)}
        self._numbers = np.array([places[c.finding.casefold()] for c in self._cases])
        self._features = tuple(sorted({f for c in self._cases for f in c.measured.values}))
        rows = [[c.measured.values.get(f, np.nan) for f in self._features] for c in self._cases]
        self._values = np.array(rows, dtype=np.float64)

    def classify(self, case: MeasuredCase) -> Diagnosis:
        """Compare ``case`` with the known ones of its kind of scan.

        Raises
        ------
        InputError
            When no measurement of it was also made in every finding.
        MissingExamplesError
            When the cases of its kind of scan do not show two findings.
        """
        alike = [c for c in self._cases if comparable(case.modality, c.measured.modality)]
        if len(alike) < len(self._cases):
            found = _findings(alike)
            if len(found) < 2:
                raise _too_few(found, of_other_kind=len(self._cases) - len(alike))
            return Diagnoser(alike).classify(case)
        model, x = self._model(case)
        scores = model.log_likelihoods(x) * model.temperature
        probabilities = special.softmax(scores.sum(axis=1))
        order = np.argsort(-probabilities, kind="stable")
        counts = np.bincount(self._numbers)
        clues = list(self._clues(model, x, scores, order))
        return Diagnosis(
            tuple(Likely(self.findings[i], float(probabilities[i]), int(counts[i])) for i in order),
            float(model.distances(x).min()),
            model.limit(),
            self._nearest(model, x),
            tuple(_distinct([c for c in clues if c.weight > LEAST_WEIGHT], MOST_CLUES)),
            tuple(_distinct([c for c in reversed(clues) if c.weight < -LEAST_WEIGHT], MOST_AGAINST)),
            len(model.features),
        )

    def check(self) -> SelfCheck:
        """Recognise each kept case from the others of its kind of scan."""
        ct = np.array([c.measured.modality is Modality.CT for c in self._cases])
        right = asked = 0
        for i, number in enumerate(self._numbers):
            rows = ct == ct[i]
            rows[i] = False
            counts = np.bincount(self._numbers[rows], minlength=len(self.findings))
            if not counts[number] or np.count_nonzero(counts) < 2:
                continue
            asked += 1
            columns = self._columns(rows) & np.isfinite(self._values[i])
            if columns.any():
                scores = self._fitted(rows, columns).log_likelihoods(self._values[i, columns]).sum(axis=1)
                right += bool(np.flatnonzero(counts)[int(np.argmax(scores))] == number)
        return SelfCheck(right, asked)

    def _model(self, case: MeasuredCase) -> tuple[Prototypes, Array]:
        """Return the model of the measurements that ``case`` and every finding have, and their values in it."""
        rows = np.ones(len(self._cases), dtype=bool)
        columns = self._columns(rows) & np.array([f in case.values for f in self._features])
        if not columns.any():
            raise InputError(
                "The case and the kept ones have no measurement in common",
                expected=_expected(self._cases),
                next_step="Give structures and phases the names that the kept cases have",
            )
        model = self._fitted(rows, columns)
        return model, np.array([case.values[f] for f in model.features])

    def _columns(self, rows: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Return (p,) bool: what was measured in at least one of ``rows`` of every finding."""
        known = np.isfinite(self._values)
        findings = np.unique(self._numbers[rows])
        shared = [known[rows & (self._numbers == i)].any(axis=0) for i in findings]
        return np.asarray(np.all(shared, axis=0))

    def _fitted(self, rows: npt.NDArray[np.bool_], columns: npt.NDArray[np.bool_]) -> Prototypes:
        features = tuple(self._features[i] for i in np.flatnonzero(columns))
        # Findings without a case among the rows drop out.
        _, numbers = np.unique(self._numbers[rows], return_inverse=True)
        return Prototypes.fitted(features, self._values[rows][:, columns], numbers)

    def _nearest(self, model: Prototypes, x: Array) -> tuple[Near, ...]:
        gaps = (model.values - x) ** 2 / (2 * model.spread2)
        shared = np.isfinite(gaps).any(axis=1)
        distance = np.full(len(gaps), np.inf)
        distance[shared] = np.sqrt(np.nanmean(gaps[shared], axis=1))
        order = [int(i) for i in np.argsort(distance, kind="stable")[:MOST_NEAR] if np.isfinite(distance[i])]
        return tuple(Near(self._cases[i].id, self.findings[model.findings[i]], float(distance[i])) for i in order)

    def _clues(self, model: Prototypes, x: Array, scores: Array, order: npt.NDArray[np.int64]) -> Iterator[Clue]:
        """Yield every measurement, that of most weight for the first finding of ``order`` first."""
        best, second = int(order[0]), int(order[1])
        weights = scores[best] - np.delete(scores, best, axis=0).mean(axis=0)
        members = (model.findings == best, model.findings != best, model.findings == second)
        same, others, rival = (_reach(model.values[rows]) for rows in members)
        # Where the others lie on both sides of it, only the next likely finding tells anything.
        between = (others[0] <= x) & (x <= others[1])
        for f in (int(i) for i in np.argsort(-weights, kind="stable")):
            beside = rival[:, f] if between[f] else others[:, f]
            yield Clue(
                model.features[f],
                float(x[f]),
                float(weights[f]),
                (float(same[0, f]), float(same[1, f])),
                (float(beside[0]), float(beside[1])),
                self.findings[second] if between[f] else "others",
            )


def percent(probability: float) -> str:
    """Return a probability as it is shown; nothing is ever certain."""
    return ">99 %" if probability > 0.99 else "<1 %" if probability < 0.01 else f"{probability:.0%}".replace("%", " %")


def diagnose(case: MeasuredCase, cases: Iterable[KnownCase]) -> Diagnosis:
    """Compare ``case`` with known ones; see `Diagnoser`."""
    return Diagnoser(cases).classify(case)


def _findings(cases: Iterable[KnownCase]) -> tuple[str, ...]:
    """Return each finding once, as it was first written, sorted."""
    found: dict[str, str] = {}
    for case in cases:
        found.setdefault(case.finding.casefold(), case.finding)
    return tuple(found[key] for key in sorted(found))


def _too_few(findings: Sequence[str], *, of_other_kind: int = 0) -> MissingExamplesError:
    kind = " of this kind of scan" if of_other_kind else ""
    found = f"All cases kept{kind} show one finding, {findings[0]}" if findings else f"No case{kind} is kept yet"
    others = "" if not of_other_kind else f" ({of_other_kind} of other kinds cannot be compared: CT is not MR)"
    return MissingExamplesError(
        found + others,
        expected="cases of at least two findings, such as an illness and normal",
        next_step="Measure a patient of another finding and keep it first"
        if findings
        else "Measure patients whose finding you know, and keep them first",
    )


def _distinct(clues: Sequence[Clue], most: int) -> Iterator[Clue]:
    """Yield the first ``most`` clues that do not say of the same structures the same thing again."""
    told: set[tuple[object, ...]] = set()
    for clue in clues:
        feature = clue.feature
        kind = next((group for group in (SIZES, THICKNESSES) if feature.quantity in group), feature.quantity)
        key = (kind, *sorted((feature.structure, feature.over)))
        if key not in told and len(told) < most:
            told.add(key)
            yield clue


def _reach(values: Array) -> Array:
    """Return (2, p): the lowest and the highest of each column."""
    return np.stack([np.nanmin(values, axis=0), np.nanmax(values, axis=0)])


def _range(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def _expected(cases: Sequence[KnownCase]) -> str:
    structures = sorted({s for c in cases for s in c.measured.structures})
    phases = sorted({p for c in cases for p in c.measured.phases if p})
    return ", ".join(structures[:6]) + (f" at {', '.join(phases[:4])}" if phases else "")
