"""The memory across scans: written from the library, the least used gives way, and read on the next patient."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_medmeta.core import Box, MissingExamplesError
from napari_medmeta.core.library import LibraryEntry
from napari_medmeta.core.phantoms import Phantom, torso_ct
from napari_medmeta.engine.anatomy import Grid, maps_of
from napari_medmeta.engine.choices import engine_config
from napari_medmeta.engine.features import FeatureMaps
from napari_medmeta.engine.keeping import learn
from napari_medmeta.engine.learners.memory_augmented import MemoryAugmentedLearner
from napari_medmeta.engine.learners.registry import shipped_encoder
from napari_medmeta.engine.library_memory import ROWS, ROWS_AN_ENTRY, embedded_at, written
from napari_medmeta.engine.recall import RecallConfig, recall
from napari_medmeta.engine.segmenter import Segmenter
from napari_medmeta.session.library import Library

LIVER = 1
QUICK = RecallConfig(trees=20)


@cache
def patient(seed: int) -> tuple[Phantom, Segmenter]:
    made = torso_ct(shape=(24, 48, 48), seed=seed)
    segmenter = Segmenter(device="cpu", config=engine_config("memory_augmented"))
    segmenter.set_volume(made.volume)
    return made, segmenter


@cache
def kept(seed: int) -> LibraryEntry:
    made, segmenter = patient(seed)
    return learn(maps_of(segmenter), made.volume, made.labels, structure=LIVER, name="Liver")


def network() -> MemoryAugmentedLearner:
    (learner,) = engine_config("memory_augmented").learners
    assert isinstance(learner, MemoryAugmentedLearner)
    return learner


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_an_organ_of_an_earlier_patient_is_read_from_the_memory() -> None:
    made, segmenter = patient(2)
    truth = made.labels == LIVER
    proposal = recall(segmenter, made.volume, {LIVER: [kept(0)]}, config=QUICK)
    found = proposal.volume(truth.shape) == LIVER
    assert dice(found, truth) > 0.6
    by_trees = recall(maps_of(segmenter), made.volume, {LIVER: [kept(0)]}, config=QUICK).volume(truth.shape) == LIVER
    assert not np.array_equal(found, by_trees)
    assert 0 < proposal.expected_dice[LIVER] < 1


def test_entries_kept_without_an_embedding_are_refused() -> None:
    made, segmenter = patient(2)
    bare = replace(kept(0), samples=replace(kept(0).samples, embedding=None), encoder="")
    for entry in (bare, replace(kept(0), encoder="another")):
        with pytest.raises(MissingExamplesError, match="memory could read"):
            recall(segmenter, made.volume, {LIVER: [entry]}, config=QUICK)


def test_a_full_memory_gives_the_least_used_rows_away() -> None:
    learner = network()
    two, three = (written(learner, [kept(n) for n in range(count)], encoder=kept(0).encoder).memory for count in (2, 3))
    newest = written(learner, [kept(2)], encoder=kept(2).encoder).memory
    assert len(two.rows) == len(three.rows) == ROWS
    # The newest entry is in it whole; of the others those stay that were used more.
    assert len(newest.rows) == ROWS_AN_ENTRY
    torch.testing.assert_close(three.rows.keys[-ROWS_AN_ENTRY:], newest.rows.keys)
    old = three.rows.keys[:-ROWS_AN_ENTRY]
    stayed = (two.rows.keys[:, None] == old[None]).all(2).any(1)
    assert int(stayed.sum()) == ROWS - ROWS_AN_ENTRY
    read = learner.read(two, torch.from_numpy(kept(2).samples.embedding), torch.zeros(len(kept(2).samples.inside), 3))
    assert float(two.used(read[1]).usage[stayed].mean()) > float(two.used(read[1]).usage[~stayed].mean())


def test_the_embedding_of_pooled_voxels_is_that_in_their_middle() -> None:
    maps = maps_of(patient(0)[1])
    assert maps.embedding is not None
    grid = Grid(Box((2, 4, 6), (14, 40, 38)), (2, 3, 2))
    index = np.array([5, 0, 77, grid.shape[1] * grid.shape[2] + 4, 5])
    found = embedded_at(maps, grid, index)
    assert found is not None
    for row, (i, j, k) in zip(found, np.stack(np.unravel_index(index, grid.shape), 1), strict=True):
        middle = [
            torch.tensor([s + (n + 0.5) * f - 0.5], dtype=torch.float32)
            for s, n, f in zip((2, 4, 6), (i, j, k), (2, 3, 2), strict=True)
        ]
        np.testing.assert_allclose(row, maps.embedding.sampled(middle)[:, 0, 0, 0].numpy(), atol=1e-3)


def test_features_alone_keep_no_embedding() -> None:
    made, segmenter = patient(0)
    bare: FeatureMaps = replace(maps_of(segmenter), embedding=None)
    entry = learn(bare, made.volume, made.labels, structure=LIVER, name="Liver")
    assert entry.samples.embedding is None
    assert entry.encoder == ""


def test_the_embedding_is_in_the_library_s_file_and_older_entries_stay_readable(tmp_path: Path) -> None:
    bare = replace(kept(1), samples=replace(kept(1).samples, embedding=None), encoder="")
    library = Library(tmp_path / "library.medlib")
    library.add([kept(0), bare])
    first, second = Library(library.path).entries()
    assert first.encoder == shipped_encoder().name
    assert first.samples.embedding is not None
    assert kept(0).samples.embedding is not None
    np.testing.assert_allclose(first.samples.embedding, kept(0).samples.embedding, rtol=2e-3, atol=1e-3)
    np.testing.assert_array_equal(first.samples.inside, kept(0).samples.inside)
    assert second.samples.embedding is None
    np.testing.assert_allclose(second.samples.places, kept(1).samples.places, atol=1e-6)


def test_the_engines_own_learner_is_left_where_it_is() -> None:
    learner = network()
    # Moving a module moves it for everybody who holds it: the memory must have one of its own.
    assert written(learner, [kept(0)], encoder=kept(0).encoder).learner is not learner
