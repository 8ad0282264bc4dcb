from __future__ import annotations

import numpy as np

from napari_medmeta.cli.picture import Panel, as_rgb, coloured, column, resized, row, shaded_surface, with_lines

RED = {1: "#ff0000"}


def square() -> np.ndarray:
    labels = np.zeros((7, 7), dtype=np.uint8)
    labels[1:6, 1:6] = 1
    return labels


def test_the_window_maps_its_ends_to_black_and_white():
    image = as_rgb(np.array([[-200, -100, 0, 100, 300]]), window=(-100, 100))
    assert image[0, :, 0].tolist() == [0, 0, 127, 255, 255]


def test_a_structure_is_outlined_in_its_colour_and_tinted_inside():
    image = coloured(np.zeros((7, 7, 3), dtype=np.uint8), square(), RED)
    assert image[1, 1].tolist() == [255, 0, 0]
    assert 0 < image[3, 3, 0] < 255
    assert image[0, 0].tolist() == [0, 0, 0]


def test_a_structure_without_a_colour_stays_as_it_was():
    image = coloured(np.zeros((7, 7, 3), dtype=np.uint8), square(), {2: "#ff0000"})
    assert not image.any()


def test_pixels_that_are_taller_than_wide_make_a_tall_image():
    image = resized(np.zeros((10, 10, 3), dtype=np.uint8), height=40, pixel_mm=(4.0, 2.0))
    assert image.shape == (40, 20, 3)


def test_a_line_is_drawn_where_it_was_asked_for():
    image = with_lines(np.zeros((10, 30, 3), dtype=np.uint8), [0.5])
    assert np.flatnonzero(image.any(axis=(1, 2))).tolist() == [5]


def test_images_in_a_column_keep_their_width():
    assert column([np.zeros((5, 8, 3), dtype=np.uint8)] * 2).shape == (14, 8, 3)


def test_panels_stand_side_by_side():
    panels = [Panel("one", np.zeros((20, 30, 3), dtype=np.uint8)), Panel("two", np.zeros((20, 40, 3), dtype=np.uint8))]
    assert row(panels).size == (30 + 40 + 3 * 8, 20 + 30 + 8)


def test_of_two_structures_in_line_the_front_one_is_seen():
    labels = np.zeros((20, 20, 20), dtype=np.uint8)
    labels[5:15, 3:7, 5:15] = 1
    labels[5:15, 12:18, 5:15] = 2
    image = shaded_surface(labels, {1: "#ff0000", 2: "#0000ff"}, spacing_mm=(1.0, 1.0, 1.0), height=40)
    red, _, blue = image[20, 20].tolist()
    assert red > 50 > blue


def test_superior_is_up_in_the_rendering():
    labels = np.zeros((20, 20, 20), dtype=np.uint8)
    labels[12:18, 5:15, 5:15] = 1
    image = shaded_surface(labels, RED, spacing_mm=(1.0, 1.0, 1.0), height=40)
    reds = image[..., 0].astype(int) - image[..., 2]
    assert reds[:20].sum() > 10 * abs(reds[20:].sum())
