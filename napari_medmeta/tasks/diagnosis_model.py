"""Prototypes of findings from one to three cases each, with a shrunk metric.

Prototypes in the manner of Snell et al. (NeurIPS 2017). One to three cases of a finding fix neither prototype nor
metric, so both are shrunk. A measurement x varies by s within a finding and by t between findings:

    s² = (d0 s0² + within sum of squares) / (d0 + n - C)           moderated variance (Smyth 2004, equation 4)
    t² = (e0 s0² + (C - 1) max(0, var of means - s² / n_c)) / (e0 + C - 1)
    prototype of c = m + B (mean of c - m),  B = t² / (t² + s² / n_c)        James and Stein's shrinkage
    x | c ~ Student t with d0 + n - C degrees of freedom around it, scale² = s² + B s² / n_c

s0 is what a measurement varies from person to person (`PERSON_TO_PERSON`). Sizes and shapes of one structure in one
phase mostly say the same, so together they count as one measurement (`temperature`). A case is like none of the
findings when its mean squared distance to the nearest prototype is beyond what 95 % of cases of a known finding
would have. All constants were chosen by reasoning and on the synthetic hearts of `core.heart_phantoms`, on no patient.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from napari_medmeta.core.diagnosis import Feature, Quantity

__all__ = ["PERSON_TO_PERSON", "Prototypes"]

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


@dataclass(frozen=True, eq=False)
class Prototypes:
    """What C findings look like in p measurements of n cases.

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
    def fitted(cls, features: tuple[Feature, ...], values: Array, findings: npt.NDArray[np.int64]) -> Prototypes:
        """Fit prototypes and spreads, by the equations above."""
        c = int(findings.max()) + 1
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
