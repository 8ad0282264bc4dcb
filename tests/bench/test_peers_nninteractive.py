"""The adapter of nnInteractive, against a fake session that checks every argument as the real one does."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from napari_medmeta.bench.methods import available_methods, build_methods, is_slow, missing_methods, registry
from napari_medmeta.bench.methods.nninteractive import NnInteractive
from napari_medmeta.core import Geometry, LabelArray, SliceExample, SliceRef, Support, Volume, support_from_labels

AWAY = 2


class FakeSession:
    """Signatures and checks of version 2.5; a lasso labels the slices up to ``AWAY`` from it as well."""

    def __init__(self, device, use_torch_compile=False, verbose=False, torch_n_threads=8, do_autozoom=True):
        self.calls: list[tuple] = []
        self.model: str | None = None
        self.shape: tuple[int, ...] | None = None

    def initialize_from_trained_model_folder(
        self, model_training_output_dir, use_fold=None, checkpoint_name="checkpoint_final.pth"
    ):
        assert isinstance(model_training_output_dir, str)
        self.model = model_training_output_dir

    def set_image(self, image, image_properties=None):
        assert self.model is not None
        assert image.ndim == 4
        assert image.flags.writeable
        self.shape = image.shape[1:]

    def set_target_buffer(self, target_buffer):
        assert target_buffer.shape == self.shape
        assert target_buffer.dtype == np.uint8
        self.target_buffer = target_buffer

    def reset_interactions(self):
        self.calls.append(("reset",))
        self.target_buffer.fill(0)

    def add_lasso_interaction(
        self,
        lasso_image,
        include_interaction,
        run_prediction=True,
        override_capability_checks=False,
        interaction_bbox=None,
    ):
        assert len(interaction_bbox) == 3
        assert list(lasso_image.shape) == [stop - start for start, stop in interaction_bbox]
        assert 1 in lasso_image.shape
        assert all(a >= 0 and b <= n for (a, b), n in zip(interaction_bbox, self.shape, strict=True))
        assert lasso_image.dtype == np.uint8
        assert lasso_image.any()
        assert run_prediction
        print("Added new image interaction")
        self.calls.append(("lasso", include_interaction, interaction_bbox))
        normal = lasso_image.shape.index(1)
        for step in range(-AWAY, AWAY + 1) if include_interaction else [0]:
            box = [slice(*b) for b in interaction_bbox]
            index = box[normal].start + step
            if 0 <= index < self.shape[normal]:
                box[normal] = slice(index, index + 1)
                self.target_buffer[tuple(box)][lasso_image > 0] = int(include_interaction)
        return interaction_bbox

    def add_scribble_interaction(
        self,
        scribble_image,
        include_interaction,
        run_prediction=True,
        override_capability_checks=False,
        interaction_bbox=None,
    ):
        assert list(scribble_image.shape) == [stop - start for start, stop in interaction_bbox]
        self.calls.append(("scribble", include_interaction, interaction_bbox))
        if include_interaction:
            self.target_buffer[:] = 1
        return interaction_bbox


@pytest.fixture
def sessions(monkeypatch) -> list[FakeSession]:
    made: list[FakeSession] = []

    def make(**kwargs):
        made.append(FakeSession(**kwargs))
        return made[-1]

    names = ["nnInteractive", "nnInteractive.inference", "nnInteractive.inference.inference_session"]
    modules = {name: ModuleType(name) for name in names}
    modules[names[-1]].nnInteractiveInferenceSession = make
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return made


def stairs(axis: int) -> tuple[Volume, LabelArray]:
    """Structure 2 on slices 1 to 7, a quarter of its size from slice 5; structure 5 on slices 3 to 7."""
    truth = np.zeros((9, 12, 14), dtype=np.uint8)
    truth[1:5, 2:6, 2:6] = truth[5:8, 2:4, 2:4] = 2
    truth[3:8, 7:10, 7:12] = 5
    truth = np.ascontiguousarray(np.moveaxis(truth, 0, axis))
    return Volume(truth.astype(np.float32), Geometry.from_parts(truth.shape)), truth


def segmented(axis: int, indices: tuple[int, ...]) -> tuple[LabelArray, LabelArray]:
    """Return answer and truth, slice axis first."""
    volume, truth = stairs(axis)
    labels = np.full(truth.shape, 255, dtype=np.uint8)
    for index in indices:
        np.moveaxis(labels, axis, 0)[index] = np.moveaxis(truth, axis, 0)[index]
    answer = NnInteractive(Path("model")).segment(volume, support_from_labels(labels, axis=axis))
    return np.moveaxis(answer, axis, 0), np.moveaxis(truth, axis, 0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_every_painted_slice_is_a_lasso_around_each_of_its_structures(sessions, axis):
    segmented(axis, (4,))
    expected = [[[2, 6], [2, 6]], [[7, 10], [7, 12]]]
    for box in expected:
        box.insert(axis, [4, 5])
    assert [call[2] for call in sessions[0].calls if call[0] == "lasso" and call[1]] == expected


def test_structures_are_asked_for_one_by_one(sessions):
    segmented(0, (4,))
    assert [call[0] for call in sessions[0].calls] == ["reset", "lasso", "reset", "lasso"]


def test_what_the_session_finds_beyond_the_painted_slice_is_the_answer(sessions):
    answer, truth = segmented(0, (4,))
    assert np.array_equal(answer[3], truth[3])
    assert answer[6, 5, 5] == 2


def test_a_leak_on_a_painted_slice_is_taken_away_by_a_negative_lasso(sessions):
    segmented(0, (4, 6))
    assert ("lasso", False, [[6, 7], [2, 6], [2, 6]]) in sessions[0].calls


def test_no_negative_lasso_is_needed_where_nothing_leaks(sessions):
    segmented(0, (4,))
    assert all(call[1] for call in sessions[0].calls if call[0] == "lasso")


def test_strokes_are_scribbles_and_a_leak_into_background_strokes_is_taken_away(sessions):
    volume, truth = stairs(0)
    known = np.zeros(truth.shape[1:], dtype=bool)
    known[3, 2:6] = known[10, 1:12] = True
    support = Support(truth.shape, (SliceExample(SliceRef(0, 4), truth[4], known),), (2,))
    NnInteractive(Path("model")).segment(volume, support)
    assert sessions[0].calls[1:] == [
        ("scribble", True, [[4, 5], [3, 4], [2, 6]]),
        ("scribble", False, [[4, 5], [10, 11], [1, 12]]),
    ]


def test_painted_slices_stay_as_painted(sessions):
    answer, truth = segmented(0, (4, 6))
    assert np.array_equal(answer[[4, 6]], truth[[4, 6]])


def test_the_model_is_loaded_once_for_many_answers(sessions):
    volume, truth = stairs(0)
    labels = np.full(truth.shape, 255, dtype=np.uint8)
    labels[4] = truth[4]
    method = NnInteractive(Path("model"))
    for _ in range(2):
        method.segment(volume, support_from_labels(labels, axis=0))
    assert [session.model for session in sessions] == ["model"]


def test_its_printing_is_kept_from_the_terminal(sessions, capsys):
    segmented(0, (4,))
    assert capsys.readouterr().out == ""


def test_without_package_weights_or_gpu_it_is_left_out_and_says_why(monkeypatch, tmp_path):
    given = {"nninteractive": tmp_path}

    def absent(name: str) -> str:
        raise registry.PackageNotFoundError(name)

    monkeypatch.setattr(registry, "version", absent)
    assert "napari-medmeta[nninteractive]" in missing_methods(weights=given)["nninteractive"]
    monkeypatch.setattr(registry, "version", lambda _: "2.5.0")
    assert "--weights nninteractive=PATH" in missing_methods()["nninteractive"]
    monkeypatch.setattr(registry, "_has_gpu", lambda: False)
    assert "GPU" in missing_methods(weights=given)["nninteractive"]


def test_with_package_weights_and_gpu_it_can_run(monkeypatch, tmp_path):
    given = {"nninteractive": tmp_path}
    monkeypatch.setattr(registry, "version", lambda _: "2.5.0")
    monkeypatch.setattr(registry, "_has_gpu", lambda: True)
    assert "nninteractive" in available_methods(weights=given)
    (method,) = build_methods(["nninteractive"], weights=given)
    assert method.version.endswith(tmp_path.name)
    assert is_slow("nninteractive")
