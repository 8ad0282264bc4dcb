"""The canvas of the synthetic scans: depths in mm in, values mixed at borders and labels out."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medmeta.core.canvas import Canvas

SHAPE, SPACING_MM = (5, 9, 9), (3.0, 2.0, 2.0)


@pytest.fixture
def canvas() -> Canvas:
    """Unbent, so that everything can be computed by hand."""
    return Canvas(SHAPE, SPACING_MM, background=10.0, seed=0, bend_mm=0.0)


def test_the_middle_of_the_grid_is_the_origin(canvas: Canvas) -> None:
    assert np.allclose(canvas.geometry.to_world([2, 4, 4]), 0)
    assert [float(np.broadcast_to(a, SHAPE)[4, 8, 8]) for a in (canvas.z, canvas.y, canvas.x)] == [6.0, 8.0, 8.0]


def test_a_value_is_blended_in_over_one_pixel_around_the_border(canvas: Canvas) -> None:
    depth = np.broadcast_to(np.arange(9, dtype=np.float32) - 4, SHAPE).copy()
    canvas.draw(depth, 30.0, label=3)
    # Two mm wide pixels: half at the border, nothing a mm outside, all of it a mm inside.
    assert np.allclose(canvas._image[0, 0, 3:6], [10.0, 20.0, 30.0])
    assert canvas.labels[0, 0].tolist() == [0, 0, 0, 0, 0, 3, 3, 3, 3]


def test_without_a_label_those_that_are_there_stay(canvas: Canvas) -> None:
    everywhere = np.full(SHAPE, 5.0, np.float32)
    canvas.draw(everywhere, 30.0, label=3)
    canvas.draw(everywhere, 40.0)
    assert np.all(canvas.labels == 3)
    assert np.allclose(canvas._image, 40.0)


def test_an_ellipsoid_is_as_deep_as_its_smallest_radius_and_ends_at_its_radii(canvas: Canvas) -> None:
    depth = canvas.ellipsoid((0.0, 0.0, 0.0), (6.0, 4.0, 8.0))
    assert depth[2, 4, 4] == pytest.approx(4.0)
    assert [float(depth[at]) for at in ((4, 4, 4), (2, 6, 4), (2, 4, 8))] == pytest.approx([0.0, 0.0, 0.0], abs=1e-5)


def test_a_quarter_turn_swaps_the_axes_of_an_ellipsoid(canvas: Canvas) -> None:
    turned = canvas.ellipsoid((0.0, 0.0, 0.0), (8.0, 4.0, 6.0), tilt=np.pi / 2)
    assert np.allclose(turned, canvas.ellipsoid((0.0, 0.0, 0.0), (6.0, 4.0, 8.0)), atol=1e-5)


def test_a_tube_runs_along_the_patient(canvas: Canvas) -> None:
    depth = np.broadcast_to(canvas.tube(0.0, 2.0, 4.0, 4.0), SHAPE)
    assert np.allclose(depth[:, 4, 5], 4.0)
    assert np.allclose(depth[:, 4, 7], 0.0)


def test_noise_has_the_stated_spread_and_the_same_seed_gives_the_same() -> None:
    one, again = (Canvas((12, 40, 40), (2.0, 1.0, 1.0), background=0.0, seed=3, bend_mm=0.0) for _ in range(2))
    assert one.grain(sigma=0.8).std() == pytest.approx(1.0, abs=0.02)
    assert one.smooth_noise(6.0).std() == pytest.approx(1.0, abs=0.3)
    assert np.array_equal(
        again.grain(sigma=0.8),
        Canvas((12, 40, 40), (2.0, 1.0, 1.0), background=0.0, seed=3, bend_mm=0.0).grain(sigma=0.8),
    )
