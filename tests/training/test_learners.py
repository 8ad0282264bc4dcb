"""Tests of the meta-training of learners: tasks, losses, the loop, and what is written."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from napari_medmeta.core import Cancelled, CancelToken, StorageError
from napari_medmeta.core.weights import ENCODER
from napari_medmeta.engine.embedding import Encoder
from napari_medmeta.engine.learners.base import Scene, SceneConfig
from napari_medmeta.engine.learners.matching import LearntMatching
from napari_medmeta.engine.learners.prototypical import LearntPrototypes
from napari_medmeta.engine.learners.registry import load_modules, save_modules
from napari_medmeta.training.episodes import EpisodeConfig, Posed
from napari_medmeta.training.families import EMBEDDING, train_family
from napari_medmeta.training.learners import LearnerTrainConfig, embedded, task_loss, tasks, train_learners
from napari_medmeta.training.sources import Synthetic

SHORT = LearnerTrainConfig(
    steps=4, batch=1, per_volume=2, pool=4, workers=0, validation=1, check_every=2, episodes=EpisodeConfig(queries=3)
)


@pytest.fixture
def posed(source: Synthetic) -> Posed:
    return next(iter(tasks(source, SHORT.episodes, per_volume=1, seed=4)))[0]


def _with_truth_as_embedding(posed: Posed) -> Scene:
    shown = torch.stack([posed.truth == s for s in range(posed.task.structures + 1)]).float() * 4
    rest = torch.zeros(16 - len(shown), *shown.shape[1:])
    return Scene(replace(posed.task, embedding=torch.cat([shown, rest])), SceneConfig())


def _loss(learner: nn.Module, scene: Scene, posed: Posed) -> float:
    return float(task_loss(learner, scene, posed.truth, list(posed.depths)).detach())  # type: ignore[arg-type]


def test_a_task_holds_its_answer_on_the_same_grid(posed: Posed) -> None:
    assert posed.truth.shape == posed.task.shape
    painted = posed.task.painted[0]
    assert set(posed.depths).isdisjoint(posed.task.depths)
    assert painted.classes.shape == posed.truth.shape[1:]


def test_tasks_depend_on_their_number_alone(source: Synthetic) -> None:
    one = next(iter(tasks(source, SHORT.episodes, per_volume=2, seed=4, start=1)))
    both = iter(tasks(source, SHORT.episodes, per_volume=2, seed=4, start=0))
    next(both)
    assert all(torch.equal(a.truth, b.truth) for a, b in zip(one, next(both), strict=True))


@pytest.mark.parametrize("learner", [LearntPrototypes(), LearntMatching()])
def test_an_embedding_that_tells_structures_apart_is_read_well(posed: Posed, learner: nn.Module) -> None:
    blank = Scene(replace(posed.task, embedding=torch.zeros(16, *posed.task.shape)), SceneConfig())
    assert _loss(learner, _with_truth_as_embedding(posed), posed) < 0.7 * _loss(learner, blank, posed)


@pytest.mark.parametrize("learner", [LearntPrototypes(), LearntMatching()])
def test_gradients_reach_the_encoder(posed: Posed, learner: nn.Module) -> None:
    torch.manual_seed(0)
    encoder = Encoder()
    depths = list(posed.depths[:2])
    scene = embedded(encoder, posed, sorted({*depths, *posed.task.depths}), config=SceneConfig())
    task_loss(learner, scene, posed.truth, depths).backward()  # type: ignore[arg-type]
    first = next(encoder.parameters()).grad
    assert first is not None
    assert float(first.abs().sum()) > 0


def test_only_the_slices_asked_for_are_embedded(posed: Posed) -> None:
    scene = embedded(Encoder().eval(), posed, [1], config=SceneConfig())
    assert scene.task.embedding is not None
    assert float(scene.task.embedding[:, 1].detach().abs().sum()) > 0
    assert float(scene.task.embedding[:, 0].detach().abs().sum()) == 0


def test_training_changes_the_encoder_and_logs_every_learner(source: Synthetic, tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder, learner = Encoder(), LearntPrototypes()
    before = next(encoder.parameters()).detach().clone()
    train_learners(source, tmp_path, SHORT, encoder=encoder, learners={"prototypes": learner})
    assert not torch.equal(next(encoder.parameters()).detach(), before)
    with (tmp_path / "log.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(r["step"]) for r in rows] == [2, 4, 4]
    assert all(0 <= float(r["prototypes"]) <= 1 for r in rows)


def test_a_frozen_encoder_stays_to_the_bit(source: Synthetic, tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = Encoder().requires_grad_(False)
    before = {name: tensor.detach().clone() for name, tensor in encoder.named_parameters()}
    learner = LearntMatching()
    start = learner.log_scale.detach().clone()
    train_learners(source, tmp_path, SHORT, encoder=encoder, learners={"matching": learner})
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.named_parameters())
    assert not torch.equal(learner.log_scale.detach(), start)


def test_a_resumed_run_ends_as_one_that_was_never_stopped(source: Synthetic, tmp_path: Path) -> None:
    def run(out: Path, *, stop: int = 0) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        encoder, learner = Encoder(), LearntPrototypes()
        cancel = CancelToken()

        def watch(fraction: float, stage: str) -> None:
            if stop and f"step {stop}," in stage:
                cancel.cancel()

        members = {"prototypes": learner}
        if stop:
            with pytest.raises(Cancelled):
                train_learners(source, out, SHORT, encoder=encoder, learners=members, progress=watch, cancel=cancel)
            train_learners(source, out, SHORT, encoder=encoder, learners=members, resume=True)
        else:
            train_learners(source, out, SHORT, encoder=encoder, learners=members)
        return encoder.state_dict()

    whole, resumed = run(tmp_path / "whole"), run(tmp_path / "resumed", stop=3)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_embedding_is_trained_and_written_with_its_families(source: Synthetic, tmp_path: Path) -> None:
    files = train_family(EMBEDDING, source, tmp_path, replace(SHORT, steps=1))
    assert {f.name for f in files} == {"prototypical.safetensors", "matching.safetensors", "encoder.safetensors"}
    encoder = Encoder()
    record = load_modules(tmp_path, ENCODER, {ENCODER: encoder})
    assert record["steps"] == 1
    assert not any(p.requires_grad for p in encoder.parameters())


def test_a_torn_weights_file_is_refused(tmp_path: Path) -> None:
    path = save_modules(tmp_path, "prototypical", {"prototypes": LearntPrototypes()}, training={})
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(StorageError, match="prototypical") as refused:
        load_modules(tmp_path, "prototypical", {"prototypes": LearntPrototypes()})
    assert refused.value.message.count("cannot be used") == 1
