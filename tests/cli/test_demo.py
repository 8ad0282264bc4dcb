from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from napari_medmeta import cli
from napari_medmeta.bench.methods.interpolation import SignedDistance
from napari_medmeta.cli import demo
from napari_medmeta.cli.loop import Loop, ask, begin, correct_worst, finish
from napari_medmeta.cli.story import story
from napari_medmeta.core import Box, Proposal, SliceRef, Support, Volume
from napari_medmeta.core.phantoms import Phantom, torso_ct
from napari_medmeta.io import read_labels, read_volume


class Interpolating:
    """An engine that needs no torch: shape interpolation, the visible slice first."""

    device = "cpu"
    has_volume = False

    def set_volume(self, volume: Volume, **_: object) -> None:
        self.volume, self.has_volume = volume, True

    def propose(self, support: Support, *, focus: SliceRef, **_: object) -> Iterator[Proposal]:
        labels = SignedDistance(dome=True).segment(self.volume, support)
        dice = {SliceRef(0, index): 0.8 for index in range(support.shape[0])}
        for box in (Box.of_slice(focus, support.shape), Box.whole(support.shape)):
            sure = np.full(box.shape, 0.9, dtype=np.float32)
            yield Proposal(support.generation, box, labels[box.slices], sure, covered=box, slice_dice=dice)


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return torso_ct(shape=(32, 64, 64))


@pytest.fixture
def loop(phantom: Phantom) -> Loop:
    return begin(phantom, Interpolating(), slices=3)


def test_the_simulated_radiologist_paints_as_many_slices_as_asked(loop):
    assert len(loop.session.support().examples) == 3
    assert [s.name for s in loop.session.structures] == ["liver", "spleen", "left kidney", "right kidney"]


def test_painted_slices_are_kept_as_painted(loop):
    labels = ask(loop, visible=10).labels
    for index in loop.task.painted:
        assert np.array_equal(labels[index], loop.task.truth[index])


def test_correcting_the_worst_slice_paints_one_more(loop):
    first = ask(loop, visible=10)
    corrected = correct_worst(loop, first)
    assert len(corrected.task.painted) == 4
    assert corrected.task.painted[-1] not in loop.task.painted


def test_a_correction_makes_the_result_better(loop):
    first = ask(loop, visible=10)
    second = ask(correct_worst(loop, first), visible=10)
    assert np.mean(second.labels == loop.task.truth) > np.mean(first.labels == loop.task.truth)


def test_the_result_is_saved_on_the_scans_grid(loop, tmp_path):
    proposed = ask(loop, visible=10)
    scan, _, result = finish(loop, tmp_path)
    labels, geometry = read_labels(result)
    assert geometry.same_grid(read_volume(scan).geometry)
    assert np.array_equal(labels, proposed.labels)


def test_the_examples_are_saved_as_painted_slices_only(loop, tmp_path):
    ask(loop, visible=10)
    labels, _ = read_labels(finish(loop, tmp_path)[1])
    assert tuple(np.flatnonzero(labels.any(axis=(1, 2)))) == loop.task.painted


def test_the_picture_tells_the_story_in_one_row(loop):
    first = ask(loop, visible=10)
    corrected = correct_worst(loop, first)
    picture = story(corrected, first, ask(corrected, visible=10))
    assert picture.width > 3 * picture.height
    assert len(picture.getcolors(maxcolors=10**6) or ()) > 100


def test_the_demo_prints_dice_and_seconds_and_writes_its_files(monkeypatch, capsys, tmp_path, phantom):
    monkeypatch.setattr("napari_medmeta.engine.Segmenter", lambda **_: Interpolating())
    monkeypatch.setattr("napari_medmeta.core.phantoms.torso_ct", lambda **_: phantom)
    assert cli.main(["demo", "--headless", "--output", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "mean" in printed
    assert " s, the volume after " in printed
    for name in ("scan.nii.gz", "examples.nii.gz", "segmentation.nii.gz", "demo.png"):
        assert (tmp_path / "out" / name).is_file()
        assert str(Path("out", name)) in printed


def test_one_painted_slice_is_too_few_for_the_demo(capsys):
    with pytest.raises(SystemExit):
        cli.main(["demo", "--slices", "1"])
    assert "at least 2" in capsys.readouterr().err


def test_without_a_display_no_window_is_tried(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert not demo.has_display()


def test_a_display_is_seen(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":1")
    assert demo.has_display()
