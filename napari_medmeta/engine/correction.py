"""How far the trained network is followed on this scan: the left-out slices decide, structure by structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from napari_medmeta.engine.adaptation import adapt
from napari_medmeta.engine.crew import ALONE, Crew
from napari_medmeta.engine.deciding import highest
from napari_medmeta.engine.fusion import Fold, Trust, pooled_log_odds
from napari_medmeta.engine.learners.base import Scene
from napari_medmeta.engine.network import FusionNetwork, correct

__all__ = ["check_network", "corrected_log_odds", "untested"]

DOUBT = 0.1
"""Loss of left-out Dice at which the network is not followed at all. Leaving a slice out doubles the gap to be
bridged, and a few slices are a noisy judge: a small loss there proves little."""


def corrected_log_odds(
    network: FusionNetwork | None,
    scene: Scene,
    evidence: Mapping[str, Tensor],
    trust: Trust,
    depths: Sequence[int],
    *,
    crew: Crew = ALONE,
) -> Tensor:
    """Return (S, n, H, W) log-odds of the sources, moved towards the network's answer as far as it is trusted."""
    odds = pooled_log_odds(evidence, trust, distance_mm=scene.task.distance_mm(depths))
    if network is None or trust.network is None or not scene.task.depths or not bool((trust.network > 0).any()):
        return odds
    corrected = correct(network, scene, evidence, odds, depths, last=trust.last, crew=crew)
    return torch.lerp(odds, corrected, trust.network[:, None, None, None])


def untested(trust: Trust) -> Trust:
    """Return ``trust`` with the network followed where no slice could be left out to test it."""
    return replace(trust, network=torch.ones(len(trust.weights), device=trust.weights.device))


def check_network(
    network: FusionNetwork, folds: Sequence[Fold], trust: Trust, *, adapts: bool = True, crew: Crew = ALONE
) -> Trust:
    """Return ``trust`` with how far the network is followed, from its Dice on the left-out slices.

    If it ``adapts``, a structure gets an adapted last layer where layers adapted to the other left-out slices did no
    worse.
    """
    structures = len(trust.weights)
    tested = [(fold, fold.scene) for fold in folds if fold.scene is not None]
    if not tested:
        return untested(trust)
    before, plain, adapted = _Overlap(structures), _Overlap(structures), _Overlap(structures)
    adaptation = adapt(network, folds, trust, crew=crew) if adapts else None
    for n, (fold, scene) in enumerate(tested):
        evidence = {name: e[:, None] for name, e in fold.evidence.items()}
        odds = pooled_log_odds(evidence, trust)
        before.add(odds[:, 0], fold.classes)
        plain.add(correct(network, scene, evidence, odds, [fold.depth])[:, 0], fold.classes)
        if adaptation is not None:
            adapted.add(adaptation.unseen[n], fold.classes)
    # False too where the structure is on no left-out slice, so that nothing was tested.
    better = adapted.dice >= plain.dice
    after = torch.where(better, adapted.dice, plain.dice)
    share = (1.0 + torch.nan_to_num(after - before.dice) / DOUBT).clamp(0.0, 1.0)
    best = torch.fmax(before.dice, after)
    last = None if adaptation is None else _chosen(better, adaptation.last, network)
    return replace(trust, network=share.to(trust.weights), expected_dice=best.to(trust.weights), last=last)


def _chosen(better: Tensor, adapted: Tensor, network: FusionNetwork) -> Tensor:
    return torch.where(better.to(adapted.device)[:, None, None], adapted, network.last.detach())


class _Overlap:
    """Dice over several slices."""

    def __init__(self, structures: int) -> None:
        self._common = torch.zeros(structures)
        self._total = torch.zeros(structures)

    def add(self, odds: Tensor, classes: Tensor) -> None:
        proposed = highest(torch.cat([torch.zeros_like(odds[:1]), odds]))
        for s in range(1, len(self._common) + 1):
            here, there = proposed == s, classes == s
            self._common[s - 1] += 2 * float((here & there).sum())
            self._total[s - 1] += float(here.sum() + there.sum())

    @property
    def dice(self) -> Tensor:
        return torch.where(self._total > 0, self._common / self._total.clamp_min(1), torch.nan)
