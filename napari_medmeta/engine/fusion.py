"""From many sources of evidence to one answer, and whom to trust.

The sources' log-odds are pooled with one weight per source and structure (a logarithmic opinion pool;
Genest and Zidek, "Combining Probability Distributions", Statistical Science 1986). The weights are fitted
on painted slices left out in turn, and shrunk towards fixed ones: a few slices are a noisy judge.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from scipy import optimize, special
from torch import Tensor

from napari_medmeta.engine.deciding import highest
from napari_medmeta.engine.learners.base import Scene
from napari_medmeta.engine.learners.interpolation import LEAST_LOG_POSTERIOR

__all__ = [
    "Fold",
    "FusionConfig",
    "Trust",
    "as_log_posterior",
    "fit_trust",
    "fuse",
    "fused_log_posterior",
    "log_odds",
    "pooled_log_odds",
    "starting_weights",
    "usual_fusion",
]


Row: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FusionConfig:
    """Fixed weights and how strongly they hold.

    Parameters
    ----------
    weights
        Weight of each source by name; chosen on the development cases of the benchmark for the default sources.
    shrinkage
        Strength of the pull towards the fixed weights with one left-out slice; it falls with more.
    voxels
        Voxels drawn from each left-out slice.
    kept_share
        How far the fixed weights follow what was fitted on earlier scans, in [0, 1].
    """

    weights: Mapping[str, float] = field(
        default_factory=lambda: {
            "shape": 0.25,
            "prototypes": 0.25,
            "prototypes and place": 0.15,
            "trees": 0.5,
            "propagation": 0.65,
            "learnt prototypes": 0.5,
            "correspondence": 0.65,
            "reptile": 0.5,
        }
    )
    shrinkage: float = 2.0
    voxels: int = 4000
    kept_share: float = 0.5


HAND_MADE_WEIGHTS: Mapping[str, float] = MappingProxyType(
    {
        "shape": 0.4,
        "prototypes": 0.1,
        "prototypes and place": 0.4,
        "matching": 0.1,
        "matching and place": 0.4,
        "trees": 0.7,
        "propagation": 1.0,
    }
)
"""The same for the sources that need nothing learnt beforehand, where they are alone; chosen on the same cases."""


def usual_fusion(names: Iterable[str]) -> FusionConfig:
    """Return the fixed weights for these sources."""
    return FusionConfig(weights=HAND_MADE_WEIGHTS) if set(names) <= set(HAND_MADE_WEIGHTS) else FusionConfig()


@dataclass(frozen=True, eq=False)
class Fold:
    """One painted slice, left out.

    Parameters
    ----------
    evidence
        Per source (S+1, H, W) log-posteriors made without this slice.
    classes
        (H, W) int64: what was painted; -1 where not known.
    scene, depth
        The task without this slice, and where the slice was; only the network's check needs them.
    """

    evidence: Mapping[str, Tensor]
    classes: Tensor
    scene: Scene | None = None
    depth: int = 0

    @property
    def distance_mm(self) -> float:
        """How far the slice is from the nearest painted one that was left; infinite where that is not known."""
        if self.scene is None or not self.scene.task.depths:
            return math.inf
        return float(self.scene.task.distance_mm([self.depth])[0])


@dataclass(frozen=True, eq=False)
class Trust:
    """Weights of the sources.

    Parameters
    ----------
    names
        The sources, in the order of the weights.
    weights
        (S, sources) float32, not negative.
    expected_dice
        (S,) float32: Dice of the fused answer on the left-out slices; NaN where none was painted.
    network
        (S,) float32 in [0, 1]: how far the trained network's correction is taken; None where there is none.
    last
        (S, 2, F+1) float32: the network's last layer as adapted to this scan; None where it did not adapt.
    fixed
        (S, sources) float32: the weights that hold where nothing could be tested; None where ``weights`` hold
        everywhere.
    tested_mm
        The farthest that a left-out slice was from its nearest painted neighbour. Slices farther away than this
        were not tested: there the weights go back to the fixed ones.
    """

    names: tuple[str, ...]
    weights: Tensor
    expected_dice: Tensor
    network: Tensor | None = None
    last: Tensor | None = None
    fixed: Tensor | None = None
    tested_mm: float = math.inf

    def at(self, distance_mm: Tensor | None) -> Tensor:
        """Return (S, sources, n) weights for n slices so far from their nearest painted one; n is 1 without."""
        if distance_mm is None or self.fixed is None or math.isinf(self.tested_mm):
            return self.weights[:, :, None]
        known = (self.tested_mm / distance_mm.clamp_min(1e-6)).clamp(0.0, 1.0)
        return torch.lerp(self.fixed[:, :, None], self.weights[:, :, None], known)

    def shares(self, structure: int) -> dict[str, float]:
        """Return the weights of class ``structure`` (1 to S) as shares that sum to 1."""
        row = self.weights[structure - 1]
        return {n: float(w / row.sum()) for n, w in zip(self.names, row, strict=True)}


def pooled_log_odds(evidence: Mapping[str, Tensor], trust: Trust, *, distance_mm: Tensor | None = None) -> Tensor:
    """Pool the evidence of n slices.

    Parameters
    ----------
    evidence
        Per source (S+1, n, ...) log-posteriors.
    distance_mm
        (n,) how far each slice is from its nearest painted one; without it the fitted weights hold everywhere.

    Returns
    -------
    Tensor
        (S, n, ...) log-odds of each structure.
    """
    odds = torch.stack([log_odds(evidence[n]) for n in trust.names])
    weights = trust.at(distance_mm).transpose(0, 1)
    return (weights.reshape(*weights.shape, *(1 for _ in range(odds.ndim - 3))) * odds).sum(0)


def as_log_posterior(odds: Tensor) -> Tensor:
    """Let the structures compete: (S+1, ...) log-posteriors from (S, ...) log-odds against background."""
    return torch.log_softmax(torch.cat([torch.zeros_like(odds[:1]), odds]), dim=0).clamp_min(LEAST_LOG_POSTERIOR)


def fused_log_posterior(evidence: Mapping[str, Tensor], trust: Trust) -> Tensor:
    """Pool the evidence: (S+1, ...) log-posteriors from each source's (S+1, ...)."""
    return as_log_posterior(pooled_log_odds(evidence, trust))


def fuse(evidence: Mapping[str, Tensor], trust: Trust) -> Tensor:
    """Return (...) int64 classes of the pooled evidence."""
    return highest(fused_log_posterior(evidence, trust))


def starting_weights(
    names: Sequence[str], kept: Sequence[Mapping[str, float]], config: FusionConfig, device: torch.device
) -> Tensor:
    """Return (S, sources) float32: the weights that hold where nothing was tested on this scan.

    ``kept`` tells for each structure how many times as far as usual a source was trusted on earlier scans; sources
    that it does not name keep their usual weight, and names that are no source of today's are passed over.
    """
    usual = torch.tensor([config.weights[n] for n in names], device=device)
    factors = torch.tensor([[row.get(n, 1.0) for n in names] for row in kept], dtype=torch.float32, device=device)
    return usual * torch.lerp(torch.ones_like(factors), factors, config.kept_share)


def fit_trust(
    names: Sequence[str],
    structures: int,
    folds: Sequence[Fold],
    config: FusionConfig,
    device: torch.device,
    *,
    kept: Sequence[Mapping[str, float]] | None = None,
) -> Trust:
    """Fit the weights on the left-out slices; without any, return the fixed ones (see `starting_weights`)."""
    fixed = starting_weights(names, kept if kept is not None else [{}] * structures, config, device)
    weights = fixed
    if folds:
        odds, truth = _training_voxels(names, folds, config)
        weights = _fit(odds, truth, fixed, config, len(folds))
    trust = Trust(
        tuple(names),
        weights,
        torch.full((structures,), float("nan"), device=device),
        fixed=fixed,
        tested_mm=max((fold.distance_mm for fold in folds), default=math.inf),
    )
    return replace(trust, expected_dice=_fold_dice(folds, trust, structures))


def log_odds(log_posterior: Tensor) -> Tensor:
    """Return (S, ...) log-odds of each structure against all else, bounded, from (S+1, ...) log-posteriors."""
    foreground = log_posterior[1:].clamp(LEAST_LOG_POSTERIOR, -1e-3)
    return foreground - torch.log1p(-foreground.exp())


def _training_voxels(names: Sequence[str], folds: Sequence[Fold], config: FusionConfig) -> tuple[Tensor, Tensor]:
    odds, truth = [], []
    generator = torch.Generator().manual_seed(0)
    for fold in folds:
        stacked = torch.stack([log_odds(fold.evidence[n]) for n in names]).flatten(2)
        classes = fold.classes.reshape(-1)
        # Voxels on which no two sources differ teach nothing.
        spread = (stacked.amax(0) - stacked.amin(0)).amax(0)
        index = ((spread > 0.5) & (classes >= 0)).nonzero()[:, 0]
        index = index[torch.randperm(len(index), generator=generator)[: config.voxels].to(index.device)]
        odds.append(stacked[:, :, index])
        truth.append(classes[index])
    return torch.cat(odds, dim=2), torch.cat(truth)


def _fit(odds: Tensor, truth: Tensor, fixed: Tensor, config: FusionConfig, folds: int) -> Tensor:
    """Minimise each structure's cross-entropy plus the pull to the fixed weights: convex, bounded below by 0."""
    if truth.numel() == 0:
        return fixed
    pull = config.shrinkage / folds
    rows = []
    for s, start in enumerate(fixed.double().cpu().numpy()):
        inputs = odds[:, s].double().cpu().numpy()
        target = (truth == s + 1).double().cpu().numpy()
        best = optimize.minimize(
            _loss,
            start,
            args=(inputs, target, start, pull),
            jac=True,
            method="L-BFGS-B",
            bounds=[(0.0, None)] * len(start),
        )
        rows.append(torch.from_numpy(best.x).to(fixed))
    return torch.stack(rows)


def _loss(weights: Row, inputs: Row, target: Row, fixed: Row, pull: float) -> tuple[float, Row]:
    """Return loss and gradient for one structure; ``inputs`` is (sources, voxels), ``target`` 0 or 1."""
    logits = weights @ inputs
    away = weights - fixed
    entropy = np.logaddexp(0.0, logits) - target * logits
    gradient = inputs @ (special.expit(logits) - target) / len(target) + 2 * pull * away
    return float(entropy.mean() + pull * (away @ away)), gradient


def _fold_dice(folds: Sequence[Fold], trust: Trust, structures: int) -> Tensor:
    overlap = torch.zeros(structures, device=trust.weights.device)
    total = torch.zeros(structures, device=trust.weights.device)
    for fold in folds:
        proposed = fuse(fold.evidence, trust)
        for s in range(1, structures + 1):
            here, there = proposed == s, fold.classes == s
            overlap[s - 1] += 2 * (here & there).sum()
            total[s - 1] += here.sum() + there.sum()
    return torch.where(total > 0, overlap / total.clamp_min(1), torch.nan)
