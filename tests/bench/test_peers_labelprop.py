"""The adapter of napari-labelprop, against a fake that has its signature and its habits."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from napari_medmeta.bench.methods import available_methods, build_methods, is_slow, missing_methods, registry
from napari_medmeta.bench.methods.labelprop import LabelPropagation
from napari_medmeta.core import Geometry, InputError, LabelArray, Volume, support_from_labels

OPTIONS = {"criteria", "reduction", "device", "return_weights", "patch_size", "extrapolate"}
"""Keyword arguments that its propagation knows (version 1.2.3)."""


@pytest.fixture
def calls(monkeypatch) -> list[SimpleNamespace]:
    """Put a fake package in place; it carries the last painted slice on to the end of the scan."""
    seen: list[SimpleNamespace] = []

    def propagate_from_ckpt(img, mask, checkpoint, shape=304, z_axis=2, label="all", hints=None, **kwargs):
        assert set(kwargs) <= OPTIONS
        assert "/" in checkpoint
        assert shape % 16 == 0
        print("Chunks : [[2, 5]]")
        seen.append(SimpleNamespace(image=img.copy(), mask=mask.copy(), checkpoint=checkpoint, z_axis=z_axis, **kwargs))
        carried = mask.copy()
        for index in range(1, len(mask)):
            if not mask[index].any():
                carried[index] = carried[index - 1]
        return carried, carried, carried

    package, entry = ModuleType("labelprop"), ModuleType("labelprop.napari_entry")
    entry.propagate_from_ckpt = propagate_from_ckpt
    monkeypatch.setitem(sys.modules, "labelprop", package)
    monkeypatch.setitem(sys.modules, "labelprop.napari_entry", entry)
    return seen


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "pretrained.ckpt"
    path.touch()
    return path


def tube(axis: int) -> tuple[Volume, LabelArray]:
    """Structures 3 and 7 side by side, the same on every slice."""
    truth = np.zeros((9, 12, 14), dtype=np.uint8)
    truth[:, 2:6, 2:6] = 3
    truth[:, 7:11, 7:12] = 7
    truth = np.ascontiguousarray(np.moveaxis(truth, 0, axis))
    return Volume(truth.astype(np.float32), Geometry.from_parts(truth.shape)), truth


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_labels_are_carried_between_the_painted_slices(calls, weights, axis):
    volume, truth = tube(axis)
    support = support_from_labels(_painted(truth, axis, (2, 6)), axis=axis)
    labels = LabelPropagation(weights).segment(volume, support)
    between = np.moveaxis(labels, axis, 0)[2:7]
    assert np.array_equal(between, np.moveaxis(truth, axis, 0)[2:7])


def test_it_is_given_the_painted_slices_and_nothing_else(calls, weights):
    volume, truth = tube(0)
    LabelPropagation(weights).segment(volume, support_from_labels(_painted(truth, 0, (2, 6)), axis=0))
    (call,) = calls
    assert call.z_axis == 0
    assert call.image.shape == truth.shape
    assert [i for i in range(9) if call.mask[i].any()] == [2, 6]


def test_structures_are_numbered_without_gaps_for_it(calls, weights):
    volume, truth = tube(0)
    LabelPropagation(weights).segment(volume, support_from_labels(_painted(truth, 0, (2, 6)), axis=0))
    assert np.unique(calls[0].mask).tolist() == [0, 1, 2]


def test_beyond_the_painted_slices_the_rounded_ends_stand(calls, weights):
    volume, truth = tube(0)
    labels = LabelPropagation(weights).segment(volume, support_from_labels(_painted(truth, 0, (2, 6)), axis=0))
    area = np.count_nonzero(labels, axis=(1, 2))
    assert 0 < area[8] < area[6]


def test_one_painted_slice_leaves_nothing_to_carry(calls, weights):
    volume, truth = tube(0)
    labels = LabelPropagation(weights).segment(volume, support_from_labels(_painted(truth, 0, (4,)), axis=0))
    assert not calls
    assert np.array_equal(labels[4], truth[4])
    assert labels[5].any()


def test_its_printing_is_kept_from_the_terminal(calls, weights, capsys):
    volume, truth = tube(0)
    LabelPropagation(weights).segment(volume, support_from_labels(_painted(truth, 0, (2, 6)), axis=0))
    assert capsys.readouterr().out == ""


def test_without_the_package_it_is_left_out_and_says_why(monkeypatch, weights):
    def absent(name: str) -> str:
        raise registry.PackageNotFoundError(name)

    monkeypatch.setattr(registry, "version", absent)
    assert "labelprop" not in available_methods(weights={"labelprop": weights})
    assert "napari-medmeta[labelprop]" in missing_methods()["labelprop"]


def test_without_weights_it_is_left_out_and_says_how_to_give_them(monkeypatch):
    monkeypatch.setattr(registry, "version", lambda _: "1.2.3")
    assert "labelprop" not in available_methods()
    assert "--weights labelprop=PATH" in missing_methods()["labelprop"]


def test_weights_that_are_not_there_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "version", lambda _: "1.2.3")
    with pytest.raises(InputError, match="not at nothing.ckpt"):
        build_methods(["labelprop"], weights={"labelprop": tmp_path / "nothing.ckpt"})


def test_with_package_and_weights_it_can_be_built(monkeypatch, weights):
    monkeypatch.setattr(registry, "version", lambda _: "1.2.3")
    given = {"labelprop": weights}
    assert "labelprop" in available_methods(weights=given)
    (method,) = build_methods(["labelprop"], weights=given)
    assert method.name == "labelprop"
    assert is_slow("labelprop")


def _painted(truth: LabelArray, axis: int, indices: tuple[int, ...]) -> LabelArray:
    labels = np.full(truth.shape, 255, dtype=np.uint8)
    for index in indices:
        np.moveaxis(labels, axis, 0)[index] = np.moveaxis(truth, axis, 0)[index]
    return labels
