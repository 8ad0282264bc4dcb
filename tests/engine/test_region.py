from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_medmeta.core import Box, MissingExamplesError, SliceExample, SliceRef, Support, support_from_labels
from napari_medmeta.engine.cutting import make_task
from napari_medmeta.engine.embedding import EmbeddingMaps
from napari_medmeta.engine.features import FeatureMaps
from napari_medmeta.engine.region import RegionConfig, find_region

SHAPE = (20, 60, 80)
CONFIG = RegionConfig(margin_mm=5.0, margin_share=0.0)


def square(*slices: int, axis: int = 0) -> Support:
    labels = np.full(SHAPE, 255, np.uint8)
    cut = [slice(None)] * 3
    for index in slices:
        cut[axis] = index  # type: ignore[call-overload]
        labels[tuple(cut)] = 0
    labels[8:12, 20:40, 30:60][labels[8:12, 20:40, 30:60] == 0] = 1
    return support_from_labels(labels, axis=axis)


def maps() -> FeatureMaps:
    image = torch.arange(np.prod(SHAPE), dtype=torch.float32).reshape(SHAPE)
    return FeatureMaps(image[None].half(), image, (1.0, 1.0, 1.0))


def test_the_region_is_the_painted_extent_with_a_margin_in_mm() -> None:
    region = find_region(square(8, 11), (1.0, 1.0, 0.5), CONFIG)
    assert region.box.start[1:] == (15, 20)
    assert region.box.stop[1:] == (45, 70)


def test_it_reaches_one_gap_beyond_slices_that_span_the_structure() -> None:
    region = find_region(square(8, 11), (10.0, 1.0, 1.0), CONFIG)
    assert (region.box.start[0], region.box.stop[0]) == (5, 15)


def test_slices_close_together_reach_as_far_as_the_structure_is_wide() -> None:
    # 20 mm x 30 mm have the area of a disc of 27.6 mm: 1.25 of it less the 12 mm between the slices, in slices of 4 mm.
    region = find_region(square(8, 11), (4.0, 1.0, 1.0), CONFIG)
    assert (region.box.start[0], region.box.stop[0]) == (2, 18)


def test_a_wide_structure_asks_for_no_more_than_the_most_reach() -> None:
    # One slice of a structure that is 300 mm wide would ask for 375 mm.
    region = find_region(square(9), (30.0, 1.0, 10.0), CONFIG)
    assert (region.box.start[0], region.box.stop[0]) == (4, 15)


def test_where_the_scan_ends_sooner_the_missing_slices_are_told() -> None:
    labels = np.full(SHAPE, 255, np.uint8)
    labels[[1, 7]] = 0
    labels[[1, 7], 20:40, 30:60] = 1
    region = find_region(support_from_labels(labels, axis=0), (10.0, 1.0, 1.0), CONFIG)
    assert region.missing == (5, 0)
    assert region.bounded[0] == (False, True)


def test_the_painted_axis_comes_first() -> None:
    assert find_region(square(30, 35, axis=1), (1.0, 1.0, 1.0), CONFIG).order == (1, 0, 2)


@pytest.mark.parametrize(
    ("voxels", "factor"), [(300_000, 1), (1_000_000, 2), (5_000_000, 2), (15_000_000, 4), (60_000_000, 7)]
)
def test_large_regions_are_pooled_no_more_than_time_allows(voxels: int, factor: int) -> None:
    # One slice that holds the whole region, so that its size is known.
    side = round((voxels / 2) ** 0.5)
    known = np.ones((side, side), bool)
    example = SliceExample(SliceRef(0, 0), np.ones((side, side), np.uint8), known)
    region = find_region(Support((2, side, side), (example,), (1,)), (1.0, 1.0, 1.0), RegionConfig())
    assert region.factor == factor


def test_pooling_and_pasting_back_keep_every_place() -> None:
    region = replace(find_region(square(8, 11), (1.0, 1.0, 1.0), CONFIG), factor=2)
    task = make_task(maps(), square(8, 11), region)
    d, h, w = region.full_shape
    assert task.shape == (d, h // 2, w // 2)
    assert region.upsample(task.intensity[None])[0].shape == region.full_shape
    centre = region.upsample(task.intensity[None])[0, 3, 10, 10]
    expected = region.cut(maps().intensity)[3, 10, 10]
    assert abs(float(centre - expected)) < 1.0


@pytest.mark.parametrize(
    ("thickness_mm", "pooling"), [(1.0, (2, 3, 3)), (0.5, (3, 2, 2)), (2.0, (1, 4, 4)), (5.0, (1, 4, 4))]
)
def test_thin_slices_are_pooled_too_but_stay_finer_than_the_plane(
    thickness_mm: float, pooling: tuple[int, int, int]
) -> None:
    side = round((15_000_000 / 2) ** 0.5)
    known = np.ones((side, side), bool)
    example = SliceExample(SliceRef(0, 0), np.ones((side, side), np.uint8), known)
    support = Support((2, side, side), (example,), (1,))
    assert find_region(support, (thickness_mm, 1.0, 1.0), RegionConfig(max_step=3)).pooling == pooling


def test_slices_pooled_along_the_normal_come_back_in_their_places() -> None:
    region = replace(find_region(square(8, 11), (1.0, 1.0, 1.0), CONFIG), step=2)
    task = make_task(maps(), square(8, 11), region)
    finer = region.upsample(task.intensity[None])[0]
    expected = region.cut(maps().intensity)
    assert finer.shape == expected.shape == region.full_shape
    # A ramp is brought back as it was, but for the first and the last slice: there is nothing to go on with.
    assert torch.allclose(finer[1:-1], expected[1:-1], atol=1.0)
    part = region.upsample(task.intensity[None, 1:4], first=1, slices=range(3, 6))[0]
    assert torch.equal(part, finer[3:6])


def test_painted_slices_that_are_pooled_into_one_leave_one_example() -> None:
    support = square(8, 9, 11)
    region = replace(find_region(support, (1.0, 1.0, 1.0), CONFIG), step=2)
    task = make_task(maps(), support, region)
    assert task.depths == tuple(sorted({region.depth_of(z) for z in (8, 9, 11)}))
    assert task.spacing_mm == (2.0, 1.0, 1.0)


def test_a_single_click_survives_the_pooling() -> None:
    labels, known = np.zeros(SHAPE[1:], np.uint8), np.zeros(SHAPE[1:], bool)
    labels[31, 41], known[31, 41] = 1, True
    support = Support(SHAPE, (SliceExample(SliceRef(0, 9), labels, known),), (1,))
    region = replace(find_region(support, (1.0, 1.0, 1.0), CONFIG), factor=3)
    assert int((make_task(maps(), support, region).classes == 1).sum()) == 1


def test_nothing_painted_is_said() -> None:
    with pytest.raises(MissingExamplesError):
        find_region(Support(SHAPE, (), (1,)), (1.0, 1.0, 1.0), CONFIG)


def counted(cropped: list[Box]) -> FeatureMaps:
    class Counted(FeatureMaps):
        def crop(self, box: Box) -> Tensor:
            cropped.append(box)
            return super().crop(box)

    values = torch.rand((3, *SHAPE), generator=torch.Generator().manual_seed(0))
    embedding = EmbeddingMaps(values[:2, :, ::2, ::2].half(), (1, 2, 2))
    return Counted(values[1:].half(), values[0], (1.0, 1.0, 1.0), embedding)


@pytest.mark.parametrize("most", [10**6, 5000])
def test_a_region_inside_of_the_last_one_is_cut_out_of_it_with_the_same_values(most: int) -> None:
    config = replace(CONFIG, max_voxels=most, max_voxels_large=most)
    narrow, wide = square(8, 9, 11), square(8, 11)
    cropped: list[Box] = []
    seen = counted(cropped)
    outer, inner = (find_region(s, (10.0, 1.0, 1.0), config) for s in (wide, narrow))
    assert outer.box.shape[0] > inner.box.shape[0]
    make_task(seen, wide, outer)
    before = len(cropped)
    again = make_task(seen, narrow, inner)
    assert len(cropped) == before
    fresh = make_task(counted([]), narrow, inner)
    assert again.shape == fresh.shape
    assert torch.equal(again.features, fresh.features)
    assert torch.equal(again.intensity, fresh.intensity)
    assert again.embedding is not None
    assert fresh.embedding is not None
    assert torch.equal(again.embedding, fresh.embedding)
    assert torch.equal(again.classes, fresh.classes)


def test_a_region_that_reaches_farther_than_the_last_one_is_cut_out_anew() -> None:
    cropped: list[Box] = []
    seen = counted(cropped)
    for support in (square(8, 9, 11), square(8, 11)):
        task = make_task(seen, support, find_region(support, (10.0, 1.0, 1.0), CONFIG))
        fresh = make_task(counted([]), support, find_region(support, (10.0, 1.0, 1.0), CONFIG))
        assert torch.equal(task.features, fresh.features)
    assert len(cropped) == 2


def test_features_whose_crops_round_differently_are_taken_again_for_the_same_box_only() -> None:
    class Rounding(FeatureMaps):
        @property
        def crops_agree(self) -> bool:
            return False

    whole = maps()
    seen = Rounding(whole.maps, whole.intensity, whole.spacing_mm)
    for support in (square(8, 11), square(8, 9, 11)):
        region = find_region(support, (10.0, 1.0, 1.0), CONFIG)
        make_task(seen, support, region)
        assert [last.box for last in seen.last_region] == [region.box]
