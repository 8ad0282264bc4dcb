"""The trained network adapts to this very scan: its last layer, on the painted slices left out in turn.

Every painted slice that is left out is a small task with a known answer. A few steps of L-BFGS move the network's last
layer, one copy a structure, towards these answers while a pull holds it near what was meta-learnt. Only the last layer
moves (Raghu et al., "Rapid Learning or Feature Reuse? Towards Understanding the Effectiveness of MAML", ICLR 2020: that
is what meta-learnt adaptation amounts to), so that all that lies before it is computed once. Whether a structure's copy
is used is decided by slices that it has not seen, each answered by a copy adapted to the others. Nothing is kept: the
next request starts from the examples that are there then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import optimize
from torch import Tensor

from napari_medmeta.engine.crew import ALONE, Crew
from napari_medmeta.engine.fusion import Fold, Row, Trust, pooled_log_odds
from napari_medmeta.engine.learners.base import Scene
from napari_medmeta.engine.network import FusionNetwork, Sight, look, read

__all__ = ["Adaptation", "adapt"]

PULL = 1.0
"""Strength of the pull towards the meta-learnt layer with one left-out slice; it falls with more. On the development
cases 1 gave 0.001 and 0.003 of Dice with three slices (even, random placement) over not adapting; 0.1 lost as much."""

STEPS = 12
"""Steps of L-BFGS: the problem is small and nearly convex, and stays unfinished on purpose."""

VOXELS = 3_000
"""Voxels drawn from each left-out slice, of those on which the sources differ."""

DIFFER = 0.5
"""By how much the sources' log-posteriors must differ for a voxel to teach anything."""


@dataclass(frozen=True, eq=False)
class Adaptation:
    """What came of adapting.

    Parameters
    ----------
    last
        (S, 2, F+1) float32: the last layer of each structure, adapted to all left-out slices.
    unseen
        Per left-out slice (S, H, W) log-odds by layers adapted to the others.
    """

    last: Tensor
    unseen: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class _Lesson:
    """One left-out slice: what the network sees of it, and the drawn voxels with their classes."""

    sight: Sight
    log_odds: Tensor
    drawn: Tensor
    classes: Tensor

    def inputs(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return (S, m, F+1) inputs of the last layer, (S, m) log-odds before, and (S, m) what is added after."""
        seen = self.sight.maps.flatten(2)[:, :, self.drawn].transpose(1, 2)
        inputs = torch.cat([seen, torch.ones_like(seen[..., :1])], dim=2)
        return inputs, self.log_odds.flatten(1)[:, self.drawn], self.sight.presence[:, None].expand(inputs.shape[:2])


def adapt(network: FusionNetwork, folds: Sequence[Fold], trust: Trust, *, crew: Crew = ALONE) -> Adaptation | None:
    """Adapt the network's last layer to the left-out slices; None with fewer than two, which could test nothing."""
    known = [(fold, fold.scene) for fold in folds if fold.scene is not None]
    if len(known) < 2:
        return None
    lessons = list(crew.map(lambda seen: _lesson(network, *seen, trust), known))
    # All lessons, and all but one of them in turn.
    classes = [lessons, *([other for other in lessons if other is not lesson] for lesson in lessons)]
    last, *others = crew.map(lambda taught: _fitted(network, taught), classes)
    unseen = [read(lesson.sight, lesson.log_odds, layer) for lesson, layer in zip(lessons, others, strict=True)]
    return Adaptation(last, tuple(unseen))


def _lesson(network: FusionNetwork, fold: Fold, scene: Scene, trust: Trust) -> _Lesson:
    evidence = {name: e[:, None] for name, e in fold.evidence.items()}
    odds = pooled_log_odds(evidence, trust)
    sight = look(network, scene, evidence, odds, fold.depth)
    said = torch.stack(list(fold.evidence.values()))[:, 1:].flatten(2)
    differ = ((said.amax(0) - said.amin(0)).amax(0) > DIFFER) & (fold.classes.reshape(-1) >= 0)
    places = differ.nonzero()[:, 0]
    order = torch.randperm(len(places), generator=torch.Generator().manual_seed(0))[:VOXELS]
    drawn = places[order.to(places.device)]
    return _Lesson(sight, odds[:, 0], drawn, fold.classes.reshape(-1)[drawn])


def _fitted(network: FusionNetwork, lessons: Sequence[_Lesson]) -> Tensor:
    """Return (S, 2, F+1) last layers fitted to the drawn voxels of ``lessons``."""
    parts = [lesson.inputs() for lesson in lessons]
    inputs, before, after = (torch.cat(found, dim=1) for found in zip(*parts, strict=True))
    numbers = torch.arange(1, len(inputs) + 1, device=inputs.device)
    target = (torch.cat([lesson.classes for lesson in lessons])[None] == numbers[:, None]).to(inputs)
    start = network.last.detach()
    if not inputs.shape[1]:
        return start.expand(len(inputs), *start.shape)
    shape = (len(inputs), *start.shape)

    def loss(values: Row) -> tuple[float, Row]:
        with torch.enable_grad():
            moved = torch.from_numpy(values).to(inputs).reshape(shape).requires_grad_()
            belief, addition = torch.einsum("smf,skf->ksm", inputs, start + moved)
            odds = FusionNetwork.joined(belief, addition, before, after)
            entropy = F.binary_cross_entropy_with_logits(odds, target, reduction="none").mean(1).sum()
            total = entropy + PULL / len(lessons) * (moved**2).sum()
            (gradient,) = torch.autograd.grad(total, moved)
        return float(total.detach()), gradient.double().cpu().numpy().reshape(-1)

    # torch's own optimizers load its compiler first: two seconds for whoever waits.
    nothing = np.zeros(int(np.prod(shape)))
    best = optimize.minimize(loss, nothing, jac=True, method="L-BFGS-B", options={"maxiter": STEPS})
    return start + torch.from_numpy(best.x).to(inputs).reshape(shape)
