"""Features, the first proposal, and the proposal after one more painted slice, on the processor."""

from __future__ import annotations

from napari_medmeta.engine import Segmenter

from .scene import OnScene, Scene


class Features(OnScene):
    """What is computed once for each scan."""

    def time_features(self, scene: Scene) -> None:
        _with_features(scene)

    def peakmem_features(self, scene: Scene) -> None:
        _with_features(scene)


class Proposals(OnScene):
    """From three painted slices."""

    def setup(self, scene: Scene) -> None:
        self.segmenter = _with_features(scene)

    def time_visible_slice(self, scene: Scene) -> None:
        next(iter(self.segmenter.propose(scene.support, focus=scene.focus)))

    def time_whole_volume(self, scene: Scene) -> None:
        self.segmenter.segment(scene.support)

    def peakmem_whole_volume(self, scene: Scene) -> None:
        self.segmenter.segment(scene.support)


class Corrections(OnScene):
    """After one more painted slice, when an answer to the earlier ones is there."""

    def setup(self, scene: Scene) -> None:
        self.segmenter = _with_features(scene)
        self.segmenter.segment(scene.support)

    def time_visible_slice_after_one_more(self, scene: Scene) -> None:
        next(iter(self.segmenter.propose(scene.more, focus=scene.focus)))

    def time_whole_volume_after_one_more(self, scene: Scene) -> None:
        self.segmenter.segment(scene.more)

    def peakmem_whole_volume_after_one_more(self, scene: Scene) -> None:
        self.segmenter.segment(scene.more)


def _with_features(scene: Scene) -> Segmenter:
    segmenter = Segmenter(device="cpu")
    segmenter.set_volume(scene.volume)
    return segmenter
