from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from napari_medmeta.core import Cancelled, CancelToken
from napari_medmeta.engine.network import FusionNetwork, NetworkConfig, mirrored
from napari_medmeta.training.episodes import IGNORED, EpisodeConfig
from napari_medmeta.training.meta import Batch, TrainConfig, collate, corrected, episode_loss, flipped, train
from napari_medmeta.training.sources import Synthetic

NAMES = tuple(x.name for x in EpisodeConfig().learners)
SHORT = TrainConfig(
    steps=4, batch=2, pool=3, workers=0, validation=2, check_every=2, episodes=EpisodeConfig(queries=3, crop=32)
)


def _batch(*, structures: int = 2) -> Batch:
    config = NetworkConfig(NAMES)
    generator = torch.Generator().manual_seed(0)
    truth = torch.zeros(3, 32, 32, dtype=torch.int64)
    truth[:, 8:20, 8:20] = 1
    views = torch.randn(3, structures, config.channels, 32, 32, generator=generator)
    return Batch(views, torch.randn(3, structures, 32, 32, generator=generator), truth)


def test_an_untrained_network_changes_nothing() -> None:
    batch = _batch()
    logits = corrected(FusionNetwork(NetworkConfig(NAMES)).eval(), batch)
    torch.testing.assert_close(logits[:, 1:], batch.log_odds)
    assert bool((logits[:, 0] == 0).all())


def test_the_loss_of_the_truth_is_nearly_zero_and_of_nothing_is_not() -> None:
    batch = _batch(structures=1)
    right = torch.where(batch.truth[:, None] == 1, 20.0, -20.0)
    nothing = torch.full_like(right, -20.0)

    def loss(odds: torch.Tensor) -> float:
        return float(episode_loss(torch.cat([torch.zeros_like(odds), odds], 1), batch))

    assert loss(right) < 1e-3
    assert loss(nothing) > 0.8


def test_ignored_voxels_do_not_count() -> None:
    batch = _batch(structures=1)
    hidden = batch.truth.clone()
    hidden[:, :, 16:] = IGNORED
    odds = torch.zeros(3, 1, 32, 32)
    other = odds.clone()
    other[..., 16:] = 9.0
    masked = Batch(batch.views, batch.log_odds, hidden)
    losses = [float(episode_loss(torch.cat([torch.zeros_like(o), o], 1), masked)) for o in (odds, other)]
    assert losses[0] == pytest.approx(losses[1])


def test_padding_structures_are_left_out() -> None:
    one = (torch.rand(1, 5, 8, 8), torch.rand(1, 8, 8), torch.zeros(8, 8))
    two = (torch.rand(2, 5, 8, 8), torch.rand(2, 8, 8), torch.zeros(8, 8))
    batch = collate([one, two])
    assert batch.real.tolist() == [[True, False], [True, True]]
    assert math.isinf(float(batch.log_odds[0, 1, 0, 0]))


def test_mirroring_twice_along_the_stack_gives_the_same_views() -> None:
    order = mirrored(NetworkConfig(NAMES))
    assert [order[i] for i in order] == list(range(len(order)))
    assert order != list(range(len(order)))


def test_flipping_moves_views_evidence_and_truth_together() -> None:
    batch = _batch()
    marked = Batch(batch.views, batch.truth[:, None].float().repeat(1, 2, 1, 1), batch.truth)
    for seed in range(8):
        turned = flipped(marked, torch.Generator().manual_seed(seed), NetworkConfig(NAMES))
        torch.testing.assert_close(turned.log_odds[:, 0], turned.truth.float())


def test_training_moves_the_weights_and_writes_log_and_checkpoint(source: Synthetic, tmp_path: Path) -> None:
    network = train(source, tmp_path, SHORT).network
    assert any(bool(p.abs().sum() > 0) for p in network.unet.final_conv.parameters())
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [2, 4, 4]
    assert (tmp_path / "checkpoint.ckpt").exists()


def test_the_same_seed_trains_the_same_weights(source: Synthetic, tmp_path: Path) -> None:
    one, two = (train(source, tmp_path / name, SHORT).network for name in ("a", "b"))
    for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b)


def test_a_stopped_run_resumes_to_the_same_weights(
    source: Synthetic, tmp_path: Path, stop_after: Callable[[int], CancelToken]
) -> None:
    straight = train(source, tmp_path / "straight", SHORT).network
    with pytest.raises(Cancelled):
        train(source, tmp_path / "stopped", SHORT, cancel=stop_after(2))
    resumed = train(source, tmp_path / "stopped", SHORT, resume=True).network
    for a, b in zip(straight.state_dict().values(), resumed.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b)
