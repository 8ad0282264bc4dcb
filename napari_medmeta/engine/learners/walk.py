"""Seeded propagation: the random walker, here with priors, on the task's device.

Grady, "Random Walks for Image Segmentation", IEEE TPAMI 2006, eq. 1 and 10, and with priors Grady,
"Multilabel Random Walker Image Segmentation Using Prior Models", CVPR 2005, eq. 7. scikit-image has the
first but not the second, and neither on a GPU; both are one sparse system solved by conjugate gradients.

Complete slices are walls for the walker: what is proposed between two of them depends on nothing beyond,
so that one slice can be computed from its own slab alone and still agree with the whole volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from napari_medmeta.engine.learners.base import Scene, normalise
from napari_medmeta.engine.task import Task

__all__ = ["FittedWalk", "WalkConfig", "WalkLearner", "refine", "walled_slab"]

LEAST_WEIGHT = 1e-4
"""Weight of the hardest edge: keeps the system regular where two regions have no soft connection."""

SEED_FLOOR = 1e-4
"""Probabilities below this count as this: the solver's own error is of that size."""


@dataclass(frozen=True)
class WalkConfig:
    """How the walker sees the image.

    Parameters
    ----------
    beta
        Contrast sensitivity: weights are exp(-beta * squared difference), intensities in standard deviations.
    prior_strength
        Pull towards the prior relative to the pull of neighbours (gamma in Grady 2005).
    iterations
        At most this many steps of conjugate gradients.
    tolerance
        Relative residual at which to stop.
    """

    beta: float = 13.0
    prior_strength: float = 0.3
    iterations: int = 60
    tolerance: float = 3e-3


@dataclass(frozen=True)
class WalkLearner:
    """The random walker from the painted voxels, with the far rim of the region as background."""

    config: WalkConfig = field(default_factory=WalkConfig)

    @property
    def name(self) -> str:
        """The source of evidence it stands for."""
        return "propagation"

    def fit(self, scene: Scene) -> FittedWalk:
        """Take the painted voxels as seeds."""
        return FittedWalk(scene, self.config)


@dataclass(frozen=True, eq=False)
class FittedWalk:
    """Seeds of one support set."""

    scene: Scene
    config: WalkConfig

    def evidence(self, depths: Sequence[int]) -> Tensor:
        """Return (S+1, n, H, W) log-posteriors."""
        task = self.scene.task
        start, stop = walled_slab(task, depths)
        guess = self.scene.shape.log_posterior(range(start, stop)).exp()
        walked = _walk(task, start, stop, guess, self.config, strength=0.0)
        return _at(walked, depths, start)


def refine(task: Task, log_prior: Tensor, depths: Sequence[int], *, first: int, config: WalkConfig) -> Tensor:
    """Let the walker smooth fused evidence along the image's edges.

    Parameters
    ----------
    log_prior
        (S+1, m, H, W) log-posteriors of the slab that starts at depth ``first``.
    depths
        The slices wanted, inside the slab.

    Returns
    -------
    Tensor
        (S+1, n, H, W) log-posteriors.
    """
    prior = log_prior.exp()
    walked = _walk(task, first, first + prior.shape[1], prior, config, strength=config.prior_strength)
    return _at(walked, depths, first)


def walled_slab(task: Task, depths: Sequence[int]) -> tuple[int, int]:
    """Return the half-open range of depths between the walls on both sides of ``depths``."""
    low, high = min(depths), max(depths)
    below = [z for z in task.walls if z <= low]
    above = [z for z in task.walls if z >= high]
    return (below[-1] if below else 0), (above[0] + 1 if above else task.shape[0])


def _at(walked: Tensor, depths: Sequence[int], start: int) -> Tensor:
    rows = torch.as_tensor([z - start for z in depths], device=walked.device)
    return normalise(torch.log(walked[:, rows].clamp_min(SEED_FLOOR)))


def _walk(task: Task, start: int, stop: int, guess: Tensor, config: WalkConfig, *, strength: float) -> Tensor:
    slab = task.slab(start, stop)
    seeds, fixed = _seeds(slab)
    weights = _edge_weights(task, slab, config.beta)
    return _solve(weights, seeds, fixed, guess, drain=_drain(slab), strength=strength, config=config)


def _seeds(slab: Task) -> tuple[Tensor, Tensor]:
    known = slab.classes >= 0
    rim = torch.zeros_like(known)
    for axis, faces in enumerate(slab.bounded):
        if axis == 0 and not slab.depths:
            continue  # a region of clicked slices alone is thin: its faces say nothing
        for face, bounded in zip((0, -1), faces, strict=True):
            if bounded:
                rim.select(axis, face).fill_(True)
    classes = torch.where(known, slab.classes, 0)
    fixed = known | rim
    seeds = torch.zeros((slab.structures + 1, *slab.shape), device=slab.device)
    seeds.scatter_(0, classes[None], 1.0)
    return seeds * fixed, fixed


def _drain(slab: Task) -> Tensor:
    """Return (D, 1, 1) conductance from each slice to background beyond the scan's end.

    Where the scan ends before the region's reach, the walker goes on through as many slices as are
    missing, of no contrast, until it meets background: conductances in series add their inverses.
    """
    drain = torch.zeros(slab.shape[0], 1, 1, device=slab.device)
    if slab.depths:
        for face, missing in zip((0, -1), slab.missing, strict=True):
            if missing:
                drain[face] += min(slab.spacing_mm) / slab.spacing_mm[0] / missing
    return drain


def _edge_weights(task: Task, slab: Task, beta: float) -> list[Tensor]:
    # In standard deviations of the whole region, so that a slab sees the same edges as the volume.
    image = slab.intensity / task.intensity.std().clamp_min(1e-6)
    finest = min(slab.spacing_mm)
    weights = []
    for axis in range(3):
        contrast = torch.diff(image, dim=axis) ** 2
        weights.append((torch.exp(-beta * contrast) + LEAST_WEIGHT) * (finest / slab.spacing_mm[axis]))
    return weights


def _neighbours(weights: Sequence[Tensor], x: Tensor) -> Tensor:
    return _add_neighbours(torch.zeros_like(x), weights, x, sign=1.0)


def _add_neighbours(out: Tensor, weights: Sequence[Tensor], x: Tensor, *, sign: float) -> Tensor:
    for axis, w in enumerate(weights):
        n, dim = x.shape[axis + 1], axis + 1
        if n > 1:
            out.narrow(dim, 0, n - 1).addcmul_(w, x.narrow(dim, 1, n - 1), value=sign)
            out.narrow(dim, 1, n - 1).addcmul_(w, x.narrow(dim, 0, n - 1), value=sign)
    return out


def _degree(weights: Sequence[Tensor], like: Tensor) -> Tensor:
    degree = torch.zeros_like(like)
    for axis, w in enumerate(weights):
        n = like.shape[axis]
        if n > 1:
            degree.narrow(axis, 0, n - 1).add_(w)
            degree.narrow(axis, 1, n - 1).add_(w)
    return degree


def _solve(
    weights: Sequence[Tensor],
    seeds: Tensor,
    fixed: Tensor,
    guess: Tensor,
    *,
    drain: Tensor,
    strength: float,
    config: WalkConfig,
) -> Tensor:
    """Solve (L + strength) x = neighbours of seeds + strength * guess on the free voxels.

    The background class is what the others leave, so that only S systems are solved. Jacobi-preconditioned
    conjugate gradients (Shewchuk, "An Introduction to the Conjugate Gradient Method", 1994, B3), written for the
    symmetrically scaled unknowns sqrt(diagonal) * x: the same steps with half of the passes over memory.
    """
    free = (~fixed).float()
    foreground = seeds[1:]
    diagonal = _degree(weights, free) + drain + strength
    scale = free * torch.rsqrt(diagonal)
    target = (_neighbours(weights, foreground) + strength * guess[1:]) * scale
    coupling = [_both_ends(w, scale, axis) for axis, w in enumerate(weights)]
    y = guess[1:] * free * torch.sqrt(diagonal)
    residual = target - _applied(coupling, y)
    step = residual.clone()
    power = _dot(residual, residual)
    goal = config.tolerance**2 * _dot(target, target).clamp_min(1e-12)
    for _ in range(config.iterations):
        if bool((power <= goal).all()):
            break
        applied = _applied(coupling, step)
        length = power / _dot(step, applied).clamp_min(1e-20)
        y.addcmul_(length, step)
        residual.addcmul_(length, applied, value=-1.0)
        renewed = _dot(residual, residual)
        step.mul_(renewed / power.clamp_min(1e-20)).add_(residual)
        power = renewed
    x = (y * scale + foreground).clamp(0.0, 1.0)
    rest = (1.0 - x.sum(0, keepdim=True)).clamp(0.0, 1.0)
    return torch.cat([rest, x])


def _both_ends(weights: Tensor, scale: Tensor, axis: int) -> Tensor:
    """Return the weights between neighbours along ``axis``, times the scale of both."""
    n = scale.shape[axis]
    return weights * scale.narrow(axis, 0, n - 1) * scale.narrow(axis, 1, n - 1) if n > 1 else weights


def _applied(coupling: Sequence[Tensor], y: Tensor) -> Tensor:
    return _add_neighbours(y.clone(), coupling, y, sign=-1.0)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Return (S, 1, 1, 1) inner products of (S, D, H, W)."""
    # One by one: the library of linear algebra is twenty times as fast as a product and a sum.
    return torch.stack([torch.dot(p, q) for p, q in zip(a.flatten(1), b.flatten(1), strict=True)])[:, None, None, None]
