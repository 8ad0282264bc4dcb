from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_medmeta.core import AnnotationError, MissingExamplesError, Origin, SliceRef, Support, support_from_labels
from napari_medmeta.core.explanation import NETWORK, Explanation
from napari_medmeta.core.phantoms import Phantom, torso_ct
from napari_medmeta.engine import EngineConfig, Segmenter
from napari_medmeta.engine.choices import engine_config
from napari_medmeta.engine.explain import explain
from napari_medmeta.engine.features import compute_features
from napari_medmeta.engine.fusion import FusionConfig
from napari_medmeta.engine.learners.interpolation import shape_field
from napari_medmeta.engine.network import FusionNetwork, NetworkConfig
from napari_medmeta.engine.task import UNKNOWN, PaintedSlice, Task

Paint = Callable[..., Support]
INPUTS = NetworkConfig(()).features[-1] + 1
"""Of the network's last layer, with its offset."""

NAMES = {1: "left blob", 2: "right blob"}


def inside(phantom: Phantom, structure: int, z: int) -> tuple[int, int, int]:
    """A voxel of the structure on slice z, next to its border."""
    here = phantom.labels[z] == structure
    rows, columns = np.nonzero(here)
    row = int(rows.min()) + 1
    return z, row, int(np.median(columns[rows == row]))


def weight_of(explanation: Explanation, ref: SliceRef) -> float:
    return next((e.weight for e in explanation.examples if e.ref == ref), 0.0)


def test_a_voxel_beside_a_painted_organ_is_explained_by_voxels_of_that_organ(
    ready: Segmenter, paint: Paint, phantom: Phantom
) -> None:
    support = paint(8, 12, 17)
    found = explain(ready, support, inside(phantom, 1, 13), names=NAMES)
    assert found.label == 1
    assert found.examples[0].ref == SliceRef(0, 12)
    voxels = [v.voxel for e in found.examples for v in e.voxels]
    assert voxels
    assert all(phantom.labels[v] == 1 for v in voxels)
    assert all(e.voxels[0].voxel[0] == e.ref.index for e in found.examples)


def test_the_weights_sum_to_at_most_one_and_the_sources_shares_to_one(
    ready: Segmenter, paint: Paint, phantom: Phantom
) -> None:
    found = explain(ready, paint(8, 12, 17), inside(phantom, 2, 14))
    total = sum(e.weight for e in found.examples)
    assert 0.5 < total <= 1 + 1e-5
    assert all(sum(v.weight for v in e.voxels) <= e.weight + 1e-6 for e in found.examples)
    assert sum(abs(s.share) for s in found.sources) == pytest.approx(1)
    learners = [learner.name for learner in EngineConfig().learners]
    assert [s.name for s in found.sources if s.name != NETWORK] == learners


@pytest.fixture(scope="module")
def corrected(phantom: Phantom) -> Segmenter:
    """An engine with a network whose correction is known."""
    engine = Segmenter(device="cpu")
    network = FusionNetwork(NetworkConfig(tuple(learner.name for learner in EngineConfig().learners)))
    # Its heads start at zero: only the last one's bias speaks, everywhere the same.
    torch.nn.init.constant_(network.presence[-1].bias, 1.5)  # type: ignore[arg-type]
    engine._network = network.eval()
    engine.set_volume(phantom.volume)
    return engine


def network_to_shape(explanation: Explanation) -> float:
    """How much the network says for each bit that the shape says."""
    shares = {s.name: s.share for s in explanation.sources}
    return shares[NETWORK] / shares["shape"]


def test_the_networks_share_is_what_it_moved_as_far_as_it_was_followed(
    corrected: Segmenter, paint: Paint, phantom: Phantom
) -> None:
    support, voxel = paint(8, 12, 17, generation=3), inside(phantom, 1, 13)
    answer = corrected.segment(support)
    half, whole = (
        explain(corrected, support, voxel, proposal=replace(answer, network=dict.fromkeys((1, 2), followed)))
        for followed in (0.5, 1.0)
    )
    assert network_to_shape(whole) > 0
    assert network_to_shape(half) == pytest.approx(network_to_shape(whole) / 2, rel=1e-3)


def test_a_network_that_speaks_against_the_answer_has_a_share_below_zero(
    corrected: Segmenter, paint: Paint, phantom: Phantom
) -> None:
    z, row, column = inside(phantom, 1, 13)
    found = explain(corrected, paint(8, 12, 17), (z, row - 5, column))
    assert found.label == 0
    assert found.sources[-1].name == NETWORK
    assert found.sources[-1].share < 0


def test_a_network_that_is_not_followed_has_no_share(corrected: Segmenter, paint: Paint, phantom: Phantom) -> None:
    support = paint(8, 12, 17, generation=3)
    ignored = replace(corrected.segment(support), network={1: 0.0, 2: 0.0})
    found = explain(corrected, support, inside(phantom, 1, 13), proposal=ignored)
    assert found.sources[-1].name == NETWORK
    assert found.sources[-1].share == pytest.approx(0, abs=1e-6)
    assert sum(abs(s.share) for s in found.sources) == pytest.approx(1)


def test_an_answer_of_the_sources_outweighs_what_speaks_against_it(
    ready: Segmenter, paint: Paint, phantom: Phantom
) -> None:
    found = explain(ready, paint(8, 12, 17), inside(phantom, 1, 13))
    assert found.label == 1
    assert sum(s.share for s in found.sources) > 0


def test_a_proposal_tells_how_far_the_network_was_followed(corrected: Segmenter, paint: Paint) -> None:
    found = corrected.segment(paint(8, 12, 17))
    assert set(found.network) == {1, 2}
    assert all(0.0 <= share <= 1.0 for share in found.network.values())


def test_an_engine_without_a_network_names_none(paint: Paint, phantom: Phantom) -> None:
    engine = Segmenter(device="cpu", config=EngineConfig(network=False))
    engine.set_volume(phantom.volume)
    support = paint(8, 12, 17)
    found = explain(engine, support, inside(phantom, 1, 13))
    assert NETWORK not in [s.name for s in found.sources]
    assert engine.segment(support).network == {}


def test_removing_the_example_that_weighs_most_changes_the_explanation(
    ready: Segmenter, paint: Paint, phantom: Phantom
) -> None:
    support, voxel = paint(8, 12, 17), inside(phantom, 1, 13)
    before = explain(ready, support, voxel)
    heaviest = before.examples[0].ref
    after = explain(ready, support.without(heaviest), voxel)
    assert heaviest not in [e.ref for e in after.examples]
    assert after.examples != before.examples


def test_a_painted_voxel_says_that_it_was_painted(ready: Segmenter, paint: Paint, phantom: Phantom) -> None:
    voxel = inside(phantom, 1, 12)
    found = explain(ready, paint(8, 12, 17), voxel, names=NAMES)
    assert found.decided
    assert (found.label, found.probability) == (1, 1.0)
    assert [e.ref for e in found.examples] == [SliceRef(0, 12)]
    assert found.summary == "You painted this voxel as left blob on slice 12."


def test_an_accepted_voxel_says_that_it_was_accepted(ready: Segmenter, paint: Paint) -> None:
    support = paint(8, 12)
    accepted = tuple(replace(e, origin=Origin.ACCEPTED) for e in support.examples)
    found = explain(ready, replace(support, examples=accepted), (12, 0, 0))
    assert found.summary == "You accepted this voxel as background on slice 12."


def test_background_is_explained_by_voxels_painted_as_background(
    ready: Segmenter, paint: Paint, phantom: Phantom
) -> None:
    z, row, column = inside(phantom, 1, 13)
    found = explain(ready, paint(8, 12, 17), (z, row - 5, column))
    assert found.label == 0
    assert all(phantom.labels[v.voxel] == 0 for e in found.examples for v in e.voxels)
    assert found.examples


def test_far_from_everything_painted_the_answer_is_background_without_examples(phantom: Phantom) -> None:
    small = np.full(phantom.labels.shape, 255, np.uint8)
    small[12] = 0
    small[12, 20:24, 20:24] = 1
    segmenter = Segmenter(device="cpu")
    segmenter.set_volume(phantom.volume)
    found = explain(segmenter, support_from_labels(small, axis=0), (0, 47, 47))
    assert (found.label, found.examples, found.sources) == (0, (), ())
    assert "farther" in found.summary


def test_the_explained_answer_is_the_proposals(ready: Segmenter, paint: Paint, phantom: Phantom) -> None:
    support = paint(8, 12, 17, generation=3)
    proposal = ready.segment(support)
    labels = proposal.volume(phantom.labels.shape)
    for z, row, column in [(10, 20, 10), (13, 24, 24), (15, 30, 36)]:
        found = explain(ready, support, (z, row, column), proposal=proposal)
        assert found.label == labels[z, row, column]
        assert found.generation == 3


def test_a_proposal_for_other_examples_is_not_explained(ready: Segmenter, paint: Paint, phantom: Phantom) -> None:
    voxel = inside(phantom, 1, 13)
    old = ready.segment(paint(8, generation=1))
    support = paint(8, 12, 17, generation=2)
    assert explain(ready, support, voxel, proposal=old) == explain(ready, support, voxel)


def test_a_slice_painted_on_another_axis_is_named_too(ready: Segmenter, paint: Paint, phantom: Phantom) -> None:
    along, across = paint(8, 17), paint(24, axis=1)
    support = replace(along, examples=(*along.examples, *across.examples))
    found = explain(ready, support, (12, 25, 10))
    assert weight_of(found, SliceRef(1, 24)) > 0


def test_clicks_are_examples_too(ready: Segmenter, phantom: Phantom) -> None:
    marks = np.full(phantom.labels.shape, 255, np.uint8)
    marks[12, 24, 10], marks[12, 2, 2] = 1, 0
    found = explain(ready, support_from_labels(marks, axis=0), (12, 24, 12))
    assert [e.ref for e in found.examples] == [SliceRef(0, 12)]


def test_without_examples_it_says_what_is_missing(ready: Segmenter, phantom: Phantom) -> None:
    with pytest.raises(MissingExamplesError, match="Paint a structure"):
        explain(ready, Support(phantom.labels.shape, structures=(1,)), (0, 0, 0))
    with pytest.raises(MissingExamplesError, match="still being read"):
        explain(Segmenter(device="cpu"), Support(phantom.labels.shape, structures=(1,)), (0, 0, 0))


def test_a_voxel_outside_of_the_scan_is_refused(ready: Segmenter, paint: Paint) -> None:
    with pytest.raises(AnnotationError, match="outside"):
        explain(ready, paint(8), (24, 0, 0))


@pytest.mark.slow
@pytest.mark.timing
def test_an_explanation_takes_less_than_a_second() -> None:
    phantom = torso_ct(shape=(100, 256, 256))
    segmenter = Segmenter(device="cpu")
    segmenter.set_volume(phantom.volume)
    truth = np.where(phantom.labels <= 3, phantom.labels, 0).astype(np.uint8)
    filled = np.flatnonzero(truth.any(axis=(1, 2)))
    painted = np.full(truth.shape, 255, np.uint8)
    for fraction in (0.25, 0.5, 0.75):
        z = int(filled[int(fraction * len(filled))])
        painted[z] = truth[z]
    support = support_from_labels(painted, axis=0)
    z = int(filled[int(0.6 * len(filled))])
    row, column = (int(n) for n in np.argwhere(truth[z] == 1)[0])
    explain(segmenter, support, (z, row, column))
    started = time.perf_counter()
    explain(segmenter, support, (z, row, column))
    assert time.perf_counter() - started < 1.0


def test_an_example_of_half_the_weight_causes_less(ready: Segmenter, paint: Paint, phantom: Phantom) -> None:
    support, voxel = paint(8, 12, 17), inside(phantom, 1, 13)
    before = explain(ready, support, voxel)
    ref = before.examples[0].ref
    light = tuple(replace(e, weight=0.25) if e.ref == ref else e for e in support.examples)
    after = explain(ready, replace(support, examples=light), voxel)
    assert weight_of(after, ref) < weight_of(before, ref)
    assert after.sources != before.sources


def test_a_light_example_changes_the_proposal_and_equal_weights_do_not(ready: Segmenter, paint: Paint) -> None:
    support = paint(8, 17)
    same = replace(support, examples=tuple(replace(e, weight=1.0) for e in support.examples))
    light = replace(support, examples=(replace(support.examples[0], weight=0.25), support.examples[1]))
    before, equal, after = (ready.segment(s) for s in (support, same, light))
    assert np.array_equal(before.labels, equal.labels)
    assert not np.array_equal(before.labels, after.labels)


def test_a_light_contour_is_believed_less_between_two() -> None:
    small, large = np.zeros((30, 30), np.int64), np.zeros((30, 30), np.int64)
    small[12:18, 12:18], large[5:25, 5:25] = 1, 1
    areas = []
    for weight in (1.0, 0.25):
        classes = torch.full((5, 30, 30), UNKNOWN)
        painted = []
        for depth, plane, w in ((0, small, 1.0), (4, large, weight)):
            classes[depth] = torch.from_numpy(plane)
            painted.append(PaintedSlice(0, depth, classes[depth].clone(), frozenset({1}), w))
        image = torch.zeros(5, 30, 30)
        bounded = ((True, True), (True, True), (True, True))
        task = Task(image[None], image, (1.0, 1.0, 1.0), classes, tuple(painted), 1, bounded)
        areas.append(int((shape_field(task).distance_mm[0, 2] > 0).sum()))
    assert areas[1] < areas[0]


def test_learnt_sources_speak_for_examples_too(paint: Paint, phantom: Phantom) -> None:
    learners = (*engine_config("prototypical").learners, *engine_config("matching").learners)
    config = EngineConfig(learners=learners, network=False, fusion=FusionConfig({x.name: 0.5 for x in learners}))
    engine = Segmenter(device="cpu", config=config)
    engine.set_volume(phantom.volume)
    found = explain(engine, paint(8, 12, 17), inside(phantom, 1, 13), names=NAMES, config=config)
    assert {source.name for source in found.sources} == {"learnt prototypes", "learnt matching"}
    assert found.examples
    assert sum(example.weight for example in found.examples) <= 1.0 + 1e-5


def test_an_adapted_head_names_voxels_it_adapted_to(paint: Paint, phantom: Phantom) -> None:
    config = engine_config("reptile")
    engine = Segmenter(device="cpu", config=config)
    engine.set_volume(phantom.volume)
    found = explain(engine, paint(8, 12, 17), inside(phantom, 1, 13), names=NAMES)
    voxels = [v.voxel for example in found.examples for v in example.voxels]
    assert voxels
    assert all(phantom.labels[v] == 1 for v in voxels)


def test_features_without_a_learnt_embedding_are_explained_by_the_hand_made_sources(
    paint: Paint, phantom: Phantom
) -> None:
    maps = compute_features(phantom.volume, device=torch.device("cpu"))
    found = explain(maps, paint(8, 12, 17), inside(phantom, 1, 13))
    assert found.label == 1
    assert "reptile" not in {source.name for source in found.sources}


def test_other_settings_than_the_engines_are_explained_without_its_network(
    ready: Segmenter, paint: Paint, phantom: Phantom
) -> None:
    found = explain(ready, paint(8, 12, 17), inside(phantom, 1, 13), config=engine_config("reptile"))
    assert [source.name for source in found.sources] == ["reptile"]


@pytest.fixture(scope="module")
def speaking(phantom: Phantom) -> Segmenter:
    """An engine with a network that sees everywhere the same, and to which it could add something."""
    engine = Segmenter(device="cpu")
    torch.manual_seed(0)
    engine._network = FusionNetwork(NetworkConfig(tuple(x.name for x in EngineConfig().learners))).eval()
    engine.set_volume(phantom.volume)
    return engine


def test_the_networks_share_is_that_of_the_layer_that_made_the_proposal(
    speaking: Segmenter, paint: Paint, phantom: Phantom
) -> None:
    support, voxel = paint(8, 12, 17, generation=3), inside(phantom, 1, 13)
    answer = replace(speaking.segment(support), network={1: 1.0, 2: 1.0})
    assert answer.recipe is not None
    layer = np.zeros((2, INPUTS), np.float32)
    # The network's own layer is zero and adds nothing; this one adds so many log-odds everywhere.
    layer[1, -1] = 2.0
    own, adapted = (
        explain(speaking, support, voxel, proposal=replace(answer, recipe=replace(answer.recipe, last=last)))
        for last in ({}, {1: layer, 2: layer})
    )
    assert network_to_shape(own) == pytest.approx(0, abs=1e-4)
    assert network_to_shape(adapted) > 0.1
