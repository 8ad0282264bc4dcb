"""Pictures of a segmentation without a window: slices with coloured contours, and a shaded surface.

Images are (height, width, 3) uint8 arrays until the last step puts them side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageColor, ImageDraw, ImageFont
from scipy import ndimage

from napari_medmeta.core import FloatArray, LabelArray, MaskArray

__all__ = ["Panel", "RGBArray", "as_rgb", "coloured", "column", "resized", "row", "shaded_surface", "with_lines"]

RGBArray: TypeAlias = npt.NDArray[np.uint8]
FILL = 0.35
TITLE_HEIGHT = 30
GAP = 8
BACKGROUND = (16, 16, 18)
WHITE = (255, 255, 255)


@dataclass(frozen=True, eq=False)
class Panel:
    """One image of a row and the words above it."""

    title: str
    image: RGBArray


def as_rgb(plane: npt.NDArray[np.number], *, window: tuple[float, float]) -> RGBArray:
    """Map a slice (rows, columns) of intensities to grey levels: black at the window's low end, white at its high."""
    low, high = window
    grey = np.clip((plane.astype(np.float32) - low) / (high - low), 0.0, 1.0) * 255
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=-1)


def coloured(
    image: RGBArray, labels: LabelArray, colours: Mapping[int, str], *, truth: LabelArray | None = None
) -> RGBArray:
    """Fill and outline each structure of ``labels`` (rows, columns); outline the truth in white."""
    out = image.copy()
    for structure, colour in colours.items():
        mask = labels == structure
        rgb = np.array(ImageColor.getrgb(colour), dtype=np.float32)
        out[mask] = ((1 - FILL) * out[mask] + FILL * rgb).astype(np.uint8)
        out[_outline(mask)] = rgb.astype(np.uint8)
    if truth is not None:
        for structure in colours:
            out[_outline(truth == structure)] = WHITE
    return out


def resized(image: RGBArray, *, height: int, pixel_mm: tuple[float, float] = (1.0, 1.0)) -> RGBArray:
    """Scale an image to ``height`` pixels with the true proportions of pixels of ``pixel_mm`` (row, column)."""
    rows, columns = image.shape[:2]
    width = max(1, round(height * (columns * pixel_mm[1]) / (rows * pixel_mm[0])))
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def with_lines(image: RGBArray, positions: Sequence[float]) -> RGBArray:
    """Draw dashed white lines across at ``positions``, as fractions of the height from the top."""
    out = image.copy()
    for position in positions:
        line = min(out.shape[0] - 1, round(position * out.shape[0]))
        out[line, np.arange(out.shape[1]) % 10 < 6] = WHITE
    return out


def column(images: Sequence[RGBArray]) -> RGBArray:
    """Stack images of one width below each other."""
    gap = np.full((GAP // 2, images[0].shape[1], 3), BACKGROUND, dtype=np.uint8)
    parts = [part for image in images for part in (image, gap)]
    return np.concatenate(parts[:-1], axis=0)


def row(panels: Sequence[Panel]) -> Image.Image:
    """Put panels of one height side by side, each under its title."""
    width = sum(p.image.shape[1] for p in panels) + GAP * (len(panels) + 1)
    canvas = Image.new("RGB", (width, panels[0].image.shape[0] + TITLE_HEIGHT + GAP), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    left = GAP
    for panel in panels:
        draw.text((left, GAP), panel.title, fill=WHITE, font=ImageFont.load_default(16))
        canvas.paste(Image.fromarray(panel.image), (left, TITLE_HEIGHT))
        left += panel.image.shape[1] + GAP
    return canvas


def shaded_surface(
    labels: LabelArray, colours: Mapping[int, str], *, spacing_mm: tuple[float, float, float], height: int
) -> RGBArray:
    """Render the structures as seen from the front, lit from above.

    Parameters
    ----------
    labels
        (z, y, x) uint8 with z growing to superior and y to posterior.
    colours
        ``#rrggbb`` by structure; others are left out.
    spacing_mm
        Along (z, y, x).
    height
        Of the image, in pixels.
    """
    # One voxel of the rendering is two pixels of the picture: smooth enough, and eight times cheaper.
    step = height / 2 / (labels.shape[0] * spacing_mm[0])
    solids = {s: _smooth_solid(labels == s, [mm * step for mm in spacing_mm]) for s in colours}
    size = next(iter(solids.values())).shape
    out = np.full((size[0], size[2], 3), BACKGROUND, dtype=np.float32)
    depth = np.full(out.shape[:2], size[1], dtype=np.intp)
    for structure, solid in solids.items():
        inside = solid > 0.5
        front = np.where(inside.any(axis=1), np.argmax(inside, axis=1), size[1])
        closer = front < depth
        rgb = np.array(ImageColor.getrgb(colours[structure]), dtype=np.float32)
        out[closer] = rgb * _light(solid, front, closer)[:, None]
        depth[closer] = front[closer]
    picture = np.clip(out, 0, 255).astype(np.uint8)[::-1]
    return resized(np.ascontiguousarray(picture), height=height)


def _smooth_solid(mask: MaskArray, zoom: Sequence[float]) -> FloatArray:
    """Return the mask with its steps rounded off, on a grid of (height, depth, width) in half pixels."""
    soft = ndimage.gaussian_filter(mask.astype(np.float32), 0.8)
    return np.asarray(ndimage.zoom(soft, zoom, order=1, grid_mode=True, mode="nearest"), dtype=np.float32)


def _light(solid: FloatArray, front: npt.NDArray[np.intp], seen: MaskArray) -> FloatArray:
    """Return the brightness (0.35 to 1.15) of the surface at index ``front`` along axis 1, where ``seen``."""
    i, k = np.nonzero(seen)
    blurred = ndimage.gaussian_filter(solid, 1.2)
    here = (i, front[i, k], k)
    gradient = np.stack([_difference(blurred, here, axis) for axis in range(3)])
    gradient /= np.maximum(np.linalg.norm(gradient, axis=0), 1e-6)
    # Light from the upper front left; the gradient points into the body.
    facing = -0.5 * gradient[0] + 0.8 * gradient[1] + 0.3 * gradient[2]
    return np.asarray(0.35 + 0.8 * np.clip(facing, 0.0, 1.0), dtype=np.float32)


def _difference(
    array: FloatArray, at: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]], axis: int
) -> FloatArray:
    """Return the central difference of ``array`` along ``axis`` at the indices ``at``."""
    up, down = list(at), list(at)
    up[axis] = np.minimum(at[axis] + 1, array.shape[axis] - 1)
    down[axis] = np.maximum(at[axis] - 1, 0)
    return np.asarray(array[tuple(up)] - array[tuple(down)], dtype=np.float32)


def _outline(mask: MaskArray) -> MaskArray:
    return np.asarray(mask & ~ndimage.binary_erosion(mask), dtype=bool)
