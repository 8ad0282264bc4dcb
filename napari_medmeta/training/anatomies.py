"""Endless synthetic anatomies: labelled volumes of organ-like structures, drawn from a seed.

Shapes come from thresholded and competing smooth random fields, as in Hoffmann et al., "SynthMorph: learning
contrast-invariant registration without acquired images", IEEE TMI 2022, and from warped ellipsoids, tubes and
shells on top. All sizes are in millimetres. Everything is torch, so that a GPU can feed itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Anatomy", "AnatomyConfig", "Dice", "random_anatomy", "random_tissue", "smooth_noise"]


@dataclass(frozen=True)
class AnatomyConfig:
    """Ranges from which an anatomy is drawn.

    Parameters
    ----------
    in_plane
        Voxels along H and W.
    pixel_mm
        Spacing along H and W.
    ratio
        Spacing along D over the spacing in the plane: 1 is isotropic, 10 a thick-slice scan.
    depth_mm
        Extent along D.
    slices
        Bounds of the number of slices.
    objects
        Number of structures drawn over the tissue.
    radius_mm
        Radii of the structures.
    """

    in_plane: tuple[int, int] = (72, 120)
    pixel_mm: tuple[float, float] = (0.6, 2.2)
    ratio: tuple[float, float] = (1.0, 10.0)
    depth_mm: tuple[float, float] = (60.0, 160.0)
    slices: tuple[int, int] = (10, 44)
    objects: tuple[int, int] = (3, 9)
    radius_mm: tuple[float, float] = (4.0, 40.0)


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A labelled volume without an image.

    Parameters
    ----------
    labels
        (D, H, W) int64, 0 outside of the body, every other value one tissue or structure.
    structures
        Labels worth segmenting; the rest is surrounding tissue.
    spacing_mm
        Voxel spacing along D, H, W.
    """

    labels: Tensor
    structures: tuple[int, ...]
    spacing_mm: tuple[float, float, float]


@dataclass(frozen=True)
class Dice:
    """Draws of random numbers on one seeded CPU generator, so that a seed means the same on every device.

    Parameters
    ----------
    generator
        The source of all draws.
    device
        Where drawn tensors go.
    """

    generator: torch.Generator
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def uniform(self, low: float, high: float) -> float:
        """Return one number in [low, high)."""
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def log_uniform(self, low: float, high: float) -> float:
        """Return one number in [low, high), uniform in its logarithm."""
        return float(low * (high / low) ** self.uniform(0.0, 1.0))

    def integer(self, low: int, high: int) -> int:
        """Return one whole number from low to high, both included."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def chance(self, probability: float) -> bool:
        """Return True with ``probability``."""
        return self.uniform(0.0, 1.0) < probability

    def choice(self, items: Sequence[int]) -> int:
        """Return one of ``items``."""
        return items[self.integer(0, len(items) - 1)]

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal numbers of ``shape``."""
        return torch.randn(shape, generator=self.generator).to(self.device)

    def permutation(self, count: int) -> list[int]:
        """Return 0 to count - 1 in random order."""
        return [int(i) for i in torch.randperm(count, generator=self.generator)]


def smooth_noise(
    dice: Dice, shape: Sequence[int], spacing_mm: Sequence[float], *, scale_mm: float, channels: int = 1
) -> Tensor:
    """Return (channels, D, H, W) smooth noise of about unit variance whose bumps are ``scale_mm`` apart."""
    coarse = [max(2, round(n * s / scale_mm) + 1) for n, s in zip(shape, spacing_mm, strict=True)]
    # A coarser octave and a finer one: a single one would show its grid.
    out = torch.zeros(channels, *shape, device=dice.device)
    for octave, weight in ((1, 0.9), (2, 0.45)):
        grid = dice.normal(1, channels, *(min(octave * (c - 1) + 1, n + 1) for c, n in zip(coarse, shape, strict=True)))
        out += weight * F.interpolate(grid, size=tuple(shape), mode="trilinear", align_corners=True)[0]
    # Linear interpolation between random nodes leaves about half of the variance.
    return out * 1.4


class _Canvas:
    """A volume that is being drawn; places are (3, D, H, W) in mm around its centre."""

    def __init__(self, dice: Dice, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> None:
        self.dice, self.shape, self.spacing_mm = dice, shape, spacing_mm
        self.extent_mm = tuple(n * s for n, s in zip(shape, spacing_mm, strict=True))
        axes = [(torch.arange(n, device=dice.device) - (n - 1) / 2) * s for n, s in zip(shape, spacing_mm, strict=True)]
        straight = torch.stack(torch.meshgrid(*axes, indexing="ij"))
        # One warp for all: neighbours keep touching, and nothing is a clean ellipsoid.
        strength = dice.uniform(2.0, 8.0)
        self.places = straight + strength * self.noise(dice.uniform(25.0, 50.0), channels=3)
        self.labels = torch.zeros(shape, dtype=torch.int64, device=dice.device)
        self.structures: list[int] = []

    def noise(self, scale_mm: float, *, channels: int = 1) -> Tensor:
        return smooth_noise(self.dice, self.shape, self.spacing_mm, scale_mm=scale_mm, channels=channels)

    def new_label(self) -> int:
        return int(self.labels.max()) + 1

    def draw(self, mask: Tensor, *, structure: bool = True) -> int:
        label = self.new_label()
        self.labels[mask] = label
        if structure:
            self.structures.append(label)
        return label


def random_anatomy(dice: Dice, config: AnatomyConfig | None = None) -> Anatomy:
    """Draw one anatomy.

    Parameters
    ----------
    dice
        Source of every draw: the same seed gives the same anatomy.
    """
    config = config if config is not None else AnatomyConfig()
    pixel = dice.log_uniform(*config.pixel_mm)
    thickness = pixel * dice.log_uniform(*config.ratio)
    depth = round(dice.uniform(*config.depth_mm) / thickness)
    shape = (
        min(max(depth, config.slices[0]), config.slices[1]),
        dice.integer(*config.in_plane),
        dice.integer(*config.in_plane),
    )
    canvas = _Canvas(dice, shape, (thickness, pixel, pixel))
    _draw_tissue(canvas)
    for _ in range(dice.integer(*config.objects)):
        kind = _KINDS[dice.integer(0, len(_KINDS) - 1)]
        kind(canvas, config)
    left = set(torch.unique(canvas.labels).tolist())
    return Anatomy(canvas.labels, tuple(s for s in canvas.structures if s in left), canvas.spacing_mm)


def random_tissue(dice: Dice, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> Tensor:
    """Return (D, H, W) int64: tissue that fills what a label map leaves open; 0 outside of the body."""
    canvas = _Canvas(dice, shape, spacing_mm)
    _draw_tissue(canvas)
    return canvas.labels


def _draw_tissue(canvas: _Canvas) -> None:
    dice = canvas.dice
    half = torch.tensor([1e6, *(0.5 * e for e in canvas.extent_mm[1:])], device=dice.device)
    body = (canvas.places / half[:, None, None, None]).square().sum(0).sqrt() < dice.uniform(0.75, 1.6)
    canvas.draw(body, structure=False)
    if dice.chance(0.7):
        # Competing fields tile the body like organs that fill a cavity.
        count = dice.integer(3, 14)
        winner = canvas.noise(dice.log_uniform(14.0, 60.0), channels=count).argmax(0)
        for tile in range(1, count):
            mask = body & (winner == tile)
            if bool(mask.any()):
                canvas.draw(mask, structure=dice.chance(0.5))


def _depth_field(canvas: _Canvas, config: AnatomyConfig, *, largest: float = 1.0) -> Tensor:
    """Return (D, H, W): 1 at the centre of a warped ellipsoid, 0 on its surface, less outside."""
    dice = canvas.dice
    # A radius that the slices can show: thinner things would exist on one slice only.
    low = max(config.radius_mm[0], 1.2 * canvas.spacing_mm[0], 3.0 * canvas.spacing_mm[1])
    radius = dice.log_uniform(low, max(low * 1.5, largest * min(config.radius_mm[1], 0.3 * canvas.extent_mm[1])))
    radii = radius * torch.tensor([dice.log_uniform(0.6, 2.5), dice.log_uniform(0.6, 1.6), 1.0], device=dice.device)
    centre = torch.tensor([dice.uniform(-0.42, 0.42) * e for e in canvas.extent_mm], device=dice.device)
    away = _turned(dice, canvas.places - centre[:, None, None, None]) / radii[:, None, None, None]
    bumps = dice.uniform(0.0, 0.25) * canvas.noise(max(radius, 6.0))[0]
    return 1 - away.square().sum(0).sqrt() + bumps


def _turned(dice: Dice, places: Tensor) -> Tensor:
    # Mostly in the plane, as patients lie straight in the scanner.
    angle, tilt = dice.uniform(-3.14, 3.14), dice.uniform(-0.4, 0.4)
    c, s = float(torch.cos(torch.tensor(angle))), float(torch.sin(torch.tensor(angle)))
    ct, st = float(torch.cos(torch.tensor(tilt))), float(torch.sin(torch.tensor(tilt)))
    d, h, w = places
    h, w = c * h - s * w, s * h + c * w
    return torch.stack([ct * d - st * h, st * d + ct * h, w])


def _blob(canvas: _Canvas, config: AnatomyConfig) -> None:
    canvas.draw(_depth_field(canvas, config) > 0)


def _shell(canvas: _Canvas, config: AnatomyConfig) -> None:
    depth = _depth_field(canvas, config)
    wall = canvas.dice.uniform(0.2, 0.45)
    canvas.draw(depth > 0)
    canvas.draw(depth > wall)


def _layers(canvas: _Canvas, config: AnatomyConfig) -> None:
    depth = _depth_field(canvas, config)
    for level in (0.0, 0.33, 0.66)[: canvas.dice.integer(2, 3)]:
        canvas.draw(depth > level)


def _divided(canvas: _Canvas, config: AnatomyConfig) -> None:
    """Draw an organ of several parts that touch, such as a vertebra or the lobes of a lung."""
    inside = _depth_field(canvas, config) > 0
    parts = canvas.dice.integer(2, 4)
    winner = canvas.noise(canvas.dice.log_uniform(12.0, 40.0), channels=parts).argmax(0)
    for part in range(parts):
        mask = inside & (winner == part)
        if bool(mask.any()):
            canvas.draw(mask)


def _tube(canvas: _Canvas, config: AnatomyConfig) -> None:
    dice = canvas.dice
    steps = torch.linspace(0.0, 1.0, 24, device=dice.device)
    start = torch.tensor([-0.6 * canvas.extent_mm[0], *(dice.uniform(-0.4, 0.4) * e for e in canvas.extent_mm[1:])])
    stop = torch.tensor([0.6 * canvas.extent_mm[0], *(dice.uniform(-0.4, 0.4) * e for e in canvas.extent_mm[1:])])
    if dice.chance(0.3):
        # Some vessels end or begin inside the scan.
        stop[0] = dice.uniform(-0.2, 0.4) * canvas.extent_mm[0]
    path = start[:, None] + (stop - start)[:, None] * steps.cpu()
    bend = dice.uniform(0.0, 0.12) * canvas.extent_mm[1]
    for axis in (1, 2):
        path[axis] += bend * torch.sin(steps.cpu() * dice.uniform(2.0, 9.0) + dice.uniform(0.0, 6.28))
    low = max(2.0, 1.6 * canvas.spacing_mm[1])
    radius = dice.log_uniform(low, max(1.5 * low, 16.0))
    distance = torch.cdist(canvas.places.flatten(1).T, path.T.to(dice.device)).amin(1).reshape(canvas.shape)
    width = radius * (1 + 0.25 * canvas.noise(30.0)[0])
    if dice.chance(0.4):
        canvas.draw(distance < width + max(1.5, 1.2 * canvas.spacing_mm[1]))
    canvas.draw(distance < width)


def _lesions(canvas: _Canvas, config: AnatomyConfig) -> None:
    """Draw a few spots of one label inside of what is there already."""
    depth = torch.full(canvas.shape, -1.0, device=canvas.dice.device)
    for _ in range(canvas.dice.integer(1, 4)):
        depth = torch.maximum(depth, _depth_field(canvas, config, largest=0.5))
    canvas.draw((depth > 0) & (canvas.labels > 0))


_KINDS: tuple[Callable[[_Canvas, AnatomyConfig], None], ...] = (
    _blob,
    _blob,
    _tube,
    _shell,
    _layers,
    _divided,
    _lesions,
)
