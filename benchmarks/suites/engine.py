"""Features, the first proposal, and the proposal after one more painted slice."""

from __future__ import annotations

from napari_medmeta.engine import Segmenter

from .scene import Scene, make_scene


class Proposals:
    """The scan of the stated limits, on the processor."""

    timeout = 300
    number, repeat, warmup_time = 1, 3, 0

    def setup_cache(self) -> Scene:
        return make_scene()

    def setup(self, scene: Scene) -> None:
        self.segmenter = Segmenter(device="cpu")
        self.segmenter.set_volume(scene.volume)

    def time_visible_slice(self, scene: Scene) -> None:
        next(iter(self.segmenter.propose(scene.support, focus=scene.focus)))

    def time_whole_volume(self, scene: Scene) -> None:
        self.segmenter.segment(scene.support)


class Corrections:
    """After one more painted slice, when an answer to the earlier ones is there."""

    timeout = 300
    number, repeat, warmup_time = 1, 3, 0

    def setup_cache(self) -> Scene:
        return make_scene()

    def setup(self, scene: Scene) -> None:
        self.segmenter = Segmenter(device="cpu")
        self.segmenter.set_volume(scene.volume)
        self.segmenter.segment(scene.support)

    def time_visible_slice_after_one_more(self, scene: Scene) -> None:
        next(iter(self.segmenter.propose(scene.more, focus=scene.focus)))

    def time_whole_volume_after_one_more(self, scene: Scene) -> None:
        self.segmenter.segment(scene.more)


class Features:
    """What is computed once for each scan."""

    timeout = 300
    number, repeat, warmup_time = 1, 3, 0

    def setup_cache(self) -> Scene:
        return make_scene()

    def time_features(self, scene: Scene) -> None:
        Segmenter(device="cpu").set_volume(scene.volume)

    def peakmem_features_and_proposal(self, scene: Scene) -> None:
        segmenter = Segmenter(device="cpu")
        segmenter.set_volume(scene.volume)
        segmenter.segment(scene.support)
