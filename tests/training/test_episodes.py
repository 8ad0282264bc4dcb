from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_medmeta.core import Geometry, SliceExample, SliceRef, Support, Volume
from napari_medmeta.engine.features import FeatureMaps, compute_features
from napari_medmeta.engine.learners.prior import ShapePriorLearner
from napari_medmeta.engine.network import NetworkConfig
from napari_medmeta.training.anatomies import Dice
from napari_medmeta.training.episodes import (
    IGNORED,
    EpisodeConfig,
    LabelledVolume,
    correct_worst,
    make_episode,
    paint,
    pose,
)
from napari_medmeta.training.meta import episodes
from napari_medmeta.training.sources import Synthetic

CONFIG = EpisodeConfig(queries=4, crop=48)


def test_an_episode_asks_only_for_slices_that_were_not_painted(dice: Dice) -> None:
    labels = np.zeros((9, 20, 20), np.uint8)
    labels[1:8, 5:15, 5:15] = 1
    support = paint(labels, dice, EpisodeConfig(ks=(3,), k_weights=(1.0,), jitter_chance=0.0, scribble_chance=0.0))
    assert 3 <= len(support.examples) <= 4
    for example in support.examples:
        np.testing.assert_array_equal(example.labels, labels[example.ref.index])


def test_noisy_painting_moves_edges_but_not_the_structure(dice: Dice) -> None:
    labels = np.zeros((9, 40, 40), np.uint8)
    labels[:, 10:30, 10:30] = 1
    config = EpisodeConfig(ks=(3,), k_weights=(1.0,), jitter_chance=1.0, scribble_chance=0.0)
    example = paint(labels, dice, config).examples[0]
    changed = int((example.labels != labels[0]).sum())
    assert 0 < changed < 150


def test_scribbles_say_nothing_of_the_rest_of_their_slice(dice: Dice) -> None:
    labels = np.zeros((9, 40, 40), np.uint8)
    labels[:, 10:30, 10:30] = 1
    config = EpisodeConfig(ks=(2,), k_weights=(1.0,), scribble_chance=1.0)
    sparse = [e for e in paint(labels, dice, config).examples if not e.is_complete]
    assert len(sparse) == 1
    known = sparse[0].known
    np.testing.assert_array_equal(sparse[0].labels[known], labels[sparse[0].ref.index][known])


def test_an_episode_has_views_evidence_and_truth_of_the_same_slices(source: Synthetic) -> None:
    episode = next(iter(episodes(source, CONFIG, seed=0)))
    slices, structures, channels, h, w = episode.views.shape
    assert channels == NetworkConfig(tuple(x.name for x in CONFIG.learners)).channels
    assert episode.log_odds.shape == (slices, structures, h, w)
    assert episode.truth.shape == (slices, 48, 48)
    assert set(torch.unique(episode.truth).tolist()) <= {IGNORED, *range(structures + 1)}
    assert bool(torch.isfinite(episode.views).all())


def test_a_volume_without_a_large_enough_structure_gives_no_episode(dice: Dice) -> None:
    labels = torch.zeros(8, 20, 20, dtype=torch.int64)
    labels[4, 5:8, 5:8] = 1
    volume = LabelledVolume(torch.rand(8, 20, 20), labels, (1,), (3.0, 1.0, 1.0))
    assert make_episode(volume, dice, CONFIG) is None


@pytest.mark.parametrize("stride", [1, 2])
def test_episodes_are_the_same_however_they_are_shared_out(source: Synthetic, stride: int) -> None:
    straight = iter(episodes(source, CONFIG, seed=5))
    first, second, third = next(straight), next(straight), next(straight)
    shared = iter(episodes(source, CONFIG, seed=5, stride=stride))
    assert torch.equal(next(shared).views, first.views)
    assert torch.equal(next(shared).views, (second if stride == 1 else third).views)


def scene_of(labels: np.ndarray) -> tuple[FeatureMaps, Support]:
    """Return a bright ball's features and one painted slice of it."""
    image = np.where(labels > 0, 1.0, 0.0).astype(np.float32)
    scan = Volume(image, Geometry.from_parts(labels.shape, spacing_mm=(3.0, 1.0, 1.0)))
    painted = SliceExample(SliceRef(0, 4), labels[4].copy(), np.ones(labels.shape[1:], bool))
    return compute_features(scan, device=torch.device("cpu")), Support(labels.shape, (painted,), (1,))


def test_a_correction_adds_the_slice_that_the_sources_proposed_worst(dice: Dice) -> None:
    labels = np.zeros((12, 40, 40), np.uint8)
    labels[1:9, 12:28, 12:28] = 1
    # On one slice the structure lies elsewhere: nothing that was painted tells of it.
    labels[6] = 0
    labels[6, 2:8, 2:38] = 1
    maps, support = scene_of(labels)
    config = EpisodeConfig(learners=(ShapePriorLearner(),), encoder=None)
    corrected = correct_worst(maps, labels, support, dice, config)
    assert [e.ref.index for e in corrected.examples] == [4, 6]
    np.testing.assert_array_equal(corrected.examples[1].labels, labels[6])
    assert corrected.examples[1].is_complete


def test_a_corrected_slice_is_not_asked_for_again(source: Synthetic, dice: Dice) -> None:
    config = replace(
        CONFIG,
        ks=(1,),
        k_weights=(1.0,),
        correction_chance=1.0,
        jitter_chance=0.0,
        scribble_chance=0.0,
        learners=(ShapePriorLearner(),),
        encoder=None,
    )
    posed = next(p for _ in range(20) if (p := pose(source.draw(dice), dice, config)) is not None)
    assert len(posed.task.depths) >= 2
    assert not set(posed.depths) & set(posed.task.depths)
