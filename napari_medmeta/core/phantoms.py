"""Synthetic scans with known truth: seeded, so that tests, pictures and samples come out the same each time.

Shapes are signed depths in mm (positive inside), bent by a smooth random displacement so that no organ
is a perfect ellipsoid. Intensities are those of a contrast-enhanced CT (Hounsfield units) and of a
T1-weighted MR after contrast; borders are mixed over a voxel (partial volume) before noise is added.
Patient axes: z grows to superior, y to posterior, x to the patient's left, 0 in the middle of the grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from scipy import ndimage

from napari_medmeta.core.canvas import Canvas
from napari_medmeta.core.types import FloatArray, LabelArray, Modality, Triple
from napari_medmeta.core.volume import Volume

__all__ = ["Phantom", "brain_mr", "simple_blobs", "torso_ct"]

TORSO_EXTENT_MM = (256.0, 352.0, 352.0)
BRAIN_EXTENT_MM = (154.0, 216.0, 190.0)
CORTEX_MM = 3.2
"""Thickness of the cortex; 2 to 4 mm in adults."""
TORSO_NAMES = {
    1: "liver",
    2: "spleen",
    3: "left kidney",
    4: "right kidney",
    5: "aorta",
    6: "left lung",
    7: "right lung",
    8: "vertebrae",
}
BRAIN_NAMES = {
    1: "white matter",
    2: "grey matter",
    3: "ventricles",
    4: "caudate",
    5: "thalamus",
    6: "lesion",
}


@dataclass(frozen=True, eq=False)
class Phantom:
    """A synthetic scan and its truth.

    Parameters
    ----------
    volume
        The scan, int16.
    labels
        (I, J, K) uint8: the true structure of each voxel, 0 for background. Read-only.
    names
        The name of each structure by its number.
    """

    volume: Volume
    labels: LabelArray
    names: Mapping[int, str]

    def __post_init__(self) -> None:
        labels = self.labels.view()
        labels.setflags(write=False)
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "names", MappingProxyType(dict(self.names)))


def torso_ct(*, shape: Triple = (64, 160, 160), spacing_mm: Sequence[float] | None = None, seed: int = 0) -> Phantom:
    """Make a CT-like torso between heart and pelvis in the portal venous phase, in Hounsfield units.

    Hard on purpose: liver, spleen, stomach and bowel touch at nearly the same contrast; kidneys, liver
    and spleen begin and end inside the volume; a vena cava runs beside the aorta.

    Parameters
    ----------
    shape
        Voxels along (z, y, x).
    spacing_mm
        Along (z, y, x). Without it the torso of 256 x 352 x 352 mm fills the grid.
    seed
        Another seed gives another patient.
    """
    scene = Canvas(shape, spacing_mm or _fill(TORSO_EXTENT_MM, shape), background=-1000.0, seed=seed, bend_mm=7.0)
    inside = _draw_trunk(scene)
    _draw_spine_and_ribs(scene, inside)
    diaphragm = _draw_chest(scene, inside)
    _draw_abdomen(scene, inside, diaphragm)
    _draw_vessels(scene)
    array = scene.rendered() + scene.grain(sigma=0.6) * 14.0
    return _phantom(scene, np.clip(array, -1024, 3071), Modality.CT, "torso CT (synthetic)", TORSO_NAMES)


def brain_mr(*, shape: Triple = (64, 160, 144), spacing_mm: Sequence[float] | None = None, seed: int = 0) -> Phantom:
    """Make an MR-like head (T1 after contrast, arbitrary units) with an enhancing lesion.

    Hard on purpose: a folded cortex, deep nuclei hardly brighter than their surroundings, a bias field
    of about 40 percent across the head and Rician noise.

    Parameters
    ----------
    shape
        Voxels along (z, y, x).
    spacing_mm
        Along (z, y, x). Without it the head of 154 x 216 x 190 mm fills the grid.
    seed
        Another seed gives another patient.
    """
    scene = Canvas(shape, spacing_mm or _fill(BRAIN_EXTENT_MM, shape), background=8.0, seed=seed, bend_mm=4.0)
    brain = _draw_head(scene)
    _draw_hemispheres(scene, brain)
    _draw_deep_nuclei(scene)
    _draw_lesion(scene, brain)
    bias = np.exp(0.2 * scene.smooth_noise(90.0))
    clean = scene.rendered() * bias
    noisy = np.hypot(clean + 16.0 * scene.grain(sigma=0.0), 16.0 * scene.grain(sigma=0.0))
    return _phantom(scene, noisy, Modality.MR, "brain MR (synthetic)", BRAIN_NAMES)


def simple_blobs(
    *, shape: Triple = (24, 48, 48), spacing_mm: Sequence[float] = (3.0, 1.0, 1.0), seed: int = 0, noise: float = 12.0
) -> Phantom:
    """Make two touching ellipsoids of 100 and 160 units on 0, small enough for any test.

    Parameters
    ----------
    shape
        Voxels along (z, y, x).
    spacing_mm
        Along (z, y, x).
    seed
        Changes the noise and bends the shapes a little.
    noise
        Standard deviation of the white noise, in the units of the image.
    """
    scene = Canvas(shape, spacing_mm, background=0.0, seed=seed, bend_mm=1.0)
    rz, ry, rx = (n * s / 2 for n, s in zip(shape, spacing_mm, strict=True))
    scene.draw(scene.ellipsoid((0, 0, -0.30 * rx), (0.62 * rz, 0.45 * ry, 0.36 * rx)), 100.0, label=1)
    scene.draw(scene.ellipsoid((0.1 * rz, 0.1 * ry, 0.36 * rx), (0.5 * rz, 0.35 * ry, 0.32 * rx)), 160.0, label=2)
    array = scene.rendered() + noise * scene.grain(sigma=0.0)
    return _phantom(scene, array, Modality.OTHER, "two blobs (synthetic)", {1: "left blob", 2: "right blob"})


def _draw_trunk(scene: Canvas) -> FloatArray:
    """Draw skin, fat and muscle; return the depth inside the wall of chest and belly."""
    z, y, x = scene.z, scene.y, scene.x
    # A superellipse of power 2.6: the cross-section of a trunk is boxier than an ellipse.
    flat = (np.abs(x / (158.0 + 0.06 * z)) ** 2.6 + np.abs((y - 4.0) / 112.0) ** 2.6) ** (1 / 2.6)
    body = (1.0 - flat) * 112.0
    scene.draw(body, -10.0)
    scene.draw(body - 2.0, -105.0 + 8.0 * scene.smooth_noise(12.0))
    wall = body - 15.0 - 5.0 * np.abs(x) / 158.0
    scene.draw(wall, 55.0)
    # Muscle is bundled: thin sheets of fat between wall layers.
    scene.draw(1.2 - np.abs(wall - 6.0 - 2.0 * scene.smooth_noise(40.0)), -60.0)
    inside = wall - 13.0 - 22.0 * scene.bump(y - 95.0, 30.0)
    scene.draw(inside, -95.0 + 10.0 * scene.smooth_noise(15.0))
    return np.asarray(inside, dtype=np.float32)


def _draw_spine_and_ribs(scene: Canvas, inside: FloatArray) -> None:
    z, y, x = scene.z, scene.y, scene.x
    angle = np.abs(np.arctan2(x, 40.0 - y))
    # Ribs run obliquely down from back to front; one every 27 mm.
    height = np.mod(z + 34.0 * (np.pi - angle) + 8.0, 27.0) - 13.5
    ribs = 5.5 - np.hypot(height * 0.8, (inside + 6.0) * 1.1)
    ribs = np.minimum(ribs, 12.0 * (angle - 0.55))
    ribs = np.minimum(ribs, z + 55.0 - 30.0 * angle)
    _draw_bone(scene, ribs, shell_mm=1.8, marrow=180.0)
    level = np.mod(z + 3.0, 33.0) - 16.5
    body = np.minimum(scene.tube(58.0, 0.0, 17.0, 23.0), 13.0 - np.abs(level))
    scene.draw(scene.tube(58.0, 0.0, 16.0, 22.0), 75.0)
    arch = np.minimum(14.0 - np.hypot(x, y - 84.0), 10.5 - np.abs(level + 3.0))
    spine = np.minimum(5.0 - np.abs(x), 22.0 - np.abs(y - 104.0))
    spine = np.minimum(spine, 9.0 - np.abs(level + 5.0))
    wings = np.minimum(5.5 - np.hypot(y - 80.0, level - 2.0), 38.0 - np.abs(x))
    _draw_bone(scene, np.maximum.reduce([body, arch, spine, wings]), shell_mm=2.0, marrow=210.0, label=8)
    scene.draw(8.5 - np.hypot(x, y - 84.0), 30.0, label=0)


def _draw_bone(scene: Canvas, depth: FloatArray, *, shell_mm: float, marrow: float, label: int | None = None) -> None:
    scene.draw(depth, 620.0, label=label)
    scene.draw(depth - shell_mm, marrow + 45.0 * scene.smooth_noise(6.0))


def _draw_chest(scene: Canvas, inside: FloatArray) -> FloatArray:
    """Draw lungs and heart; return the diaphragm's height z in mm over (y, x), as a full array."""
    z, y, x = scene.z, scene.y, scene.x
    domes = 52.0 * scene.bump(np.hypot(x + 70.0, y - 5.0), 46.0) + 40.0 * scene.bump(np.hypot(x - 76.0, y), 44.0)
    # Lungs reach deepest behind and at the sides: the recess between ribs and diaphragm.
    floor = 16.0 + domes - 0.55 * np.clip(y - 25.0, 0.0, None) - 0.5 * np.clip(np.abs(x) - 95.0, 0.0, None)
    middle = np.abs(x - 4.0) - 26.0 - 16.0 * scene.bump(y - 10.0, 30.0)
    lungs = np.minimum.reduce([inside - 1.0, z - floor, middle])
    scene.draw(np.minimum(inside - 1.0, z - floor), -70.0)
    air = -860.0 + 25.0 * scene.smooth_noise(10.0) + 0.6 * (y - 20.0)
    scene.draw(np.where(x > 0, lungs, -9.0), air, label=6)
    scene.draw(np.where(x < 0, lungs, -9.0), air, label=7)
    scene.draw(np.minimum(lungs - 3.0, scene.branches(26.0, 1.4)), 40.0)
    heart = scene.ellipsoid((88.0, -32.0, 22.0), (52.0, 46.0, 56.0))
    heart = np.minimum(np.minimum(heart, inside - 3.0), z - floor)
    scene.draw(heart, 95.0 + 4.0 * scene.smooth_noise(20.0), label=0)
    scene.draw(scene.ellipsoid((96.0, -26.0, 34.0), (32.0, 22.0, 26.0)), 165.0, label=0)
    scene.draw(scene.ellipsoid((96.0, -36.0, -8.0), (30.0, 22.0, 20.0)), 140.0, label=0)
    return np.asarray(floor, dtype=np.float32)


def _draw_abdomen(scene: Canvas, inside: FloatArray, diaphragm: FloatArray) -> None:
    z, y = scene.z, scene.y
    below = np.minimum(inside - 2.0, diaphragm - 3.0 - z)
    _draw_bowel(scene, below)
    for side in (-1.0, 1.0):
        scene.draw(np.minimum(scene.tube(64.0, side * (34.0 - 0.05 * z), 16.0, 13.0), -10.0 - z), 58.0)
    stomach = np.minimum(scene.ellipsoid((8.0, -38.0, 48.0), (46.0, 36.0, 50.0), tilt=0.35), below)
    scene.draw(stomach, 65.0)
    # Gas rises to the front of a patient who lies on the back.
    scene.draw(stomach - 3.5, np.where(y < -50.0, -900.0, 28.0))
    _draw_kidney(scene, (-34.0, 42.0, 62.0), label=3)
    _draw_kidney(scene, (-52.0, 44.0, -60.0), label=4)
    spleen = np.minimum(scene.ellipsoid((14.0, 34.0, 102.0), (46.0, 48.0, 25.0), tilt=-0.3), below)
    scene.draw(spleen, 118.0 + 4.0 * scene.smooth_noise(8.0), label=2)
    _draw_liver(scene, below)


def _draw_bowel(scene: Canvas, below: FloatArray) -> None:
    loops = 9.0 * scene.smooth_noise(14.0) - 1.0
    bowel = np.minimum.reduce([loops, below - 3.0, 20.0 - scene.y, -5.0 - scene.z])
    scene.draw(bowel, 70.0)
    scene.draw(bowel - 3.0, 25.0)
    scene.draw(np.minimum(bowel - 4.5, 6.0 * scene.smooth_noise(18.0) - 5.0), -780.0)


def _draw_kidney(scene: Canvas, centre: tuple[float, float, float], *, label: int) -> None:
    z, y, x = centre
    lean = 0.18 if x > 0 else -0.18
    kidney = scene.ellipsoid(centre, (54.0, 28.0, 27.0), tilt=lean)
    hilum = scene.ellipsoid((z, y - 4.0, x - np.sign(x) * 14.0), (22.0, 9.0, 18.0), tilt=lean)
    scene.draw(kidney, 185.0, label=label)
    pyramids = np.minimum(kidney - 7.0, 5.0 * scene.smooth_noise(11.0))
    scene.draw(pyramids, 150.0)
    scene.draw(hilum, -70.0, label=0)


def _draw_liver(scene: Canvas, below: FloatArray) -> None:
    z, y, x = scene.z, scene.y, scene.x
    edge = z - (-72.0 + 0.62 * np.clip(x + 110.0, 0.0, None) + 0.35 * np.clip(y, 0.0, None))
    left_end = 62.0 - 0.25 * z - x - 0.5 * np.clip(y + 20.0, 0.0, None)
    spine = np.hypot(x - 6.0, y - 66.0) - 52.0
    liver = np.minimum.reduce([below, edge, left_end, spine])
    # The kidney lies behind the liver and dents it: they touch without overlapping.
    dented = np.where(scene.labels == 4, -9.0, liver)
    scene.draw(dented, 108.0 + 4.0 * scene.smooth_noise(10.0), label=1)
    scene.draw(np.minimum(dented - 4.0, scene.branches(30.0, 2.2)), 152.0)
    scene.draw(scene.ellipsoid((-22.0, -46.0, -48.0), (24.0, 18.0, 16.0)), 8.0, label=0)


def _draw_vessels(scene: Canvas) -> None:
    aorta = scene.tube(31.0, 11.0, 11.5, 11.5)
    scene.draw(aorta, 172.0, label=5)
    scene.draw(np.maximum(aorta - 10.6, -9.0), 168.0)
    scene.draw(scene.tube(30.0, -19.0, 10.0, 13.0), 132.0, label=0)
    # Calcified plaque on the wall, as in many older patients.
    plaque = np.minimum(1.6 - np.abs(aorta - 1.0), 3.0 * scene.smooth_noise(16.0) - 5.2)
    scene.draw(plaque, 520.0)


def _draw_head(scene: Canvas) -> FloatArray:
    """Draw scalp, skull and fluid; return the depth inside the brain's smooth hull."""
    head = scene.ellipsoid((-12.0, 0.0, 0.0), (88.0, 102.0, 80.0))
    scene.draw(head, 300.0)
    scene.draw(head - 1.5, 760.0 + 60.0 * scene.smooth_noise(12.0))
    scene.draw(head - 6.0, 330.0)
    skull = head - 8.0
    scene.draw(skull, 45.0)
    scene.draw(2.0 - np.abs(skull - 3.5), 260.0 + 90.0 * scene.smooth_noise(8.0))
    scene.draw(skull - 7.0, 120.0)
    return np.asarray(skull - 9.5, dtype=np.float32)


def _draw_hemispheres(scene: Canvas, brain: FloatArray) -> None:
    z, y, x = scene.z, scene.y, scene.x
    folds = scene.bump(scene.smooth_noise(12.0), 0.16)
    # Furrows are deepest at the surface and fade out towards the white matter's core.
    furrowed = brain - 26.0 * folds * scene.bump(np.clip(brain, 0.0, None), 15.0)
    core = np.sqrt((z / 32.0) ** 2 + (y / 52.0) ** 2)
    cleft = 24.0 * scene.bump(x, 2.2) * np.clip(4.0 * (core - 1.0), 0.0, 1.0) * (z > -45.0)
    depth = furrowed - cleft
    # The cortex is as thick on the walls of a furrow as on its crown, so its depth is a true distance.
    cortex = ndimage.distance_transform_edt(depth > 0, sampling=scene.geometry.spacing_mm).astype(np.float32)
    scene.draw(depth, 455.0 + 10.0 * scene.smooth_noise(8.0), label=2)
    scene.draw(cortex - CORTEX_MM, 640.0 + 10.0 * scene.smooth_noise(12.0), label=1)
    stem = np.minimum(scene.tube(18.0, 0.0, 15.0, 16.0), -30.0 - z)
    scene.draw(stem, 600.0, label=0)


def _draw_deep_nuclei(scene: Canvas) -> None:
    for side in (-1.0, 1.0):
        x = 13.0 * side
        tilt = 0.12 * side
        scene.draw(scene.ellipsoid((-2.0, -4.0, 27.0 * side), (13.0, 22.0, 7.0), tilt=tilt), 545.0, label=0)
        scene.draw(scene.ellipsoid((10.0, -16.0, x + 3.0 * side), (15.0, 19.0, 7.5)), 505.0, label=4)
        scene.draw(scene.ellipsoid((1.0, 18.0, x), (12.0, 17.0, 10.5), tilt=tilt), 560.0, label=5)
        scene.draw(scene.ellipsoid((14.0, -8.0, x - 4.0 * side), (9.0, 30.0, 6.5), tilt=tilt), 135.0, label=3)
        scene.draw(scene.ellipsoid((8.0, 34.0, x + 5.0 * side), (12.0, 17.0, 7.0), tilt=2 * tilt), 135.0, label=3)
    scene.draw(scene.ellipsoid((-4.0, 10.0, 0.0), (10.0, 15.0, 2.6)), 135.0, label=3)


def _draw_lesion(scene: Canvas, brain: FloatArray) -> None:
    bumpy = 2.5 * scene.smooth_noise(8.0)
    lesion = np.minimum(scene.ellipsoid((30.0, -34.0, -38.0), (19.0, 19.0, 17.0)) + bumpy, brain - 3.0)
    swelling = np.minimum(lesion + 9.0 + 2.0 * bumpy, brain - 5.0)
    scene.draw(np.where(scene.labels == 1, swelling, -9.0), 500.0)
    scene.draw(lesion, 900.0 + 60.0 * scene.smooth_noise(8.0), label=6)
    scene.draw(lesion - 4.5, 330.0 + 60.0 * scene.smooth_noise(6.0))


def _fill(extent_mm: tuple[float, float, float], shape: Triple) -> tuple[float, float, float]:
    z, y, x = (round(e / n, 4) for e, n in zip(extent_mm, shape, strict=True))
    return z, y, x


def _phantom(scene: Canvas, array: FloatArray, modality: Modality, name: str, names: Mapping[int, str]) -> Phantom:
    """Return the finished scan with its truth."""
    voxels = np.round(array).astype(np.int16)
    return Phantom(Volume(voxels, scene.geometry, modality, name=name), scene.labels, names)
