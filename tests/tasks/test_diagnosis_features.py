"""Measurements for comparison, on shapes whose sizes are known by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from napari_medmeta.core import Geometry, GeometryMismatchError, InputError, MissingExamplesError, Modality, Volume
from napari_medmeta.core.diagnosis import Feature, Quantity
from napari_medmeta.tasks.diagnosis_features import MeasuredScan, join_scans, measure_case, measure_scan

SPACING = (2.0, 1.0, 1.0)


def scan(
    labels: npt.NDArray[np.uint8],
    *,
    modality: Modality = Modality.MR,
    spacing: tuple[float, float, float] = SPACING,
    gain: float = 1.0,
) -> Volume:
    """Return a scan in which background is 100, structure 1 is 300 and structure 2 is 50."""
    values = np.array([100.0, 300.0, 50.0])[labels] + np.random.default_rng(0).normal(0, 5, labels.shape)
    geometry = Geometry.from_parts(labels.shape, spacing_mm=spacing)
    return Volume((values * gain).astype(np.float32), geometry, modality)


def ball(radius_mm: float = 12.0, shape: tuple[int, int, int] = (20, 40, 40)) -> npt.NDArray[np.uint8]:
    axes = [s * (np.arange(n) - (n - 1) / 2) for n, s in zip(shape, SPACING, strict=True)]
    grid = np.meshgrid(*axes, indexing="ij")
    return (sum(g**2 for g in grid) < radius_mm**2).astype(np.uint8)


def ring(inner: float, outer: float, *, slices: int = 5, spacing: float = 1.0) -> npt.NDArray[np.uint8]:
    """Return a tube around the first axis, wall from ``inner`` to ``outer`` mm."""
    y, x = np.meshgrid(*[spacing * (np.arange(64) - 31.5)] * 2, indexing="ij")
    radius = np.hypot(y, x)
    return np.repeat(((radius >= inner) & (radius < outer)).astype(np.uint8)[None], slices, axis=0)


def shown(measured: MeasuredScan, structure: str = "a") -> dict[Quantity, float]:
    return {q: v if q is Quantity.BRIGHTNESS else float(np.exp(v)) for q, v in measured.values[structure].items()}


def test_a_balls_size_and_shape() -> None:
    found = shown(measure_scan(scan(ball()), ball(), {1: "a"}))
    assert found[Quantity.VOLUME] == pytest.approx(4 / 3 * np.pi * 1.2**3, rel=0.03)
    assert found[Quantity.LENGTH] == pytest.approx(24, rel=0.05)
    assert found[Quantity.WIDTH] == pytest.approx(24, rel=0.05)
    assert 0.85 < found[Quantity.ROUNDNESS] <= 1.0


def test_a_rod_is_less_round_than_a_ball() -> None:
    rod = np.zeros((20, 40, 40), dtype=np.uint8)
    rod[:, 18:22, 18:22] = 1
    found = shown(measure_scan(scan(rod), rod, {1: "a"}))
    assert found[Quantity.LENGTH] > 8 * found[Quantity.WIDTH]
    assert found[Quantity.ROUNDNESS] < 0.7


@pytest.mark.parametrize("wall", [4.0, 8.0, 12.0])
def test_a_walls_thickness_is_measured_inside_thick_slices(wall: float) -> None:
    labels = ring(12.0, 12.0 + wall)
    found = shown(measure_scan(scan(labels, spacing=(10.0, 1.0, 1.0)), labels, {1: "a"}))
    assert found[Quantity.THICKNESS] == pytest.approx(wall, abs=1.2)


def test_the_thickest_and_the_thinnest_part_of_an_uneven_wall() -> None:
    labels = ring(12.0, 18.0)
    labels[:, :, 40:][ring(12.0, 26.0)[:, :, 40:] > 0] = 1
    found = shown(measure_scan(scan(labels, spacing=(10.0, 1.0, 1.0)), labels, {1: "a"}))
    assert found[Quantity.THINNEST] == pytest.approx(6, abs=1.5)
    assert found[Quantity.THICKEST] > 10


def test_thickness_does_not_depend_on_how_the_axes_lie() -> None:
    labels = ring(12.0, 20.0)
    turned = np.ascontiguousarray(np.moveaxis(labels, 0, 2))
    one = shown(measure_scan(scan(labels, spacing=(10.0, 1.0, 1.0)), labels, {1: "a"}))
    other = shown(measure_scan(scan(turned, spacing=(1.0, 1.0, 10.0)), turned, {1: "a"}))
    of_the_noise = {Quantity.BRIGHTNESS, Quantity.TEXTURE}
    assert {q: pytest.approx(v, rel=0.02) for q, v in one.items() if q not in of_the_noise} == {
        q: v for q, v in other.items() if q not in of_the_noise
    }


def test_brightness_is_relative_to_the_body_and_does_not_change_with_the_scanners_gain() -> None:
    labels = ball()
    labels[:, :5] = 2
    names = {1: "a", 2: "b"}
    first, louder = (measure_scan(scan(labels, gain=g), labels, names) for g in (1.0, 3.7))
    assert shown(first)[Quantity.BRIGHTNESS] > 0 > shown(first, "b")[Quantity.BRIGHTNESS]
    assert shown(louder)[Quantity.BRIGHTNESS] == pytest.approx(shown(first)[Quantity.BRIGHTNESS], rel=1e-3)


def test_names_are_folded_and_what_is_unnamed_or_tiny_is_left_out() -> None:
    labels = ball()
    labels[0, 0, 0] = 2
    labels[:, :4] = 3
    measured = measure_scan(scan(np.minimum(labels, 2)), labels, {1: " Left  Ventricle ", 2: "dot"})
    assert list(measured.values) == ["left ventricle"]


def test_a_very_large_structure_is_measured_on_fewer_voxels(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = shown(measure_scan(scan(ball()), ball(), {1: "a"}))
    monkeypatch.setattr("napari_medmeta.tasks.diagnosis_features.MOST_VOXELS", 2000)
    thinned = shown(measure_scan(scan(ball()), ball(), {1: "a"}))
    assert thinned[Quantity.VOLUME] == whole[Quantity.VOLUME]
    assert thinned[Quantity.LENGTH] == pytest.approx(whole[Quantity.LENGTH], rel=0.1)


def test_wrong_labels_and_names_are_refused() -> None:
    labels = ball()
    with pytest.raises(GeometryMismatchError):
        measure_scan(scan(labels), labels[1:], {1: "a"})
    with pytest.raises(InputError, match="same name"):
        measure_scan(scan(labels), labels, {1: "a", 2: "A "})
    with pytest.raises(MissingExamplesError, match="no structure to measure"):
        measure_scan(scan(labels), np.zeros_like(labels), {1: "a"})


def test_an_ejection_fraction_falls_out_of_a_ratio_between_phases() -> None:
    full, empty = ball(14.0), ball(10.0)
    case = measure_case({"ED": (scan(full), full), "ES": (scan(empty), empty)}, {1: "Left ventricle"})
    ratio = Feature(Quantity.VOLUME, "left ventricle", "es", "left ventricle", "ed")
    assert 1 - np.exp(case.values[ratio]) == pytest.approx(1 - empty.sum() / full.sum())


def test_structures_of_one_scan_are_divided_by_each_other_once() -> None:
    labels = ball()
    labels[:, :5] = 2
    case = measure_case({"": (scan(labels), labels)}, {1: "b", 2: "a"})
    ratios = [f for f in case.values if f.is_ratio]
    assert {(f.structure, f.over) for f in ratios} == {("b", "a")}
    volumes = [np.count_nonzero(labels == s) for s in (1, 2)]
    assert np.exp(case.values[Feature(Quantity.VOLUME, "b", "", "a", "")]) == pytest.approx(volumes[0] / volumes[1])


def test_scans_of_different_kinds_are_no_one_case() -> None:
    measured = [measure_scan(scan(ball(), modality=m), ball(), {1: "a"}) for m in (Modality.CT, Modality.MR)]
    with pytest.raises(InputError, match="different kinds"):
        join_scans(dict(zip(("x", "y"), measured, strict=True)))
    with pytest.raises(InputError, match="no scan"):
        join_scans({})


def test_two_phases_of_one_name_are_refused() -> None:
    measured = measure_scan(scan(ball()), ball(), {1: "a"})
    with pytest.raises(InputError, match="same phase"):
        join_scans({"ED": measured, "ed ": measured})


def test_larger_is_measured_as_larger() -> None:
    sizes = [shown(measure_scan(scan(ball(r)), ball(r), {1: "a"})) for r in (6.0, 9.0, 12.0)]
    for quantity in (Quantity.VOLUME, Quantity.LENGTH, Quantity.WIDTH, Quantity.THICKNESS):
        assert all(a[quantity] < b[quantity] for a, b in pairwise(sizes))
