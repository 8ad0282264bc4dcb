"""The meta-trained fusion network: it sees the image, the painted neighbours and all evidence, and corrects.

One small 2D U-Net (Ronneberger et al., MICCAI 2015; MONAI's BasicUNet) looks at one slice of one structure at
a time, whatever the structure is: it is trained on tasks, not on organs. Its answer is added to the pooled
log-odds of the sources, so that a network that knows nothing changes nothing. A second head looks at the whole
slice and moves it up or down as one: whether the structure is still present there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from monai.networks.nets.basic_unet import BasicUNet
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from napari_medmeta.engine.crew import ALONE, Crew
from napari_medmeta.engine.device import mixed_precision
from napari_medmeta.engine.fusion import log_odds as log_odds_of
from napari_medmeta.engine.learners.base import Scene
from napari_medmeta.engine.learners.interpolation import signed_distance_mm
from napari_medmeta.engine.task import Task

__all__ = ["FusionNetwork", "NetworkConfig", "Sight", "correct", "look", "mirrored", "read", "slice_views"]

ODDS_SCALE = 4.0
"""Log-odds are divided by this, so that the network's inputs have about unit variance."""

BELIEF = (-3.0, 0.7)
"""Bounds of the logarithm of the factor: from a twentieth of the sources' log-odds to twice of them."""

CONTEXT = 3
"""The slice itself and its neighbours on both sides."""

PLACE_CHANNELS = 6
"""Constant over a slice: nearness of the painted slices on both sides, the structure's size in slices and in voxels,
the number of examples, and whether the slice lies beyond all of them."""


@dataclass(frozen=True)
class NetworkConfig:
    """Architecture of the fusion network.

    Parameters
    ----------
    sources
        Names of the sources of evidence, in the order of the input channels.
    features
        Channels of the five levels, and of the last layer.
    """

    sources: tuple[str, ...]
    features: tuple[int, int, int, int, int, int] = (16, 24, 32, 48, 64, 16)

    @property
    def channels(self) -> int:
        """Number of input channels, in the order in which `slice_views` stacks them."""
        return CONTEXT + len(self.sources) + 3 + 4 + PLACE_CHANNELS

    def as_dict(self) -> dict[str, object]:
        """Return plain values for the record beside the weights."""
        return asdict(self)


class FusionNetwork(nn.Module):
    """Correct the pooled log-odds of one structure on one slice.

    Parameters
    ----------
    config
        Architecture; the weights fit only the same sources in the same order.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.unet = BasicUNet(
            spatial_dims=2,
            in_channels=config.channels,
            out_channels=2,
            features=config.features,
            norm=("batch", {"momentum": 0.02}),
            upsample="nontrainable",
        )
        deepest = config.features[4]
        self.presence = nn.Sequential(
            nn.Linear(2 * deepest + PLACE_CHANNELS, deepest), nn.ReLU(), nn.Linear(deepest, 1)
        )
        # Both heads start at zero: the untrained network is the plain fusion.
        for head in (self.unet.final_conv, self.presence[-1]):
            for parameter in head.parameters():
                nn.init.zeros_(parameter)
        # Twice as fast on a CPU as channels first.
        convert_conv2d_weight_memory_format(self, torch.channels_last)

    @property
    def last(self) -> Tensor:
        """(2, F+1): weights and offsets of the last layer, which gives belief and addition."""
        layer = self.unet.final_conv
        return torch.cat([layer.weight[:, :, 0, 0], layer.bias[:, None]], dim=1)

    @staticmethod
    def joined(belief: Tensor, addition: Tensor, log_odds: Tensor, presence: Tensor) -> Tensor:
        """Return corrected log-odds: the sources' believed more or less, plus what the network adds itself."""
        return torch.exp(belief.clamp(*BELIEF)) * log_odds + addition + presence

    def forward(self, views: Tensor, log_odds: Tensor) -> Tensor:
        """Return corrected (B, H, W) log-odds from (B, C, H, W) views and (B, H, W) pooled log-odds."""
        up, presence = self.seen(views)
        belief, addition = self.unet.final_conv(up).unbind(1)
        return self.joined(belief, addition, log_odds, presence[:, None, None])

    def seen(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B, F, H, W) inputs of the last layer and (B,) log-odds by which a whole slice is moved."""
        net = self.unet
        x0 = net.conv_0(views)
        x1 = net.down_1(x0)
        x2 = net.down_2(x1)
        x3 = net.down_3(x2)
        x4 = net.down_4(x3)
        up = net.upcat_1(net.upcat_2(net.upcat_3(net.upcat_4(x4, x3), x2), x1), x0)
        places = views[:, -PLACE_CHANNELS:, 0, 0]
        summary = torch.cat([x4.mean((2, 3)), x4.amax((2, 3)), places], dim=1)
        return up, self.presence(summary)[:, 0]


def slice_views(scene: Scene, evidence: Mapping[str, Tensor], log_odds: Tensor, depths: Sequence[int]) -> Tensor:
    """Return (S, n, C, H, W): what the network sees of each structure on each slice.

    Parameters
    ----------
    scene
        The task with its shape prior. It needs at least one complete slice along D.
    evidence
        Per source (S+1, n, H, W) log-posteriors of the n slices at ``depths``, in the order of the network's
        configuration.
    log_odds
        (S, n, H, W) pooled log-odds of the sources against background.
    """
    odds = [log_odds_of(e) for e in evidence.values()]
    per_structure = [
        _structure_views(scene, [e[s - 1] for e in odds], log_odds, s, list(depths))
        for s in range(1, scene.task.structures + 1)
    ]
    return torch.stack(per_structure)


def _structure_views(
    scene: Scene, sources: Sequence[Tensor], log_odds: Tensor, structure: int, depths: list[int]
) -> Tensor:
    task = scene.task
    examples = _Examples(task, structure)
    mine = log_odds[structure - 1]
    others = [log_odds[n] for n in range(task.structures) if n != structure - 1]
    rival = torch.stack([torch.zeros_like(mine), *others]).amax(0)
    rows = torch.as_tensor(depths, device=task.device)
    shape = (scene.shape.distance_mm[structure - 1, rows] / examples.radius_mm).clamp(-2, 2)
    evidence = [e / ODDS_SCALE for e in sources] + [mine / ODDS_SCALE, rival / ODDS_SCALE, shape]
    context = [examples.grey(task.intensity[(rows + o).clamp(0, task.shape[0] - 1)]) for o in (-1, 0, 1)]
    neighbours, places = examples.around(depths)
    constant = places.T[:, :, None, None].expand(-1, -1, *mine.shape[-2:])
    channels = [*context, *evidence, *neighbours, *constant]
    return torch.stack(channels, dim=1)


class _Examples:
    """The painted slices of one structure, as the network sees them from another slice."""

    def __init__(self, task: Task, structure: int) -> None:
        self._task = task
        self._painted = sorted(
            ((p.index, p.classes == structure) for p in task.painted if p.axis == 0 and structure in p.asked),
            key=lambda item: item[0],
        )
        masks = torch.stack([mask for _, mask in self._painted]) if self._painted else None
        voxels = masks.flatten(1).sum(1).float() if masks is not None else torch.zeros(1)
        drawn = voxels[voxels > 0]
        pixel = task.spacing_mm[1] * task.spacing_mm[2]
        area = float(drawn.mean()) * pixel if drawn.numel() else pixel
        self.radius_mm = max((area / torch.pi) ** 0.5, task.spacing_mm[1])
        self._spread = task.intensity.std().clamp_min(1e-6)
        self._level = self._inside(masks)
        self._cache: dict[int, tuple[Tensor, Tensor]] = {}

    def _inside(self, masks: Tensor | None) -> Tensor:
        if masks is None or not bool(masks.any()):
            return self._task.intensity.mean()
        rows = torch.as_tensor([index for index, _ in self._painted], device=self._task.device)
        return self._task.intensity[rows][masks].median()

    def grey(self, image: Tensor) -> Tensor:
        """Return intensities in standard deviations of the region from the structure's own painted level."""
        return ((image - self._level) / self._spread).clamp(-4, 4)

    def around(self, depths: Sequence[int]) -> tuple[list[Tensor], Tensor]:
        """Return 4 x (n, H, W): image and distance map of the painted slices below and above; and (n, 6) places."""
        parts: list[list[Tensor]] = [[], [], [], []]
        places = []
        for depth in depths:
            # A painted slice is never its own neighbour: it would give the answer away in training.
            below = next((i for i, _ in reversed(self._painted) if i < depth), None)
            above = next((i for i, _ in self._painted if i > depth), None)
            for n, index in ((0, below), (2, above)):
                image, distance = self._slice(index)
                parts[n].append(image)
                parts[n + 1].append(distance)
            places.append(self._place(depth, below, above))
        return [torch.stack(p) for p in parts], torch.tensor(places, device=self._task.device)

    def _slice(self, index: int | None) -> tuple[Tensor, Tensor]:
        if index is None:
            nothing = torch.zeros(self._task.shape[1:], device=self._task.device)
            return nothing, nothing
        if index not in self._cache:
            mask = next(m for i, m in self._painted if i == index)
            outside = torch.full(mask.shape, -2.0, device=mask.device)
            if bool(mask.any()):
                field_mm = signed_distance_mm(mask.cpu().numpy(), self._task.spacing_mm[1:])
                outside = (torch.from_numpy(field_mm).to(mask.device) / self.radius_mm).clamp(-2, 2)
            self._cache[index] = self.grey(self._task.intensity[index]), outside
        return self._cache[index]

    def _place(self, depth: int, below: int | None, above: int | None) -> list[float]:
        thickness, pixel, _ = self._task.spacing_mm

        def nearness(index: int | None) -> float:
            return (
                0.0
                if index is None
                else float(torch.exp(torch.tensor(-abs(index - depth) * thickness / self.radius_mm)))
            )

        return [
            nearness(below),
            nearness(above),
            min(thickness / self.radius_mm, 2.0),
            min(4 * pixel / self.radius_mm, 2.0),
            len(self._painted) / 9,
            float(below is None or above is None),
        ]


def mirrored(config: NetworkConfig) -> list[int]:
    """Return the order of input channels that a stack turned upside down would have."""
    order = list(range(config.channels))
    order[:CONTEXT] = order[:CONTEXT][::-1]
    first = CONTEXT + len(config.sources) + 3
    order[first : first + 4] = [first + 2, first + 3, first, first + 1]
    place = config.channels - PLACE_CHANNELS
    order[place], order[place + 1] = place + 1, place
    return order


def correct(
    network: FusionNetwork,
    scene: Scene,
    evidence: Mapping[str, Tensor],
    log_odds: Tensor,
    depths: Sequence[int],
    *,
    last: Tensor | None = None,
    crew: Crew = ALONE,
) -> Tensor:
    """Return corrected (S, n, H, W) log-odds of the n slices at ``depths``.

    Parameters
    ----------
    evidence
        Per source (S+1, n, H, W) log-posteriors.
    log_odds
        (S, n, H, W) pooled log-odds.
    last
        (S, 2, F+1): the last layer of each structure; the network's own where None.
    """

    @torch.inference_mode()
    def corrected(part: slice) -> Tensor:
        views = slice_views(scene, {n: e[:, part] for n, e in evidence.items()}, log_odds[:, part], depths[part])
        return _corrected(network, views, log_odds[:, part], last)

    parts = max(-(-len(depths) // SLICES_AT_ONCE), min(crew.workers, len(depths)))
    edges = [len(depths) * n // parts for n in range(parts + 1)]
    return torch.cat(list(crew.map(corrected, [slice(a, b) for a, b in pairwise(edges)])), dim=1)


def _corrected(network: FusionNetwork, views: Tensor, log_odds: Tensor, last: Tensor | None) -> Tensor:
    h, w = log_odds.shape[-2:]
    if last is not None:
        up, presence = _seen(network, views.flatten(0, 1))
        own = last.repeat_interleave(log_odds.shape[1], dim=0)
        return read(Sight(up[..., :h, :w], presence), log_odds.flatten(0, 1), own).reshape(log_odds.shape)
    odds = F.pad(log_odds.flatten(0, 1)[None], _pad(h, w), mode="replicate")[0]
    with mixed_precision(views.device):
        corrected: Tensor = network(_padded(views.flatten(0, 1)), odds)
    return corrected[:, :h, :w].reshape(log_odds.shape).float()


def _seen(network: FusionNetwork, views: Tensor) -> tuple[Tensor, Tensor]:
    with mixed_precision(views.device):
        up, presence = network.seen(_padded(views))
    return up.float(), presence.float()


@dataclass(frozen=True, eq=False)
class Sight:
    """What the network sees before its last layer.

    Parameters
    ----------
    maps
        (B, F, H, W).
    presence
        (B,) log-odds by which the whole slice is moved.
    """

    maps: Tensor
    presence: Tensor


@torch.no_grad()
def look(network: FusionNetwork, scene: Scene, evidence: Mapping[str, Tensor], log_odds: Tensor, depth: int) -> Sight:
    """Return what the network sees of every structure on one slice, B being S; shapes as in `correct` with n of 1."""
    views = slice_views(scene, evidence, log_odds, [depth])[:, 0]
    up, presence = _seen(network, views)
    return Sight(up[..., : views.shape[-2], : views.shape[-1]], presence)


def read(sight: Sight, log_odds: Tensor, last: Tensor) -> Tensor:
    """Return (B, H, W) corrected log-odds by last layers of one's own, (B, 2, F+1)."""
    said = torch.einsum("bfhw,bkf->bkhw", sight.maps, last[..., :-1]) + last[..., -1, None, None]
    belief, addition = said.unbind(1)
    return FusionNetwork.joined(belief, addition, log_odds, sight.presence[:, None, None])


def _pad(height: int, width: int) -> tuple[int, int, int, int]:
    # Four halvings: the sides must be multiples of 16, and the rim goes on as it is.
    return 0, -width % 16, 0, -height % 16


def _padded(views: Tensor) -> Tensor:
    padded = F.pad(views, _pad(*views.shape[-2:]), mode="replicate")
    return padded.contiguous(memory_format=torch.channels_last)


SLICES_AT_ONCE = 16
"""Slices that pass the network together: more needs memory and gains no time."""
