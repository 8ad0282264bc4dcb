"""Tests of the learnt embedding: one place a voxel, on every grid that asks for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_medmeta.core import Cancelled, CancelToken, SliceExample, SliceRef, Support
from napari_medmeta.engine.cutting import make_task
from napari_medmeta.engine.embedding import EmbeddingMaps, Encoder, embed_volume, encode_slices
from napari_medmeta.engine.features import FeatureMaps
from napari_medmeta.engine.learners.base import Scene, SceneConfig
from napari_medmeta.engine.region import RegionConfig, find_region


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder().eval()


def test_every_voxel_has_an_embedding(encoder: Encoder) -> None:
    maps = embed_volume(encoder, torch.rand(20, 21, 5), (1.0, 1.0, 4.0))
    assert maps.maps.shape == (16, 20, 21, 5)
    assert maps.factors == (1, 1, 1)


def test_slices_are_taken_along_the_axis_of_largest_spacing(encoder: Encoder) -> None:
    image = torch.rand(5, 20, 21)
    along = embed_volume(encoder, image, (4.0, 1.0, 1.0)).maps
    turned = embed_volume(encoder, image.permute(1, 2, 0), (1.0, 1.0, 4.0)).maps
    torch.testing.assert_close(turned.permute(0, 3, 1, 2), along)


def test_a_voxel_knows_its_neighbouring_slices_but_not_those_beyond(encoder: Encoder) -> None:
    image = torch.rand(5, 16, 16)
    changed = image.clone()
    changed[4] += 1.0
    before = encode_slices(encoder, image, (3.0, 1.0, 1.0), range(5))
    after = encode_slices(encoder, changed, (3.0, 1.0, 1.0), range(5))
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3], after[:, 3])


def test_a_large_scan_is_pooled_in_plane_only(encoder: Encoder) -> None:
    maps = embed_volume(encoder, torch.rand(4, 32, 32), (3.0, 1.0, 1.0), max_voxels=1024)
    assert maps.factors == (1, 2, 2)
    assert maps.maps.shape == (16, 4, 16, 16)


def test_sampling_at_the_grids_own_voxels_gives_them_back() -> None:
    maps = torch.arange(24.0).reshape(1, 2, 3, 4).half()
    embedding = EmbeddingMaps(maps, (1, 1, 1))
    assert torch.equal(embedding.sampled([torch.arange(2.0), torch.arange(3.0), torch.arange(4.0)]), maps.float())


def test_between_two_pooled_voxels_the_embedding_is_their_mean() -> None:
    # Pooled voxels of four stand at 1.5 and 5.5; 3.5 is in the middle.
    embedding = EmbeddingMaps(torch.tensor([1.0, 3.0]).reshape(1, 1, 1, 2).half(), (1, 1, 4))
    middle = embedding.sampled([torch.zeros(1), torch.zeros(1), torch.tensor([3.5])])
    assert middle.item() == 2.0


def test_it_can_be_stopped(encoder: Encoder) -> None:
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        embed_volume(encoder, torch.rand(3, 16, 16), (3.0, 1.0, 1.0), cancel=cancel)


def test_a_task_gets_the_embedding_of_its_own_voxels() -> None:
    place = torch.arange(6 * 10 * 12, dtype=torch.float32).reshape(1, 6, 10, 12)
    labels = np.zeros((10, 12), np.uint8)
    labels[4:7, 4:8] = 1
    support = Support((6, 10, 12), (SliceExample(SliceRef(0, 3), labels, np.ones((10, 12), bool)),), (1,))
    region = find_region(support, (2.0, 1.0, 1.0), RegionConfig(margin_mm=2.0, margin_share=0.0))
    maps = FeatureMaps(
        torch.zeros(1, 6, 10, 12), torch.zeros(6, 10, 12), (2.0, 1.0, 1.0), EmbeddingMaps(place, (1, 1, 1))
    )
    task = make_task(maps, support, region)
    assert task.embedding is not None
    assert torch.equal(task.embedding[0], place[0][region.box.slices])


def test_a_learner_reads_the_embedding_of_support_and_open_voxels() -> None:
    labels = np.zeros((10, 12), np.uint8)
    labels[4:7, 4:8] = 1
    support = Support((6, 10, 12), (SliceExample(SliceRef(0, 3), labels, np.ones((10, 12), bool)),), (1,))
    region = find_region(support, (2.0, 1.0, 1.0), RegionConfig())
    truth = torch.zeros(1, 6, 10, 12)
    truth[0, :, 4:7, 4:8] = 5.0
    maps = FeatureMaps(
        torch.zeros(1, 6, 10, 12), torch.zeros(6, 10, 12), (2.0, 1.0, 1.0), EmbeddingMaps(truth, (1, 1, 1))
    )
    scene = Scene(make_task(maps, support, region), SceneConfig())
    assert torch.equal(scene.learnt_samples()[:, 0] > 0, scene.sample_class == 1)
    mask, embedded, places = scene.learnt_queries([0, 1])
    assert len(embedded) == len(places) == int(mask.sum())
    assert int((embedded > 0).sum()) == 2 * 12


def test_stronger_contrast_is_met_halfway(encoder: Encoder) -> None:
    image = torch.rand(6, 32, 32)
    plain = embed_volume(encoder, image, (3.0, 1.0, 1.0)).maps.float()
    with torch.no_grad():
        # The encoder is still normalised for the first scan.
        unmet = encode_slices(encoder, 1.5 * image, (3.0, 1.0, 1.0), range(6))
    other = embed_volume(encoder, 1.5 * image, (3.0, 1.0, 1.0)).maps.float()
    assert float((other - plain).abs().mean()) < 0.5 * float((unmet - plain).abs().mean())


def test_what_was_embedded_before_does_not_matter(encoder: Encoder) -> None:
    image = torch.rand(4, 16, 16)
    first = embed_volume(encoder, image, (3.0, 1.0, 1.0)).maps
    embed_volume(encoder, 9 * torch.rand(4, 16, 16), (3.0, 1.0, 1.0))
    assert torch.equal(embed_volume(encoder, image, (3.0, 1.0, 1.0)).maps, first)
