"""Compare a measured case with a few cases of each known finding: probabilities, nearest cases, and why.

A prototypical classifier (Snell et al., NeurIPS 2017) whose prototypes and metric are shrunk, since one to three
cases a finding fix neither. Each measurement x has a spread s within a finding and t between findings:

    s² = (d0 s0² + within sum of squares) / (d0 + n - C)           moderated variance (Smyth 2004, equation 4)
    t² = (e0 s0² + (C - 1) max(0, var of means - s² / n_c)) / (e0 + C - 1)
    prototype of c = m + B (mean of c - m),  B = t² / (t² + s² / n_c)        James and Stein's shrinkage
    x | c ~ Student t with d0 + n - C degrees of freedom around it, scale² = s² + B s² / n_c

s0 is what a measurement varies from person to person (`PERSON_TO_PERSON`). The logarithms of the measurements'
likelihoods are added, so each has its own share in the answer; as the sizes and shapes of one structure in one
phase mostly say the same, they count together as one measurement (the temperature). "None of these": the mean
squared distance to the nearest prototype is beyond what 95 % of cases of a known finding would have.
All constants were chosen on the synthetic hearts of `core.heart_phantoms`, on no patient.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from napari_medmeta.core import InputError, MedmetaError, MissingExamplesError
from napari_medmeta.core.diagnosis import Feature, KnownCase, MeasuredCase, Quantity, comparable

__all__ = ["Clue", "Diagnoser", "Diagnosis", "Likely", "Near", "SelfCheck", "diagnose"]

Array = npt.NDArray[np.float64]

PERSON_TO_PERSON = {
    Quantity.VOLUME: 0.25,
    Quantity.LENGTH: 0.10,
    Quantity.WIDTH: 0.10,
    Quantity.ROUNDNESS: 0.10,
    Quantity.THICKNESS: 0.20,
    Quantity.THICKEST: 0.20,
    Quantity.THINNEST: 0.30,
    Quantity.BRIGHTNESS: 0.50,
    Quantity.TEXTURE: 0.30,
}
"""Standard deviation among people of one finding, as stored (logarithms, but for brightness): volumes of organs vary
by a fifth (Petersen et al. 2017, table 2) and masks add some; lengths by a third of that; the others are rough."""

SAME_PERSON = 0.7
"""A ratio between two scans of one person varies less: body size drops out of it."""

WITHIN_TRUST, BETWEEN_TRUST = 4.0, 2.0
"""d0 and e0: for how many cases, and findings, the assumed spread stands."""

USUAL = 0.95
"""Share of cases of a known finding that are not to be called none of these."""

MOST_CLUES, MOST_AGAINST, MOST_NEAR = 5, 2, 3


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
        return f"Most like {first.finding} ({first.probability:.0%} among the findings kept)."


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
            raise MissingExamplesError(
                f"There are kept cases of {len(self.findings)} findings to compare with",
                expected="cases of at least two, such as an illness and normal, on the same kind of scan",
                next_step="Keep a measured case of another finding first",
            )
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
            tuple(_distinct([c for c in clues if c.weight > 0], MOST_CLUES)),
            tuple(_distinct([c for c in reversed(clues) if c.weight < 0], MOST_AGAINST)),
            len(model.features),
        )

    def check(self) -> SelfCheck:
        """Recognise each kept case from the others."""
        counts = np.bincount(self._numbers)
        asked = [c for c, number in zip(self._cases, self._numbers, strict=True) if counts[number] > 1]
        right = 0
        for case in asked:
            try:
                found = Diagnoser(c for c in self._cases if c is not case).classify(case.measured)
            except MedmetaError:
                continue
            right += found.likely[0].finding.casefold() == case.finding.casefold()
        return SelfCheck(right, len(asked))

    def _model(self, case: MeasuredCase) -> tuple[_Model, Array]:
        """Return the model of the measurements that ``case`` and every finding have, and their values in it."""
        known = np.isfinite(self._values)
        everywhere = np.all([known[self._numbers == i].any(axis=0) for i in range(len(self.findings))], axis=0)
        columns = [i for i, f in enumerate(self._features) if everywhere[i] and f in case.values]
        if not columns:
            raise InputError(
                "The case and the kept ones have no measurement in common",
                expected=_expected(self._cases),
                next_step="Give structures and phases the names that the kept cases have",
            )
        features = tuple(self._features[i] for i in columns)
        x = np.array([case.values[f] for f in features])
        return _Model.fitted(features, self._values[:, columns], self._numbers, len(self.findings)), x

    def _nearest(self, model: _Model, x: Array) -> tuple[Near, ...]:
        gaps = (model.values - x) ** 2 / (2 * model.spread2)
        shared = np.isfinite(gaps).any(axis=1)
        distance = np.full(len(gaps), np.inf)
        distance[shared] = np.sqrt(np.nanmean(gaps[shared], axis=1))
        order = [int(i) for i in np.argsort(distance, kind="stable")[:MOST_NEAR] if np.isfinite(distance[i])]
        return tuple(Near(self._cases[i].id, self.findings[model.findings[i]], float(distance[i])) for i in order)

    def _clues(self, model: _Model, x: Array, scores: Array, order: npt.NDArray[np.int64]) -> Iterator[Clue]:
        """Yield every measurement, that of most weight for the first finding of ``order`` first."""
        best, second = int(order[0]), int(order[1])
        weights = scores[best] - np.delete(scores, best, axis=0).mean(axis=0)
        same, others, rival = (model.findings == best, model.findings != best, model.findings == second)
        for f in (int(i) for i in np.argsort(-weights, kind="stable")):
            column = model.values[:, f]
            low, high = _reach(column[others])
            # Where the others lie on both sides of it, only the next likely finding tells anything.
            between = low <= x[f] <= high
            yield Clue(
                model.features[f],
                float(x[f]),
                float(weights[f]),
                _reach(column[same]),
                _reach(column[rival]) if between else (low, high),
                self.findings[second] if between else "others",
            )


def diagnose(case: MeasuredCase, cases: Iterable[KnownCase]) -> Diagnosis:
    """Compare ``case`` with known ones; see `Diagnoser`."""
    return Diagnoser(cases).classify(case)


@dataclass(frozen=True, eq=False)
class _Model:
    """The fitted prototypes: p measurements of n cases of C findings.

    Parameters
    ----------
    values, findings
        (n, p) with NaN where missing; (n,) numbers.
    prototypes, scale2
        (C, p): where a new case of each finding is expected, and its variance there.
    spread2
        (p,): variance within a finding.
    freedom
        Degrees of freedom.
    """

    features: tuple[Feature, ...]
    values: Array
    findings: npt.NDArray[np.int64]
    prototypes: Array
    scale2: Array
    spread2: Array
    freedom: float

    @classmethod
    def fitted(cls, features: tuple[Feature, ...], values: Array, findings: npt.NDArray[np.int64], c: int) -> _Model:
        assumed2 = np.array([_assumed(f) ** 2 for f in features])
        known = np.isfinite(values)
        filled = np.where(known, values, 0.0)
        member = (findings[None] == np.arange(c)[:, None]).astype(np.float64)
        counts = member @ known
        means = (member @ filled) / counts
        residuals = np.where(known, values - means[findings], 0.0)
        free = np.maximum(counts.sum(axis=0) - c, 0)
        spread2 = (WITHIN_TRUST * assumed2 + (residuals**2).sum(axis=0)) / (WITHIN_TRUST + free)
        noise = spread2 / counts
        gap2 = np.maximum(means.var(axis=0, ddof=1) - noise.mean(axis=0), 0.0)
        between2 = (BETWEEN_TRUST * assumed2 + (c - 1) * gap2) / (BETWEEN_TRUST + c - 1)
        share = between2 / (between2 + noise)
        centre = means.mean(axis=0)
        freedom = WITHIN_TRUST + len(findings) - c
        prototypes = centre + share * (means - centre)
        return cls(features, values, findings, prototypes, spread2 + share * noise, spread2, freedom)

    @property
    def pairs(self) -> int:
        """How many measurements there are that do not repeat each other: structures times phases."""
        return len({(f.structure, f.phase) for f in self.features})

    @property
    def temperature(self) -> float:
        """How much of a whole measurement each counts."""
        return self.pairs / len(self.features)

    def log_likelihoods(self, x: Array) -> Array:
        """Return (C, p): how likely each measurement is in each finding."""
        z2 = (x - self.prototypes) ** 2 / self.scale2
        return np.asarray(-0.5 * np.log(self.scale2) - (self.freedom + 1) / 2 * np.log1p(z2 / self.freedom))

    def distances(self, x: Array) -> Array:
        """Return (C,): the mean squared distance to each finding, about 1 for a case of its own."""
        return np.asarray(((x - self.prototypes) ** 2 / self.scale2).mean(axis=1))

    def limit(self) -> float:
        """Return the distance that the share `USUAL` of cases of known findings stays below."""
        own = self._left_out()
        # A library of odd cases is farther from itself than assumed: the limit grows with it.
        usual = (WITHIN_TRUST + float(own.sum())) / (WITHIN_TRUST + len(own))
        return usual * float(stats.chi2.ppf(USUAL, self.pairs)) / self.pairs

    def _left_out(self) -> Array:
        """Return the mean squared distance of each case to the mean of the others of its finding."""
        found = []
        for i, finding in enumerate(self.findings):
            others = np.flatnonzero(self.findings == finding)
            others = others[others != i]
            both = np.isfinite(self.values[others]).any(axis=0) & np.isfinite(self.values[i]) if len(others) else None
            if both is not None and both.any():
                mean = np.nanmean(self.values[others][:, both], axis=0)
                scale2 = self.spread2[both] * (1 + 1 / len(others))
                found.append(float(((self.values[i, both] - mean) ** 2 / scale2).mean()))
        return np.array(found)


def _assumed(feature: Feature) -> float:
    same_person = feature.is_ratio and feature.over == feature.structure
    return PERSON_TO_PERSON[feature.quantity] * (SAME_PERSON if same_person else 1.0)


def _findings(cases: Iterable[KnownCase]) -> tuple[str, ...]:
    """Return each finding once, as it was first written, sorted."""
    found: dict[str, str] = {}
    for case in cases:
        found.setdefault(case.finding.casefold(), case.finding)
    return tuple(found[key] for key in sorted(found))


def _distinct(clues: Sequence[Clue], most: int) -> Iterator[Clue]:
    """Yield the first ``most`` clues that do not say of the same structures the same thing again."""
    told: set[tuple[str, ...]] = set()
    for clue in clues:
        key = (clue.feature.quantity, *sorted((clue.feature.structure, clue.feature.over)))
        if key not in told and len(told) < most:
            told.add(key)
            yield clue


def _reach(values: Array) -> tuple[float, float]:
    return float(np.nanmin(values)), float(np.nanmax(values))


def _range(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def _expected(cases: Sequence[KnownCase]) -> str:
    structures = sorted({s for c in cases for s in c.measured.structures})
    phases = sorted({p for c in cases for p in c.measured.phases if p})
    return ", ".join(structures[:6]) + (f" at {', '.join(phases[:4])}" if phases else "")
